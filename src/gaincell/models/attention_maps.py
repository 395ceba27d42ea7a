"""Attention maps: what every head attends to, softmax and gain cells alike."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from gaincell.errors import InputError
from gaincell.models.attention_modules import scalers_of


@dataclass(frozen=True, eq=False)
class AttentionMaps:
    """Where the heads of a model look while it reads one row of tokens.

    Attributes:
        weights: (layers, Hq, T, T), query by key: softmax's weights; of gain cells phi over its sum, or, where sinks
            are digital, their share of the output on the first token and phi's on the others. A row adds up to 1; to 0
            where a query starts no pulse and has no sink.
            Of digital heads softmax's.
        pulses: (layers, Hq, T) sum of phi over the columns in use, in pulses of full width, 0 of digital heads; None of
            softmax.
    """

    weights: Tensor
    pulses: Tensor | None


@torch.no_grad()
def attention_maps(model: PreTrainedModel, ids: Tensor) -> AttentionMaps:
    """Run a model, converted or not, over one row of tokens and keep its attention maps, in float32 on the CPU.

    Args:
        model: a causal decoder that uses transformers' attention interface.
        ids: (T,) token ids; memory grows with T squared.

    Raises:
        InputError: ids of another shape.
    """
    if ids.dim() != 1 or not ids.numel():
        raise InputError(f"ids must be token ids of shape (T,), one at least; got {tuple(ids.shape)}.")
    layers = list(scalers_of(model).values())
    digital: dict[int, Tensor] = {}
    was_training = model.training
    model.eval()
    try:
        with _eager(model), ExitStack() as hooks:
            for index, scalers in enumerate(layers):
                if scalers.sinks is not None:

                    def note(module: Any, args: Any, output: Tensor, index: int = index) -> None:
                        digital[index] = 1.0 - torch.sigmoid(output[0]).float().cpu()

                    hooks.callback(scalers.sinks.share.register_forward_hook(note).remove)
            found = model.base_model(ids[None].to(model.device), use_cache=False, output_attentions=True).attentions
    finally:
        model.train(was_training)
    maps = torch.stack([each[0].float().cpu() for each in found if each is not None])  # None of what does not attend
    if not layers:
        return AttentionMaps(maps, None)
    pulses = maps.sum(-1)
    weights = maps / pulses.clamp(min=torch.finfo(maps.dtype).tiny)[..., None]
    for index, share in digital.items():
        share[:, 0] = 1.0  # the first token has nothing else
        weights[index] *= 1.0 - share[..., None]
        weights[index, :, :, 0] += share
    for index, scalers in enumerate(layers):
        if heads := list(scalers.digital):
            weights[index, heads], pulses[index, heads] = maps[index, heads], 0.0
    return AttentionMaps(weights, pulses)


@contextmanager
def _eager(model: PreTrainedModel) -> Iterator[None]:
    """Softmax attention that keeps its weights, for a while; gain cells keep theirs."""
    before: str = model.config._attn_implementation  # pyright: ignore[reportAssignmentType]
    if scalers_of(model):
        yield
        return
    model.set_attn_implementation("eager")
    try:
        yield
    finally:
        model.set_attn_implementation(before)
