"""How sure a ratio of two perplexities is."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from gaincell.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Tokens that are drawn together, since the losses of neighbours go together (assumption: those further apart do not).
BLOCK = 64
_DRAWS = 10_000


def ratio_interval(losses: Sequence[float], baseline: Sequence[float], seed: int = 0) -> tuple[float, float] | None:
    """95 % interval of the ratio of two models' perplexities on the same tokens, by drawing blocks of the text anew.

    The percentile bootstrap of the mean difference of losses, over blocks of `BLOCK` tokens. It says what another
    passage of the same kind would give, and nothing about texts of another kind.

    Args:
        losses: negative log-likelihood of every token, in nats.
        baseline: the other model's, of the same tokens.
        seed: of the draws.

    Returns:
        Lower and upper bound, or None where the text has fewer than 8 blocks: too few to tell.

    Raises:
        InputError: different numbers of tokens.
    """
    means = _drawn_means(losses, baseline, np.random.default_rng(seed))
    return None if means is None else _edges(means)


def mean_ratio_interval(
    pairs: Sequence[tuple[Sequence[float], Sequence[float]]], seed: int = 0
) -> tuple[float, float] | None:
    """95 % interval of the geometric mean of the ratios of several texts, each drawn anew from its own blocks.

    It says what other passages of these very texts would give, and nothing about texts of another kind.

    Args:
        pairs: of each text the losses of both models, as `ratio_interval` takes them.
        seed: of the draws.

    Returns:
        Lower and upper bound, or None where a text has too few blocks, or there is no text.

    Raises:
        InputError: different numbers of tokens.
    """
    generator = np.random.default_rng(seed)
    means = [_drawn_means(losses, baseline, generator) for losses, baseline in pairs]
    drawn = [mean for mean in means if mean is not None]
    return _edges(np.mean(drawn, 0)) if drawn and len(drawn) == len(means) else None


def _drawn_means(
    losses: Sequence[float], baseline: Sequence[float], generator: np.random.Generator
) -> "NDArray[np.float64] | None":
    """The mean difference of each draw; None where there are too few blocks to draw from."""
    if len(losses) != len(baseline):
        raise InputError(f"losses of {len(losses)} and {len(baseline)} tokens cannot be paired; score the same text.")
    difference = np.subtract(losses, baseline)
    blocks = np.array_split(difference, max(len(difference) // BLOCK, 1))
    if len(blocks) < 8:
        return None
    sums, counts = np.array([block.sum() for block in blocks]), np.array([len(block) for block in blocks])
    drawn = generator.integers(len(blocks), size=(_DRAWS, len(blocks)))
    return sums[drawn].sum(1) / counts[drawn].sum(1)


def _edges(means: "NDArray[np.float64]") -> tuple[float, float]:
    low, high = np.quantile(means, (0.025, 0.975))
    return math.exp(low), math.exp(high)
