"""Rows in which a passage comes a second time, so that a model learns to look things up in its context."""

import numpy as np
import torch

from gaincell.adapt.seeds import seeded


def copy_passages(ids: np.ndarray, share: float, prefix: int, seed: int) -> np.ndarray:
    """Let a passage come again in a share of the rows (N, T): anew, (N, T).

    Heads that look things up are what softmax's loss costs most, and ordinary text tells them little: its next word can
    mostly be guessed without them. A passage takes between a 32nd and a quarter of its row, and comes again anywhere
    behind itself, in place of what stood there. In every second of these rows its tokens are shuffled, the same way in
    both places, so that nothing but the context tells which comes next.

    Args:
        ids: rows of token ids.
        share: of the rows, in [0, 1].
        prefix: tokens at the beginning of every row that stay.
        seed: of which rows, and which passages.
    """
    found = ids.copy()
    generator = seeded("copied", seed)

    def draw(low: int, high: int) -> int:
        return int(torch.randint(low, high + 1, (1,), generator=generator))

    own = found[:, prefix:]
    length = own.shape[1]
    for number, place in enumerate(torch.randperm(len(ids), generator=generator)[: round(share * len(ids))].tolist()):
        tokens = draw(max(1, length // 32), max(1, length // 4))
        first = draw(0, length - 2 * tokens)
        again = draw(first + tokens, length - tokens)
        passage = own[place, first : first + tokens].copy()
        if number % 2:
            passage = passage[torch.randperm(tokens, generator=generator).numpy()]
        own[place, first : first + tokens] = own[place, again : again + tokens] = passage
    return found
