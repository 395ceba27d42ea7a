"""A retention from measured decays: each level's, what they share, and how cells differ."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from gaincell.cell.decays import HALF_STEP_V, NEAR_END_V, MeasuredDecay, departure, read_decays
from gaincell.cell.retention import EXPONENTIAL, LevelRetention, Retention, RetentionSpread, RetentionTable
from gaincell.errors import InputError

_TABLE_TIMES = 60
#: A departure is one of the decay, not of its noise, beyond so many standard deviations of that; ours.
_SIGNIFICANT = 4.0
#: Cells' retention times are compared where all have lost this share of what the one that lost least has.
_COMPARED = 0.9
#: A time constant is compared only where it is no guess about what was not watched: where half of the decay is.
_HALF_GONE = 0.5


def fit_retention(path: Path, *, zero_v: float = 0.45, ends_v: float | None = None) -> Retention:
    """The retention that a CSV file of decays gives; see `gaincell.cell.decays.read_decays` for the file.

    Raises:
        InputError: as `read_decays` and `retention_of`.
    """
    return retention_of(read_decays(path, zero_v=zero_v, ends_v=ends_v), path.name)


def retention_of(decays: Sequence[MeasuredDecay], name: str) -> Retention:
    """Time constant with its error, each level by itself, the spread over cells, and a table where none fits.

    The time constant is the geometric mean of those of the exponentials nearest to each decay that lost a tenth of
    itself, in absolute differences, so that outliers count little. Its error is that of the cells' own where there are
    several, of the decays' own where cells have no level in common, else of the points' scatter. A table is kept where
    a level departs from that exponential by 2 % of what was written, and by four deviations of its noise.

    Args:
        decays: of any cells and written voltages.
        name: of the file they are from.

    Raises:
        InputError: nothing decays by a tenth, or faster than it was looked at.
    """
    telling = [decay for decay in decays if decay.decays]
    if not telling:
        raise InputError(f"{name}: the voltage does not decay towards its end by a tenth; measure longer.")
    tau_s, span_s = _middle_s(telling), max(float(decay.time_s[-1]) for decay in telling)
    if not 1e-3 < tau_s / span_s < 20:
        raise InputError(f"{name}: no exponential is near this decay; the times must span its time constant.")
    written = sorted({decay.written_v for decay in decays})
    by_level = [[decay for decay in decays if decay.written_v == level] for level in written]
    levels = tuple(_level(level, of) for level, of in zip(written, by_level, strict=True))
    typical, allowed = _departures(by_level, tau_s), _allowed(telling)
    unlike = any(x.misfit is not None and x.tau is None for x in levels)
    return Retention(
        tau=tau_s,
        unit="s",
        source=_source(decays, name),
        ends_at_v=decays[0].ends_at_v,
        tau_error=_error_s(telling, tau_s),
        misfit=max(typical),
        within_v=HALF_STEP_V,
        levels=levels,
        spread=spread_of(decays, name),
        table=_table(by_level) if unlike or max(typical) > allowed else None,
    )


def _source(decays: Sequence[MeasuredDecay], name: str) -> str:
    points = sum(len(decay.time_s) for decay in decays)
    if len(decays) == 1:
        return f"measured, {name}, {points} points"
    levels, cells = {decay.written_v for decay in decays}, {(decay.die, decay.cell) for decay in decays}
    dies = len({die for die, _ in cells})
    return (
        f"measured, {name}, {points} points of {len(decays)} decays: {len(levels)} written voltage(s), "
        f"{len(cells)} cell(s) on {dies} die(s)"
    )


def _allowed(decays: Sequence[MeasuredDecay]) -> float:
    """The departure from an exponential, as a fraction of the start, that is not told from none."""
    return max(EXPONENTIAL, _SIGNIFICANT * float(np.median([decay.stretch_noise for decay in decays])))


def _level(written_v: float, decays: Sequence[MeasuredDecay]) -> LevelRetention:
    """What the middle one of a level's cells does."""
    kept = float(np.median([math.inf if (t := x.reaches_s(HALF_STEP_V)) is None else t for x in decays]))
    telling = [decay for decay in decays if decay.decays]
    misfits = [decay.misfit for decay in telling if decay.misfit is not None]
    misfit = float(np.median(misfits)) if misfits else None
    tau = None
    if misfit is not None and misfit <= _allowed(telling):
        tau = _middle_s(telling)
    return LevelRetention(written=written_v, kept=kept if math.isfinite(kept) else None, tau=tau, misfit=misfit)


def _departures(by_level: Sequence[Sequence[MeasuredDecay]], tau_s: float) -> list[float]:
    """How far each level's middle cell is from one exponential at most: of those that start away from zero."""
    found = []
    for decays in by_level:
        away = [decay for decay in decays if abs(decay.height_v) >= NEAR_END_V]
        if away:
            apart = [departure(decay, tau_s * _rate(decay, decays)) for decay in away]
            found.append(float(np.median(apart)))
    return found


def _rate(decay: MeasuredDecay, decays: Sequence[MeasuredDecay]) -> float:
    """A cell's own time constant over its level's middle one: cells differ, which is no departure of the decay."""
    return 1.0 if decay.tau_s is None else decay.tau_s / _middle_s(decays)


