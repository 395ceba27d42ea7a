"""Attention maps as the page carries them: a byte a weight, a lower triangle a head."""

import base64
from typing import TYPE_CHECKING

from gaincell.report.results import Map

if TYPE_CHECKING:
    from gaincell.models import AttentionMaps

#: Bytes of a page that all of its maps together may take, as base64.
BUDGET = 3_500_000
#: Tokens of a sentence at most: more cannot be told apart on a page.
LONGEST = 64


def tokens_that_fit(heads: int, models: int) -> int:
    """Tokens of a sentence whose maps, of so many heads in all layers and of so many models, keep to the budget."""
    tokens = LONGEST
    while tokens > 2 and models * heads * tokens * (tokens + 1) / 2 * 4 / 3 > BUDGET:
        tokens -= 1
    return tokens


def packed(maps: "AttentionMaps") -> Map:
    """Weights as the nearest n with weight (n/255)^2: off by 0.4 % of full scale at most, small ones by far less."""
    layers, heads, tokens, _ = maps.weights.shape
    lower = maps.weights.new_ones(tokens, tokens).tril().bool()
    found = (255.0 * maps.weights.clamp(0.0, 1.0).sqrt()).round().byte()[:, :, lower]
    pulses = [] if maps.pulses is None else maps.pulses.flatten().tolist()
    return {
        "weights": base64.b64encode(found.reshape(layers * heads, -1).numpy().tobytes()).decode("ascii"),
        "pulses": [float(f"{value:.3g}") for value in pulses],
    }


def moved(original: Map, other: Map, tokens: int) -> list[float]:
    """Total variation distance of two models' rows, mean over the queries, head by head: 0 the same, 1 disjoint.

    What a row lacks of 1, which is all of it where a query starts no pulse, counts as lying nowhere: a dead head's
    attention has moved altogether, from a dead head to a dead head nothing has.
    """
    import numpy as np

    size = tokens * (tokens + 1) // 2
    first, second = (
        (np.frombuffer(base64.b64decode(each["weights"]), np.uint8).reshape(-1, size) / 255.0) ** 2
        for each in (original, other)
    )
    query = np.repeat(np.arange(tokens), np.arange(1, tokens + 1))
    lacks = [np.stack([1.0 - rows[:, query == t].sum(1) for t in range(tokens)], 1) for rows in (first, second)]
    found = (np.abs(first - second).sum(1) + np.abs(np.subtract(*lacks)).sum(1)) / 2.0 / tokens
    return np.minimum(found, 1.0).tolist()  # packed rows may add up to a little more than 1
