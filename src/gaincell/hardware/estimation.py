"""Latency, energy and area of a whole model's attention, one token, at a design point."""

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from gaincell.config import GainCellConfig
from gaincell.errors import InputError
from gaincell.hardware import gpu, published
from gaincell.hardware.actions import COPY, REFRESH, RELOAD, area_ratios, pair_instances, stored_bits, writes
from gaincell.hardware.energy import Parts, added, components, layer_energies, summed, total
from gaincell.hardware.geometry import Geometry, geometry
from gaincell.hardware.hops import HOP, hops
from gaincell.hardware.parameters import HardwareParameters
from gaincell.hardware.retention import RetentionBudget, retention_budget
from gaincell.hardware.shape import GPT2, AttentionShape, read_shape, window_notes
from gaincell.hardware.timeline import Timeline, timeline
from gaincell.hardware.wires import added_delay_s

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
        shape: the model's attention.
        config: the design point.
        parameters: what the estimate was computed from.
        activity: what the text behind it is, in a few words.
        assumed: whether no activity was given, so that `Activity.reference` stands for it.
        geometry: how one layer lies on arrays.
        timeline: the phases of one token in one head.
        retention: how old a token gets, and how often it is refreshed.
        latency_s: all layers, one after the other; attention alone, not the rest of the model.
        layers: energy of every layer by part and component, in joule; they add up to `energy_j`.
        area: area of the whole model by part and component, in square metre; they add up to `area_m2`.
        notes: what of the model is priced otherwise than it is, in sentences.
    """

    shape: AttentionShape
    config: GainCellConfig
    parameters: HardwareParameters
    activity: str
    assumed: bool
    geometry: Geometry
    timeline: Timeline
    retention: RetentionBudget
    latency_s: float
    layers: tuple[Parts, ...]
    area: Parts
    notes: tuple[str, ...] = ()

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
        """Area of all the arrays that are built, with their digital control."""
        return sum(self.area_parts.values())

    @property
    def per_layer(self) -> Cost:
        """One layer's share."""
        layers = self.shape.num_hidden_layers
        return Cost(self.latency_s / layers, self.energy_j / layers, self.area_m2 / layers)

    @property
    def per_head(self) -> Cost:
        """One query head's share of energy and area, and the time that its own query takes."""
        one_layer, heads = self.per_layer, self.shape.num_attention_heads
        return Cost(self.timeline.latency_s, one_layer.energy_j / heads, one_layer.area_m2 / heads)

    @property
    def head_cells_m2(self) -> dict[str, float]:
        """One query head's share of a full set of cells, by kind of cell.

        'cmos' is what `components.cell` says. 'stacked' has all of the model's layers over each other, so a head takes
        1/layers of its cells.
        """
        p = self.parameters
        cells = self.geometry.cells * self.geometry.pairs / self.shape.num_attention_heads
        return {
            "cmos": cells * p.components.cell.area_m2,
            "oxide": cells * p.oxide_cell_area_m2,
            "stacked": cells * p.stacked_cell_area_m2 / self.shape.num_hidden_layers,
        }

    @property
    def pairs_built(self) -> int:
        """Pairs of arrays on all chips together."""
        every = self.shape.num_hidden_layers * self.geometry.pairs
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
    def remaining_fraction(self) -> float:
        """exp(-window leak): what the oldest token keeps of its voltage in simulation.

        With `leak_per_token` set, the simulated leak is the design point's, however long this model's token takes;
        exp(-`oldest_ratio`) is what the cell's time constant says.
        """
        set_leak = self.config.leak_per_token is not None or self.config.token_period_s is not None
        config = self.config if set_leak else self.config.replace(token_period_s=self.token_period_s)
        return math.exp(-config.window * config.leak)

    @property
    def gpu_ratios(self) -> tuple[GpuRatio, ...]:
        """Published GPU figures over ours, for one GPT-2 layer at this design point, whatever the model.

        Empty unless the window is the baselines' 1024: they are for that shape alone. See `gpu.CAVEAT`.
        """
        if self.config.window != gpu.BASELINE_WINDOW:
            return ()
        alone = self.parameters.model_copy(update={"array_pairs": None, "refresh": "rewrite"})
        ours = estimate(gpu.BASELINE_LAYER, self.config.replace(token_period_s=None), alone)
        return tuple(
            GpuRatio(
                g.name,
                g.latency_s / ours.latency_s,
                g.energy_j / ours.energy_j,
                g.quoted_latency_ratio,
                g.quoted_energy_ratio,
            )
            for g in gpu.BASELINES
        )

    @property
    def prompt_interval_s(self) -> float:
        """Least time between two tokens of a prompt in one layer, with all the queries that share its arrays."""
        return self.timeline.interval_s + (self.geometry.turns - 1) * self.timeline.query_interval_s

    def prompt(self, tokens: int) -> Cost:
        """So many tokens that are all known: they follow each other through the arrays at the least interval.

        Energy is charged as if every one found the window full.

        Raises:
            InputError: fewer than 0 tokens.
        """
        if tokens < 0:
            raise InputError(f"a prompt has 0 tokens or more, not {tokens}.")
        later_s = self.shape.num_hidden_layers * (tokens - 1) * self.prompt_interval_s
        return Cost(self.latency_s + later_s if tokens else 0.0, tokens * self.energy_j, self.area_m2)

    @property
    def is_published(self) -> bool:
        """Whether this is the design that the paper's figures are of: its head, parts and assumed activity."""
        preset = GainCellConfig.preset("leroux2025")
        same = all(getattr(self.config, name) == getattr(preset, name) for name in published.FIELDS)
        default = self.parameters == HardwareParameters() and self.assumed
        return same and default and self.shape.head_dim == published.HEAD_DIM

    def table(self) -> list[Row]:
        """Rows to print; 'published' only where this is the design that the paper has figures of."""
        s = self.shape
        known = self.is_published

        def row(name: str, value: float, unit: str, paper: published.Published | None = None, over: int = 1) -> Row:
            if paper is None or not known:
                return Row(name, value, unit, None, None)
            return Row(name, value, unit, paper.value / over, value * over / paper.value, paper.basis)

        head, one_layer, cells = self.per_head, self.per_layer, self.head_cells_m2
        heads = s.num_hidden_layers * s.num_attention_heads
        one_gpt2_layer = published.LAYER_ENERGY if s.num_attention_heads == GPT2.num_attention_heads else None
        rows = [
            row("latency, one layer", one_layer.latency_s * 1e9, "ns", published.LATENCY),
            row("latency, all layers", self.latency_s * 1e9, "ns"),
            row("between tokens of a prompt, one layer", self.prompt_interval_s * 1e9, "ns"),
            row("energy, one head", head.energy_j * 1e9, "nJ", published.HEAD_ENERGY),
            *(
                row(f"energy, one head: {part}", energy / heads * 1e9, "nJ", published.PARTS.get(part))
                for part, energy in self.parts.items()
            ),
            row("energy, one layer", one_layer.energy_j * 1e9, "nJ", one_gpt2_layer),
            row("energy, all layers", self.energy_j * 1e9, "nJ"),
            row("area, one head", head.area_m2 * 1e6, "mm2", published.HEAD_AREA),
            row("area, all layers", self.area_m2 * 1e6, "mm2"),
            *(row(f"area, all layers: {name}", part * 1e6, "mm2") for name, part in self.area_parts.items()),
            row("cells of one head: CMOS", cells["cmos"] * 1e6, "mm2", published.CELLS_AREA),
            row("cells of one head: oxide", cells["oxide"] * 1e6, "mm2", published.OXIDE_AREA),
            row(
                "cells of one head: all layers stacked",
                cells["stacked"] * 1e6,
                "mm2",
                published.STACKED_AREA,
                s.num_hidden_layers,
            ),
            row("pairs of arrays", self.pairs_built, "-"),
            row("output lines in use", self.geometry.utilisation, "-"),
            row("chips", self.chips, "-"),
            row("segments of a word line", self.geometry.lines.word.segments, "-"),
            row("delay of word and bit lines", self.geometry.lines.delay_s * 1e9, "ns"),
            row("of it, beyond the published array's", added_delay_s(self.geometry.lines) * 1e9, "ns"),
            row("age of the oldest token / time constant", self.retention_ratio, "-"),
            row("times a token is refreshed", self.retention.refreshes, "-"),
            row("share of the time spent refreshing", self.retention.busy, "-"),
            row("left of the oldest voltage, by time constant", math.exp(-self.oldest_ratio), "-"),
            row("left of the oldest voltage, as simulated", self.remaining_fraction, "-"),
        ]
        for g in self.gpu_ratios:
            for what, ours, quoted in (
                ("latency", g.latency, g.quoted_latency),
                ("energy", g.energy, g.quoted_energy),
            ):
                rows.append(
                    Row(f"{g.name} {what} / ours, one GPT-2 layer", ours, "x", quoted, ours / quoted, "flawed baseline")
                )
        return rows

    def to_dict(self) -> dict[str, Any]:
        """Everything in SI units, ready for JSON; `components` are the parts as they were counted."""
        return {
            "model": asdict(self.shape),
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
            "remaining_fraction": self.remaining_fraction,
            "gpu_ratios_one_gpt2_layer": [g._asdict() for g in self.gpu_ratios],
            "gpu_caveat": gpu.CAVEAT,
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
        model_config: any object or mapping with transformers' names for layers, heads and widths; see `read_shape`.
        config: the design point. Every layer gets arrays of its window, and every token finds the window full.
        parameters: how the hardware is built, and what its parts take. None: the defaults.
        activity: what the arrays do with a text (`gaincell.models.attention_activity`). None: `Activity.reference`.

    Raises:
        InputError: a model, activity or part that does not fit, or a window that outlives the cell.
    """
    shape, p = read_shape(model_config), parameters or HardwareParameters()
    watched = _reference(config) if activity is None else activity
    layers = shape.num_hidden_layers
    at, parts = geometry(shape, config, p), components(config, p)
    phases = timeline(config, p, at.lines)
    write_s = phases.phases[0].duration_s
    spread = hops(at, config, p, parts)

    rounds, reload = 1, p.array_pairs is not None and p.array_pairs < layers * at.pairs
    layer_s = phases.latency_s + (at.turns - 1) * phases.query_interval_s + spread.latency_s
    if reload and p.array_pairs is not None:
        rounds = math.ceil(at.pairs / p.array_pairs)
        layer_s = rounds * (layer_s + at.window * write_s)
    held = retention_budget(config, p, layers * layer_s, layer_s, write_s, reload)

    energies = layer_energies(shape, at, config, p, parts, watched)
    if spread.chips > 1:
        link = {HOP: {"link": shape.num_attention_heads * spread.energy_j}}
        energies = [added([energy, link]) for energy in energies]
    # Arrays that hold the same keys and values are written from one copy.
    copies, bits = shape.num_key_value_heads, stored_bits(at, config, p)
    once = []  # for every pair of a layer and token
    if held.refreshes:
        once += [(REFRESH, held.refreshes, "buffer", (held.refreshes + 1) * parts.buffer.energy_j)]
    if reload:
        once += [(RELOAD, at.window, "memory", at.window * p.memory_j_per_bit)]
    for part, tokens, source, joule_per_bit in once:
        renewed = summed(writes(part, tokens, at, config, p), parts, "energy_j", at.pairs)
        renewed[part][source] = copies * bits * joule_per_bit
        energies = [added([energy, renewed]) for energy in energies]

    built = layers * at.pairs if p.array_pairs is None else min(layers * at.pairs, p.array_pairs)
    instances = pair_instances(at, config, p)
    area = summed(instances, parts, "area_m2", built, area_ratios(config, p))
    if held.refreshes:
        area[COPY] = {"buffer": layers * copies * at.window * bits * parts.buffer.area_m2}
    static_w = total(summed(instances, parts, "static_w", built))
    if static_w:
        share = {"static power": {"all": static_w * held.token_period_s / layers}}
        energies = [added([energy, share]) for energy in energies]
    found = Estimate(
        shape=shape,
        config=config,
        parameters=p,
        activity=watched.text,
        assumed=activity is None,
        geometry=at,
        timeline=phases,
        retention=held,
        latency_s=layers * layer_s,
        layers=tuple(energies),
        area=area,
        notes=window_notes(model_config, config.window),
    )
    if not math.isfinite(found.energy_j + found.area_m2 + found.latency_s):
        raise InputError("hardware parameters: the estimate is not a finite number; make the largest of them smaller.")
    return found


def _reference(config: GainCellConfig) -> "Activity":
    from gaincell.hardware.activity import Activity

    return Activity.reference(config)


def paper_table(config: GainCellConfig | None = None, parameters: HardwareParameters | None = None) -> list[Row]:
    """The paper's own figures beside ours: GPT-2 (12 layers, 12 heads x 64) at a design point, None: as published."""
    return estimate(GPT2, config or GainCellConfig.preset("leroux2025"), parameters).table()
