"""The nearest polynomial that rises."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.polynomial import Polynomial

from gaincell.cell.rising_law import falls, rising_fit

Y = np.linspace(-0.45, 0.45, 19)


def error(coefficients: np.ndarray, values: np.ndarray) -> float:
    return float(np.square(Polynomial(coefficients)(Y) - values).sum())


@given(st.integers(1, 11), st.lists(st.floats(0.001, 1), min_size=18, max_size=18), st.sampled_from((1.0, 1e-6)))
def test_it_rises_and_no_rising_polynomial_is_nearer(order: int, steps: list[float], size: float) -> None:
    values = size * (np.cumsum([0.0, *steps]) - sum(steps) / 2)
    found = rising_fit(Y, values, order)
    assert len(found) == order + 1
    assert not falls(found, Y[0], Y[-1])
    nearest = np.polynomial.polynomial.polyfit(Y, values, order)
    least = error(nearest, values)
    # steep enough everywhere, so that nothing holds it
    if Polynomial(nearest).deriv()(np.linspace(Y[0], Y[-1], 1025)).min() > 0.011 * np.ptp(values) / 0.9:
        assert error(found, values) == pytest.approx(least, rel=1e-6, abs=1e-12 * size**2)
    # A step towards any other rising polynomial is a step away from the values: so it is where a convex set is nearest.
    rng = np.random.default_rng(order)
    for _ in range(5):
        other = (Polynomial(rng.uniform(-1, 1, max(1, (order + 1) // 2))) ** 2).integ().coef
        other = np.pad(other, (0, order + 1 - len(other))) * np.ptp(values) + found
        assert error(0.999 * found + 0.001 * other, values) >= error(found, values) * (1 - 1e-9)


def test_a_wave_that_the_data_do_not_have_is_left_out() -> None:
    values = Y**7 * 50 + 0.02 * Y
    free = np.polynomial.polynomial.polyfit(Y, values, 5)
    assert falls(free, Y[0], Y[-1])
    found = rising_fit(Y, values, 5)
    assert not falls(found, Y[0], Y[-1])
    assert error(free, values) < error(found, values) < error(np.polynomial.polynomial.polyfit(Y, values, 3), values)
