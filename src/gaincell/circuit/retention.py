"""How long a cell holds what was written."""

import math
from collections.abc import Sequence

import numpy as np

from gaincell.cell import Retention, RetentionTable
from gaincell.circuit.decks.cell import CellCircuit, Conditions
from gaincell.circuit.decks.store import hold_deck
from gaincell.circuit.ngspice import Ngspice

#: Times over which cells are watched: ten times longer until all have decayed, and at most the last.
_FIRST_S, _LAST_S = 1e-4, 1e5
_TABLE_TIMES = 25
#: A decay that departs from its exponential by more than this fraction of the written voltage gets a table.
_EXPONENTIAL = 0.02


def retention_of(circuit: CellCircuit, conditions: Conditions, ngspice: Ngspice) -> Retention:
    """The exponential nearest to the decay of four stored voltages down to 1/e, and a table where it is far from that.

    Raises:
        CircuitError: a simulation failed.
    """
    starts = conditions.vdd_v * np.array([0, 0.25, 0.75, 1])
    end = _FIRST_S
    while True:
        plot = ngspice.run(hold_deck(circuit, conditions, starts.tolist(), end))[0]
        time = plot.axis
        y = np.array([plot[f"v(s{k})"] for k in range(len(starts))]) - conditions.zero_v
        remaining = y / y[:, :1]
        if (remaining.min(axis=1) < 1 / math.e).all() or end >= _LAST_S:
            break
        end *= 10
    until = [int(np.argmax(row < 1 / math.e)) or len(row) for row in remaining]
    tau = _time_constant(time, remaining, until)
    fit = np.exp(-time / tau)
    departure = max(np.abs(row[:n] - fit[:n]).max() for row, n in zip(remaining, until, strict=True))
    table = None
    if departure > _EXPONENTIAL:
        times = np.linspace(0, max(time[n - 1] for n in until), _TABLE_TIMES)
        rows = tuple(tuple(float(v) for v in np.interp(times, time, row)) for row in y)
        table = RetentionTable(time=tuple(map(float, times)), stored=rows)
    how = f"fitted down to 1/e, largest departure {departure:.0%}"
    if any(n == len(time) for n in until):
        how = f"extrapolated: not all have decayed to 1/e after {end:g} s"
    source = f"ngspice, write bit line at the opposite rail, {how}; {circuit.source}"
    return Retention(tau=tau, unit="s", source=source, table=table)


def _time_constant(time: np.ndarray, remaining: np.ndarray, until: Sequence[int]) -> float:
    """The tau in s whose exponential is nearest, in squares over time, to the first `until` samples of each row."""

    def error(tau: float) -> float:
        fit = np.exp(-time / tau)
        # over time, not over samples: ngspice's steps are not even
        return sum(
            float(np.trapezoid((row[:n] - fit[:n]) ** 2, time[:n]) / time[n - 1])
            for row, n in zip(remaining, until, strict=True)
        )

    ends = [(time[n - 1], row[n - 1]) for row, n in zip(remaining, until, strict=True)]
    tau = max(float(t / -math.log(min(max(left, 1e-6), 1 - 1e-12))) for t, left in ends)
    for factor in (1.5, 1.05, 1.005, 1.0005):
        tau = min((tau * factor**step for step in range(-30, 31)), key=error)
    return tau
