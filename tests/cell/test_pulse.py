"""PulseLaw: a polyline that rises from no pulse to the longest."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from gaincell.cell import PulseLaw
from gaincell.cell.pulse import HARD_SIGMOID, circuit_law
from gaincell.circuit.pulse_curve import measured_law

GRID = np.linspace(-2.0, 3.0, 1001)


@st.composite
def laws(draw: st.DrawFn) -> PulseLaw:
    """Polylines of two to eight points, with and without jumps."""
    steps = draw(st.lists(st.tuples(st.floats(0.01, 0.5), st.floats(0.0, 1.0)), min_size=1, max_size=7))
    start, jump = draw(st.floats(-0.5, 0.5)), draw(st.booleans())
    at, width = [start], [0.0]
    for n, (length, height) in enumerate(steps):
        at.append(at[-1] + (0.0 if jump and n == len(steps) // 2 and len(steps) > 1 else length))
        width.append(width[-1] + height + 0.01)
    return PulseLaw(at=tuple(at), width=tuple(w / width[-1] for w in width), source="drawn")


@given(laws())
def test_a_law_rises_from_nothing_to_its_longest_pulse_and_goes_through_its_points(law: PulseLaw) -> None:
    phi = law(GRID)
    assert (np.diff(phi) >= -1e-12).all()
    assert not law(law.at[0])
    assert np.isclose(law(law.at[-1] + 1.0), law.width[-1])
    below = {a: w for a, w in reversed(list(zip(law.at, law.width, strict=True)))}  # at a jump, the lower one
    assert np.allclose(law(np.array(list(below))), list(below.values()))


@given(st.floats(0.2, 3.0), st.floats(-0.5, 0.5))
def test_gain_and_offset_of_a_circuit_are_a_law(gain: float, offset: float) -> None:
    law = circuit_law(gain, offset, "a test")
    assert np.allclose(law(GRID), np.where(GRID > 0, np.clip(gain * GRID + offset, 0, 1), 0))
    assert np.allclose(law.line, (gain, offset)) or offset > 0.1  # where a jump covers the first tenth


def test_the_default_is_a_clamp() -> None:
    assert np.array_equal(HARD_SIGMOID(GRID), np.clip(GRID, 0, 1))
    assert HARD_SIGMOID.line == pytest.approx((1.0, 0.0))


@pytest.mark.parametrize(
    ("at", "width", "told"),
    [
        ((0.0, 1.0, 2.0), (0.0, 1.0), "one width for each"),
        ((0.0, 1.0), (0.0, 1.1), "at 1 at most"),
        ((0.0, 1.0), (0.1, 1.0), "begin at 0"),
        ((0.0, 1.0), (0.0, 0.0), "end above it"),
        ((1.0, 0.0), (0.0, 1.0), "must not fall"),
        ((0.0, 1.0, 2.0), (0.0, 0.9, 0.5), "must not fall"),
        ((0.0, 0.0, 0.0), (0.0, 0.5, 1.0), "two points at most"),
        ((0.0, math.nan), (0.0, 1.0), "finite"),
    ],
)
def test_what_is_no_pulse_law_is_refused(at: tuple[float, ...], width: tuple[float, ...], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        PulseLaw(at=at, width=width, source="a test")


@given(laws(), st.integers(0, 1 << 30))
def test_a_law_is_found_again_at_the_charges_that_were_tried(law: PulseLaw, seed: int) -> None:
    draw = np.random.default_rng(seed)
    score = draw.permutation(np.concatenate((draw.uniform(-1.0, law.at[-1] + 0.5, 50), law.at, [-1.0, law.at[-1]])))
    assert np.allclose(measured_law(score, law(score), "simulated")(score), law(score))
