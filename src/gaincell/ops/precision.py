"""The precision in which the arrays are computed: float32 or wider, whatever surrounds them."""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import torch
from torch import Tensor

P = ParamSpec("P")
R = TypeVar("R")


def widen(x: Tensor) -> Tensor:
    """`x` in float32, or float64 if it was: the precision in which conversion is defined."""
    return x if x.dtype == torch.float64 else x.float()


def outside_autocast(function: Callable[P, R]) -> Callable[P, R]:
    """Run `function` in its operands' dtype: under autocast a product would be taken in bfloat16, and codes flip."""

    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        operand = next(x for x in (*args, *kwargs.values()) if isinstance(x, Tensor))
        with torch.autocast(operand.device.type, enabled=False):
            return function(*args, **kwargs)

    return run
