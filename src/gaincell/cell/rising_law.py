"""The nearest polynomial that rises throughout, and keeps one sign where it must, where least squares alone do not."""

import numpy as np
from numpy.polynomial import Polynomial

#: How steep it is at least, as a fraction of the mean slope, and at how many places that is asked for.
_LEAST, _PLACES = 0.01, 257
#: How much values of one sign may fall from one to the next, as a fraction of their range.
_FLAT = 1e-3


def falls(coefficients: np.ndarray, low: float, high: float) -> bool:
    """Whether sum_i c_i y^i does not rise somewhere from `low` to `high`."""
    return bool((Polynomial(coefficients).deriv()(np.linspace(low, high, 1025)) <= 0).any())


def turns(coefficients: np.ndarray, low: float, high: float, sign: int) -> bool:
    """Whether sum_i c_i y^i, which rises, has another sign than `sign` somewhere from `low` to `high`."""
    return bool(sign * Polynomial(coefficients)(low if sign > 0 else high) < 0)


def nearest_law(
    y: np.ndarray, values: np.ndarray, order: int, sign: int = 0, reach: tuple[float, float] | None = None
) -> tuple[np.ndarray, bool]:
    """Coefficients, lowest order first, of the polynomial of `order` nearest to `values` at y (both (points,)).

    Where `values` rise and that one falls somewhere it is held to rise, and that is told; likewise one that turns where
    values are of one sign, `sign`, which is 0 where they have both. Those of one sign may stay where they are, too, as
    those of a transistor that is off do, but for a thousandth of their range. `reach`: from where to where, over the
    range of y if None.
    """
    nearest = np.polynomial.polynomial.polyfit(y, values, order)
    low, high = reach or (y[0], y[-1])
    wrong = falls(nearest, low, high) or (sign and turns(nearest, low, high, sign))
    rise = np.diff(values)
    flat = sign and np.ptp(values) > 0 and (rise >= -_FLAT * np.ptp(values)).all()
    if wrong and ((rise > 0).all() or flat):
        return rising_fit(y, values, order, sign=sign, reach=reach), True
    return nearest, False


def rising_fit(
    y: np.ndarray,
    values: np.ndarray,
    order: int,
    *,
    sign: int = 0,
    reach: tuple[float, float] | None = None,
) -> np.ndarray:
    """Coefficients, lowest order first, of the polynomial nearest to `values` that rises over the range of y.

    Least squares with inequalities, as a least distance problem and its dual, which has no negative unknowns [Lawson
    and Hanson, Solving Least Squares Problems, 1974, chapter 23].

    Args:
        y: where (points,).
        values: what it is near to, which rises from the first to the last (points,).
        order: of the polynomial.
        sign: 1 or -1 where it must not have the other sign there, 0 where it may.
        reach: from where to where it rises; over the range of y if None.
    """
    low, high = reach or (y.min(), y.max())
    scale, size = np.abs(y).max(), np.ptp(values)
    q, r = np.linalg.qr(np.vander(y / scale, order + 1, increasing=True))
    places = np.linspace(low, high, _PLACES) / scale
    slopes = np.vander(places, order, increasing=True) * np.arange(1, order + 1)
    slopes, least = np.hstack([np.zeros((_PLACES, 1)), slopes]), np.full(_PLACES, _LEAST * scale / np.ptp(y))
    if sign:  # what rises has the least of one sign at one end
        end = (low if sign > 0 else high) / scale
        slopes, least = np.vstack([slopes, sign * end ** np.arange(order + 1)]), np.append(least, 0.0)
    slopes = np.linalg.solve(r.T, slopes.T).T
    nearest = q.T @ values / size
    wanted = least - slopes @ nearest
    dual, one = np.vstack([slopes.T, wanted]), np.append(np.zeros(order + 1), 1.0)
    rest = dual @ _not_negative(dual, one) - one
    found = np.linalg.solve(r, nearest - rest[:-1] / rest[-1])
    return found * size / scale ** np.arange(order + 1)


def _not_negative(matrix: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Least squares without negative unknowns: algorithm NNLS of chapter 23."""
    found, free = np.zeros(matrix.shape[1]), np.zeros(matrix.shape[1], bool)
    for _ in range(3 * len(found)):
        gain = np.where(free, -np.inf, matrix.T @ (target - matrix @ found))
        if gain.max() <= 1e-10:
            break
        free[gain.argmax()] = True
        while True:
            wanted = np.zeros_like(found)
            wanted[free] = np.linalg.lstsq(matrix[:, free], target, rcond=None)[0]
            below = free & (wanted <= 0)
            if not below.any():
                found = wanted
                break
            found += (found[below] / (found[below] - wanted[below])).min() * (wanted - found)
            free &= found > 1e-12
            found[~free] = 0.0
    return found
