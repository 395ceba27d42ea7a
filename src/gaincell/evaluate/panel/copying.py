"""Whether a model finds in its context what comes next: random tokens that come a second time."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel

#: Tokens that come a second time.
BLOCK = 64
#: Tokens between a token and its second coming.
DISTANCES = (64, 128, 256, 512, 900)


@dataclass(frozen=True)
class Copying:
    """How much of what came a second time a model predicted.

    Attributes:
        distance: tokens between both comings.
        right: predictions whose likeliest token was the right one.
        asked: predictions in all.
    """

    distance: int
    right: int
    asked: int

    @property
    def accuracy(self) -> float:
        """Share of predictions that were right."""
        return self.right / self.asked


def repeated_rows(words: Sequence[int], distance: int, rows: int, seed: int, block: int = BLOCK) -> torch.Tensor:
    """Rows of `distance` random tokens, no two of a row the same, of which the first `block` come again: (rows, T).

    Nothing but the context tells what comes next in the second coming. It is how heads that copy are told in the
    literature: sequences of random tokens that are repeated (Olsson et al. 2022, In-context Learning and Induction
    Heads, arXiv:2209.11895), here with a distance to be reached over, as where copying from a context of growing length
    is asked for (Jelassi et al. 2024, Repeat After Me, arXiv:2402.01032).

    Args:
        words: token ids to draw from, more than `distance`.
        distance: at least `block`.
        rows: how many.
        seed: of the draws; the same rows on every machine.
        block: tokens that come again.
    """
    generator = torch.Generator().manual_seed(seed * 100_003 + distance)
    drawn = [torch.randperm(len(words), generator=generator)[:distance] for _ in range(rows)]
    found = torch.tensor(list(words))[torch.stack(drawn)]
    return torch.cat((found, found[:, :block]), 1)


@torch.no_grad()
def copying(
    model: PreTrainedModel,
    words: Sequence[int],
    prefix: Sequence[int],
    *,
    rows: int,
    distances: Sequence[int] = DISTANCES,
    block: int = BLOCK,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> list[Copying]:
    """How often the likeliest next token is the right one once a block of random tokens has begun to come again.

    Its first token cannot be known and is not asked for: block - 1 predictions a row.

    Args:
        model: a causal language model, converted or not.
        words: token ids to draw from (`repeated_rows`).
        prefix: what stands in front of every row.
        rows: rows for each distance.
        distances: tokens between a token and its second coming.
        block: tokens that come again.
        seed: of the tokens.
        progress: called with the rows done.
    """
    found, done = [], 0
    for distance in distances:
        right = 0
        for row in repeated_rows(words, distance, rows, seed, block).split(1):
            ids = torch.cat((torch.tensor([list(prefix)], dtype=row.dtype), row), 1).to(model.device)
            guessed = model(ids, use_cache=False, logits_to_keep=block).logits[0, :-1].argmax(-1)
            right += int((guessed == ids[0, -block + 1 :]).sum())
            done += 1
            if progress is not None:
                progress(done)
        found.append(Copying(distance, right, rows * (block - 1)))
    return found
