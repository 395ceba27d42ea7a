"""A text to test on must not be among what was learned from."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gaincell.adapt.run.folder import Run
from gaincell.errors import InputError
from gaincell.files import reading
from gaincell.models.tensorfile import read_tensors

#: Tokens of a window: what two texts have in common by chance is shorter.
WINDOW = 32

#: Rows that are hashed at once.
_ROWS = 4096

#: Odd constants of splitmix64, which spreads neighbouring token ids over all 64 bits.
_STEP, _MIX1, _MIX2 = (np.uint64(c) for c in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))


def check_held_out(training: Tensor, evaluation: Tensor | Sequence[int], n: int = WINDOW) -> None:
    """Refuse an evaluation text of which any n tokens in a row stand in the training text, too.

    Compared by 64-bit hashes of every window of n tokens (all that a row of training text has, where that is fewer): a
    million tokens against a million take about a second, and give a false alarm once in ten million times.

    Args:
        training: (N, T) token ids; windows do not reach from one row into the next.
        evaluation: (M,) token ids of the same tokenizer.
        n: tokens of a window.

    Raises:
        InputError: how many windows overlap, and where the first one is in both texts.
    """
    rows = training.cpu().numpy()
    text = np.asarray(evaluation.cpu() if isinstance(evaluation, Tensor) else evaluation).reshape(1, -1)
    n = min(n, rows.shape[1])
    if text.shape[1] < n or rows.size == 0 or n < 1:
        return
    asked = hash_windows(text, n)[0]
    found = np.full(len(asked), -1)  # the first of the rows among which a window was met
    for start in range(0, len(rows), _ROWS):  # the rows may be larger than memory
        found[(found < 0) & np.isin(asked, hash_windows(rows[start : start + _ROWS], n))] = start
    hits = np.flatnonzero(found >= 0)
    if len(hits):
        start = found[hits[0]]
        row, column = np.argwhere(hash_windows(rows[start : start + _ROWS], n) == asked[hits[0]])[0]
        row += start
        raise InputError(
            f"{len(hits)} of {len(asked)} windows of {n} tokens of the evaluation text are in the training text, too "
            f"(first: token {hits[0]}, in training row {row} at token {column}); evaluate on another text."
        )


def keep_learned(run: Run, *texts: Tensor) -> None:
    """Keep in a run's folder what tells a passage of its texts, (N, T) token ids each: a byte a token.

    One in eight windows, as its hash says: of the same passage the same ones, whatever text it stands in.
    """
    before = run.tensor("learned")
    kept = [torch.from_numpy(_sample(rows.cpu().numpy()).view(np.int64)) for rows in texts]
    run.keep("learned", torch.cat(kept if before is None else [before, *kept]).unique())


def share_learned(folder: Path, evaluation: Sequence[int]) -> float | None:
    """Share of an evaluation text, token ids (M,), that the run in a folder learns from; None where that is unknown.

    Estimated from those of its windows that `keep_learned` would keep. Of a passage that reaches over several rows of
    training text, windows that reach from one into the next do not count: the share is one at least.
    """
    path = folder / "learned.safetensors"
    asked = _sample(np.asarray(evaluation).reshape(1, -1))
    if not path.is_file() or not len(asked):
        return None
    with reading(path):
        learned = read_tensors(path)["learned"].numpy().view(np.uint64)
    return float(np.isin(asked, learned).mean()) if len(learned) else None


def _sample(rows: "np.ndarray[Any, Any]") -> "np.ndarray[Any, np.dtype[np.uint64]]":
    """Hashes of one in eight windows of rows (N, T)."""
    if rows.shape[1] < WINDOW:
        return np.zeros(0, np.uint64)
    kept = []
    for start in range(0, len(rows), _ROWS):  # the rows may be larger than memory
        found = hash_windows(rows[start : start + _ROWS], WINDOW).ravel()
        kept.append(found[found >> np.uint64(61) == 0])
    return np.concatenate(kept)


def hash_windows(rows: "np.ndarray[Any, Any]", n: int) -> "np.ndarray[Any, np.dtype[np.uint64]]":
    """A hash of every window of n ids: rows (N, T) give (N, T - n + 1)."""
    x = (rows.astype(np.uint64) + np.uint64(1)) * _STEP  # arrays wrap around silently
    x = (x ^ (x >> np.uint64(30))) * _MIX1
    x = (x ^ (x >> np.uint64(27))) * _MIX2
    x ^= x >> np.uint64(31)
    length = rows.shape[1] - n + 1
    found = np.zeros((rows.shape[0], length), np.uint64)
    for i in range(n):
        found = found * _STEP + x[:, i : i + length]
    return found
