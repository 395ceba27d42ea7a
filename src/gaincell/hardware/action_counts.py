"""What one token makes the parts of one head do, and what one pair of arrays is built of: counts, no figures."""

import math
from typing import NamedTuple

from gaincell.cell.law import REFERENCE_VOLTAGE_V
from gaincell.config import GainCellConfig
from gaincell.hardware.geometry import Geometry
from gaincell.hardware.parameters import HardwareParameters
from gaincell.hardware.wires import query_pulse_s, tier_lines

FIRST = "first array and charge-to-pulse"
SECOND = "second array"
CONVERSION = "DACs and lines"
DIGITAL = "digital control and routing"
OPTIONS = "digital side of the options"
REFRESH = "refresh"
RELOAD = "reload"
COPY = "copy for refresh"


class Drive(NamedTuple):
    """What drives one head while it takes a token: its means of `Activity`, by the same names."""

    query_active: float
    key_charge: float
    phi_active: float
    value_charge: float
    readout: float
    query_pulse: float
    phi: float


class Count(NamedTuple):
    """How often a component acts, or stands, and under which part of the sum it is counted."""

    part: str
    component: str
    times: float


def head_actions(at: Geometry, drive: Drive, config: GainCellConfig, parameters: HardwareParameters) -> list[Count]:
    """Actions of one query head for one token whose window is full; a token's write is shared out over its queries.

    A cell acts in pulses of T_max at full scale, a query's perhaps longer. A row of the offset is driven at full pulse,
    onto cells of the mean charge of the head's keys (its own are pulses of 1/2 on average), though of full charge at
    most. A word line goes with its inverse, as a push-pull cell needs it, and alone elsewhere. Reference cells of a
    sub-tile are read with its other cells, at their zero. Where lines are cut into segments, a driver acts between two
    of them as often as the line swings.
    """
    p, window, outputs = parameters, at.window, at.value_columns
    readouts = at.tiles * outputs
    word, pulse = at.lines.word.segments - 1, at.lines.pulse.segments - 1
    full = max(cell_charge(config, y) for y in (-config.zero_v, config.stored_max_v - config.zero_v))
    still = cell_charge(config, 0.0)
    offset_charge = at.offset_rows * min(2 * drive.key_charge, full)
    passed = window * (at.key_dim * drive.query_active + at.offset_rows + outputs * drive.phi_active)
    passed = at.cells_per_value * passed + at.sign_columns * (at.key_dim * drive.query_active + at.offset_rows)
    passed += window * at.sign_lines * drive.phi_active
    counts = (config.output_levels or p.reference_output_levels) // 2 - 1
    longer = query_pulse_s(config, p) / config.pulse_max_s
    bits = at.key_dim * value_bits(config.query_levels, p.reference_query_levels) + outputs * (
        value_bits(config.output_levels, p.reference_output_levels) + math.ceil(math.log2(at.tiles))
    )
    actions = [
        Count(FIRST, "cell", window * longer * (at.key_dim * drive.key_charge + offset_charge)),
        Count(FIRST, "charge_to_pulse", window),
        Count(SECOND, "cell", window * outputs * drive.value_charge),
        Count(SECOND, "signed_charge_to_pulse", readouts),
        Count(CONVERSION, "pulse_generator", at.key_dim * _times(config.query_levels, p.reference_query_levels)),
        Count(CONVERSION, "line", at.pulse_lines * passed * tier_lines(p)),
        *writes(CONVERSION, 1 / at.turns, at, config, p),
        *_driven(CONVERSION, at.pulse_lines * (word * (at.key_dim * drive.query_active + at.offset_rows))),
        *_driven(CONVERSION, at.pulse_lines * pulse * window * drive.phi_active),
        Count(DIGITAL, "counter", readouts * max(counts, 1) * drive.readout),
        Count(DIGITAL, "adder", readouts),
        Count(DIGITAL, "flip_flop", bits),
        Count(DIGITAL, "control", readouts),
    ]
    if at.sign_columns:
        pulses = longer * (at.key_dim * drive.query_pulse + at.offset_rows)
        actions.append(Count(FIRST, "cell", at.sign_columns * pulses * still))
        actions.append(Count(SECOND, "cell", window * at.sign_lines * drive.phi * still))
    return actions


