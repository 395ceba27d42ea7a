"""Writing a cell, and what it forgets."""

from collections.abc import Mapping, Sequence

import numpy as np

from gaincell.circuit.decks.bench import START_S, bench
from gaincell.circuit.decks.cell import CellCircuit, Conditions
from gaincell.circuit.ngspice import Deck
from gaincell.circuit.rawfile import Plot

#: How long the write word line stays on where settling is watched, in s, and how long to watch the cell after it.
WRITE_S = 100e-9
_AFTER_S = 2e-9

#: A cell keeps femtoamperes and less: ngspice's abstol of 1e-12 A and gmin of 1e-12 S would be all that is seen.
HOLD_OPTIONS = "chgtol=1e-20 abstol=1e-20 vntol=1e-7 reltol=1e-4 gmin=1e-21 method=gear"


def write_deck(
    cell: CellCircuit, conditions: Conditions, steps_v: Sequence[tuple[float, float]], on_s: float = WRITE_S
) -> Deck:
    """Writes from one stored voltage to another, each in a cell of its own, all at once, in a time of `on_s`."""
    high, low = conditions.write_high_v, conditions.write_low_v
    edge = conditions.edge_s
    on, off = START_S, START_S + on_s
    end = off + edge + _AFTER_S
    times = (0, on - edge / 2, on + edge / 2, off - edge / 2, off + edge / 2)
    lines = ["vrwl rwl 0 0\nvrwlb rwlb 0 " + f"{conditions.vdd_v:g}\n"]
    for name, levels in (("wwlx", (low, low, high, high, low)), ("wwlxb", (high, high, low, low, high))):
        points = " ".join(f"{t:.9g} {v:g}" for t, v in zip(times, levels, strict=True))
        lines.append(f"v{name} {name} 0 pwl({points})\n")
    signals = []
    for k, (before, target) in enumerate(steps_v):
        nets = {pin: pin for pin in cell.pins}
        nets |= {"store": f"s{k}", "wbl": f"wbl{k}", "rbl": f"rbl{k}", "wwl": "wwlx", "wwlb": "wwlxb"}
        lines.append(f"vw{k} wbl{k} 0 {target:.9g}\nvb{k} rbl{k} 0 {conditions.zero_v:g}\n.ic v(s{k})={before:.9g}\n")
        lines.append(cell.instance(str(k), nets) + "\n")
        signals += [f"v(s{k})", f"i(vw{k})"]
    body = "".join(lines) + f".tran 100p {end:.9g} 0 200p\n"
    return Deck(bench("writes of single cells", cell, conditions, body), tuple(signals), end)


def write_results(
    plot: Plot, steps_v: Sequence[tuple[float, float]], within_v: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each step of a `write_deck` of `WRITE_S`: settling time, error, and charge.

    Returns:
        Time from the middle of the word line's edge until the stored voltage stays within `within_v` of its target, in
        s (infinite where it does not while the word line is on); stored less target voltage after the word line went
        off, in V; charge that the write bit line gave, in C.
    """
    settled, error, charge = (np.empty(len(steps_v)) for _ in range(3))
    time = plot.axis
    writing = time <= START_S + WRITE_S - 1e-9
    for k, (_, target) in enumerate(steps_v):
        stored = plot[f"v(s{k})"]
        outside = np.flatnonzero(np.abs(stored[writing] - target) > within_v)
        last = outside[-1] if len(outside) else 0
        settled[k] = time[last] - START_S if last < writing.sum() - 1 else np.inf
        error[k] = stored[-1] - target
        charge[k] = -np.trapezoid(plot[f"i(vw{k})"], time)
    return np.maximum(settled, 0), error, charge


def hold_deck(
    cell: CellCircuit,
    conditions: Conditions,
    stored_v: Sequence[float],
    end_s: float,
    parameters: Sequence[Mapping[str, float]] = (),
) -> Deck:
    """Cells that hold these voltages for `end_s`, with every word line off, each with parameters of its own if any.

    The read bit line is at the zero level. The write bit line is at the supply rail on the other side of the zero
    level: the worst that the data written to other cells of the row can do.
    """
    lines = [f"vrwl rwl 0 0\nvrwlb rwlb 0 {conditions.vdd_v:g}\nvb rbl 0 {conditions.zero_v:g}\n"]
    signals = []
    for k, stored in enumerate(stored_v):
        opposite = "vss" if stored > conditions.zero_v else "vdd"
        nets = {pin: pin for pin in cell.pins} | {"store": f"s{k}", "wbl": opposite}
        own = parameters[k] if parameters else {}
        lines.append(f".ic v(s{k})={stored:.9g}\n{cell.instance(str(k), nets, **own)}\n")
        signals.append(f"v(s{k})")
    body = "".join(lines) + f".tran {end_s / 1000:.9g} {end_s:.9g}\n"
    return Deck(bench("cells that hold", cell, conditions, body, HOLD_OPTIONS), tuple(signals), end_s)
