"""A charge law from measured data."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.polynomial import Polynomial

from gaincell.cell.csv_table import read_columns
from gaincell.cell.law import REFERENCE_VOLTAGE_V, PolynomialLaw
from gaincell.cell.polarity import Polarity, polarity_for, sign_of
from gaincell.cell.rising_law import falls, rising_fit, turns
from gaincell.errors import InputError

#: Huber's constant: 95 % of least squares' efficiency on normal noise (Huber, Ann. Math. Stat. 35, 73 (1964)).
_HUBER = 1.345
_FOLDS = 8
_HIGHEST_ORDER = 7
#: A law may be held to rise where that moves it by no more than this fraction of its range, as noise does.
_HELD = 0.05
#: A law is used from 0.45 V below its zero to 0.45 V above; data must reach this far to both sides, in V.
_REACH_V = 0.2
#: Residuals beyond so many robust deviations are counted as outliers.
_OUTLIER = 4.0


@dataclass(frozen=True)
class LawFit:
    """A law and how it was found.

    Attributes:
        law: of one cell, in C/s.
        polarity: how cells with that law store values.
        errors: cross-validated error of each order that was tried, from 1 on: mean absolute, as a fraction of the
            largest charge per time.
        deviation: robust standard deviation of the data from the law, in the same unit.
        outliers: how many points lie further than four of these from it.
        points: how many points there were.
        y_v: stored voltages above zero (points,), in V.
        rate_c_per_s: charge per second of pulse (points,), less the feedthrough that was fitted along, in C/s.
    """

    law: PolynomialLaw
    polarity: Polarity
    errors: tuple[float, ...]
    deviation: float
    outliers: int
    points: int
    y_v: np.ndarray
    rate_c_per_s: np.ndarray


def fit_law(path: Path, *, zero_v: float = 0.45, order: int | None = None, polarity: Polarity | None = None) -> LawFit:
    """Fit a charge law to a CSV file with `stored [V]`, and `charge [C]` with `width [s]`, or `current [A]`.

    Prefixes of units are understood. With several widths the charge at width zero (feedthrough) is fitted along and
    left out of the law. Outliers are weighed down (Huber); the order is the lowest whose cross-validated error is
    within one standard error of the best. A law that falls somewhere, or turns where the data are of one sign, is held
    not to, wherever laws are used.

    Args:
        path: the file.
        zero_v: stored voltage that stands for zero.
        order: of the polynomial; chosen by cross-validation if None.
        polarity: how such cells store values. None: push-pull where charges have both signs, else pairs.

    Raises:
        InputError: unusable data: columns or units missing, too few points, charges that do not rise with the stored
            voltage, or that cells of this polarity do not draw.
    """
    data = read_columns(path, {"stored": "V", "width": "s", "charge": "C", "current": "A"})
    y, rate, width = _quantities(path, data, zero_v)
    distinct = len(np.unique(np.round(y, 6)))
    if distinct < 6 or len(y) < 8:
        raise InputError(
            f"{path} has {len(y)} points at {distinct} stored voltages; at least 8 points at 6 voltages are needed."
        )
    highest = min(_HIGHEST_ORDER, distinct - 3)
    if order is not None and not 1 <= order <= highest:
        raise InputError(f"{path} has {distinct} stored voltages, too few for order {order}; take 1 to {highest}.")
    if y.min() > -_REACH_V or y.max() < _REACH_V:
        raise InputError(f"{path}: stored voltages must reach {_REACH_V} V and more to both sides of {zero_v:g} V.")
    if np.median(rate[y <= y.min() / 2]) >= np.median(rate[y >= y.max() / 2]):
        raise InputError(
            f"{path}: the charge does not always rise with the stored voltage, as it must; check the data, and if its "
            "sign is reversed, turn it."
        )
    sign = sign_of(y, rate)
    polarity = polarity_for(sign, polarity, str(path))
    largest = float(np.abs(rate).max())
    tried = _cross_validated(y, rate / largest, width, highest)
    chosen = order or _lowest_good(tried)
    coefficients = _robust_fit(_matrix(y, width, chosen), rate / largest) * largest
    held = _held(path, y, rate, width, coefficients, chosen, sign)
    source = f"measured, {path.name}, {len(y)} points, robust fit of order {chosen}"
    kept = "held to rise, and to the sign of the data" if sign else "held to rise"
    law = PolynomialLaw(
        coefficients=tuple(map(float, (coefficients if held is None else held)[: chosen + 1])),
        unit="C/s",
        source=source if held is None else f"{source}; {kept}",
    )
    residual = rate - _matrix(y, width, chosen) @ (coefficients if held is None else held)
    deviation = _deviation(residual)
    outliers = int((np.abs(residual) > _OUTLIER * max(deviation, 1e-6 * largest)).sum())
    errors = tuple(float(error.mean()) for error in tried)
    return LawFit(law, polarity, errors, deviation / largest, outliers, len(y), y, law(y) + residual)


def _held(
    path: Path,
    y: np.ndarray,
    rate: np.ndarray,
    width: np.ndarray | None,
    coefficients: np.ndarray,
    order: int,
    sign: int,
) -> np.ndarray | None:
    """The coefficients of a law that rises, and keeps the data's sign, wherever laws are used; None if it does already.

    The feedthrough and the weights of outliers stay those of the free fit.

    Raises:
        InputError: the data are far from any such law.
    """
    law, rest = coefficients[: order + 1], coefficients[order + 1 :]
    low, high = min(y.min(), -REFERENCE_VOLTAGE_V), max(y.max(), REFERENCE_VOLTAGE_V)
    if not falls(law, low, high) and not (sign and turns(law, low, high, sign)):
        return None
    residual = rate - _matrix(y, width, order) @ coefficients
    limit = _HUBER * max(_deviation(residual), 1e-12 * np.abs(rate).max())
    # An outlier pulls as one at Huber's limit would.
    free = Polynomial(law)(y)
    held = rising_fit(y, free + np.clip(residual, -limit, limit), order, sign=sign, reach=(low, high))
    if np.abs(Polynomial(held)(y) - free).max() > _HELD * np.ptp(free):
        raise InputError(
            f"{path}: the charge does not always rise with the stored voltage; check the data, give a lower order, or, "
            "if charges below zero were measured unsigned, give them their sign."
        )
    return np.append(held, rest)


def _quantities(
    path: Path, data: dict[str, np.ndarray], zero_v: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Stored voltage above zero, charge per time, and the pulse width where it varies."""
    if "stored" not in data:
        raise InputError(f"{path} has no column 'stored'; name the stored voltage 'stored [V]'.")
    y = data["stored"] - zero_v
    if "current" in data:
        return y, data["current"], None
    if "charge" not in data or "width" not in data:
        raise InputError(f"{path} needs 'charge [fC]' and 'width [ns]', or 'current [uA]', beside the stored voltage.")
    width = data["width"]
    if (width <= 0).any():
        raise InputError(f"{path} has a pulse width that is not above zero; remove that line.")
    several = np.ptp(width) > 1e-3 * width.max()
    with np.errstate(over="ignore"):
        rate = data["charge"] / width
    if not (np.abs(rate) < 1e9).all():
        raise InputError(f"{path} gives charges per time beyond 1e9 A; check the units of 'charge' and 'width'.")
    return y, rate, width if several else None


