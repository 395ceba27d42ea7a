"""Reading a cell for long: what it adds to a stored voltage, beside what the cell leaks."""

from collections.abc import Sequence

import numpy as np

from gaincell.circuit.decks.bench import START_S, bench, word_line
from gaincell.circuit.decks.cell import CellCircuit, Conditions
from gaincell.circuit.ngspice import Deck
from gaincell.circuit.rawfile import Plot

#: How long after a pulse to look, in s, as after a single read; and at most between two points of time.
_SETTLE_S, _STEP_S = 2e-9, 50e-9


def disturb_deck(cell: CellCircuit, conditions: Conditions, stored_v: Sequence[float], reads: Sequence[float]) -> Deck:
    """Every stored voltage in a cell that is read for as long as so many full reads take, and in one that is not read.

    One pulse stands for the reads: what shifts a cell is how long its word line is on, as a comparison of the two shows
    (tests/circuit/test_write_errors.py).
    """
    end = _times_s(conditions, reads)[-1] + conditions.edge_s
    widths = [n * conditions.pulse_max_s for n in (*reads, 0.0)]
    lines = [word_line(f"rwl{j}", conditions, width) for j, width in enumerate(widths)]
    signals = []
    for i, stored in enumerate(stored_v):
        for j in range(len(widths)):
            k = f"{i}_{j}"
            nets = {pin: pin for pin in cell.pins} | {"store": f"s{k}", "rbl": f"rbl{k}"}
            nets |= {"rwl": f"rwl{j}", "rwlb": f"rwl{j}b"}
            lines.append(f"vb{k} rbl{k} 0 {conditions.zero_v:g}\n.ic v(s{k})={stored:.9g}\n")
            lines.append(cell.instance(k, nets) + "\n")
            signals.append(f"v(s{k})")
    text = bench("cells that are read for long", cell, conditions, "".join(lines))
    return Deck(f"{text}.tran {conditions.pulse_max_s / 30:.3g} {end:.9g} 0 {_STEP_S:.3g}\n", tuple(signals), end)


def disturb_results(plot: Plot, conditions: Conditions, levels: int, reads: Sequence[float]) -> np.ndarray:
    """What so many full reads add to each stored voltage (L, N), in V, of a `disturb_deck` with so many voltages."""
    shift = np.empty((levels, len(reads)))
    for i in range(levels):
        idle = plot[f"v(s{i}_{len(reads)})"]
        for j, at in enumerate(_times_s(conditions, reads)):
            moved = [np.interp(at, plot.axis, v) - v[0] for v in (plot[f"v(s{i}_{j})"], idle)]
            shift[i, j] = moved[0] - moved[1]
    return shift


def _times_s(conditions: Conditions, reads: Sequence[float]) -> list[float]:
    """When to look at the cells of each count, in s."""
    return [START_S + n * conditions.pulse_max_s + conditions.edge_s + _SETTLE_S for n in reads]
