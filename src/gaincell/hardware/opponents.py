"""An estimate beside the same attention elsewhere, and who wins."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from gaincell.hardware.datasheets import ACCELERATORS, Accelerator
from gaincell.hardware.digital import digital_attention
from gaincell.hardware.estimation import Estimate
from gaincell.hardware.roofline import ROOFLINE_CAVEAT, attention_roofline

#: What to know before quoting the digital opponent.
DIGITAL_CAVEAT = (
    "The digital opponent is counted from parts, as the arrays are, at the same node and bits, and computes softmax; "
    "it was not laid out, has no wires between its banks, and leaks as little as the arrays do: nothing, unless parts "
    "say otherwise."
)
OURS = "gain cells"


@dataclass(frozen=True)
class Opponent:
    """The same attention of one token of one sequence, all layers, on something else.

    Attributes:
        name: what on.
        latency_s: time.
        energy_j: energy, at least and at most; the same twice where it is not a range.
        area_m2: area, memory included; None where it is not known.
        fits: whether its memory holds the cache.
        source: where the figures come from.
        energy_parts_j: energy by part, where it is counted from parts.
        area_parts_m2: area by part.
    """

    name: str
    latency_s: float
    energy_j: tuple[float, float]
    area_m2: float | None
    fits: bool
    source: str
    energy_parts_j: dict[str, float] = field(default_factory=dict)
    area_parts_m2: dict[str, float] = field(default_factory=dict)

    def faster(self, ours: Estimate) -> float:
        """Its latency over ours."""
        return self.latency_s / ours.latency_s

    def thriftier(self, ours: Estimate) -> tuple[float, float]:
        """Its energy over ours, at least and at most."""
        least, most = self.energy_j
        return least / ours.energy_j, most / ours.energy_j

    def energy_winner(self, ours: Estimate) -> str | None:
        """Who takes less energy; None where the ends of the range disagree."""
        least, most = self.thriftier(ours)
        if least > 1:
            return OURS
        return self.name if most < 1 else None

    def to_dict(self, ours: Estimate) -> dict[str, Any]:
        """In SI units, with the ratios to an estimate, ready for JSON."""
        return {
            **asdict(self),
            "latency_ratio": self.faster(ours),
            "energy_ratio": self.thriftier(ours),
            "area_ratio": None if self.area_m2 is None else self.area_m2 / ours.area_m2,
            "energy_winner": self.energy_winner(ours),
        }


def opponents(
    ours: Estimate, accelerators: Iterable[Accelerator] = tuple(ACCELERATORS.values()), bytes_per_number: float = 2
) -> list[Opponent]:
    """Digital at the same node and bits with its cache in SRAM and in DRAM, then accelerators by their roofline.

    Args:
        ours: the estimate; of it model, window, levels and parts.
        accelerators: what else to compare with, batch 1.
        bytes_per_number: of keys, values, queries and outputs on the accelerators.

    Raises:
        InputError: a part has no rule that brings it to the node or supply, or `bytes_per_number` is not above 0.
    """
    p, found = ours.parameters, []
    for memory in ("sram", "dram"):
        digital = digital_attention(ours.workload, ours.config, p, memory, ours.token_period_s)
        where = f"digital at {p.node_m * 1e9:g} nm, cache in {memory.upper()}"
        found.append(
            Opponent(
                where,
                digital.latency_s,
                (digital.energy_j, digital.energy_j),
                digital.area_m2,
                digital.fits,
                DIGITAL_CAVEAT,
                {part: sum(of.values()) for part, of in digital.energy.items()},
                {part: sum(of.values()) for part, of in digital.area.items()},
            )
        )
    for each in accelerators:
        bound = attention_roofline(ours.workload, ours.config.window, each, bytes_per_number=bytes_per_number)
        fits = bound.moved_bytes <= each.memory_bytes
        found.append(Opponent(each.name, bound.latency_s, bound.energy_range_j, None, fits, each.source))
    return found


def opponent_notes(ours: Estimate, rivals: Sequence[Opponent]) -> list[str]:
    """What to know before quoting them, in sentences."""
    notes = [DIGITAL_CAVEAT, *([ROOFLINE_CAVEAT] if any(each.area_m2 is None for each in rivals) else [])]
    for each in rivals:
        if not each.fits:
            notes.append(f"One {each.name} cannot hold this cache: its figures are of a fiction.")
        if each.energy_winner(ours) is None:
            least, most = (f"{ratio:.3g}" for ratio in each.thriftier(ours))
            notes.append(
                f"Who takes less energy, gain cells or {each.name}, is open: it takes x{least} to x{most} of ours."
            )
    return notes
