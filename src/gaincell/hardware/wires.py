"""Word and bit lines as RC lines: how long they delay, how far one driver reaches, and into what they are cut."""

import math
from dataclasses import dataclass
from functools import cache

from gaincell.config import GainCellConfig
from gaincell.errors import InputError
from gaincell.hardware.parameters import HardwareParameters

#: Delay of a distributed RC line to half its step, over R x C of the whole line: 4/pi^2 x ln(8/pi), the first term of
#: the series that the diffusion equation has (Sakurai, IEEE J. Solid-State Circuits 18, 418-426 (1983)).
DISTRIBUTED = 0.38

#: Rows of the published arrays.
PUBLISHED_ROWS = 64


@dataclass(frozen=True)
class Line:
    """A line along so many cells.

    Attributes:
        cells: cells that it passes.
        segments: pieces that it is cut into, each with a driver of its own.
        undriven_s: its delay in one piece.
        delay_s: its delay as it is built.
    """

    cells: int
    segments: int
    undriven_s: float
    delay_s: float


@dataclass(frozen=True)
class Wires:
    """The lines of a pair of arrays.

    Attributes:
        reach: cells that one driver reaches; None: all, since lines have no capacitance or no resistance.
        word: along the window, in the first array: a query's pulses; a write line is as long.
        pulse: along the head's outputs, in the second array: a column's pulse.
        key: across the rows of the first array: a column's charge. In one piece, as it carries charge.
        value: across the columns of a sub-tile of the second array. In one piece, too.
    """

    reach: float | None
    word: Line
    pulse: Line
    key: Line
    value: Line

    @property
    def delay_s(self) -> float:
        """What a token waits for lines: its key's and query's way along the window overlap."""
        return self.word.delay_s + self.key.delay_s + self.pulse.delay_s + self.value.delay_s


def wires(
    config: GainCellConfig,
    parameters: HardwareParameters,
    key_rows: int,
    value_cells: int,
    row_cells: int | None = None,
) -> Wires:
    """The lines of a pair of arrays at a design point.

    A line has the resistance of its metal over the cells' pitch, and the capacitance that its energy says. A driver
    reaches as far as the line's delay stays below the shortest pulse of a query, one step, or a set share of it; what
    comes there, the next driver sends on.

    Args:
        config: the design point; of it window, sub-tile, pulse and levels.
        parameters: metal, pitch and parts.
        key_rows: rows of the first array.
        value_cells: cells across the output lines of the second.
        row_cells: cells along a row of the first. None: one a column.

    Raises:
        InputError: a part has no rule that brings it to the node or supply, or a line's delay is beyond all numbers.
    """
    p, parts = parameters, parameters.parts
    pitch_m = math.sqrt(parts.cell.area_m2) if p.cell_pitch_m is None else p.cell_pitch_m
    ohm = p.line_resistivity * pitch_m / (p.line_width_m * p.line_thickness_m)
    farad = parts.line.energy_j * tier_lines(p) / p.supply_v**2
    unit_s = DISTRIBUTED * ohm * farad  # of a line of one cell; it goes with the square of the length
    if not math.isfinite(unit_s):
        raise InputError("hardware parameters: the delay of a line is not a finite number; make its figures smaller.")
    step_s = query_pulse_s(config, p) / max((config.query_levels or p.reference_query_levels) - 1, 1)
    reach = max(math.sqrt(p.line_step_share * step_s / unit_s), 1.0) if unit_s else None

    def in_one(cells: int) -> Line:
        return Line(cells, 1, unit_s * cells**2, unit_s * cells**2)

    def driven(cells: int) -> Line:
        if reach is None or cells <= reach:
            return in_one(cells)
        full = math.ceil(cells / reach) - 1  # pieces as long as a driver reaches; the last one is the rest
        delay_s = unit_s * (full * reach**2 + (cells - full * reach) ** 2) + full * parts.driver.latency_s
        return Line(cells, full + 1, unit_s * cells**2, delay_s)

    along = driven(row_cells or config.window)
    return Wires(reach, along, driven(value_cells), in_one(key_rows), in_one(config.subtile_columns))


@cache
def published_wires() -> Wires:
    """Those of the published head, with the default metal: its 65 ns hold them."""
    return wires(GainCellConfig.named("leroux2025"), HardwareParameters(), PUBLISHED_ROWS, PUBLISHED_ROWS)


def added_delay_s(lines: Wires) -> float:
    """What a token waits for lines beyond those of the published head; less than a picosecond is none."""
    beyond_s = lines.delay_s - published_wires().delay_s
    return beyond_s if beyond_s > 1e-12 else 0.0


def query_pulse_s(config: GainCellConfig, parameters: HardwareParameters) -> float:
    """The longest pulse of a query: T_max, or as long as the clock takes to count its levels."""
    return max(config.pulse_max_s, ((config.query_levels or 1) - 1) / parameters.clock_hz)


def tier_lines(parameters: HardwareParameters) -> float:
    """Energy, and so capacitance, of lines in a stack over that of a single tier."""
    return 1 + (parameters.stacked_layers - 1) * parameters.tier_line_ratio
