"""Measured decays: of several dies, cells and written voltages, each kept apart."""

import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from gaincell.cell.csv_table import read_columns
from gaincell.errors import InputError

#: Half a step of eight levels over 0.9 V, the published ones [Leroux et al. 2025].
HALF_STEP_V = 0.9 / 14
#: A written voltage this near to where it decays to tells nothing of a time constant, in V.
NEAR_END_V = 0.05
_FEWEST = 5
#: A decay tells its time constant once it lost so much of itself; one that gained as much rises. Ours.
_A_TENTH, _RISES = 0.1, 0.05
_STRETCHES = 6
#: The deviation of normal noise over its median absolute value.
_NORMAL = 1.4826


@dataclass(frozen=True)
class MeasuredDecay:
    """One cell that forgets one written voltage.

    Attributes:
        die: which it is on; "" where the file does not say.
        cell: which of them; likewise.
        written_v: the level that was written, above zero, in V: what decays have in common that are compared.
        time_s: since its first point, ascending (points,), in s.
        y_v: stored voltage above zero (points,), in V.
        ends_at_v: where it decays to, above zero, in V.
    """

    die: str
    cell: str
    written_v: float
    time_s: np.ndarray
    y_v: np.ndarray
    ends_at_v: float = 0.0

    @cached_property
    def start_v(self) -> float:
        """Where it starts, above zero: the median of its first points, in V."""
        return float(np.median(self.y_v[:3]))

    @property
    def height_v(self) -> float:
        """How far above its end it starts, in V: below it where that is negative."""
        return self.start_v - self.ends_at_v

    @property
    def decays(self) -> bool:
        """Whether it tells a time constant: it starts away from its end and lost a tenth of that."""
        return abs(self.height_v) >= NEAR_END_V and float(np.median(self.left[-3:])) <= 1 - _A_TENTH

    @cached_property
    def left(self) -> np.ndarray:
        """What is left of its height, as a fraction (points,)."""
        above = self.y_v - self.ends_at_v
        return above / self.height_v if self.height_v else above

    @cached_property
    def smooth_v(self) -> np.ndarray:
        """The monotone curve nearest to its points in squares (points,), in V: what is left of it without noise.

        It goes towards its end; from near that it goes the way that its points do.
        """
        away = float(np.median(self.y_v[-3:])) - self.start_v
        sign = -math.copysign(1, self.height_v) if abs(self.height_v) >= NEAR_END_V else math.copysign(1, away)
        middle = np.median([self.y_v[:-2], self.y_v[1:-1], self.y_v[2:]], axis=0)  # a single outlier goes
        return sign * _nearest_rising(sign * np.concatenate([self.y_v[:1], middle, self.y_v[-1:]]))

    @cached_property
    def lost_v(self) -> np.ndarray:
        """How far `smooth_v` is from where it starts (points,), never falling, in V."""
        return np.abs(self.smooth_v - self.smooth_v[0])

    def reaches_s(self, lost_v: float) -> float | None:
        """When it has lost so many volt, linear between points, in s; None where it does not while it is watched."""
        lost = self.lost_v
        n = int(np.argmax(lost > lost_v))
        if lost[n] <= lost_v:
            return None
        return float(np.interp(lost_v, lost[n - 1 : n + 1], self.time_s[n - 1 : n + 1]))

    @cached_property
    def tau_s(self) -> float | None:
        """The time constant of the exponential nearest to it alone, in s; None where it does not tell one."""
        return time_constant([self]) if self.decays else None

    @cached_property
    def noise(self) -> float:
        """Robust standard deviation of its points from one to the next, as a fraction of its height.

        By successive differences, which a departure that is smooth does not enter [von Neumann, Ann. Math. Stat. 12,
        367 (1941)].
        """
        rest = self.left - (0.0 if self.tau_s is None else _fitted(self, self.tau_s))
        return float(np.median(np.abs(np.diff(rest))) * _NORMAL / math.sqrt(2))

    @property
    def stretch_noise(self) -> float:
        """Standard deviation of a stretch's median, as `departure` takes it, by noise alone."""
        return self.noise * math.sqrt(math.pi / 2 * min(_STRETCHES, len(self.time_s)) / len(self.time_s))

    @cached_property
    def misfit(self) -> float | None:
        """How far it is from its own exponential; see `departure`."""
        return None if self.tau_s is None else departure(self, self.tau_s)

    @cached_property
    def tau_error_s(self) -> float | None:
        """Standard error of `tau_s` by its points' scatter, in s.

        Linearised about the fit; of least absolute deviations, whose errors are sqrt(pi / 2) of least squares' on
        normal noise [Bassett and Koenker, J. Am. Stat. Assoc. 73, 618 (1978)].
        """
        if self.tau_s is None:
            return None
        fit = _fitted(self, self.tau_s)
        slopes = np.stack([fit, fit * self.time_s / self.tau_s**2], 1)  # by the height, near 1, and by tau
        deviation = float(np.median(np.abs(self.left - fit)) * _NORMAL)
        return deviation * math.sqrt(math.pi / 2 * float(np.linalg.pinv(slopes.T @ slopes)[1, 1]))

    def to_dict(self) -> dict[str, Any]:
        """What it tells, as plain values."""
        return {
            **{"die": self.die, "cell": self.cell, "written_v": self.written_v, "points": len(self.time_s)},
            **{"tau_s": self.tau_s, "tau_error_s": self.tau_error_s, "misfit": self.misfit, "noise": self.noise},
            "kept_s": self.reaches_s(HALF_STEP_V),
        }


