"""The pulse law phi(x): how long a pulse the charge of a column starts."""

import math
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

if TYPE_CHECKING:
    import numpy as np


class PulseLaw(BaseModel):
    """phi(x), the width of the pulse that a column starts, in units of the longest, of x = S / S_sat + preset.

    It is a polyline through the points (at, width), flat beyond its ends: HardSigmoid is the one through (0, 0) and
    (1, 1) [Leroux et al. 2025]. Two points with one `at` are a jump, which still has the lower width where it happens:
    a circuit that starts no pulse at a charge of zero, and one of some width at any above it.

    Attributes:
        at: x of the points (N,), N >= 2, ascending, in units of S_sat.
        width: phi there (N,), from 0 on, never falling, at most 1.
        source: where the points come from.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    at: tuple[float, ...] = Field(min_length=2, max_length=64)
    width: tuple[float, ...] = Field(min_length=2, max_length=64)
    source: str = Field(min_length=1)

    @model_validator(mode="after")
    def _rises(self) -> Self:
        if len(self.at) != len(self.width):
            raise ValueError(f"a pulse law needs one width for each x; got {len(self.width)} for {len(self.at)}")
        if any(b < a for points in (self.at, self.width) for a, b in pairwise(points)):
            raise ValueError("x and width of a pulse law must not fall from point to point")
        if self.width[0] != 0.0 or not 0.0 < self.width[-1] <= 1.0:
            raise ValueError("the widths of a pulse law must begin at 0 and end above it, at 1 at most")
        if len(self.at) > 2 and any(a == c for a, c in zip(self.at, self.at[2:], strict=False)):
            raise ValueError("a pulse law has two points at most at one x: below and above a jump")
        return self

    @property
    def ramps(self) -> tuple[tuple[float, float, float], ...]:
        """(x where it begins, its length, its slope) of every stretch between two points that lie apart."""
        points = list(zip(self.at, self.width, strict=True))
        return tuple((a, b - a, (above - below) / (b - a)) for (a, below), (b, above) in pairwise(points) if b > a)

    @property
    def jumps(self) -> tuple[tuple[float, float], ...]:
        """(x, height) of every jump."""
        points = list(zip(self.at, self.width, strict=True))
        return tuple((a, above - below) for (a, below), (b, above) in pairwise(points) if a == b)

    @property
    def line(self) -> tuple[float, float]:
        """Slope and height at x = 0 of the line through the points of a tenth and nine tenths of the longest pulse."""
        low, high = (self._reaches(share * self.width[-1]) for share in (0.1, 0.9))
        slope = 0.8 * self.width[-1] / (high - low) if high > low else math.inf
        return slope, 0.1 * self.width[-1] - slope * low

    def _reaches(self, width: float) -> float:
        """The x from which pulses are at least so wide."""
        n = next(n for n, found in enumerate(self.width) if found >= width)
        (a, b), (below, above) = self.at[n - 1 : n + 1], self.width[n - 1 : n + 1]
        return a + (b - a) * (width - below) / (above - below)

    def __call__(self, x: Any) -> "np.ndarray":
        """phi of numbers x, an array of any shape, in double precision."""
        import numpy as np

        x = np.asarray(x, float)
        phi = np.zeros_like(x)
        for start, length, slope in self.ramps:
            phi += slope * np.clip(x - start, 0.0, length)
        for start, height in self.jumps:
            phi += height * (x > start)
        return phi


#: phi(x) = clamp(x, 0, 1).
HARD_SIGMOID = PulseLaw(
    at=(0.0, 1.0), width=(0.0, 1.0), source="Leroux et al., Nature Computational Science 5, 813-824 (2025)"
)


def circuit_law(gain: float, offset: float, source: str) -> PulseLaw:
    """phi = clamp(gain x + offset, 0, 1) where x > 0, else 0: a charge-to-pulse circuit of which no more is known.

    Args:
        gain: above zero.
        offset: below 1, in units of the longest pulse; above zero it lengthens every pulse that there is.
        source: of both.
    """
    end = (1.0 - offset) / gain
    if offset > 0.0:
        return PulseLaw(at=(0.0, 0.0, end), width=(0.0, offset, 1.0), source=source)
    return PulseLaw(at=(-offset / gain, end), width=(0.0, 1.0), source=source)
