"""What the arrays of one head do during a token, phase by phase."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from gaincell.config import GainCellConfig
from gaincell.errors import InputError
from gaincell.hardware.parameters import HardwareParameters
from gaincell.hardware.wires import PUBLISHED_ROWS, Wires, added_delay_s, query_pulse_s, wires

WRITE = "write"
TRAVEL = "along the lines"


@dataclass(frozen=True)
class Phase:
    """A stretch of time, and which parts of the head it keeps busy."""

    name: str
    start_s: float
    duration_s: float
    busy: tuple[str, ...]

    @property
    def end_s(self) -> float:
        """When the next one may start."""
        return self.start_s + self.duration_s


@dataclass(frozen=True)
class Timeline:
    """The phases of one token in one head.

    Published are their sum (65 ns) and the longest pulse (15 ns); the three pulses take 45 ns of it, and how the other
    20 ns split over write, reset and digital sum is an assumption (`HardwareParameters.write_share`, `reset_share`).
    """

    phases: tuple[Phase, ...]

    @property
    def latency_s(self) -> float:
        """From the first phase's start to the last one's end."""
        return max(phase.end_s for phase in self.phases)

    @property
    def interval_s(self) -> float:
        """The least time between the starts of two tokens that keeps any part from being needed twice.

        For a prompt, whose tokens are all known; while generating, a token waits for the one before.

        Raises:
            InputError: one phase is so long that others do not count beside it.
        """
        return self._interval_s(self.phases)

    @property
    def query_interval_s(self) -> float:
        """The same between queries of one token that share arrays: its key and value are written once.

        Raises:
            InputError: as `interval_s`.
        """
        return self._interval_s([phase for phase in self.phases if phase.name != WRITE])

    def _interval_s(self, phases: Sequence[Phase]) -> float:
        """The smallest shift that no two phases on one part forbid, at once or repeated."""
        slack = 1e-6 * self.latency_s
        used = [phase for phase in phases if phase.duration_s > slack and phase.name != TRAVEL]
        forbidden = [  # open intervals of distances at which one phase of a token meets another of a later token
            (a.start_s - b.end_s + slack, a.end_s - b.start_s - slack)
            for a in used
            for b in used
            if set(a.busy) & set(b.busy) and a.end_s - b.start_s > slack
        ]

        def free(shift: float) -> bool:
            repeats = range(1, int(self.latency_s / shift) + 2)
            return not any(low < k * shift < high for k in repeats for low, high in forbidden)

        ends = sorted({(high + slack) / k for _, high in forbidden for k in range(1, len(used) + 1)})
        shift_s = next((end for end in ends if free(end)), None)
        if shift_s is None:
            raise InputError(
                f"design point: of {self.latency_s:.4g} s for a token, the phases of a query take too little to "
                "tell how soon the next can follow; check the clock, the lines, and how long the cell's writes take."
            )
        return shift_s


def timeline(config: GainCellConfig, parameters: HardwareParameters, lines: Wires | None = None) -> Timeline:
    """The phases of one token at a design point.

    Options lengthen it: differential queries by a pulse, more query or read-out levels than the clock counts within
    T_max by the counts that are missing, a normaliser by its division, more sub-tiles by a deeper tree of adders in the
    digital sum (`layer_latency_s` is for `reference_tiles`), a cell that was characterised by what its writes take
    beyond their share (to settle, or with `writes` "cell" as long as what is simulated takes), and lines by what they
    delay beyond those of the published head, which are within the published time. What is on its way along a line that
    is cut into segments keeps no part busy.

    Args:
        config: the design point.
        parameters: clock, shares, and parts.
        lines: those of the arrays. None: of a head as wide as the published one.

    Raises:
        InputError: `layer_latency_s` is shorter than three pulses, or the cell does not get to what is written.
    """
    p, parts, pulse_s = parameters, parameters.parts, config.pulse_max_s
    lines = lines or wires(config, p, PUBLISHED_ROWS, PUBLISHED_ROWS)
    written = config.cell.circuit and config.cell.circuit.write
    inexact = written.errors if written and config.writes == "cell" else None
    if written and written.settling_s is None and inexact is None:
        raise InputError(
            f"design point: what is written to cell '{config.cell.name}' did not get to within half a step when it was "
            "characterised, so no latency can be given; write it for longer or at other voltages, or simulate what its "
            "writes are off by (writes 'cell')."
        )
    # With as many levels as the published design has, the clock counts them within the longest pulse, or takes longer.
    counted = (p.reference_query_levels - 1, 0, p.reference_output_levels // 2 - 1)
    rest_s = config.layer_latency_s - sum(max(pulse_s, count / p.clock_hz) for count in counted)
    if rest_s < 0:
        raise InputError(
            f"design point: layer_latency_s is {config.layer_latency_s * 1e9:g} ns, less than the 3 pulses of "
            f"{pulse_s * 1e9:g} ns that follow each other in it; raise it or lower pulse_max_s."
        )
    reads = p.differential_reads if config.query_sign == "differential" else 1
    query_s = query_pulse_s(config, p)
    extra_s = query_s if p.extra_read_latency_s is None else p.extra_read_latency_s
    settling_s = written.settling_s if written and written.settling_s else 0.0
    settling_s = settling_s if inexact is None else inexact.time_s
    write_s = max(p.write_share * rest_s, parts.dac.latency_s, settling_s)
    reset_s = max(p.reset_share * rest_s, parts.charge_to_pulse.latency_s)
    sum_s = (1 - p.write_share - p.reset_share) * rest_s / math.log2(p.reference_tiles)
    adders = max(math.ceil(math.log2(config.tiles)), 1)
    counts = max((config.output_levels or 0) // 2 - 1, 0)
    steps = [
        (WRITE, write_s, ("DACs", "key array", "value array")),
        # Just before the pulses arrive, so that shorter lines leave no gap that nothing fits into.
        *([(TRAVEL, travel_s, ("lines",))] if (travel_s := added_delay_s(lines)) else []),
        ("reset", reset_s, ("charge-to-pulse",)),
        ("query pulses", query_s, ("key array", "charge-to-pulse")),
        *((f"query pulses, read {n + 2}", extra_s, ("key array", "charge-to-pulse")) for n in range(reads - 1)),
        ("first discharge", pulse_s, ("charge-to-pulse", "value array", "signed charge-to-pulse")),
        ("second discharge", max(pulse_s, counts / p.clock_hz), ("signed charge-to-pulse", "counters")),
        ("digital sum", adders * max(sum_s, parts.adder.latency_s), ("adders",)),
    ]
    if config.normaliser != "none":
        steps.append(("division", p.division_latency_s, ("divider",)))
    phases, now = [], 0.0
    for name, duration_s, busy in steps:
        if name == "first discharge":  # the read-out's integrators are reset while the query's pulses still run
            phases.append(Phase("reset of the read-out", now - reset_s, reset_s, ("signed charge-to-pulse",)))
        phases.append(Phase(name, now, duration_s, busy))
        now += duration_s
    return Timeline(tuple(phases))
