"""The front, what it spans, where it bends, what others lack, and how one of it is picked."""

import itertools
import math
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gaincell import InputError
from gaincell.explore import Point, front, hypervolumes, knee, lacks, pick
from gaincell.explore.picking import file_stem

NAMES = ("kl", "energy_j", "latency_s")
FOUR = (*NAMES, "area_m2")


def points_of(figures: list[tuple[float, ...]]) -> list[Point]:
    return [Point(i, {"x": i}, "as_is", dict(zip(FOUR, own, strict=False))) for i, own in enumerate(figures)]


SOME = st.lists(st.tuples(*[st.sampled_from([1.0, 2.0, 4.0, 8.0])] * 3), min_size=1, max_size=12)


@given(SOME)
@settings(max_examples=30)
def test_the_front_is_what_no_other_beats(figures: list[tuple[float, ...]]) -> None:
    points = points_of(figures)
    best = front(points, NAMES)
    for point in points:
        beaten = any(
            all(a <= b for a, b in zip(other, point.of(NAMES), strict=True)) and other != point.of(NAMES)
            for other in figures
        )
        assert (point in best) != beaten
        assert bool(lacks(point, best, NAMES)) == beaten
    assert knee(best, NAMES) in best


@given(SOME, st.sampled_from([2, 3]))
@settings(max_examples=60)
def test_the_hypervolume_is_the_share_of_the_box_that_is_beaten(every_figure: list[tuple[float, ...]], of: int) -> None:
    """Figures are powers of two: the box falls into cells, each beaten as a whole or not at all."""
    figures = [own[:of] for own in every_figure]
    points = points_of(figures)
    found = hypervolumes(points, NAMES[:of])
    assert all(a <= b + 1e-12 for a, b in itertools.pairwise(found))
    low, high = ([end(column) for column in zip(*figures, strict=True)] for end in (min, max))
    cells = [[2.0**i for i in range(4) if a <= 2.0**i < b] for a, b in zip(low, high, strict=True)]
    if not all(cells):  # figures that are all alike span no box
        return
    every = list(itertools.product(*cells))
    beaten = sum(any(all(a <= b for a, b in zip(own, cell, strict=True)) for own in figures) for cell in every)
    assert found[-1] == pytest.approx(beaten / len(every))


def test_many_points_take_no_long_and_a_fourth_objective_is_left_out() -> None:
    """Points none of which beats another, the worst case."""
    angles = [(i + 0.5) / 300 * math.pi / 2 for i in range(300)]
    figures = [(1.1 - math.sin(a), 1.1 - math.cos(a) * math.cos(7 * a) ** 2, 1.1 - math.cos(a)) for a in angles]
    start = time.process_time()
    assert 0 < hypervolumes(points_of(figures), NAMES)[-1] < 1
    assert time.process_time() - start < 5
    assert hypervolumes(points_of([(*own, 1.0) for own in figures]), FOUR) == []


def test_limits_and_refusals_are_no_front() -> None:
    good, beyond, refused = (
        Point(0, {}, "as_is", {"kl": 2.0, "energy_j": 2.0}),
        Point(1, {}, "as_is", {"kl": 1.0, "energy_j": 1.0}, None, False),
        Point(2, {}, "as_is", {}, "no."),
    )
    every = [good, beyond, refused]
    assert front(every, NAMES[:2]) == [good]
    assert [lacks(point, [good], NAMES[:2]) for point in every] == ["", "beyond a limit", "no."]
    assert hypervolumes(every, NAMES[:2])[1:] == hypervolumes(every, NAMES[:2])[:1] * 2


def test_what_a_point_lacks_is_told_beside_the_nearest_that_beats_it() -> None:
    points = points_of([(1.0, 8.0), (2.0, 2.0), (3.0, 2.0)])
    best = front(points, NAMES[:2])
    assert lacks(points[2], best, NAMES[:2]) == "×1.5 kl of point 1"


def test_picks() -> None:
    points = points_of([(1.0, 8.0), (2.0, 2.0), (8.0, 1.0), (9.0, 9.0)])
    names = NAMES[:2]
    assert pick(points, names, "knee").number == 1
    assert pick(points, names, "energy_j<8").number == 1
    assert pick(points, names, "energy_j<=8").number == 0
    assert pick(points, names, "kl < 5").number == 1
    assert pick(points, names, "kl>1.5, energy_j<2").number == 2


def test_picks_are_called_by_what_they_ask_for() -> None:
    """Other conditions have other files; the same one, written otherwise, has the same."""
    words = [
        "knee",
        *(f"kl{sign}1e{of}16" for sign in ("<", "<=", ">", ">=") for of in "+-"),
        "kl<1,energy_j<1",
        "kl<1",
    ]
    assert len({file_stem(word).lower() for word in words}) == len(words)
    assert (
        file_stem("kl < 1, energy_j<2e-6")
        == file_stem("kl<1.0,energy_j<2.0e-6")
        == ("kl-below-1.0-and-energy_j-below-2e-06")
    )


@pytest.mark.parametrize("word", ["knees", "energy<2", "energy_j=2", "energy_j<few", ""])
def test_what_picks_nothing_is_refused(word: str) -> None:
    with pytest.raises(InputError, match="--pick"):
        pick([], NAMES, word)


def test_nothing_to_pick_is_refused() -> None:
    with pytest.raises(InputError, match="there is no point yet"):
        pick([], NAMES, "knee")
    with pytest.raises(InputError, match="none of the 1 points of the front meets it"):
        pick(points_of([(1.0, 1.0)]), NAMES[:2], "energy_j<1")
