"""Losses of two models on the same windows, and how far apart what they predict is."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel

#: Positions whose distributions over the vocabulary are in memory at once.
_AT_ONCE = 128


@dataclass(frozen=True)
class Scores:
    """Per scored token, in nats, in the order of the text.

    Attributes:
        losses: negative log-likelihood under the model.
        original: the same under the original.
        divergence: KL(original || model) of the distributions over the whole vocabulary.
    """

    losses: list[float]
    original: list[float]
    divergence: list[float]


def windows(ids: Sequence[int], prefix: Sequence[int], length: int) -> list[list[int]]:
    """A text's tokens in windows that do not overlap, each with the prefix in front and of at most `length` with it.

    The last one may be shorter; a token on its own behind no prefix, which cannot be scored, is left out.
    """
    own = length - len(prefix)
    found = [[*prefix, *ids[start : start + own]] for start in range(0, len(ids), own)]
    return [window for window in found if len(window) > max(1, len(prefix))]


@torch.no_grad()
def score(
    original: PreTrainedModel,
    model: PreTrainedModel | None,
    rows: Sequence[Sequence[int]],
    prefix: int,
    progress: Callable[[int], None] | None = None,
) -> Scores:
    """Score windows token by token under both models, window by window, so that no distribution is kept.

    Args:
        original: the model as it came.
        model: another of the same vocabulary; None scores the original alone, and `losses` and `divergence` are empty.
        rows: windows of token ids. Every token is scored but those of the prefix and, without one, the first.
        prefix: how many special tokens stand in front of each.
        progress: called with the windows done.
    """
    found = Scores([], [], [])
    for number, row in enumerate(rows, 1):
        ids = torch.tensor([row])
        targets, first = ids[0, 1:], max(prefix - 1, 0)
        theirs = _logits(original, ids)
        ours = None if model is None else _logits(model, ids)
        for start in range(first, len(targets), _AT_ONCE):
            part = slice(start, min(start + _AT_ONCE, len(targets)))
            p = theirs[part].float().log_softmax(-1)
            found.original.extend(_picked(p, targets[part]))
            if ours is not None:
                q = ours[part].float().log_softmax(-1).to(p.device)
                found.losses.extend(_picked(q, targets[part]))
                found.divergence.extend((p.exp() * (p - q)).sum(-1, dtype=torch.float64).tolist())
        if progress is not None:
            progress(number)
    return found


def _logits(model: PreTrainedModel, ids: Tensor) -> Tensor:
    """What follows each token but the last, (T - 1, vocabulary)."""
    return model(ids.to(model.device), use_cache=False).logits[0, :-1]


def _picked(log_probabilities: Tensor, targets: Tensor) -> list[float]:
    targets = targets.to(log_probabilities.device)
    return (-log_probabilities.gather(1, targets[:, None])[:, 0]).double().tolist()
