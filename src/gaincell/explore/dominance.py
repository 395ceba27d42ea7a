"""Which points no other beats, how much they span, and what the others lack."""

import bisect
import math
from collections.abc import Sequence

from gaincell.explore.point import Point


def beats(a: Sequence[float], b: Sequence[float]) -> bool:
    """Whether figures are nowhere worse, and somewhere better: less is better."""
    return all(x <= y for x, y in zip(a, b, strict=True)) and tuple(a) != tuple(b)


def front(points: Sequence[Point], objectives: Sequence[str]) -> list[Point]:
    """The points that keep all limits and that no other of these beats, by their first objective."""
    able = [point for point in points if point.refused is None and point.feasible]
    best = [one for one in able if not any(beats(other.of(objectives), one.of(objectives)) for other in able)]
    return sorted(best, key=lambda point: (*point.of(objectives), point.number))


def lacks(point: Point, best: Sequence[Point], objectives: Sequence[str]) -> str:
    """What keeps a point from the front, in a few words; nothing for one that is in it."""
    if point.refused is not None:
        return point.refused
    if not point.feasible:
        return "beyond a limit"
    own = point.of(objectives)
    better = [other for other in best if beats(other.of(objectives), own)]
    if not better:
        return ""
    nearest = min(better, key=lambda other: math.dist(_logs(other.of(objectives)), _logs(own)))
    more = [
        f"{_times(mine, theirs)} {name}"
        for name, mine, theirs in zip(objectives, own, nearest.of(objectives), strict=True)
        if mine > theirs
    ]
    return f"{' and '.join(more)} of point {nearest.number}"


def knee(best: Sequence[Point], objectives: Sequence[str]) -> Point | None:
    """Where the front bends: the point nearest to the corner that is best in all objectives.

    Every objective is taken by its logarithm, from 0 at the front's least to 1 at its largest: figures are of different
    units, and span decades. None of an empty front.
    """
    scaled = _unit([point.of(objectives) for point in best])
    return min(zip(scaled, best, strict=True), key=lambda pair: math.hypot(*pair[0]), default=(None, None))[1]


def hypervolumes(points: Sequence[Point], objectives: Sequence[str]) -> list[float]:
    """How much the points found so far beat, after each of them: a share of the box that all of them span.

    In logarithms of the objectives, as `knee` has them; the box's worst corner is the largest of each figure. Of more
    than three objectives, whose boxes no sweep adds up, nothing.
    """
    if len(objectives) > 3:
        return []
    able = [point for point in points if point.refused is None and point.feasible]
    scaled = dict(zip([point.number for point in able], _unit([x.of(objectives) for x in able]), strict=True))
    found, seen, volume = [], [], 0.0
    for point in points:
        if point.number in scaled:
            now = scaled[point.number]
            if not any(before == now or beats(before, now) for before in seen):
                seen = [before for before in seen if not beats(now, before)] + [now]
                volume = _volume(seen)
        found.append(volume)
    return found


def _volume(points: Sequence[Sequence[float]]) -> float:
    """Volume that points in the unit box beat, down to the corner (1, 1, 1); of two figures the third is taken as 0.

    A sweep along the third axis, over the staircase that those met so far make of the other two [Fonseca, Paquete and
    Lopez-Ibanez 2006]: each point enters and leaves the stairs once.
    """
    stairs: list[tuple[float, float]] = []  # x grows, y falls
    volume, area, level = 0.0, 0.0, 0.0
    for x, y, z in sorted(((*point, 0.0)[:3] for point in points), key=lambda point: point[2]):
        volume, level = volume + area * (z - level), z
        first = bisect.bisect_left(stairs, (x, y))
        height = stairs[first - 1][1] if first else 1.0
        if height <= y:
            continue
        last, start = first, x
        while last < len(stairs) and stairs[last][1] >= y:
            area += (stairs[last][0] - start) * (height - y)
            (start, height), last = stairs[last], last + 1
        area += ((stairs[last][0] if last < len(stairs) else 1.0) - start) * (height - y)
        stairs[first:last] = [(x, y)]
    return volume + area * (1.0 - level)


def _unit(every: Sequence[Sequence[float]]) -> list[tuple[float, ...]]:
    """Logarithms, each from 0 at the least to 1 at the largest."""
    if not every:
        return []
    logs = [_logs(one) for one in every]
    low, high = ([end(column) for column in zip(*logs, strict=True)] for end in (min, max))
    return [tuple((x - a) / (b - a) if b > a else 0.0 for x, a, b in zip(one, low, high, strict=True)) for one in logs]


def _logs(figures: Sequence[float]) -> tuple[float, ...]:
    # A divergence may be zero, or below by rounding.
    return tuple(math.log(max(x, 1e-12)) for x in figures)


def _times(mine: float, theirs: float) -> str:
    return f"×{mine / theirs:.4g}" if theirs > 0 else "more than the"
