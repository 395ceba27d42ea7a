"""Latency, energy and area of a whole model's attention, one token, at a design point."""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from gaincell.config import GainCellConfig
from gaincell.errors import InputError
from gaincell.hardware import published_gpus, published_head
from gaincell.hardware.action_counts import COPY, REFRESH, RELOAD, area_ratios, pair_instances, stored_bits, writes
from gaincell.hardware.chip_hops import HOP
from gaincell.hardware.components import Components
from gaincell.hardware.energy import Parts, added, check_activity, components, layer_energy, summed, total
from gaincell.hardware.geometry import Geometry
from gaincell.hardware.kept_digital import KeptDigital, kept_digital
from gaincell.hardware.parameters import HardwareParameters
from gaincell.hardware.placement import Arrays, placed
from gaincell.hardware.read_workload import read_workload
from gaincell.hardware.refresh import RetentionBudget
from gaincell.hardware.timeline import Timeline
from gaincell.hardware.wires import added_delay_s
from gaincell.hardware.workload import GPT2, Workload

if TYPE_CHECKING:
    from gaincell.hardware.activity import Activity


class Row(NamedTuple):
    """A line of a table, in a unit for people; `published` and `ratio` (ours over published) may be None.

    `basis` says how ours comes about where there is a published figure: fitted to it, predicted, or inferred from it.
    """

    name: str
    value: float
    unit: str
    published: float | None
    ratio: float | None
    basis: str = ""


class Cost(NamedTuple):
    """What one token takes: seconds, joules, and the square metres that serve it."""

    latency_s: float
    energy_j: float
    area_m2: float


class GpuRatio(NamedTuple):
    """A published GPU baseline over our estimate for the same single layer, and the ratios the paper quotes."""

    name: str
    latency: float
    energy: float
    quoted_latency: float
    quoted_energy: float


