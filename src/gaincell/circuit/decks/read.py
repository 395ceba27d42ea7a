"""Reading one cell: the charge it draws from a bit line that is held at the zero level."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gaincell.circuit.decks.bench import START_S, bench, word_line
from gaincell.circuit.decks.cell import CellCircuit, Conditions
from gaincell.circuit.ngspice import Deck
from gaincell.circuit.rawfile import Plot

#: How long after the last pulse to watch, in s: the word line's feedthrough has passed and the storage node is at rest.
_SETTLE_S = 2e-9
#: A storage node that starts further than this from where it was set, in V, is driven by something else.
DRIVEN_V = 0.01
DRIVEN = "{}: the storage node does not start where it is set; something in the cell drives it."


@dataclass(frozen=True)
class Reads:
    """What reads gave, for every stored voltage (rows, L) and pulse width (columns, W).

    Attributes:
        charge_c: charge drawn from the bit line (L, W), in C; negative where the cell pushed charge into it.
        supply_c: charge drawn from the cell's supply (L, W), in C.
        disturb_v: how much the stored voltage differs after the read (L, W), in V.
        start_v: the stored voltage before the read (L, W), in V.
    """

    charge_c: np.ndarray
    supply_c: np.ndarray
    disturb_v: np.ndarray
    start_v: np.ndarray


def read_deck(cell: CellCircuit, conditions: Conditions, stored_v: Sequence[float], widths_s: Sequence[float]) -> Deck:
    """Every stored voltage read with every pulse width, each by a cell of its own, all at once."""
    end = START_S + max(widths_s) + conditions.edge_s + _SETTLE_S
    lines = [word_line(f"rwl{j}", conditions, width) for j, width in enumerate(widths_s)]
    signals = []
    for i, stored in enumerate(stored_v):
        for j in range(len(widths_s)):
            k = f"{i}_{j}"
            nets = _nets(cell, k) | {"rwl": f"rwl{j}", "rwlb": f"rwl{j}b"}
            lines.append(f"vb{k} rbl{k} 0 {conditions.zero_v:g}\nvd{k} vdd vdd{k} 0\n.ic v(s{k})={stored:.9g}\n")
            lines.append(cell.instance(k, nets) + "\n")
            signals += [f"v(s{k})", f"i(vb{k})", f"i(vd{k})"]
    # the longest step resolves a pulse of the shortest width in 30 points
    text = bench("reads of single cells", cell, conditions, "".join(lines))
    return Deck(f"{text}.tran {min(widths_s) / 30:.3g} {end:.9g} 0 {min(widths_s) / 30:.3g}\n", tuple(signals), end)


def read_results(plot: Plot, shape: tuple[int, int]) -> Reads:
    """The results of a `read_deck` with that many (stored voltages, widths)."""
    charge, supply, disturb, start = (np.empty(shape) for _ in range(4))
    for i, j in np.ndindex(shape):
        k = f"{i}_{j}"
        stored = plot[f"v(s{k})"]
        charge[i, j] = -np.trapezoid(plot[f"i(vb{k})"], plot.axis)
        supply[i, j] = np.trapezoid(plot[f"i(vd{k})"], plot.axis)
        disturb[i, j] = stored[-1] - stored[0]
        start[i, j] = stored[0]
    return Reads(charge, supply, disturb, start)


def _nets(cell: CellCircuit, k: str) -> dict[str, str]:
    """The nets of cell `k` with a storage node, a bit line and a supply of its own."""
    return {pin: pin for pin in cell.pins} | {"store": f"s{k}", "rbl": f"rbl{k}", "vdd": f"vdd{k}"}


def mismatch_deck(cell: CellCircuit, conditions: Conditions, stored_v: Sequence[float], shifts_v: np.ndarray) -> Deck:
    """Read currents of N cells whose thresholds are shifted, with the read word line held on: a sweep at DC.

    Args:
        cell: with the parameters `cell.mismatch_v` names.
        conditions: of the circuit.
        stored_v: evenly spaced stored voltages (L,), in V.
        shifts_v: threshold shift of each of those parameters in each cell (N, parameters), in V.
    """
    step = stored_v[1] - stored_v[0]
    on, off = conditions.read_v, conditions.vdd_v - conditions.read_v
    lines = [f"vs s 0 {stored_v[0]:.9g}\nvrwl rwl 0 {on:g}\nvrwlb rwlb 0 {off:g}\n"]
    signals = []
    for k, row in enumerate(shifts_v):
        nets = {pin: pin for pin in cell.pins} | {"store": "s", "rbl": f"rbl{k}"}
        shifts = dict(zip(cell.mismatch_v, map(float, row), strict=True))
        lines.append(f"vb{k} rbl{k} 0 {conditions.zero_v:g}\n{cell.instance(str(k), nets, **shifts)}\n")
        signals.append(f"i(vb{k})")
    body = "".join(lines) + f".dc vs {stored_v[0]:.9g} {stored_v[-1]:.9g} {step:.9g}\n"
    return Deck(bench("read currents of cells that differ", cell, conditions, body), tuple(signals))
