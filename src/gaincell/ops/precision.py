"""The precision in which the arrays are computed: float32 or wider, whatever surrounds them."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import wraps
from typing import ParamSpec, TypeVar

import torch
from torch import Tensor

from gaincell.config import GainCellConfig

P = ParamSpec("P")
R = TypeVar("R")


def widen(x: Tensor) -> Tensor:
    """`x` in float32, or float64 if it was: the precision in which conversion is defined."""
    return x if x.dtype == torch.float64 else x.float()


def without_autocast(device_type: str) -> AbstractContextManager[object]:
    """No autocast inside; where there is none outside, nothing is entered, which a single token would notice."""
    return torch.autocast(device_type, enabled=False) if torch.is_autocast_enabled(device_type) else nullcontext()


def outside_autocast(function: Callable[P, R]) -> Callable[P, R]:
    """Run `function` in its operands' dtype: under autocast a product would be taken in bfloat16, and codes flip."""

    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        operand = next(x for x in (*args, *kwargs.values()) if isinstance(x, Tensor))
        with without_autocast(operand.device.type):
            return function(*args, **kwargs)

    return run


def rounding(config: GainCellConfig, dtype: torch.dtype) -> str | None:
    """What a product in `dtype` rounds its operands to: "tf32", "bfloat16", or None where it takes them as they are."""
    return None if config.matmul == "float32" or dtype == torch.float64 else config.matmul


def matmul(a: Tensor, b: Tensor, out: Tensor, rounding: str | None, *, add: bool = False) -> Tensor:
    """The batched product a b into `out`, or added to it; operands first rounded as `rounding` says."""
    if rounding is not None:
        a, b = round_operand(a, rounding), round_operand(b, rounding)
    return out.baddbmm_(a, b) if add else torch.bmm(a, b, out=out)


def round_operand(x: Tensor, rounding: str) -> Tensor:
    """float32 x as a matrix unit takes it: with 10 (tf32) or 7 (bfloat16) bits behind the point."""
    if rounding == "bfloat16":
        return x.bfloat16().float()
    # tf32 keeps 10 of float32's 23 bits; to the nearest, ties away from zero, as cvt.rna.tf32 does.
    bits = x.contiguous().view(torch.int32)
    return ((bits + (1 << 12)) & ~((1 << 13) - 1)).view(torch.float32)
