"""Two models on the same items or texts: how they differ, and what so many can say about it."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, sqrt

from scipy.stats import binomtest, t

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


@dataclass(frozen=True)
class PairedTexts:
    """Two models' perplexities on the same texts.

    Attributes:
        ratio: perplexity of the other over that of the original.
        interval: its 95 % confidence interval; None of a single text.
    """

    ratio: float
    interval: tuple[float, float] | None


def compare_texts(original: Sequence[float], this: Sequence[float], words: Sequence[int]) -> PairedTexts:
    """Compare two models' log-likelihoods (nats) of the same texts of so many words, in the same order.

    The interval is that of a ratio of means over texts (Cochran, Sampling Techniques, 3rd ed., 1977, chapter 6), lost
    nats over words, with Student's t: texts are taken as drawn at random, and the words of one go together.
    """
    lost = [a - b for a, b in zip(original, this, strict=True)]
    texts, total = len(lost), sum(words)
    mean = sum(lost) / total
    if texts < 2:
        return PairedTexts(exp(mean), None)
    rest = sum((nats - mean * count) ** 2 for nats, count in zip(lost, words, strict=True))
    half = float(t.ppf(0.975, texts - 1)) * sqrt(texts * rest / (texts - 1)) / total
    return PairedTexts(exp(mean), (exp(mean - half), exp(mean + half)))