def _middle_s(decays: Sequence[MeasuredDecay]) -> float:
    """The geometric mean of the decays' own time constants, of those that tell one."""
    return math.exp(float(np.mean([math.log(x.tau_s) for x in decays if x.tau_s is not None])))


def _error_s(decays: Sequence[MeasuredDecay], tau_s: float) -> float | None:
    cells = _by_cell([(decay, math.log(decay.tau_s)) for decay in decays if decay.tau_s])
    if len(cells) > 1:
        return tau_s * float(np.std(list(cells.values()), ddof=1)) / math.sqrt(len(cells))
    own = [math.log(decay.tau_s) for decay in decays if decay.tau_s]
    if len(own) > 1:  # of one cell, or of cells that have no level in common: its levels' differences are in it
        return tau_s * float(np.std(own, ddof=1)) / math.sqrt(len(own))
    errors = [decay.tau_error_s for decay in decays]
    weights = [1 / error**2 for error in errors if error]
    return 1 / math.sqrt(sum(weights)) if weights else None


def _by_cell(values: Sequence[tuple[MeasuredDecay, float]]) -> dict[tuple[str, str], float]:
    """The mean over a cell's levels of a number, less the mean over that level's cells.

    Where not every cell has every level, of the level with most cells alone: what others are compared with differs.
    """
    levels: dict[float, dict[tuple[str, str], float]] = {}
    for decay, value in values:
        levels.setdefault(decay.written_v, {})[decay.die, decay.cell] = value
    if len({frozenset(level) for level in levels.values()}) > 1:
        most = max(levels, key=lambda written: len(levels[written]))
        levels = {most: levels[most]}
    cells: dict[tuple[str, str], list[float]] = {}
    for level in levels.values():
        for cell, value in level.items():
            cells.setdefault(cell, []).append(value - float(np.mean(list(level.values()))))
    return {cell: float(np.mean(rest)) for cell, rest in cells.items()}


def spread_of(decays: Sequence[MeasuredDecay], name: str) -> RetentionSpread | None:
    """The standard deviation over cells of the logarithm of their retention time; None of fewer than two cells.

    A time is a cell's time constant where its level decays exponentially and was watched to half, else when it is half
    a step off, or as many volt as all cells of the level lose. Levels of a cell are averaged. Where a die has several
    cells they are compared with each other, so that dies may differ; where each has one, what dies differ by is in it.
    """
    times: list[tuple[MeasuredDecay, float]] = []
    for written in sorted({decay.written_v for decay in decays}):
        level = [decay for decay in decays if decay.written_v == written]
        times += [(x, math.log(t)) for x, t in zip(level, _times_s(level), strict=True) if t]
    cells = _by_cell(times)
    dies: dict[str, list[float]] = {}
    for (die, _), value in cells.items():
        dies.setdefault(die, []).append(value)
    inside = [values for values in dies.values() if len(values) > 1]
    how = "cells on one die compared with each other" if len(dies) > 1 else "cells of one die"
    if not inside:
        inside, how = [list(cells.values())], "one cell a die, so that what dies differ by is in it"
    count = sum(len(values) for values in inside)
    if count < 2:
        return None
    squares = sum(float(np.sum((np.array(values) - np.mean(values)) ** 2)) for values in inside)
    sigma = math.sqrt(squares / (count - len(inside)))
    return RetentionSpread(sigma=sigma, cells=count, source=f"measured, {name}, {count} cells; {how}")


def _times_s(level: Sequence[MeasuredDecay]) -> list[float | None]:
    """A retention time of each of a level's cells; None of all where they did not lose enough to compare."""
    far = all(decay.tau_s is not None and np.median(decay.left[-3:]) <= _HALF_GONE for decay in level)
    if far and _level(level[0].written_v, level).tau is not None:
        return [decay.tau_s for decay in level]
    lost_v = min(HALF_STEP_V, _COMPARED * min(float(decay.lost_v[-1]) for decay in level))
    noise_v = float(np.median([decay.noise * abs(decay.height_v) for decay in level]))
    if lost_v <= _SIGNIFICANT * noise_v or lost_v <= 1e-3:
        return [None] * len(level)
    return [decay.reaches_s(lost_v) for decay in level]


def _table(by_level: Sequence[Sequence[MeasuredDecay]]) -> RetentionTable:
    """What the middle one of each level's cells has left, as long as all were watched."""
    end = min(float(decay.time_s[-1]) for decays in by_level for decay in decays)
    times = np.unique(np.concatenate([x.time_s[x.time_s <= end] for decays in by_level for x in decays]))
    if len(times) > _TABLE_TIMES:
        times = times[np.unique(np.geomspace(1, len(times), _TABLE_TIMES).round().astype(int) - 1)]
    rows = [np.median([np.interp(times, x.time_s, x.smooth_v) for x in decays], axis=0) for decays in by_level]
    return RetentionTable(time=tuple(map(float, times)), stored=tuple(tuple(map(float, row)) for row in rows))
