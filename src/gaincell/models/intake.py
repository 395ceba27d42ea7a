"""What an attention module takes in, handed past transformers, whose attention function is not given it."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from gaincell.models.scalers import HeadScalers, scalers_in


@dataclass(eq=False)
class Running:
    """An attention module while it runs.

    Attributes:
        scalers: its scalers.
        x: what it was called with, (B, T, hidden).
        ring: the `RingLayer` that its keys and values of these tokens are to go to; None without a cache.
    """

    scalers: HeadScalers
    x: Tensor
    ring: Any = None


#: A context variable, so that threads on one model do not meet.
_running: ContextVar[Running | None] = ContextVar("gaincell_running", default=None)


#: Whether a converted model attends with softmax for a while, in this thread alone.
_softmax: ContextVar[bool] = ContextVar("gaincell_softmax", default=False)


@contextmanager
def with_softmax() -> Iterator[None]:
    """While converted models attend with softmax, in this thread; without pads, and with transformers' own caches."""
    token = _softmax.set(True)
    try:
        yield
    finally:
        _softmax.reset(token)


def attends_with_softmax() -> bool:
    """Whether it is so now."""
    return _softmax.get()


class HookNumbers:
    """How many hooks torch had numbered: where a pickle that holds hooks is read, no other may get their numbers."""

    def __init__(self) -> None:
        self.taken = RemovableHandle.next_id

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Lest the next hook that is set replaces one of those that were read."""
        vars(self).update(state)
        RemovableHandle.next_id = max(RemovableHandle.next_id, self.taken)


def hand_on(module: nn.Module) -> list[RemovableHandle]:
    """Keep what an attention module with scalers takes in for as long as it runs."""
    return [
        module.register_forward_pre_hook(_note, with_kwargs=True),
        module.register_forward_hook(_forget, always_call=True),
    ]


def running(scalers: HeadScalers) -> Running | None:
    """The module that these scalers belong to, if it is the one that runs."""
    found = _running.get()
    return found if found is not None and found.scalers is scalers else None


def layer_input(scalers: HeadScalers) -> Tensor:
    """(B, T, hidden): what the module that these scalers belong to was called with."""
    found = running(scalers)
    if found is None:
        raise RuntimeError("preset and sinks read the layer's input; call its attention module, not what it calls.")
    return found.x


def note_ring(ring: Any) -> None:
    """Tell the module that runs where its keys and values are to go."""
    found = _running.get()
    if found is None:
        raise RuntimeError("a ring is for the attention modules of a converted model; use another cache.")
    found.ring = ring


@contextmanager
def taking_in(scalers: HeadScalers, x: Tensor, ring: Any = None) -> Iterator[None]:
    """As if a module with these scalers ran on x (B, T, hidden)."""
    token = _running.set(Running(scalers, x, ring))
    try:
        yield
    finally:
        _running.reset(token)


def _note(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    scalers = scalers_in(module)
    assert scalers is not None
    _running.set(Running(scalers, kwargs["hidden_states"] if "hidden_states" in kwargs else args[0]))


def _forget(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
    """A model that is not running holds no activations."""
    _running.set(None)
