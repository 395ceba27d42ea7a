"""Polarity: how cells whose charge may be of one sign store a value that has two."""

from typing import Literal

from gaincell.cell.law import PolynomialLaw

#: "push_pull": a cell takes and gives charge, and is a value alone. "pair": a value y is the charge of a cell written
#: at zero + y less that of one written at zero - y. "reference": it is the charge of a cell written at zero + y less
#: that of a reference cell at zero, which many cells share.
Polarity = Literal["push_pull", "pair", "reference"]

#: How far beyond zero a law still counts as one of one sign, as a fraction of its range: what a fit leaves near zero.
_SIGN_TOLERANCE = 1e-3
_PLACES = 257


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


def is_one_signed(law: PolynomialLaw, low: float, high: float) -> bool:
    """Whether g(y) has one sign from `low` to `high`, but for a thousandth of its range."""
    values = [law(low + (high - low) * n / (_PLACES - 1)) for n in range(_PLACES)]
    slack = _SIGN_TOLERANCE * (max(values) - min(values))
    return min(values) >= -slack or max(values) <= slack
