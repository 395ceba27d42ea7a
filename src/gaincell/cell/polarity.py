"""Polarity: how cells whose charge may be of one sign store a value that has two."""

from typing import TYPE_CHECKING, Literal

from gaincell.cell.law import REFERENCE_VOLTAGE_V, PolynomialLaw
from gaincell.errors import InputError

if TYPE_CHECKING:
    import numpy as np

#: "push_pull": a cell takes and gives charge, and is a value alone. "pair": a value y is the charge of a cell written
#: at zero + y less that of one written at zero - y. "reference": it is the charge of a cell written at zero + y less
#: that of a reference cell at zero, which many cells share.
Polarity = Literal["push_pull", "pair", "reference"]

#: How far beyond zero a law still counts as one of one sign, as a fraction of its range: what a fit leaves near zero.
_SIGN_TOLERANCE = 1e-3
_PLACES = 257
#: A charge of the other sign below this fraction of the largest is leakage, or noise of a bench or a solver.
_OTHER_SIGN = 0.02

#: Why cells of one sign are taken for pairs where nothing else is asked for.
WHY_PAIR = (
    "The cell's charge is of one sign, so a value takes a pair of cells, written at zero + y and zero - y: values of "
    "both signs then draw alike, and what leaks from both cells alike cancels. Beside a shared reference (--polarity "
    "reference) a value takes one cell, whose law is as curved as the cell's own."
)


def value_law(law: PolynomialLaw, polarity: Polarity) -> PolynomialLaw:
    """The charge of a value y as it is written, as a law of the same unit, from the law g of one cell.

    g(y) of a push-pull cell, the very same object; g(y) - g(-y) of a pair; g(y) - g(0) with a reference.
    """
    if polarity == "push_pull":
        return law
    if polarity == "pair":  # even powers cancel, odd ones come twice
        coefficients = tuple(2.0 * c if i % 2 else 0.0 for i, c in enumerate(law.coefficients))
    else:
        coefficients = (0.0, *law.coefficients[1:])
    return law.model_copy(update={"coefficients": coefficients})


def strongest_v(law: PolynomialLaw, polarity: Polarity) -> float:
    """Where figures of a whole cell are taken, in V above its zero: +0.45 V.

    A cell of one sign that gives its bit line charge instead of drawing it gives most at -0.45 V.
    """
    one_sign, top = polarity != "push_pull", REFERENCE_VOLTAGE_V
    return -top if one_sign and -law(-top) > law(top) else top


def is_one_signed(law: PolynomialLaw, low: float, high: float) -> bool:
    """Whether g(y) has one sign from `low` to `high`, but for a thousandth of its range."""
    values = [law(low + (high - low) * n / (_PLACES - 1)) for n in range(_PLACES)]
    slack = _SIGN_TOLERANCE * (max(values) - min(values))
    return min(values) >= -slack or max(values) <= slack


def sign_of(y: "np.ndarray", charge: "np.ndarray") -> int:
    """The sign of charges at voltages y above zero (both (points,)) that have one: 1 or -1; 0 where they have both.

    By the medians of the outer half of either side, so that neither outliers nor noise decide.
    """
    import numpy as np

    low, high = np.median(charge[y <= y.min() / 2]), np.median(charge[y >= y.max() / 2])
    least = _OTHER_SIGN * max(abs(low), abs(high))
    if low < -least and high > least:
        return 0
    return 1 if high > -low else -1


def polarity_for(sign: int, asked: Polarity | None, what: str) -> Polarity:
    """How cells whose charge has that sign, 0 for both, store values: as was asked for, else as they can.

    Raises:
        InputError: cells of `what` cannot store values as was asked for.
    """
    if asked is None:
        return "pair" if sign else "push_pull"
    if sign and asked == "push_pull":
        raise InputError(
            f"{what}: the charge is of one sign, so polarity 'push_pull' does not serve it; use 'pair' or 'reference'."
        )
    if not sign and asked != "push_pull":
        raise InputError(
            f"{what}: the charge has both signs, so polarity '{asked}' does not serve it; use 'push_pull'."
        )
    return asked
