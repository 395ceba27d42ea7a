"""Layers that do not attend (state spaces, recurrences, convolutions): their states, and whether those hold.

They stay what they are. A ring is held against an oracle; these have none, but they must go on from where they were.
"""

import inspect
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.cache_utils import Cache, DynamicCache, LinearAttentionLayer

from gaincell.errors import InputError
from gaincell.models.intake import with_softmax

_TEXTS = ((5, 7, 6, 9), (8, 3, 4, 6), (7, 9, 5, 3))  # any will do
_AS_GENERATED = ((3, 1), (1, 1, 1, 1))
_IN_CHUNKS = ((1, 2, 1),)


def cache_layers(model: PreTrainedModel) -> list[Any]:
    """What transformers' own cache keeps of every layer, still empty."""
    return DynamicCache(config=model.config.get_text_config(decoder=True)).layers


def holds_states(cache: Cache) -> bool:
    """Whether there are states in a cache beside what attends."""
    return any(isinstance(layer, LinearAttentionLayer) for layer in cache.layers)


def positions_from(cache: Cache, tokens: int, device: torch.device) -> Tensor:
    """(1, tokens): the positions of tokens that follow what is in a cache."""
    return torch.arange(tokens, device=device)[None] + cache.get_seq_length()


@torch.no_grad()
def check_states(model: PreTrainedModel) -> None:
    """Refuse a model whose layers of another kind do not read token by token, or after pads, what they read whole.

    Args:
        model: attending with softmax, in evaluation mode; nothing is done where all its layers attend.

    Raises:
        InputError: what the model puts out differs.
    """
    if holds_states(Cache(layers=cache_layers(model))) and not _reads(model, _AS_GENERATED, pads=1):
        raise InputError(
            f"{type(model).__name__} does not read a text token by token, or after pads, as it reads it whole; gain "
            "cells cannot serve it."
        )


@torch.no_grad()
def check_chunks(model: PreTrainedModel) -> None:
    """Refuse to go on with several tokens at once where a model's layers of another kind do not (Jamba's).

    Args:
        model: converted; other threads may be reading with it.

    Raises:
        InputError: they do not.
    """
    training = [module for module in model.modules() if module.training]
    try:
        for module in training:
            module.training = False
        with with_softmax():
            taken = _reads(model, _IN_CHUNKS, pads=0)
    finally:
        for module in training:
            module.training = True
    if not taken:
        why = "goes on from a cache one token at a time, because some of its layers do not attend"
        raise InputError(f"{type(model).__name__} {why}; pass one token, or the whole text without that cache.")


def _reads(model: PreTrainedModel, splits: tuple[tuple[int, ...], ...], pads: int) -> bool:
    """Whether every way of reading gives the same of one of the texts: in another, rounding may choose an expert."""
    return any(_apart(model, text, splits, pads) <= 1.0 for text in _TEXTS)


def _apart(model: PreTrainedModel, text: tuple[int, ...], splits: tuple[tuple[int, ...], ...], pads: int) -> float:
    """How far apart the readings are, over what rounding explains."""
    ids = torch.tensor([text], device=model.device) % model.config.get_text_config(decoder=True).vocab_size
    expected, readings = _hidden(model, ids), []
    for lengths in splits:
        cache = Cache(layers=cache_layers(model))
        parts = [_hidden(model, part, past_key_values=cache, use_cache=True) for part in ids.split(lengths, 1)]
        readings.append(torch.cat(parts, 1))
    if pads:
        padded = torch.cat((ids[:, :pads], ids), 1)
        mask = (torch.arange(padded.shape[1], device=ids.device) >= pads).long()[None]
        readings.append(_hidden(model, padded, first=-pads, attention_mask=mask)[:, pads:])
    rounding = max(torch.finfo(dtype).eps for dtype in (expected.dtype, torch.float32)) ** 0.5
    errors = [(found - expected).double().norm() for found in readings]
    return float(max(errors) / expected.double().norm().clamp(min=1e-30)) / rounding


def _hidden(model: PreTrainedModel, ids: Tensor, first: int = 0, **inputs: Any) -> Tensor:
    base, cache = model.base_model, inputs.get("past_key_values")
    if "position_ids" in inspect.signature(base.forward).parameters:
        start = positions_from(Cache(layers=[]) if cache is None else cache, ids.shape[1], ids.device)
        inputs["position_ids"] = (start + first).clamp(min=0)
    return base(input_ids=ids, **{"use_cache": False, **inputs})[0]
