"""Two models on the same items: what their difference is, and what so many items can say about it."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

from scipy.stats import binomtest

#: Two-sided 95 % of a normal distribution.
Z95 = 1.959963984540054


@dataclass(frozen=True)
class Paired:
    """A difference in accuracy, between -1 and 1.

    Attributes:
        difference: accuracy of the other less that of the original.
        interval: its 95 % confidence interval.
        variance: of the difference, as the interval takes it.
        mcnemar_p: two-sided p-value of "neither is better": McNemar's exact test on the items that only one gets right.
        only_original: items that only the original gets right.
        only_this: items that only the other gets right.
    """

    difference: float
    interval: tuple[float, float]
    variance: float
    mcnemar_p: float
    only_original: int
    only_this: int


def compare(original: Sequence[bool], this: Sequence[bool]) -> Paired:
    """Compare two models' right and wrong answers, item by item, in the same order.

    The interval is Bonett and Price's (Journal of Educational and Behavioral Statistics 37, 479-488, 2012): Wald's
    after one item was added to each of the two discordant counts, which keeps its coverage where items are few. Its
    centre is therefore not quite the difference.

    Raises:
        ValueError: not as many of the one as of the other, or none.
    """
    only_original = sum(a and not b for a, b in zip(original, this, strict=True))
    only_this = sum(b and not a for a, b in zip(original, this, strict=True))
    items = len(original)
    if not items:
        raise ValueError("there are no items to compare")
    lost, won = (only_original + 1) / (items + 2), (only_this + 1) / (items + 2)
    variance = (lost + won - (won - lost) ** 2) / (items + 2)
    half = Z95 * sqrt(variance)
    discordant = only_original + only_this
    return Paired(
        difference=(only_this - only_original) / items,
        interval=(max(-1.0, won - lost - half), min(1.0, won - lost + half)),
        variance=variance,
        mcnemar_p=float(binomtest(only_this, discordant).pvalue) if discordant else 1.0,
        only_original=only_original,
        only_this=only_this,
    )