@dataclass(frozen=True)
class Estimate:
    """Attention of a whole model, one token of one sequence whose window is full, at a design point.

    Attributes:
        workload: the model's layers.
        config: the design point.
        parameters: what the estimate was computed from.
        activity: what the text behind it is, in a few words.
        assumed: whether no activity was given, so that `Activity.reference` stands for it.
        arrays: of every layer that has some, in order: how it lies, its phases, its time and its retention.
        numbers: which of the layers that attend these are: all that are not digital as a whole.
        kept: the digital heads of every layer that attends.
        layers: energy of every layer that attends by part and component, in joule; they add up to `energy_j`.
        layer_areas: area that each of them takes, by part and component, in square metre. Arrays that layers use in
            turn are shared out evenly.
        area: area of the whole model by part and component; they add up to `area_m2`.
        notes: what to know about the model beside its figures, in sentences.
    """

    workload: Workload
    config: GainCellConfig
    parameters: HardwareParameters
    activity: str
    assumed: bool
    arrays: tuple[Arrays, ...]
    numbers: tuple[int, ...]
    kept: tuple[KeptDigital, ...]
    layers: tuple[Parts, ...]
    layer_areas: tuple[Parts, ...]
    area: Parts
    notes: tuple[str, ...] = ()

    @property
    def widest(self) -> Arrays:
        """The arrays whose tokens get oldest: of the first layer with the largest window."""
        return max(self.arrays, key=lambda arrays: arrays.geometry.window)

    @property
    def geometry(self) -> Geometry:
        """How the widest layer lies on arrays."""
        return self.widest.geometry

    @property
    def timeline(self) -> Timeline:
        """The phases of one token in one head of the widest layer."""
        return self.widest.timeline

    @property
    def retention(self) -> RetentionBudget:
        """How old a token gets in the widest layer, and how often it is refreshed."""
        return self.widest.retention

    @property
    def latency_s(self) -> float:
        """All layers, one after the other; attention alone, not the rest of the model."""
        return sum(arrays.latency_s for arrays in self.arrays) + self.digital_layers_s

    @property
    def digital_layers_s(self) -> float:
        """Of that, the layers that are digital as a whole."""
        return sum(each.latency_s for each in self.kept if each.whole)

    @property
    def kinds(self) -> list[list[int]]:
        """Which of the layers with arrays are alike: their places in `arrays`, in order of appearance."""
        alike: dict[int, list[int]] = {}
        for number, arrays in enumerate(self.arrays):
            alike.setdefault(id(arrays), []).append(number)
        return list(alike.values())

    @property
    def heads(self) -> int:
        """Query heads of all layers, digital ones among them."""
        return sum(each.all_heads for each in self.kept)

    @property
    def energy_components(self) -> Parts:
        """Energy of the whole model by part and component."""
        return added(self.layers)

    @property
    def parts(self) -> dict[str, float]:
        """Energy of the whole model by part; they add up to `energy_j`."""
        return {part: sum(values.values()) for part, values in self.energy_components.items()}

    @property
    def area_parts(self) -> dict[str, float]:
        """Area of the whole model by part; they add up to `area_m2`."""
        return {part: sum(values.values()) for part, values in self.area.items()}

    @property
    def energy_j(self) -> float:
        """Energy of one token, whole model."""
        return sum(self.parts.values())

    @property
    def area_m2(self) -> float:
        """Area of all the arrays that are built, with their digital control, and of digital heads."""
        return sum(self.area_parts.values())

    @property
    def per_layer(self) -> Cost:
        """One layer's share."""
        layers = len(self.kept)
        return Cost(self.latency_s / layers, self.energy_j / layers, self.area_m2 / layers)

    @property
    def per_head(self) -> Cost:
        """One query head's share of energy and area, and the time that its own query takes in the widest layer."""
        return Cost(self.timeline.latency_s, self.energy_j / self.heads, self.area_m2 / self.heads)

    @property
    def head_cells_m2(self) -> dict[str, float]:
        """One query head's share of a full set of cells, by kind of cell.

        'cmos' is what `components.cell` says. 'stacked' has all of the model's layers over each other, so a head takes
        1/layers of its cells.
        """
        p = self.parameters
        heads = sum(len(arrays.heads) for arrays in self.arrays)
        cells = sum(arrays.geometry.cells * arrays.geometry.pairs for arrays in self.arrays) / heads
        return {
            "cmos": cells * p.components.cell.area_m2,
            "oxide": cells * p.oxide_cell_area_m2,
            "stacked": cells * p.stacked_cell_area_m2 / len(self.arrays),
        }

    @property
    def pairs_built(self) -> int:
        """Pairs of arrays on all chips together."""
        every = sum(arrays.geometry.pairs for arrays in self.arrays)
        return every if self.parameters.array_pairs is None else min(every, self.parameters.array_pairs)

    @property
    def chips(self) -> int:
        """Chips of `chip_area_m2` that the arrays fill."""
        return math.ceil(self.area_m2 / self.parameters.chip_area_m2)

    @property
    def token_period_s(self) -> float:
        """Time from one token to the next: the design point's, but never less than attention, or refreshing, takes."""
        return self.retention.token_period_s

    @property
    def retention_ratio(self) -> float:
        """Age at which a token is overwritten, over the cell's time constant; well below 1 for a cell that holds."""
        return self.retention.age_ratio

    @property
    def oldest_ratio(self) -> float:
        """Age of the oldest voltage over the time constant: that of the oldest token, or of one due for a refresh."""
        return self.retention_ratio / (self.retention.refreshes + 1)

    @property
    def left_by_cell(self) -> float:
        """What the cell's time constant leaves of the oldest voltage's way to where it decays to.

        Where retention is a table, by what stands for a time constant there, see `refresh.time_constant_s`.
        """
        if self.config.retention == "table":
            return math.exp(-self.oldest_ratio)
        age_s = self.widest.config.window * self.retention.token_period_s / (self.retention.refreshes + 1)
        return math.exp(-age_s / self.config.cell.retention.tau_s)

    @property
    def remaining_fraction(self) -> float:
        """exp(-window leak): what the oldest token keeps of its voltage in simulation.

        With `leak_per_token` set, the simulated leak is the design point's, however long this model's token takes;
        exp(-`oldest_ratio`) is what the cell's time constant says.
        """
        set_leak = self.config.leak_per_token is not None or self.config.token_period_s is not None
        config = self.widest.config
        config = config if set_leak else config.replace(token_period_s=self.token_period_s)
        return math.exp(-min(config.window, config.refresh_tokens or config.window) * config.leak)

    @property
    def gpu_ratios(self) -> tuple[GpuRatio, ...]:
        """Published GPU figures over ours, for one GPT-2 layer at this design point, whatever the model.

        Empty unless the window is the baselines' 1024: they are for that shape alone. See `published_gpus.CAVEAT`.
        """
        if self.config.window != published_gpus.BASELINE_WINDOW:
            return ()
        alone = self.parameters.model_copy(update={"array_pairs": None, "refresh": "rewrite"})
        config = self.config.replace(token_period_s=None, digital=())
        ours = estimate(published_gpus.BASELINE_LAYER, config, alone)
        return tuple(
            GpuRatio(
                g.name,
                g.latency_s / ours.latency_s,
                g.energy_j / ours.energy_j,
                g.quoted_latency_ratio,
                g.quoted_energy_ratio,
            )
            for g in published_gpus.BASELINES
        )

    @property
    def prompt_interval_s(self) -> float:
        """Least time between two tokens of a prompt in one layer, the mean over layers.

        Tokens do not overlap in a digital layer (assumption).
        """
        return (sum(arrays.prompt_interval_s for arrays in self.arrays) + self.digital_layers_s) / len(self.kept)

    def prompt(self, tokens: int) -> Cost:
        """So many tokens that are all known: they follow each other through the arrays at the least interval.

        Arrays that are too few are filled anew for each of them, so there a prompt is read no faster than one is
        generated. Energy is charged as if every one found the window full.

        Raises:
            InputError: fewer than 0 tokens.
        """
        if tokens < 0:
            raise InputError(f"a prompt has 0 tokens or more, not {tokens}.")
        later_s = len(self.kept) * (tokens - 1) * self.prompt_interval_s
        return Cost(self.latency_s + later_s if tokens else 0.0, tokens * self.energy_j, self.area_m2)

    @property
    def is_published(self) -> bool:
        """Whether this is the design that the paper's figures are of: its head, parts and assumed activity."""
        published_point = GainCellConfig.named("leroux2025")
        same = all(getattr(self.config, name) == getattr(published_point, name) for name in published_head.FIELDS)
        default = self.parameters == HardwareParameters() and self.assumed and not self.config.digital
        widths = {width for x in self.arrays for width in (x.layer.key_dim, x.layer.value_dim)}
        return same and default and len(self.kinds) == 1 and widths == {published_head.HEAD_DIM}

    def table(self) -> list[Row]:
        """Rows to print; 'published' only where this is the design that the paper has figures of."""
        alike = len(self.kinds) == 1 and not self.config.digital
        rows = self._alike_rows() if alike else [*self._kind_rows(), *self._digital_rows()]
        figures = [
            ("pairs of arrays", self.pairs_built, "-"),
            ("output lines in use", self.geometry.utilisation, "-"),
            ("chips", self.chips, "-"),
            ("segments of a word line", self.geometry.lines.word.segments, "-"),
            ("delay of word and bit lines", self.geometry.lines.delay_s * 1e9, "ns"),
            ("of it, beyond the published array's", added_delay_s(self.geometry.lines) * 1e9, "ns"),
            ("age of the oldest token / time constant", self.retention_ratio, "-"),
            ("times a token is refreshed", self.retention.refreshes, "-"),
            ("share of the time spent refreshing", self.retention.busy, "-"),
            ("left of the oldest voltage, by time constant", self.left_by_cell, "-"),
            ("left of the oldest voltage, as simulated", self.remaining_fraction, "-"),
        ]
        if self.retention.lost is not None:
            figures.append(("cells off by half a step at the oldest age", self.retention.lost, "-"))
        rows += [Row(name, value, unit, None, None) for name, value, unit in figures]
        for g in self.gpu_ratios:
            for what, ours, quoted in (
                ("latency", g.latency, g.quoted_latency),
                ("energy", g.energy, g.quoted_energy),
            ):
                rows.append(
                    Row(f"{g.name} {what} / ours, one GPT-2 layer", ours, "x", quoted, ours / quoted, "flawed baseline")
                )
        return rows

    def _alike_rows(self) -> list[Row]:
        """One head, one layer and all of them, where layers are alike."""
        known, layers = self.is_published, len(self.arrays)

        def row(
            name: str, value: float, unit: str, paper: published_head.Published | None = None, over: int = 1
        ) -> Row:
            if paper is None or not known:
                return Row(name, value, unit, None, None)
            return Row(name, value, unit, paper.value / over, value * over / paper.value, paper.basis)

        head, one_layer, cells = self.per_head, self.per_layer, self.head_cells_m2
        like_gpt2 = self.arrays[0].layer.heads == GPT2.layers[0].heads
        return [
            row("latency, one layer", one_layer.latency_s * 1e9, "ns", published_head.LATENCY),
            row("latency, all layers", self.latency_s * 1e9, "ns"),
            row("between tokens of a prompt, one layer", self.prompt_interval_s * 1e9, "ns"),
            row("energy, one head", head.energy_j * 1e9, "nJ", published_head.HEAD_ENERGY),
            *(
                row(f"energy, one head: {part}", energy / self.heads * 1e9, "nJ", published_head.PARTS.get(part))
                for part, energy in self.parts.items()
            ),
            row(
                "energy, one layer", one_layer.energy_j * 1e9, "nJ", published_head.LAYER_ENERGY if like_gpt2 else None
            ),
            row("energy, all layers", self.energy_j * 1e9, "nJ"),
            row("area, one head", head.area_m2 * 1e6, "mm2", published_head.HEAD_AREA),
            row("area, all layers", self.area_m2 * 1e6, "mm2"),
            *(row(f"area, all layers: {name}", part * 1e6, "mm2") for name, part in self.area_parts.items()),
            row("cells of one head: CMOS", cells["cmos"] * 1e6, "mm2", published_head.CELLS_AREA),
            row("cells of one head: oxide", cells["oxide"] * 1e6, "mm2", published_head.OXIDE_AREA),
            row(
                "cells of one head: all layers stacked",
                cells["stacked"] * 1e6,
                "mm2",
                published_head.STACKED_AREA,
                layers,
            ),
        ]

    def _kind_rows(self) -> list[Row]:
        """One layer of each kind and all of them, where layers differ; the paper has no such model."""
        named = [(numbers, _named(self.arrays[numbers[0]], len(numbers))) for numbers in self.kinds]
        figures = [
            *((f"latency, {name}", self.arrays[n[0]].latency_s * 1e9, "ns") for n, name in named),
            ("latency, all layers", self.latency_s * 1e9, "ns"),
            *((f"energy, {name}, mean", self._mean_j(n) * 1e9, "nJ") for n, name in named),
            *((f"energy, all layers: {part}", energy * 1e9, "nJ") for part, energy in self.parts.items()),
            ("energy, all layers", self.energy_j * 1e9, "nJ"),
            *((f"area, {name}", total(self.layer_areas[self.numbers[n[0]]]) * 1e6, "mm2") for n, name in named),
            *((f"area, all layers: {part}", area * 1e6, "mm2") for part, area in self.area_parts.items()),
            ("area, all layers", self.area_m2 * 1e6, "mm2"),
        ]
        return [Row(name, value, unit, None, None) for name, value, unit in figures]

    def _mean_j(self, numbers: list[int]) -> float:
        return sum(total(self.layers[self.numbers[place]]) for place in numbers) / len(numbers)

    def _digital_rows(self) -> list[Row]:
        """What digital heads take, where there are some."""
        if not self.config.digital:
            return []
        energy = total(added(each.drawn(self.token_period_s) for each in self.kept))
        figures = [
            ("digital heads", sum(len(each.heads) for each in self.kept), "-"),
            ("latency, layers that are digital", self.digital_layers_s * 1e9, "ns"),
            ("energy, digital heads", energy * 1e9, "nJ"),
            ("area, digital heads", sum(total(each.area or {}) for each in self.kept) * 1e6, "mm2"),
        ]
        return [Row(name, value, unit, None, None) for name, value, unit in figures]

    def to_dict(self) -> dict[str, Any]:
        """Everything in SI units, ready for JSON; `components` are the parts as they were counted."""
        return {
            "model": asdict(self.workload),
            "design_point": self.config.name,
            "activity": self.activity,
            "notes": list(self.notes),
            "window": self.config.window,
            "latency_s": self.latency_s,
            "prompt_interval_s": self.prompt_interval_s,
            "energy_j": self.energy_j,
            "area_m2": self.area_m2,
            "energy_parts_j": self.parts,
            "energy_components_j": self.energy_components,
            "windows": [arrays.geometry.window for arrays in self.arrays],
            "latency_layers_s": [arrays.latency_s for arrays in self.arrays],
            "layers_with_arrays": list(self.numbers),
            "digital": list(self.config.digital),
            "latency_digital_layers_s": self.digital_layers_s,
            "area_layers_m2": [total(area) for area in self.layer_areas],
            "energy_layers_j": [{part: sum(x.values()) for part, x in layer.items()} for layer in self.layers],
            "area_parts_m2": self.area_parts,
            "area_components_m2": self.area,
            "per_layer": self.per_layer._asdict(),
            "per_head": self.per_head._asdict(),
            "cells_per_head_m2": self.head_cells_m2,
            "geometry": asdict(self.geometry),
            "pairs_built": self.pairs_built,
            "chips": self.chips,
            "phases": [asdict(phase) for phase in self.timeline.phases],
            "token_period_s": self.token_period_s,
            "retention_ratio": self.retention_ratio,
            "refreshes_per_token": self.retention.refreshes,
            "refresh_busy": self.retention.busy,
            "cells_lost": self.retention.lost,
            "remaining_fraction": self.remaining_fraction,
            "gpu_ratios_one_gpt2_layer": [g._asdict() for g in self.gpu_ratios],
            "gpu_caveat": published_gpus.CAVEAT,
            "parameters": self.parameters.model_dump(mode="json"),
            "components": components(self.config, self.parameters).model_dump(mode="json"),
        }


