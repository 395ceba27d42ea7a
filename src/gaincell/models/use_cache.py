"""The cache of a forward pass: a ring where one is asked for, and nothing else where one is given."""

import inspect
import sys
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedModel

from gaincell.errors import InputError
from gaincell.models.intake import attends_with_softmax
from gaincell.models.other_layers import check_chunks, holds_states, positions_from
from gaincell.models.ring_cache import RingCache

#: The converted model that the caller called: what it hands to models in it, for itself, is nobody's wish.
_called: ContextVar[nn.Module | None] = ContextVar("gaincell_called", default=None)


def watch_caches(model: PreTrainedModel) -> list[RemovableHandle]:
    """Give a model, or one of the models in it, a ring where `use_cache=True` asks for a cache; refuse others'.

    Only what is asked for: `use_cache` of the model's config is true in most, and a call without a wish of its own is
    computed as a whole, without a ring.
    """
    parts = [module for module in model.modules() if isinstance(module, PreTrainedModel) and _attends(module)]
    entering = [part.register_forward_pre_hook(_enter, with_kwargs=True) for part in parts]
    return entering + [part.register_forward_hook(_leave, always_call=True) for part in parts]


def check_cache(cache: Any) -> None:
    """Refuse what is no ring as a converted model's cache, filled or empty.

    Raises:
        InputError: another cache than a `RingCache`, or a tuple.
    """
    if not isinstance(cache, RingCache):
        raise InputError(
            f"{type(cache).__name__} cannot hold a converted model's codes; pass a RingCache, or none and "
            "use_cache=True, which makes one."
        )


def _enter(
    module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
    called = _called.get()
    if called is not module and _runs(called):  # pyright: ignore[reportArgumentType]  # the decorator hides its type
        return None  # a model inside of another
    implementation = str(getattr(module.config, "_attn_implementation", ""))
    if not implementation.startswith("gaincell") or attends_with_softmax():
        return None  # for a while it attends with softmax
    _called.set(module)
    parameters = inspect.signature(module.forward).parameters
    names = list(parameters)[: len(args)]
    given = {**dict(zip(names, args, strict=False)), **kwargs}
    cache, replays = given.get("past_key_values"), module.training and _is_checkpointed(module)
    if cache is None and (replays or given.get("use_cache") is not True):
        return None
    added: dict[str, Any] = {}
    if cache is None:
        cache = added["past_key_values"] = RingCache(module)
    check_cache(cache)
    if replays:
        raise InputError(
            "gradient checkpointing keeps no cache while a model trains; call model.eval() before, or pass no cache."
        )
    read = given.get("input_ids") if given.get("inputs_embeds") is None else given["inputs_embeds"]
    if holds_states(cache) and cache.get_seq_length() and isinstance(read, Tensor):
        if read.shape[1] > 1 and not cache.takes_chunks:
            check_chunks(module)  # pyright: ignore[reportArgumentType]  # watched are such models alone
            cache.takes_chunks = True
        config: Any = module.config
        text_alone = config.get_text_config(decoder=True) is config  # positions of images are another thing
        if text_alone and "position_ids" in parameters and given.get("position_ids") is None:
            # Some families whose layers do not all attend (Bamba) would count from 0 again.
            added["position_ids"] = positions_from(cache, read.shape[1], read.device)
    if not added:
        return None
    return tuple(added.pop(name, x) for name, x in zip(names, args, strict=False)), {**kwargs, **added}


@torch.compiler.disable  # which cannot look at the stack
def _runs(module: nn.Module | None) -> bool:
    """Whether a call of a module goes on. What ends one as Ctrl-C does, torch calls no hook after."""
    frame = None if module is None else sys._getframe()
    while frame is not None:
        if frame.f_code is nn.Module._call_impl.__code__ and frame.f_locals.get("self") is module:
            return True
        frame = frame.f_back
    return False


def _leave(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
    if _called.get() is module:
        _called.set(None)


def _attends(module: nn.Module) -> bool:
    """Whether there are scalers in it."""
    return any(hasattr(part, "gaincell") for part in module.modules())


def _is_checkpointed(module: nn.Module) -> bool:
    """Whether layers are run a second time for the gradients, for which transformers takes their cache away."""
    return any(getattr(part, "gradient_checkpointing", False) for part in module.modules())
