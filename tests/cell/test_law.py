"""The charge law."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from gaincell.cell import PolynomialLaw, load_cell

# The published two-variable fit, f(y, V_in) = sum_ij C_ij y^i V_in^j.
PUBLISHED = {
    (0, 0): 0.17393044,
    (0, 1): 0.15653739,
    (0, 2): 0.14088365,
    (0, 3): 0.12679529,
    (1, 0): 5.51975209,
    (1, 1): 4.96777688,
    (1, 2): 4.4709992,
    (2, 0): -1.44776001,
    (2, 1): -1.30298401,
    (3, 0): 46.05483778,
}
WORD_LINE_V = 0.9

coefficients = st.lists(
    st.floats(-1e3, 1e3).map(lambda c: c if abs(c) > 1e-6 else 0.0), min_size=2, max_size=12
).filter(lambda c: any(c[1:]))


def law(*c: float, unit: str = "model") -> PolynomialLaw:
    return PolynomialLaw.model_validate({"coefficients": c, "unit": unit, "source": "a test"})


def test_cubic_coefficients_follow_from_the_published_fit() -> None:
    derived = [0.0] * 4
    for (i, j), c in PUBLISHED.items():
        derived[i] += c * WORD_LINE_V**j
    assert load_cell("leroux2025").law.coefficients == pytest.approx(derived, rel=0, abs=1e-9)


def test_linear_preset() -> None:
    assert load_cell("leroux2025-linear").law(0.45) == pytest.approx(19.3 * 0.45)


def test_published_law_reads_10_313_at_its_reference() -> None:
    assert load_cell("leroux2025").law(0.45) == pytest.approx(10.313, abs=5e-4)


@given(c=coefficients, y=st.floats(-1, 1))
def test_value_is_the_sum_of_powers(c: list[float], y: float) -> None:
    terms = [ci * y**i for i, ci in enumerate(c)]
    assert law(*c)(y) == pytest.approx(math.fsum(terms), rel=1e-12, abs=1e-12 * sum(map(abs, terms)))


def test_array_keeps_its_shape() -> None:
    y = np.linspace(-0.45, 0.45, 6).reshape(2, 3)
    values = load_cell("leroux2025").law(y)
    assert values.shape == (2, 3)
    assert values[1, 2] == load_cell("leroux2025").law(0.45)


@given(c=coefficients, y=st.floats(-0.9, 0.9))
def test_derivative_is_the_slope(c: list[float], y: float) -> None:
    f, h = law(*c), 1e-4
    numeric = (f(y + h) - f(y - h)) / (2 * h)
    # central difference: error h^2/6 times the third derivative, at most sum i(i-1)(i-2)|c_i|, and rounding
    scale = sum(i**3 * abs(ci) for i, ci in enumerate(c))
    assert f.derivative()(y) == pytest.approx(numeric, rel=0, abs=scale * (h**2 / 6 + 1e-11) + 1e-11 * abs(c[0]))


def test_derivative_of_a_line_is_constant() -> None:
    slope = law(0.5, 19.3).derivative()
    assert slope.coefficients == (19.3,)
    assert slope(0.3) == 19.3
    assert np.array_equal(slope(np.zeros(3)), np.full(3, 19.3))


@given(
    c=st.lists(st.floats(0, 1).map(lambda x: x if x > 1e-6 else 0.0), min_size=2, max_size=12).filter(
        lambda c: any(c[1:])
    ),
    exponent=st.integers(-15, 3),
)
def test_charge_law_is_rescaled_and_its_factor_kept(c: list[float], exponent: int) -> None:
    given_law = law(*(x * 10.0**exponent for x in c), unit="C/s")
    scaled, factor = given_law.in_model_scale()
    assert scaled.unit == "model"
    assert scaled(0.45) == pytest.approx(10.313, rel=1e-12)
    for y in (-0.45, 0.0, 0.2):
        assert scaled(y) * factor == pytest.approx(given_law(y), rel=1e-9, abs=1e-12 * given_law(0.45))


def test_law_in_model_units_stays() -> None:
    cubic = load_cell("leroux2025").law
    assert cubic.in_model_scale() == (cubic, 1.0)


@pytest.mark.parametrize("c", [(0, -1e-6), (1.7e308, 1.7e308, 1.7e308), (0, 5e-324), (0, -1, 1e300, -2.3e300)])
def test_charge_law_that_cannot_be_rescaled_is_refused(c: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="positive, finite charge"):
        law(*c, unit="C/s").in_model_scale()


@pytest.mark.parametrize("c", [(), (1,), (1, 0), (0, math.nan), (math.inf, 1), tuple(range(13))])
def test_unusable_coefficients_are_refused(c: tuple[float, ...]) -> None:
    with pytest.raises(ValidationError, match="coefficients"):
        law(*c)