def estimate(
    model_config: object,
    config: GainCellConfig,
    parameters: HardwareParameters | None = None,
    activity: "Activity | None" = None,
) -> Estimate:
    """Estimate latency, energy and area of a model's attention for one token: every part's actions times its figures.

    Args:
        model_config: any object or mapping with transformers' names for layers, heads and widths; see `read_workload`.
        config: the design point. Every layer that attends gets arrays of its window, or of its own window where that is
            smaller, and every token finds the window full.
        parameters: how the hardware is built, and what its parts take. None: the defaults.
        activity: what the arrays do with a text (`gaincell.models.attention_activity`). None: `Activity.reference`.

    Raises:
        InputError: a model, activity or part that does not fit, a model that does not attend, a window that outlives
            the cell, or digital layers or heads that the model has not, or that are all of its layers.
    """
    workload, p = read_workload(model_config), parameters or HardwareParameters()
    workload.check_attends()
    watched = _reference(config) if activity is None else activity
    parts = components(config, p)
    kept = kept_digital(workload, config, p, parts)
    numbers = tuple(number for number, each in enumerate(kept) if not each.whole)
    arrays = placed(workload, config, p, parts, kept)
    check_activity(watched, workload.attending, config)
    pairs = sum(x.geometry.pairs for x in arrays)
    built = pairs if p.array_pairs is None else min(pairs, p.array_pairs)
    alike = watched.phi.shape == (1, 1)
    known: dict[tuple[int, int], tuple[Parts, Parts]] = {}
    for number, x in zip(numbers, arrays, strict=True):
        key = (id(x), 0 if alike else number)
        if key not in known:
            known[key] = _layer(number, x, p, parts, watched, built / pairs)
    each = {number: known[id(x), 0 if alike else number] for number, x in zip(numbers, arrays, strict=True)}
    period_s, none = arrays[0].retention.token_period_s, ({}, {})
    layers = [added([each.get(n, none)[0], digital.drawn(period_s)]) for n, digital in enumerate(kept)]
    areas = [added([each.get(n, none)[1], digital.area or {}]) for n, digital in enumerate(kept)]
    shared = [_area_of(arrays[0], built, p, parts), *(digital.area or {} for digital in kept)]
    found = Estimate(
        workload=workload,
        config=config,
        parameters=p,
        activity=watched.text,
        assumed=activity is None,
        arrays=arrays,
        numbers=numbers,
        kept=kept,
        layers=tuple(layers),
        layer_areas=tuple(areas),
        area=added(shared if built < pairs else areas),
        notes=(
            *workload.notes,
            *_digital_notes(config, p, kept),
            *_notes(workload, arrays, config.window),
            *_cell_notes(config, p),
        ),
    )
    if not math.isfinite(found.energy_j + found.area_m2 + found.latency_s):
        raise InputError("hardware parameters: the estimate is not a finite number; make the largest of them smaller.")
    return found


