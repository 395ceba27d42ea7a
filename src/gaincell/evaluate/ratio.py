"""How sure a ratio of two perplexities is."""

import math
from collections.abc import Sequence

import numpy as np

from gaincell.errors import InputError

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
    if len(losses) != len(baseline):
        raise InputError(f"losses of {len(losses)} and {len(baseline)} tokens cannot be paired; score the same text.")
    difference = np.subtract(losses, baseline)
    blocks = np.array_split(difference, max(len(difference) // BLOCK, 1))
    if len(blocks) < 8:
        return None
    sums, counts = np.array([block.sum() for block in blocks]), np.array([len(block) for block in blocks])
    drawn = np.random.default_rng(seed).integers(len(blocks), size=(_DRAWS, len(blocks)))
    low, high = np.quantile(sums[drawn].sum(1) / counts[drawn].sum(1), (0.025, 0.975))
    return math.exp(low), math.exp(high)
