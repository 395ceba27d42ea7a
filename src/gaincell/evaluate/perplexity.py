"""Perplexity over a sliding window of fixed length."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from gaincell.errors import InputError
from gaincell.evaluate.text import default_text
from gaincell.evaluate.text_prefix import prefix_of


@dataclass(frozen=True)
class Perplexity:
    """A perplexity and how it was taken.

    Attributes:
        perplexity: exp of the mean negative log-likelihood per scored token.
        tokens: scored tokens.
        length: tokens of a window.
        stride: tokens a window moves on; each window scores its last `stride` tokens (the first one all it can).
        losses: negative log-likelihood of every scored token, in nats, in the order of the text.
    """

    perplexity: float
    tokens: int
    length: int
    stride: int
    losses: tuple[float, ...] = field(default=(), repr=False)

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for JSON; without the losses."""
        return {name: getattr(self, name) for name in ("perplexity", "tokens", "length", "stride")}


@torch.no_grad()
def perplexity(
    model: PreTrainedModel,
    tokenizer: Any,
    text: str | None = None,
    *,
    length: int = 512,
    stride: int | None = None,
    tokens: int = 8192,
    batch: int = 4,
    progress: Callable[[int, int], None] | None = None,
) -> Perplexity:
    """Perplexity of a causal model, converted or not, on a text.

    Windows of `length` tokens move by `stride`; every token is scored once, with at least length - stride tokens before
    it (fewer only at the start of the text). What the tokenizer puts in front of a text (`prefix_of`) begins every
    window and counts towards its length: a model that needs it never saw a text without. Where there is none, the first
    token has nothing before it and is not scored.

    Args:
        model, tokenizer: a causal language model and its tokenizer.
        text: the text; the packaged State of the Union addresses by default.
        length: tokens of a window.
        stride: tokens between windows; half the length by default.
        tokens: how many tokens to score at most, from the start of the text.
        batch: windows per forward pass.
        progress: called with (windows done, windows in all).

    Raises:
        InputError: a text without a token to score, a length or stride that makes no window, or a length that exceeds
            the model's positions.
    """
    stride = length // 2 if stride is None else stride
    prefix, ids = _checked(model, tokenizer, text, length, stride, tokens)
    own = length - len(prefix)  # tokens of the text in a window
    starts = list(range(0, max(1, len(ids) - own + stride), stride))
    was_training = model.training
    model.eval()
    scored: list[float] = []
    try:
        for i in range(0, len(starts), batch):
            group = starts[i : i + batch]
            windows = [prefix + ids[s : s + own] for s in group]
            alike = len({len(w) for w in windows}) == 1  # only the text's last window is shorter: on its own
            parts = [slice(None)] if alike else [slice(-1), slice(-1, None)]
            for part in parts:
                losses = _losses(model, torch.tensor(windows[part], device=model.device))
                for s, row in zip(group[part], losses, strict=True):
                    new = row[length - stride - 1 if s else max(len(prefix) - 1, 0) :]
                    scored += new.double().tolist()
            if progress is not None:
                progress(min(i + batch, len(starts)), len(starts))
    finally:
        model.train(was_training)
    mean = math.fsum(scored) / len(scored)
    return Perplexity(math.exp(min(mean, 700.0)), len(scored), length, stride, tuple(scored))


def _checked(
    model: PreTrainedModel, tokenizer: Any, text: str | None, length: int, stride: int, tokens: int
) -> tuple[list[int], list[int]]:
    """What stands in front of every window, and the ids of as much of the text as is scored."""
    if not 0 < stride < length or tokens < 1:
        raise InputError(f"perplexity needs 0 < stride < length and tokens >= 1; got {stride}, {length} and {tokens}.")
    prefix = prefix_of(tokenizer)
    if prefix and length - len(prefix) < stride:
        raise InputError(
            f"windows of {length} tokens that move by {stride} leave no room for the {len(prefix)} tokens that the "
            "tokenizer puts in front of every text; use longer ones."
        )
    ids = encode(tokenizer, default_text() if text is None else text, length + tokens)
    if len(ids) < 2:
        raise InputError("the text is empty; give one with some hundred words at least.")
    ids = ids[: tokens + (not prefix)]
    positions = getattr(model.config, "max_position_embeddings", None)
    if positions is not None and min(length, len(prefix) + len(ids)) > positions:
        raise InputError(f"windows of length {length} exceed the model's {positions} positions; use shorter ones.")
    return prefix, ids


def encode(tokenizer: Any, text: str, at_least: int | None = None) -> list[int]:
    """Token ids of a text, or of its start (more characters than `at_least` tokens need), without special tokens."""
    ids: list[int] = []
    for characters in (len(text) if at_least is None else at_least * 8, len(text)):
        ids = tokenizer(text[:characters], add_special_tokens=False, verbose=False)["input_ids"]
        if characters >= len(text) or (at_least is not None and len(ids) >= at_least + 8):
            break
    return ids


def _losses(model: nn.Module, ids: torch.Tensor) -> torch.Tensor:
    logits = model(ids, use_cache=False).logits[:, :-1]
    return torch.stack(
        [
            nn.functional.cross_entropy(row.float(), target, reduction="none")
            for row, target in zip(logits, ids[:, 1:], strict=True)
        ]
    )


def first_tokens(tokenizer: Any, text: str, tokens: int) -> torch.Tensor:
    """The ids (1, T) that a model reads of a text: what the tokenizer puts in front, and `tokens` in all at most."""
    return torch.tensor([(prefix_of(tokenizer) + encode(tokenizer, text, tokens))[:tokens]])