def _layer(
    number: int, x: Arrays, p: HardwareParameters, parts: Components, watched: "Activity", share: float
) -> tuple[Parts, Parts]:
    """Energy and area of a layer, of whose pairs of arrays a share is built."""
    at, held, point = x.geometry, x.retention, x.config
    energy = layer_energy(number, x.layer.heads, at, point, p, parts, watched, x.heads)
    if x.spread.chips > 1:
        energy = added([energy, {HOP: {"link": len(x.heads) * x.spread.energy_j}}])
    # Arrays that hold the same keys and values are written from one copy.
    copies, bits = len({head // x.layer.group for head in x.heads}), stored_bits(at, point, p)
    once = []  # for every pair of a layer and token
    if held.refreshes:
        once += [(REFRESH, held.refreshes, "buffer", (held.refreshes + 1) * parts.buffer.energy_j)]
    if share < 1:
        once += [(RELOAD, at.window, "memory", at.window * p.memory_j_per_bit)]
    for part, tokens, source, joule_per_bit in once:
        renewed = summed(writes(part, tokens, at, point, p), parts, "energy_j", at.pairs)
        renewed[part][source] = copies * bits * joule_per_bit
        energy = added([energy, renewed])

    area = _area_of(x, at.pairs * share, p, parts)
    static_w = total(summed(pair_instances(at, point, p), parts, "static_w", at.pairs * share))
    if held.refreshes:
        kept_bits = copies * at.window * bits
        area[COPY] = {"buffer": kept_bits * parts.buffer.area_m2}
        static_w += kept_bits * parts.buffer.static_w
    if static_w:
        energy = added([energy, {"static power": {"all": static_w * held.token_period_s}}])
    return energy, area


def _area_of(x: Arrays, pairs: float, p: HardwareParameters, parts: Components) -> Parts:
    """Area of so many pairs of a layer's arrays."""
    return summed(pair_instances(x.geometry, x.config, p), parts, "area_m2", pairs, area_ratios(x.config, p))


def _named(arrays: Arrays, count: int) -> str:
    layer, heads = arrays.layer, len(arrays.heads)
    kv_heads = len({head // layer.group for head in arrays.heads})
    widths = f"{layer.key_dim}" if layer.key_dim == layer.value_dim else f"{layer.key_dim} and {layer.value_dim}"
    return f"one of {count}: window {layer.window:,}, {heads} heads ({kv_heads} of keys) x {widths}"


def _digital_notes(
    config: GainCellConfig, parameters: HardwareParameters, kept: Sequence[KeptDigital]
) -> Iterator[str]:
    """What of digital heads their figures do not show."""
    if not config.digital:
        return
    design = parameters.digital
    heads, layers = sum(len(each.heads) for each in kept), sum(each.whole for each in kept)
    yield (
        f"{heads} heads attend in digital, among them those of {layers} whole layers: by softmax over the window, with "
        f"keys and values of {design.kept_bits} bits in {design.kept_memory.upper()}, counted from parts; in "
        "simulation they look back as far as the model does."
    )
    yield (
        "A converted model leaks as if a digital layer took layer_latency_s, too; what it takes here counts in the age "
        "of tokens, so set token_period_s to simulate that."
    )


def _notes(workload: Workload, arrays: Sequence[Arrays], window: int) -> Iterator[str]:
    """What of the model an estimate at one window does not show."""
    narrow = Counter(x.geometry.window for x in arrays if x.geometry.window < window)
    for tokens, count in sorted(narrow.items()):
        yield (
            f"{count} of the {len(arrays)} layers that attend look back {tokens:,} tokens only, and have arrays of as "
            "many columns."
        )
    if others := len(workload.layers) - len(workload.attending):
        yield f"{others} of the model's {len(workload.layers)} layers do not attend, and are in no figure."
    widest = max(x.geometry.window for x in arrays)
    if workload.positions is not None and workload.positions < widest:
        yield f"This model has {workload.positions:,} positions, so a window of {widest:,} is never full."


def _cell_notes(config: GainCellConfig, parameters: HardwareParameters) -> Iterator[str]:
    """Where the cell's figures hold, and what of it the default parts are not made for."""
    if (found := config.cell.conditions) is not None:
        corner = "" if found.corner is None else f", corner {found.corner}"
        yield (
            f"Retention and energies of cell '{config.cell.name}' are those at {found.temperature_c:g} °C{corner}; no "
            "other part depends on temperature."
        )
    if (config.writes == "cell" or config.read_disturb == "cell") and config.known_spread is not None:
        yield (
            "The share of cells that have lost their level counts what leaks alone, neither what writes are off by nor "
            "what reads shift."
        )
    if config.cell.polarity != "push_pull" and "cell" not in parameters.components.model_fields_set:
        yield (
            f"Cell '{config.cell.name}' is of one sign, but each is counted with the area of the published push-pull "
            "cell of six transistors; set components.cell to your own."
        )


def _reference(config: GainCellConfig) -> "Activity":
    from gaincell.hardware.activity import Activity

    return Activity.reference(config)


def paper_table(config: GainCellConfig | None = None, parameters: HardwareParameters | None = None) -> list[Row]:
    """The paper's own figures beside ours: GPT-2 (12 layers, 12 heads x 64) at a design point, None: as published."""
    return estimate(GPT2, config or GainCellConfig.named("leroux2025"), parameters).table()
