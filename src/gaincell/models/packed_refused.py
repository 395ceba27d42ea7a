"""One sequence a row: sequences packed into one are refused, in every family."""

import inspect
from typing import Any

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedModel

from gaincell.errors import InputError

PACKED = "packed sequences share one row; gain cells need one sequence a row (pad instead)."
_OF_PACKED = ("cu_seq_lens_q", "cu_seq_lens_k", "max_length_q", "max_length_k", "seq_idx")


def watch_rows(model: PreTrainedModel) -> list[RemovableHandle]:
    """Refuse packed rows before the model, or one of the models in it, reads them in gain cells.

    Attention is not told of them everywhere: not every family hands positions on, and masks show them only where no
    cache is used.
    """
    parts = [module for module in model.modules() if isinstance(module, PreTrainedModel)]
    return [part.register_forward_pre_hook(_check, with_kwargs=True) for part in parts]


def _check(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    if not str(getattr(module.config, "_attn_implementation", "")).startswith("gaincell"):
        return  # for a while it attends with softmax
    if args:
        kwargs = {**dict(zip(inspect.signature(module.forward).parameters, args, strict=False)), **kwargs}
    if any(kwargs.get(name) is not None for name in _OF_PACKED):
        raise InputError(PACKED)
    position, mask = kwargs.get("position_ids"), kwargs.get("attention_mask")
    if isinstance(position, Tensor) and position.dim() >= 2 and position.shape[-1] > 1:
        _check_positions(position, mask if isinstance(mask, Tensor) and mask.dim() == 2 else None)


def _check_positions(position: Tensor, mask: Tensor | None) -> None:
    """Refuse positions (B, n), or (kinds, B, n) with time first, that start again between two real tokens."""
    if position.dim() == 3:  # the patches of an image share their time
        position, again = position[0], position[0, :, 1:] < position[0, :, :-1]
    else:
        again = position[:, 1:] <= position[:, :-1]
    if mask is not None:
        seen = mask[:, -position.shape[1] :].bool()
        again = again & seen[:, 1:] & seen[:, :-1]
    if bool(again.any()):
        raise InputError(PACKED)
