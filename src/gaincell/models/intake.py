"""What an attention module takes in, handed past transformers, whose attention function is not given it."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from torch import Tensor, nn

from gaincell.models.scalers import HeadScalers

#: The scalers of the module that runs, and its input. A context variable, so that threads on one model do not meet.
_taken_in: ContextVar[tuple[HeadScalers, Tensor] | None] = ContextVar("gaincell_taken_in", default=None)


def hand_input_on(module: nn.Module) -> None:
    """Keep the input (B, T, hidden) of an attention module with scalers for as long as it runs."""
    module.register_forward_pre_hook(_note, with_kwargs=True)
    module.register_forward_hook(_forget, always_call=True)


def layer_input(scalers: HeadScalers) -> Tensor:
    """(B, T, hidden): what the module that these scalers belong to was called with."""
    found = _taken_in.get()
    if found is None or found[0] is not scalers:
        raise RuntimeError("preset and sinks read the layer's input; call its attention module, not what it calls.")
    return found[1]


@contextmanager
def taking_in(scalers: HeadScalers, x: Tensor) -> Iterator[None]:
    """As if a module with these scalers ran on x (B, T, hidden)."""
    token = _taken_in.set((scalers, x))
    try:
        yield
    finally:
        _taken_in.reset(token)


def _note(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    scalers = module.gaincell
    assert isinstance(scalers, HeadScalers)
    _taken_in.set((scalers, kwargs["hidden_states"] if "hidden_states" in kwargs else args[0]))


def _forget(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
    """A model that is not running holds no activations."""
    _taken_in.set(None)