def _matrix(y: np.ndarray, width: np.ndarray | None, order: int) -> np.ndarray:
    """Columns of charge per time: y^i, and with several widths y^i / width (feedthrough)."""
    powers = np.vander(y, order + 1, increasing=True)
    return powers if width is None else np.hstack([powers, powers / (width[:, None] / width.max())])


def _robust_fit(matrix: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Coefficients by least squares, reweighted by Huber's function until they rest."""
    scale = np.abs(matrix).max(axis=0)
    weight = np.ones(len(target))
    coefficients = last = np.zeros(matrix.shape[1])
    for _ in range(50):
        root = np.sqrt(weight)
        coefficients = np.linalg.lstsq(matrix / scale * root[:, None], target * root, rcond=None)[0]
        residual = target - matrix / scale @ coefficients
        limit = _HUBER * max(_deviation(residual), 1e-12)
        weight = np.minimum(1, limit / np.maximum(np.abs(residual), limit))
        if np.allclose(coefficients, last, rtol=1e-9, atol=1e-12):
            break
        last = coefficients
    return coefficients / scale


def _deviation(residual: np.ndarray) -> float:
    """Robust standard deviation: the median absolute value, scaled for normal noise."""
    return float(np.median(np.abs(residual)) * 1.4826)


def _cross_validated(y: np.ndarray, rate: np.ndarray, width: np.ndarray | None, highest: int) -> list[np.ndarray]:
    """Absolute errors (points,) of predicting what was left out, for each order from 1 on."""
    # folds by stored voltage, so that no fold is predicted from repeats of the same point
    group = np.unique(np.round(y, 6), return_inverse=True)[1].ravel()
    folds = np.random.default_rng(0).permutation(group.max() + 1)[group] % min(_FOLDS, group.max() + 1)
    errors = []
    for order in range(1, highest + 1):
        matrix, error = _matrix(y, width, order), np.empty(len(y))
        for fold in range(folds.max() + 1):
            out = folds == fold
            error[out] = np.abs(rate[out] - matrix[out] @ _robust_fit(matrix[~out], rate[~out]))
        # an outlier is wrong for every order, and must not decide
        errors.append(np.minimum(error, np.median(error) * 10 + 1e-12))
    return errors


def _lowest_good(errors: list[np.ndarray]) -> int:
    """The lowest order within one standard error of the best."""
    best = min(errors, key=lambda error: error.mean())
    limit = best.mean() + best.std() / np.sqrt(len(best))
    return next(order for order, error in enumerate(errors, start=1) if error.mean() <= limit)
