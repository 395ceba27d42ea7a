"""Layers and heads that a design point keeps digital: softmax over an ordinary cache, priced as the opponent is."""

from collections import Counter
from dataclasses import dataclass, replace

from gaincell.config import GainCellConfig
from gaincell.errors import InputError
from gaincell.hardware.components import Components
from gaincell.hardware.digital import BuiltOf, layer_work, with_overhead
from gaincell.hardware.energy import Parts, added, summed, total
from gaincell.hardware.parameters import HardwareParameters
from gaincell.hardware.workload import Layer, Workload

#: Before the names of its parts, beside those of the arrays.
KEPT = "digital heads: "
STATIC = f"{KEPT}static power"


@dataclass(frozen=True)
class KeptDigital:
    """The digital heads of one layer.

    Attributes:
        heads: which query heads these are, ascending.
        all_heads: how many query heads the layer has.
        latency_s: one token.
        energy, area: by part and component, its cache included, static power apart.
        static_w: what its parts take whether they work or not.
        kept_bits: its keys and values.
    """

    heads: tuple[int, ...]
    all_heads: int
    latency_s: float = 0.0
    energy: Parts | None = None
    area: Parts | None = None
    static_w: float = 0.0
    kept_bits: float = 0.0

    @property
    def whole(self) -> bool:
        """Whether the layer has no arrays."""
        return len(self.heads) == self.all_heads

    @property
    def analog(self) -> tuple[int, ...]:
        """The heads that attend in arrays, ascending."""
        return tuple(head for head in range(self.all_heads) if head not in self.heads)

    def drawn(self, token_period_s: float) -> Parts:
        """Energy of one token at a period, with static power."""
        energy = self.energy or {}
        return {**energy, STATIC: {"all": self.static_w * token_period_s}} if self.static_w else energy


def kept_digital(
    workload: Workload, config: GainCellConfig, parameters: HardwareParameters, parts: Components
) -> tuple[KeptDigital, ...]:
    """The digital heads of every layer that attends, none in most.

    A context of the design point's window is priced, or the layer's own window where that is smaller; in simulation
    they look back as far as the model does. Keys and values of a key/value head are read once for the digital heads
    that share it; heads of a layer work side by side.

    Raises:
        InputError: a layer or head that the model has not, all layers digital, or DRAM that does not hold the cache.
    """
    attending = workload.attending
    config.for_layers(len(attending))  # refuses a layer that is not there
    found = []
    for number, layer in enumerate(attending):
        heads = config.digital_heads(number, layer.heads)
        window = layer.attends_to(config.window)
        found.append(_kept(layer, heads, window, parameters, parts) if heads else KeptDigital((), layer.heads))
    if all(each.whole for each in found):
        raise InputError(
            "design point: digital names all layers that attend, so that there are no arrays to estimate; leave one of "
            "them to gain cells."
        )
    p = parameters.digital
    bits = sum(each.kept_bits for each in found)
    if p.kept_memory == "dram" and bits > p.dram_stacks * p.dram_stack_bits:
        raise InputError(
            f"hardware parameters: {p.dram_stacks} stacks of DRAM cannot hold the {bits:.3g} bits of digital heads; "
            "add stacks (digital.dram_stacks)."
        )
    return tuple(found)


def _kept(layer: Layer, heads: tuple[int, ...], window: int, p: HardwareParameters, parts: Components) -> KeptDigital:
    design = p.digital
    of = BuiltOf(design.kept_bits, design.kept_bits, design.kept_bits, design.kept_bank_bits, design.kept_memory)
    work = [layer_work(piece, window, p, of) for piece in _pieces(layer, heads)]
    sram = design.kept_memory == "sram"
    # Banks are read side by side; what comes from DRAM comes one after the other.
    latency_s = max(each.latency_s for each in work) if sram else sum(each.latency_s for each in work)
    kept_bits = sum(each.kept_bits for each in work)
    moved_bits = sum(each.moved_bits for each in work)
    built: list[Parts] = [summed(each.instances, parts, "area_m2") for each in work]
    static = [total(summed(each.instances, parts, "static_w")) for each in work]
    actions = added(summed(each.actions, parts, "energy_j") for each in work)
    bit_j, bit_m2 = (
        (parts.buffer.energy_j, parts.buffer.area_m2) if sram else (p.memory_j_per_bit, design.dram_bit_area_m2)
    )
    name = "buffer" if sram else "dram"
    energy = {"cache": {name: moved_bits * bit_j}, **with_overhead(actions, design.overhead)}
    area = {"cache": {name: kept_bits * bit_m2}, **with_overhead(added(built), design.overhead)}
    static_w = sum(static) + (kept_bits * parts.buffer.static_w if sram else 0.0)
    return KeptDigital(heads, layer.heads, latency_s, _named(energy), _named(area), static_w, kept_bits)


def _pieces(layer: Layer, heads: tuple[int, ...]) -> list[Layer]:
    """The digital heads as layers whose key/value heads are each shared by equally many of them."""
    if layer.latent:  # one latent serves them all
        return [replace(layer, heads=len(heads), kv_heads=len(heads))]
    sharing = Counter(head // layer.group for head in heads)
    alike = Counter(sharing.values())
    return [replace(layer, heads=shared * groups, kv_heads=groups) for shared, groups in sorted(alike.items())]


def _named(parts: Parts) -> Parts:
    return {KEPT + part: of for part, of in parts.items()}