def read_decays(path: Path, *, zero_v: float = 0.45, ends_v: float | None = None) -> tuple[MeasuredDecay, ...]:
    """The decays of a CSV file with `time [s]` and `stored [V]`, and of several with `written [V]`, `die`, `cell`.

    Lines of one die, cell and written voltage are one decay. Without `written`, every cell has one decay, and all of
    them start at one level.

    Args:
        path: the file.
        zero_v: stored voltage that stands for zero.
        ends_v: that which decays end at; zero_v if None.

    Raises:
        InputError: columns or units missing or not known, several decays that nothing tells apart, a decay of fewer
            than five points, or one that rises.
    """
    data = read_columns(path, {"stored": "V", "time": "s", "written": "V"}, ("die", "cell"), others=False)
    for name in ("time", "stored"):
        if name not in data:
            raise InputError(f"{path} has no column '{name}'; retention needs 'time [s]' and 'stored [V]'.")
    count, end_v = len(data["time"]), zero_v if ends_v is None else ends_v
    die, cell = (data.get(name, np.full(count, "")) for name in ("die", "cell"))
    level = data["written"] - zero_v if "written" in data else None
    groups: dict[tuple[str, str, float], list[int]] = {}
    for line in range(count):
        written = 0.0 if level is None else round(float(level[line]), 6)
        groups.setdefault((str(die[line]), str(cell[line]), written), []).append(line)
    decays = []
    for (on, of, written), lines in groups.items():
        time, y = data["time"][lines], data["stored"][lines] - zero_v
        if level is None and (np.diff(time) < 0).any():
            raise InputError(
                f"{path}: the time goes back{_of(on, of)}; if these are several decays, name what was written in a "
                "column 'written [V]', and where it was in 'die' and 'cell', else sort the lines by time."
            )
        order = np.argsort(time, kind="stable")
        decays.append(MeasuredDecay(on, of, written, time[order] - time.min(), y[order], end_v - zero_v))
    for decay in decays:
        _check(path, decay, zero_v, named=level is not None)
    return tuple(decays if level is not None else _of_one_level(path, decays))


