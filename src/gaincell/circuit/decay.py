"""How long a cell holds what was written."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from gaincell.cell import LevelRetention, Retention, RetentionTable
from gaincell.cell.retention import EXPONENTIAL
from gaincell.circuit.decks.cell import CellCircuit, Conditions
from gaincell.circuit.decks.read import DRIVEN, DRIVEN_V
from gaincell.circuit.decks.store import hold_deck
from gaincell.circuit.ngspice import Ngspice
from gaincell.errors import InputError

#: Times over which cells are watched: ten times longer until all have decayed, and at most the last. Beyond that the
#: smallest conductance and current that ngspice tells from none (gmin, abstol) would be what is seen.
_FIRST_S, _LAST_S = 1e-4, 1e3
_TABLE_TIMES = 60


@dataclass(frozen=True)
class Decay:
    """What cells that hold different voltages forget.

    Attributes:
        time_s: since they were written (P,), in s.
        y_v: stored voltages above the zero level (L, P), in V; one row per written voltage.
        until: of each row that fell to 1/e of what was written, how many samples that took.
        watched_s: how long cells were watched at most, in s.
        source: of the cell.
        shorter: times and voltages, as above, of shorter and therefore finer runs, the shortest first.
    """

    time_s: np.ndarray
    y_v: np.ndarray
    until: Mapping[int, int]
    watched_s: float
    source: str
    shorter: tuple[tuple[np.ndarray, np.ndarray], ...] = ()

    @cached_property
    def rows(self) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
        """Times in s, and fraction left, of each row that fell to 1/e, down to there."""
        return tuple((self.time_s[:n], self.y_v[k, :n] / self.y_v[k, 0]) for k, n in self.until.items())

    @cached_property
    def tau_s(self) -> float | None:
        """The exponential nearest to all `rows`, in squares over time; None where nothing fell to 1/e."""
        return _time_constant(self.rows) if self.rows else None

    @property
    def departure(self) -> float:
        """Largest departure of a row from that exponential, as a fraction of what was written."""
        tau = self.tau_s
        return 0.0 if tau is None else max(float(np.abs(left - np.exp(-t / tau)).max()) for t, left in self.rows)

    @property
    def misfits(self) -> tuple[float, float]:
        """Root mean square distance of the rows from an exponential each, and from a constant current (a line) each."""
        exponential = [_distance(t, left, np.exp(-t / _time_constant(((t, left),)))) for t, left in self.rows]
        slopes = [np.trapezoid(t * (1 - left), t) / np.trapezoid(t**2, t) for t, left in self.rows]
        line = [_distance(t, left, 1 - slope * t) for (t, left), slope in zip(self.rows, slopes, strict=True)]
        return float(np.sqrt(np.mean(np.square(exponential)))), float(np.sqrt(np.mean(np.square(line))))

    def kept_s(self, within_v: float) -> float | None:
        """How long every stored voltage stays within so many volt of what was written; None if all the time, in s."""
        kept = [self._kept_of(row, within_v) for row in range(len(self.y_v))]
        return min((x for x in kept if x is not None), default=None)

    def _kept_of(self, row: int, within_v: float) -> float | None:
        for time, y in (*self.shorter, (self.time_s, self.y_v)):
            off = np.abs(y[row] - y[row, 0])
            first = int(np.argmax(off > within_v))
            if off[first] > within_v:
                return float(np.interp(within_v, off[first - 1 : first + 1], time[first - 1 : first + 1]))
        return None

    def levels(self, within_v: float) -> tuple[LevelRetention, ...]:
        """Each written voltage by itself, in s: how long it is within so many volt, and its own exponential if any."""
        own = dict(zip(self.until, self.rows, strict=True))
        found = []
        for row, y in enumerate(self.y_v):
            tau = misfit = None
            if row in own:
                time, left = own[row]
                tau = _time_constant((own[row],))
                misfit = float(np.abs(left - np.exp(-time / tau)).max())
                tau = None if misfit > EXPONENTIAL else tau
            found.append(LevelRetention(written=float(y[0]), kept=self._kept_of(row, within_v), tau=tau, misfit=misfit))
        return tuple(found)

    def retention(self, within_v: float | None = None) -> Retention:
        """The exponential, a table where the decay is far from it, and each level where half a step is given, in V."""
        levels = () if within_v is None else self.levels(within_v)
        source = f"ngspice, write bit line at the opposite rail; {self.source}"
        tau = self.tau_s
        if tau is None:
            least = f"at least: nothing decayed to 1/e within {self.watched_s:g} s; {source}"
            return Retention(tau=self.watched_s, unit="s", source=least, within_v=within_v, levels=levels)
        count, departure, table = len(self.y_v), self.departure, None
        how = f"{len(self.rows)} of {count} stored voltages fitted down to 1/e, largest departure {departure:.0%}"
        if departure > EXPONENTIAL or len(self.rows) < count:
            # Evenly in the logarithm, from where the first voltage moves: voltages may decay at rates decades apart.
            last = max(float(t[-1]) for t, _ in self.rows)
            kept = self.kept_s(EXPONENTIAL * float(np.abs(self.y_v[:, 0]).min())) or last
            times = np.append(0.0, np.geomspace(min(kept, last / _TABLE_TIMES), last, _TABLE_TIMES - 1))
            runs = (*self.shorter, (self.time_s, self.y_v))
            finest = [next((run for run in runs if run[0][-1] >= t), runs[-1]) for t in times]
            stored = tuple(
                tuple(float(np.interp(t, time, y[row])) for t, (time, y) in zip(times, finest, strict=True))
                for row in range(count)
            )
            table = RetentionTable(time=tuple(map(float, times)), stored=stored)
        source = f"{how}; {source}"
        misfit = max(departure, self._departure_of_others(tau))
        return Retention(tau=tau, unit="s", source=source, table=table, misfit=misfit, within_v=within_v, levels=levels)

    def _departure_of_others(self, tau_s: float) -> float:
        """Largest departure of the rows that did not fall to 1/e, while the others did."""
        shown = self.time_s <= max(float(t[-1]) for t, _ in self.rows)
        others = [self.y_v[k, shown] / self.y_v[k, 0] for k in range(len(self.y_v)) if k not in self.until]
        law = np.exp(-self.time_s[shown] / tau_s)
        return max((float(np.abs(left - law).max()) for left in others), default=0.0)


def decay_of(circuit: CellCircuit, conditions: Conditions, ngspice: Ngspice) -> Decay:
    """The decay of four stored voltages down to 1/e.

    Raises:
        InputError: the cell does not hold at all, or something drives its storage node.
        CircuitError: a simulation failed.
    """
    # the lowest and the highest, and halfway from the zero level to each
    zero, vdd = conditions.zero_v, conditions.vdd_v
    starts = np.array([0.0, zero / 2, (zero + vdd) / 2, vdd])
    found: Decay | None = None
    shorter: tuple[tuple[np.ndarray, np.ndarray], ...] = ()
    end = _FIRST_S
    while True:
        plot = ngspice.run(hold_deck(circuit, conditions, starts.tolist(), end))[0]
        y = np.array([plot[f"v(s{k})"] for k in range(len(starts))]) - conditions.zero_v
        if np.abs(y[:, 0] + conditions.zero_v - starts).max() > DRIVEN_V:
            raise InputError(DRIVEN.format(circuit.source))
        left = y / y[:, :1]
        until = {k: int(np.argmax(row < 1 / math.e)) for k, row in enumerate(left) if row.min() < 1 / math.e}
        # steps are finest in the shortest run that shows a decay
        if found is None or not found.until or len(until) > len(found.until):
            found = Decay(plot.axis, y, until, end, circuit.source, shorter)
        shorter = (*shorter, (plot.axis, y))
        if len(found.until) == len(starts) or end >= _LAST_S:
            break
        end *= 10
    if any(n < 2 or found.time_s[n - 1] <= 0 for n in found.until.values()):
        raise InputError(
            f"{circuit.source} does not hold what is written: the write transistor conducts while its word line is "
            "low; see --write-low and --write-shift."
        )
    return found


def _time_constant(rows: tuple[tuple[np.ndarray, np.ndarray], ...]) -> float:
    """The tau in s whose exponential is nearest, in squares over time, to all rows of (times, fraction left)."""

    def error(tau: float) -> float:
        return sum(_distance(t, left, np.exp(-t / tau)) ** 2 for t, left in rows)

    tau = max(float(t[-1]) for t, _ in rows)
    for factor in (1.5, 1.05, 1.005, 1.0005):
        tau = min((tau * factor**step for step in range(-30, 31)), key=error)
    return tau


def _distance(t: np.ndarray, left: np.ndarray, law: np.ndarray) -> float:
    """Root mean square of the difference over time: not over samples, since ngspice's steps are not even."""
    return math.sqrt(float(np.trapezoid((left - law) ** 2, t) / t[-1]))