def cell_charge(config: GainCellConfig, y: float) -> float:
    """What the cells of a value y, just written, draw together, over what a value of +0.45 V adds to its line.

    1 of a push-pull cell: its word for a full charge, whatever the range of voltages.
    """
    cell = config.cell
    if cell.polarity == "push_pull":
        return 1.0
    both = abs(cell.model_cell_law(y)) + (abs(cell.model_cell_law(-y)) if cell.polarity == "pair" else 0.0)
    return both / abs(cell.model_law(REFERENCE_VOLTAGE_V))


def writes(
    part: str, tokens: float, at: Geometry, config: GainCellConfig, parameters: HardwareParameters
) -> list[Count]:
    """Actions that write so many tokens into a pair of arrays.

    Each cell of a pair has a DAC and a write line of its own, and is written at once with the other; reference cells
    are tied to a bias line. A driver hands on a code, not a voltage: each segment of a write line has a DAC of its own,
    of which one acts. A line that swings to the stored voltage takes its charge from the supply, so energy goes with
    the voltage.
    """
    p = parameters
    columns = at.window if p.write_line_columns is None else min(at.window, p.write_line_columns)
    passed = columns * at.cells_per_value
    ladder = p.linearised_dac_energy_ratio if config.storage == "linearised" else 1.0
    swing = config.stored_max_v / p.reference_stored_v
    return [
        Count(part, "dac", tokens * at.written * ladder * swing * _times(config.stored_levels, p.reference_levels)),
        Count(part, "line", tokens * at.written * swing * passed * tier_lines(p)),
        Count(part, "flip_flop", tokens * stored_bits(at, config, p)),
        *_driven(part, tokens * at.written * (at.lines.word.segments - 1)),
    ]


def option_actions(at: Geometry, heads: int, config: GainCellConfig, parameters: HardwareParameters) -> list[Count]:
    """What the options take beside the arrays, for one query head of a layer of so many, and one token.

    A score preset and digital sinks each predict a number per head from the layer's input, of about heads x head_dim
    numbers; sinks also take a product with the first key and mix its value in; equalisation scales q and k after rotary
    embedding (that of v and the output folds into the projections).
    """
    keys, values, hidden = at.key_dim, at.value_dim, heads * at.key_dim
    preset, sinks = config.score_preset, config.sinks == "digital"
    multiply_adds = preset * hidden + sinks * (hidden + keys + values) + config.equalisation * (1 + 1 / at.turns) * keys
    if config.normaliser != "none":
        multiply_adds += parameters.division_multiply_adds + values
    counts = [Count(OPTIONS, "multiply_add", multiply_adds)] if multiply_adds else []
    if preset:
        counts.append(Count(OPTIONS, "preset", at.window))
    return counts


def pair_instances(at: Geometry, config: GainCellConfig, parameters: HardwareParameters) -> list[Count]:
    """What one pair of arrays is built of, with the part of the area that it is counted under.

    Read-out lines are built for every row of a sub-tile, used or not. Tiers share the footprint of their cells.
    """
    p, lines = parameters, at.tiles * at.readout_lines
    return [
        Count("cells", "cell", at.cells / p.stacked_layers),
        Count("charge-to-pulse", "charge_to_pulse", at.window),
        Count("charge-to-pulse", "signed_charge_to_pulse", lines),
        Count("DACs", "pulse_generator", at.key_dim),
        Count("DACs", "dac", at.lines.word.segments * at.written * _times(config.stored_levels, p.reference_levels)),
        *_driven("line drivers", at.drivers),
        Count("digital control", "counter", lines * value_bits(config.output_levels, p.reference_output_levels)),
        Count("digital control", "adder", lines),
        Count("digital control", "control", lines),
    ]


def area_ratios(config: GainCellConfig, parameters: HardwareParameters) -> dict[str, float]:
    """Components whose area at this design point is not the catalogue's, and how many times as large it is."""
    return {"dac": parameters.linearised_dac_area_ratio} if config.storage == "linearised" else {}


def stored_bits(at: Geometry, config: GainCellConfig, parameters: HardwareParameters) -> int:
    """Bits of one token's key and value: what a digital copy holds."""
    return (at.key_dim + at.value_dim) * value_bits(config.stored_levels, parameters.reference_levels)


def _driven(part: str, times: float) -> list[Count]:
    """What drivers between segments do; nothing where lines are in one piece."""
    return [Count(part, "driver", times)] if times else []


def _times(levels: int | None, reference: int) -> float:
    return (levels or reference) / reference


def value_bits(levels: int | None, reference: int) -> int:
    """Bits of a number of so many levels, None: of `reference`."""
    return math.ceil(math.log2(levels or reference))
