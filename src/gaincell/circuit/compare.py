"""The same columns in ngspice and in the behavioural model, and what makes them differ."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from gaincell.cell import Cell
from gaincell.circuit.cards import Card
from gaincell.circuit.conditions import characterised_at
from gaincell.circuit.decks.cell import CellCircuit, Conditions
from gaincell.circuit.decks.converter import ColumnCell, Conversion, Converter, column_deck, conversion
from gaincell.circuit.decks.read import read_deck, read_results
from gaincell.circuit.ngspice import Ngspice
from gaincell.circuit.subtile import SubTile
from gaincell.config import GainCellConfig
from gaincell.errors import InputError

#: Resistance of a bit line from one cell to the next, in ohm; an assumption: a micrometre of minimum-width copper.
WIRE_OHM = 1.5

#: Stored voltages of the simulated single cells, which are interpolated by straight lines: off by 0.02 % of
#: f(+0.45 V) at most for the published law. They go in parts, as ngspice's time grows faster than a deck's size.
_VOLTAGES, _PER_RUN = 73, 24


@dataclass(frozen=True)
class Compared:
    """One column of one product. Charges are in units of that which saturates: S_sat, or the read-out's full scale.

    Attributes:
        product: "first" (one token's key cells) or "second" (one output line's value cells).
        name: which column.
        sampled: whether it was drawn at random.
        behavioural: charge that the behavioural model computes.
        circuit: charge that the cells of the simulated column draw.
        law: part of their difference, as the next four: what single cells draw in place of the fitted law.
        feedthrough: what the edges of pulses add.
        column: what many cells on one integrator do to each other.
        wires: resistance of the bit line.
        pulses: of the second product: pulses of the simulated first product in place of the computed ones.
        behavioural_pulse: phi, or the read-out before it is counted, as the behavioural model computes it.
        circuit_pulse: the same of the simulated converter, in units of T_max.
        ideal_pulse: what an ideal converter makes of the circuit's charge.
        read_j: energy of the simulated column's cells, as in `Conversion`.
        conversion_j: energy of its converter, likewise.
    """

    product: Literal["first", "second"]
    name: str
    sampled: bool
    behavioural: float
    circuit: float
    law: float
    feedthrough: float
    column: float
    wires: float
    pulses: float
    behavioural_pulse: float
    circuit_pulse: float
    ideal_pulse: float
    read_j: float
    conversion_j: float

    @property
    def difference(self) -> float:
        """Circuit less behavioural model."""
        return self.circuit - self.behavioural

    @property
    def in_range(self) -> bool:
        """Whether the amplifier can hold the charge: beyond, both read out the same, and charges differ."""
        return abs(self.behavioural) < 1.1


def compare(
    tiles: Sequence[SubTile],
    config: GainCellConfig,
    circuit: CellCircuit,
    card: Card,
    conditions: Conditions | None = None,
    ngspice: Ngspice | None = None,
    *,
    wire_ohm: float = WIRE_OHM,
    progress: Callable[[int, int], None] | None = None,
) -> list[Compared]:
    """Every column of these sub-tiles, simulated as a circuit and computed by `gaincell.ops`.

    First product: one token's key cells, read by the query's pulses, with an integrator and a charge-to-pulse circuit.
    Queries of both signs take two reads: the negative ones, then the integration capacitor is turned round, then the
    positive ones; a score preset is added to the integrator after that. Second product: one output line's value cells
    of a sub-tile, read by pulses phi, with a signed charge-to-pulse circuit. Where a sub-tile is whole, these are
    the pulses that the simulated first product gave; else phi of the behavioural model. Cells begin at the voltage that
    the behavioural model finds them at, leak included.

    Args:
        tiles: what to compute.
        config: the design point, taken as `GainCellConfig.ideal`, since circuits that are not ideal are what is
            simulated; its cell is the one that was characterised from `circuit`, so its law is in C/s.
        circuit: the cell.
        card: transistors of the comparator.
        conditions: voltages and times; their defaults if None.
        ngspice: how to run it; likewise.
        wire_ohm: resistance of the bit line from one cell to the next; 0 leaves wires out.
        progress: called with (columns done, columns).

    Raises:
        InputError: a design point that the decks have no circuit for, a cell without a charge, or one that was
            characterised at another temperature.
        CircuitError: a simulation failed.
    """
    config = config.ideal()
    unit = config.cell.coulomb_per_second
    if unit is None:
        raise InputError(f"cell '{config.cell.name}' has a law without a charge; give one that was characterised.")
    check_polarity(config.cell)
    if config.query_sign == "offset_binary":
        raise InputError("offset-binary queries need rows of an offset, which no deck has; use another query_sign.")
    if config.query_levels is None or config.stored_levels is None:
        raise InputError("columns are given as codes, so the design point needs query_levels and stored_levels.")
    conditions = replace(conditions or Conditions(), zero_v=config.zero_v, pulse_max_s=config.pulse_max_s)
    if config.stored_max_v != conditions.vdd_v:
        raise InputError(f"the circuit stores up to {conditions.vdd_v:g} V; set stored_max_v to that.")
    found = config.cell.conditions
    asked = characterised_at(circuit, conditions)
    for name in type(asked).model_fields if found is not None else ():
        if name != "source" and getattr(found, name) != getattr(asked, name):
            raise InputError(
                f"cell '{config.cell.name}' was characterised at {name} {getattr(found, name)}, and columns are asked "
                f"for at {getattr(asked, name)}; take the same conditions for both."
            )
    work = _Work(config, circuit, card, conditions, ngspice or Ngspice(), wire_ohm, unit * conditions.pulse_max_s)
    reads = _single_cells(work)
    firsts = [_first(work, tile, row) for tile in tiles for row in range(len(tile.tokens))]
    total = len(firsts) + sum(len(tile.channels) for tile in tiles)
    tell = progress or (lambda done, total: None)
    found = _run(work, reads, firsts, lambda done: tell(done, total))
    of_tile, seconds = iter(found), []
    for tile in tiles:
        own = [next(of_tile) for _ in tile.tokens]
        pulses = expected = tile.phi
        if tile.whole:
            # a token that is not stored has no pulse, whatever its column does
            absent = [phi == 0 < one.behavioural_pulse for one, phi in zip(own, tile.phi, strict=True)]
            expected = [0.0 if no else one.behavioural_pulse for one, no in zip(own, absent, strict=True)]
            pulses = [0.0 if no else one.circuit_pulse for one, no in zip(own, absent, strict=True)]
        seconds += [_second(work, tile, line, pulses, expected) for line in range(len(tile.channels))]
    return found + _run(work, reads, seconds, lambda done: tell(len(firsts) + done, total))


def check_polarity(cell: Cell) -> None:
    """Raise InputError where no deck has a column of such cells."""
    if cell.polarity != "push_pull":
        raise InputError(
            f"cell '{cell.name}' has polarity '{cell.polarity}', but decks have one bit line a column and no "
            "reference; take a push-pull cell."
        )


@dataclass(frozen=True)
class _Work:
    config: GainCellConfig
    circuit: CellCircuit
    card: Card
    conditions: Conditions
    ngspice: Ngspice
    wire_ohm: float
    unit_c: float  # charge of one model unit


@dataclass(frozen=True)
class _Column:
    """Cells in their order along the bit line, and what the behavioural model makes of them.

    Attributes:
        pulse: widths in units of T_max (N,), signed.
        y_v: stored voltages above zero (N,).
        charge: behavioural charge per unit of pulse (N,), in model units.
        expected: pulses that the behavioural model has where the circuit's own drive (N,).
    """

    product: Literal["first", "second"]
    name: str
    sampled: bool
    pulse: np.ndarray
    y_v: np.ndarray
    charge: np.ndarray
    expected: np.ndarray
    full: float
    preset: float
    converter: Converter


def _first(work: _Work, tile: SubTile, row: int) -> _Column:
    config, token = work.config, tile.tokens[row]
    pulse = np.array(tile.pulses) / ((config.query_levels or 0) - 1)
    y, charge = behaviour(tile.keys[row], [tile.ages[token]] * len(pulse), config)
    full = config.score_saturation
    converter = Converter(
        full * work.unit_c, differential=config.query_sign == "differential", preset_c=tile.preset * full * work.unit_c
    )
    name = f"{tile.name}, token {token}"
    return _Column("first", name, tile.sampled, pulse, y, charge, pulse, full, tile.preset, converter)


def _second(work: _Work, tile: SubTile, line: int, pulses: Sequence[float], expected: Sequence[float]) -> _Column:
    y, charge = behaviour(tile.values[line], tile.ages, work.config)
    full = work.config.output_scale
    converter = Converter(full * work.unit_c, signed=True)
    name = f"{tile.name}, output {tile.channels[line]}"
    pulse, computed = np.array(pulses), np.array(expected)
    return _Column("second", name, tile.sampled, pulse, y, charge, computed, full, 0.0, converter)


def behaviour(codes: Sequence[int], ages: Sequence[int], config: GainCellConfig) -> tuple[np.ndarray, np.ndarray]:
    """Stored voltage above zero, leak included, in V, and charge per unit of pulse, in model units, by `gaincell.ops`.

    Args:
        codes: stored codes (N,).
        ages: tokens since each was written (N,).
        config: the design point.
    """
    import torch

    from gaincell.ops.leak import aged_voltage
    from gaincell.ops.quantise import code_voltage
    from gaincell.ops.terms import Terms

    config, age = config.ideal(), torch.tensor(ages)
    y = code_voltage(torch.tensor(codes), config, torch.float64)
    charge = Terms.of(config.cell.model_cell_law, config, 1.0).charge(y, age)
    return aged_voltage(y[:, None], age, config)[:, 0].numpy(), charge.numpy()


@dataclass(frozen=True)
class _Reads:
    """What single cells draw: stored voltages above zero (L,); charge per full pulse and of its edges (L,), in C."""

    y_v: np.ndarray
    slope_c: np.ndarray
    edges_c: np.ndarray


def _single_cells(work: _Work) -> _Reads:
    stored = np.linspace(0, work.conditions.vdd_v, _VOLTAGES)
    longest = work.conditions.pulse_max_s
    widths = (0.2 * longest, longest)  # as the law is characterised
    parts = [stored[i : i + _PER_RUN].tolist() for i in range(0, _VOLTAGES, _PER_RUN)]
    runs = work.ngspice.run_all([read_deck(work.circuit, work.conditions, part, widths) for part in parts])
    charge = np.concatenate(
        [read_results(plots[0], (len(part), 2)).charge_c for part, plots in zip(parts, runs, strict=True)]
    )
    slope = (charge[:, 1] - charge[:, 0]) / (widths[1] - widths[0])
    return _Reads(stored - work.conditions.zero_v, slope * longest, charge[:, 0] - slope * widths[0])


def _run(work: _Work, reads: _Reads, columns: Sequence[_Column], tell: Callable[[int], None]) -> list[Compared]:
    found = []
    for i in range(0, len(columns), work.ngspice.at_once):
        part = columns[i : i + work.ngspice.at_once]
        bare = _conversions(work, part, 0.0)
        wired = _conversions(work, part, work.wire_ohm) if work.wire_ohm else bare
        found += [_compared(work, reads, *one) for one in zip(part, bare, wired, strict=True)]
        tell(i + len(part))
    return found


def _conversions(work: _Work, columns: Sequence[_Column], wire_ohm: float) -> list[Conversion]:
    decks = []
    for column in columns:
        cells = [
            ColumnCell(float(y + work.conditions.zero_v), float(pulse * work.conditions.pulse_max_s))
            for y, pulse in zip(column.y_v, column.pulse, strict=True)
        ]
        if not wire_ohm:  # equal cells are one
            cells = [replace(cell, count=cells.count(cell)) for cell in dict.fromkeys(cells)]
        decks.append(column_deck(work.circuit, work.conditions, work.card, column.converter, cells, wire_ohm))
    runs = zip(columns, work.ngspice.run_all(decks), strict=True)
    return [conversion(plots[0], work.conditions, work.card, column.converter) for column, plots in runs]


def _compared(work: _Work, reads: _Reads, column: _Column, bare: Conversion, wired: Conversion) -> Compared:
    scale = column.full * work.unit_c
    computed = float(column.expected @ column.charge) / column.full
    driven = float(column.pulse @ column.charge) / column.full
    slopes = float(column.pulse @ np.interp(column.y_v, reads.y_v, reads.slope_c)) / scale
    edges = float(np.sign(column.pulse) @ np.interp(column.y_v, reads.y_v, reads.edges_c)) / scale
    circuit = wired.charge_c / scale
    low = -1.0 if column.product == "second" else 0.0
    return Compared(
        product=column.product,
        name=column.name,
        sampled=column.sampled,
        behavioural=computed,
        circuit=circuit,
        law=slopes - driven,
        feedthrough=edges,
        column=bare.charge_c / scale - slopes - edges,
        wires=circuit - bare.charge_c / scale,
        pulses=driven - computed,
        behavioural_pulse=min(max(computed + column.preset, low), 1.0),
        circuit_pulse=wired.width_s / work.conditions.pulse_max_s,
        ideal_pulse=min(max(circuit + column.preset, low), 1.0),
        read_j=wired.read_j,
        conversion_j=wired.energy_j,
    )


def random_subtiles(config: GainCellConfig, dim: int, count: int, seed: int = 0) -> list[SubTile]:
    """Sub-tiles of newly written cells whose codes and pulses are drawn evenly: the activity of no model.

    Every level is as likely as any other, the sign of a query too where it has one. Pulses of the second product are
    those that the behavioural model makes of the first. One key and one output line are kept of each.

    Args:
        config: the design point.
        dim: head_dim.
        count: how many.
        seed: of the draw.
    """
    config, draw = config.ideal(), np.random.default_rng(seed)
    tokens, levels, top = config.subtile_columns, config.stored_levels or 2, (config.query_levels or 2) - 1
    low = 0 if config.query_sign == "unsigned" else -top
    found = []
    for i in range(count):
        pulses = draw.integers(low, top, dim, endpoint=True)
        keys, values = draw.integers(levels, size=(tokens, dim)), draw.integers(levels, size=tokens)
        _, charge = behaviour(keys.ravel().tolist(), [0] * keys.size, config)
        phi = np.clip(charge.reshape(keys.shape) @ pulses / top / config.score_saturation, 0, 1)
        found.append(
            SubTile(
                name=f"random {i}",
                sampled=True,
                pulses=tuple(map(int, pulses)),
                preset=0.0,
                tokens=(0,),
                keys=(tuple(map(int, keys[0])),),
                channels=(0,),
                values=(tuple(map(int, values)),),
                ages=(0,) * tokens,
                phi=tuple(map(float, phi)),
            )
        )
    return found


@dataclass(frozen=True)
class WindowEnergy:
    """Energy of one product for one token and head, whole window, from sampled columns.

    Attributes:
        read_j: of the cells.
        conversion_j: of the charge-to-pulse circuits, or the signed ones.
        error_j: standard error of their sum, from how the columns differ.
        columns: how many it is from.
    """

    read_j: float
    conversion_j: float
    error_j: float
    columns: int


def window_energy(
    compared: Sequence[Compared], product: Literal["first", "second"], config: GainCellConfig, dim: int
) -> WindowEnergy | None:
    """Of the columns drawn at random, times how many a head has; None if fewer than two were.

    The first product has a column for each token of the window, the second one for each of `dim` output lines of every
    sub-tile. A column's cells are as many as were simulated.
    """
    sampled = [one for one in compared if one.product == product and one.sampled]
    if len(sampled) < 2:
        return None
    columns = config.window if product == "first" else config.tiles * dim
    both = np.array([one.read_j + one.conversion_j for one in sampled])
    return WindowEnergy(
        read_j=columns * float(np.mean([one.read_j for one in sampled])),
        conversion_j=columns * float(np.mean([one.conversion_j for one in sampled])),
        error_j=columns * float(both.std(ddof=1)) / len(both) ** 0.5,
        columns=len(both),
    )
