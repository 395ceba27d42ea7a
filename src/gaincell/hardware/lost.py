"""What share of an array's cells has lost its level at an age, by how cells differ in retention."""

import math
from collections.abc import Sequence
from itertools import pairwise
from statistics import NormalDist

from gaincell.config import GainCellConfig


def share_lost(config: GainCellConfig, age_s: float) -> float | None:
    """Share of cells that are off by more than half a step at an age, all levels being stored alike often.

    A cell whose level the typical one keeps for K keeps it for K exp(sigma normal), so the share of a level's cells is
    Phi(ln(age / K) / sigma), of the normal distribution's Phi [of log-normal retention: Edri et al., IEEE Trans.
    Circuits Syst. I 63, 222 (2016)]. Half a step is half of what a level is from its nearest neighbour. Whichever of a
    pair's cells is off counts as a cell.

    Args:
        config: the design point; sigma is its `retention_spread`, else the cell file's.
        age_s: in s.

    Returns:
        None where no spread is known, or voltages are not quantised.
    """
    sigma = config.known_spread
    if sigma is None or config.stored_levels is None:
        return None
    levels = config.stored_voltages
    half = [min(abs(y - other) for other in levels if other != y) / 2 for y in levels]
    held = list(zip(levels, half, strict=True))
    if config.cell.polarity == "pair":
        held += [(-y, within) for y, within in held]
    return sum(_lost(age_s, kept_s(config, y, within), sigma) for y, within in held) / len(held)


def _lost(age_s: float, kept: float, sigma: float) -> float:
    if not (0.0 < age_s < math.inf and 0.0 < kept < math.inf):
        return float(age_s > kept)
    if sigma == 0.0:
        return float(age_s > kept)
    return NormalDist().cdf(math.log(age_s / kept) / sigma)


def kept_s(config: GainCellConfig, y: float, within_v: float) -> float:
    """How long the typical cell holds a voltage y above zero within so many volt, in s; infinite where it always does.

    By the exponential |y - e| (1 - e^{-t / tau}) towards e, or by the table: between its rows as they lie about y, and
    beyond its outermost two along their line. A voltage that may go so far after the table's end is taken to hold no
    longer than it says.
    """
    holds = config.cell.retention
    away = abs(y - holds.ends_at_v)
    if config.retention == "exponential" or holds.table is None:
        return -holds.tau_s * math.log1p(-within_v / away) if away > within_v else math.inf
    rows = sorted(holds.table.stored)
    n = next((n for n, row in enumerate(rows[1:-1], start=1) if row[0] >= y), len(rows) - 1)
    below, above = rows[n - 1], rows[n]
    part = (y - below[0]) / (above[0] - below[0])
    moved = [abs(a + part * (b - a) - y) for a, b in zip(below, above, strict=True)]
    last = holds.table.time[-1] if away > within_v * (1 + 1e-9) else math.inf
    return min(crossed(holds.table.time, moved, within_v), last) * holds.unit_s


def crossed(time: Sequence[float], moved_v: Sequence[float], within_v: float) -> float:
    """When a voltage has first moved so far, linear between times; infinite if it never does."""
    for (t, before), (later, after) in pairwise(zip(time, moved_v, strict=True)):
        if after > within_v:
            return t + (within_v - before) / (after - before) * (later - t)
    return math.inf