def _of_one_level(path: Path, decays: list[MeasuredDecay]) -> list[MeasuredDecay]:
    starts = [float(decay.smooth_v[0]) for decay in decays]
    if np.ptp(starts) > HALF_STEP_V:
        raise InputError(
            f"{path}: decays start at voltages that are {np.ptp(starts):.2g} V apart, and nothing says what was "
            "written; name it in a column 'written [V]'."
        )
    level = float(np.median(starts))
    return [MeasuredDecay(x.die, x.cell, level, x.time_s, x.y_v, x.ends_at_v) for x in decays]


def _check(path: Path, decay: MeasuredDecay, zero_v: float, *, named: bool) -> None:
    where = _of(decay.die, decay.cell) + (f" from {decay.written_v + zero_v:.4g} V" if named else "")
    count = len(decay.time_s)
    if count < _FEWEST:
        raise InputError(
            f"{path} has {count} point{'s' * (count != 1)}{where}; retention needs {_FEWEST} of every decay at least."
        )
    if not decay.time_s[-1] > 0:
        raise InputError(f"{path}: all points{where} are at one time; retention needs a decay.")
    end_v = decay.ends_at_v + zero_v
    if abs(decay.height_v) < NEAR_END_V:
        return
    last = float(np.median(decay.left[-3:]))
    if last > 1 + max(_RISES, 3 * decay.noise):
        raise InputError(
            f"{path}: the voltage{where} moves away from {end_v:g} V; check the data, or give the level that it "
            "decays to (--decays-to)."
        )
    if last < -_A_TENTH:
        raise InputError(
            f"{path}: the voltage{where} decays past {end_v:g} V; give the level that it decays to (--decays-to), or "
            "cut the data there."
        )


def _of(die: str, cell: str) -> str:
    named = [f"{kind} '{name}'" for kind, name in (("die", die), ("cell", cell)) if name]
    return f" of {', '.join(named)}" if named else ""


def time_constant(decays: list[MeasuredDecay]) -> float:
    """The tau in s whose exponential is nearest to all decays, each of its own height, in absolute differences."""

    def error(tau: float) -> float:
        return sum(float(np.abs(decay.left - _fitted(decay, tau)).sum()) for decay in decays)

    tau = max(float(decay.time_s[-1]) for decay in decays)
    for factor in (1.5, 1.05, 1.005, 1.0005):
        tau = min((tau * factor**step for step in range(-30, 31)), key=error)
    return tau


def departure(decay: MeasuredDecay, tau_s: float) -> float:
    """How far a decay is from an exponential at most, as a fraction of its height.

    Of six stretches of its points, the median difference of each: noise and outliers count little.
    """
    rest = decay.left - _fitted(decay, tau_s)
    return max(abs(float(np.median(part))) for part in np.array_split(rest, min(_STRETCHES, len(rest))))


def _fitted(decay: MeasuredDecay, tau_s: float) -> np.ndarray:
    """The exponential at the height that suits a decay best (points,), as a fraction of its start."""
    # absolute differences, so that outliers count little; the height is then the weighted median of the ratios
    fit = np.maximum(np.exp(-decay.time_s / tau_s), 1e-9)
    ratio = decay.left / fit
    rising = np.argsort(ratio)
    half = np.searchsorted(np.cumsum(fit[rising]), fit.sum() / 2)
    return ratio[rising[half]] * fit


def _nearest_rising(values: np.ndarray) -> np.ndarray:
    """The values (N,) that never fall and are nearest in squares: neighbours that fall are pooled.

    [Ayer, Brunk, Ewing, Reid and Silverman, Ann. Math. Stat. 26, 641 (1955)].
    """
    blocks: list[list[float]] = []  # sum, count
    for value in values:
        blocks.append([float(value), 1])
        while len(blocks) > 1 and blocks[-2][0] * blocks[-1][1] >= blocks[-1][0] * blocks[-2][1]:
            total, count = blocks.pop()
            blocks[-1][0] += total
            blocks[-1][1] += count
    return np.concatenate([np.full(int(count), total / count) for total, count in blocks])
