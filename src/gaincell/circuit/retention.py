"""How long a cell holds what was written."""

import math
from collections.abc import Sequence

import numpy as np

from gaincell.cell import Retention, RetentionTable
from gaincell.circuit.decks.cell import CellCircuit, Conditions
from gaincell.circuit.decks.read import DRIVEN, DRIVEN_V
from gaincell.circuit.decks.store import hold_deck
from gaincell.circuit.ngspice import Ngspice
from gaincell.errors import InputError

#: Times over which cells are watched: ten times longer until all have decayed, and at most the last. Beyond that the
#: smallest conductance and current that ngspice tells from none (gmin, abstol) would be what is seen.
_FIRST_S, _LAST_S = 1e-4, 1e3
_TABLE_TIMES = 25
#: A decay that departs from its exponential by more than this fraction of the written voltage gets a table.
_EXPONENTIAL = 0.02


def retention_of(circuit: CellCircuit, conditions: Conditions, ngspice: Ngspice) -> Retention:
    """The exponential nearest to the decay of four stored voltages down to 1/e, and a table where it is far from that.

    Raises:
        CircuitError: a simulation failed.
    """
    starts = conditions.vdd_v * np.array([0, 0.25, 0.75, 1])
    time = y = remaining = np.empty(0)
    until: dict[int, int] = {}
    end = _FIRST_S
    while True:
        plot = ngspice.run(hold_deck(circuit, conditions, starts.tolist(), end))[0]
        watched = np.array([plot[f"v(s{k})"] for k in range(len(starts))]) - conditions.zero_v
        if np.abs(watched[:, 0] + conditions.zero_v - starts).max() > DRIVEN_V:
            raise InputError(DRIVEN.format(circuit.source))
        left = watched / watched[:, :1]
        decayed = {k: int(np.argmax(row < 1 / math.e)) for k, row in enumerate(left) if row.min() < 1 / math.e}
        if len(decayed) > len(until):  # steps are finest in the shortest run that shows a decay
            time, y, remaining, until = plot.axis, watched, left, decayed
        if len(until) == len(starts) or end >= _LAST_S:
            break
        end *= 10
    if any(n < 2 or time[n - 1] <= 0 for n in until.values()):
        raise InputError(
            f"{circuit.source} does not hold what is written: the write transistor conducts while its word line is "
            "low; see --write-low and --write-shift."
        )
    source = f"ngspice, write bit line at the opposite rail; {circuit.source}"
    if not until:
        return Retention(tau=end, unit="s", source=f"at least: nothing decayed to 1/e within {end:g} s; {source}")
    rows = [(time[:n], remaining[k, :n]) for k, n in until.items()]
    tau = _time_constant(rows)
    departure = max(float(np.abs(left - np.exp(-t / tau)).max()) for t, left in rows)
    how = f"{len(rows)} of {len(starts)} stored voltages fitted down to 1/e, largest departure {departure:.0%}"
    table = None
    if departure > _EXPONENTIAL or len(rows) < len(starts):
        times = np.linspace(0, max(t[-1] for t, _ in rows), _TABLE_TIMES)
        stored = tuple(tuple(float(v) for v in np.interp(times, time, row)) for row in y)
        table = RetentionTable(time=tuple(map(float, times)), stored=stored)
    return Retention(tau=tau, unit="s", source=f"{how}; {source}", table=table)


def _time_constant(rows: Sequence[tuple[np.ndarray, np.ndarray]]) -> float:
    """The tau in s whose exponential is nearest, in squares over time, to all rows of (times, fraction left)."""

    def error(tau: float) -> float:
        # over time, not over samples: ngspice's steps are not even
        return sum(float(np.trapezoid((left - np.exp(-t / tau)) ** 2, t) / t[-1]) for t, left in rows)

    tau = max(float(t[-1]) for t, _ in rows)
    for factor in (1.5, 1.05, 1.005, 1.0005):
        tau = min((tau * factor**step for step in range(-30, 31)), key=error)
    return tau
