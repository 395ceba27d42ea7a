"""Rows of token ids cut from texts that were given, and from rows of another length."""

import hashlib
import json
import math
from typing import Any

import torch
from torch import Tensor

from gaincell.adapt.settings import AdaptSettings
from gaincell.errors import InputError
from gaincell.evaluate.perplexity import encode
from gaincell.evaluate.text_prefix import prefix_of


def read_rows(tokenizer: Any, text: str, rows: int, length: int, seed: int = 0) -> Tensor:
    """Rows from all over a text, in an order drawn from the seed: (rows, length).

    The text is cut into rows one after the other; more rows under the same seed begin with the same ones. Every row
    begins with what the tokenizer puts in front of a text, which counts towards its length.

    Raises:
        InputError: the text is shorter than that.
    """
    ids, prefix = encode(tokenizer, text), prefix_of(tokenizer)
    count = len(ids) // (length - len(prefix))
    if count < rows:
        raise InputError(
            f"the text holds {len(ids)} tokens, but adaptation asks for {rows} x {length - len(prefix)}; "
            "give a longer text, or fewer rows."
        )
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))[:rows]
    return rows_of(torch.tensor(ids), length, prefix)[order]


def rows_of(ids: Tensor, length: int, prefix: list[int]) -> Tensor:
    """A text's token ids (M,) as rows (N, length) one after the other, each with a prefix in front; a rest is left."""
    own = length - len(prefix)
    count = len(ids) // own
    rows = ids[: count * own].view(count, own)
    return torch.cat((torch.tensor([prefix] * count), rows), 1) if prefix else rows


def fingerprint(value: Tensor | dict[str, Any]) -> str:
    """A short checksum of token ids or of settings."""
    if isinstance(value, Tensor):
        found = hashlib.sha256(f"{tuple(value.shape)} {value.dtype} ".encode())
        found.update(value.cpu().contiguous().numpy().data)  # no copy: it may be larger than memory
    else:
        found = hashlib.sha256(json.dumps(value, sort_keys=True).encode())
    return found.hexdigest()[:16]


def text_rows(tokenizer: Any, text: str | None, ids: Tensor | None, settings: AdaptSettings) -> Tensor | None:
    """Rows for `distill`: of a given text as many as its budget takes, of given ids all; None if yet to be written."""
    if text is None:
        return None if ids is None else cut_rows(tokenizer, ids, settings.distill.length)
    length = settings.distill.length or settings.length
    there = len(encode(tokenizer, text)) // (length - len(prefix_of(tokenizer)))
    if there < 1:
        raise InputError(f"the text is shorter than one row of {length} tokens; give a longer text.")
    return read_rows(tokenizer, text, min(there, math.ceil(settings.distill.tokens / length)), length, settings.seed)


def cut_rows(tokenizer: Any, ids: Tensor, length: int | None) -> Tensor:
    """Rows of so many tokens, cut from rows of another length one after the other; all begin with the prefix."""
    if length is None or length == ids.shape[1]:
        return ids.cpu()
    prefix = begins(tokenizer)
    text = ids[:, len(prefix) :].reshape(-1).cpu()
    if len(text) < length - len(prefix):
        raise InputError(f"there are {ids.numel()} tokens, fewer than distill.length {length}; give more.")
    return rows_of(text, length, prefix)


def begins(tokenizer: Any) -> list[int]:
    """What every row begins with; nothing where rows were given without a tokenizer."""
    return [] if tokenizer is None else prefix_of(tokenizer)


def source_of(text: str | None, calibration: Tensor | None) -> str:
    """What is learned from, in a few words that tell it from another."""
    if calibration is not None:
        return f"token ids {fingerprint(calibration)}"
    return "written by the model itself" if text is None else f"given text {fingerprint({'text': text})}"
