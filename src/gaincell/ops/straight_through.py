"""Gradients past what has none: straight through rounding, and up to where a clamp holds [Leroux et al. 2025]."""

import math
from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor


class _StraightThrough(torch.autograd.Function):
    """Value `converted`; gradient what `backward` makes of it and x."""

    @staticmethod
    def forward(ctx, x, converted, backward):  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx.save_for_backward(x)
        ctx.backward_of = backward
        return converted

    @staticmethod
    def backward(ctx, *grads):
        return ctx.backward_of(grads[0], ctx.saved_tensors[0]), None, None


def straight_through(x: Tensor, converted: Tensor, backward: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """`converted`, whose gradient with respect to `x` is what `backward` makes of its own gradient and `x`."""
    if not (torch.is_grad_enabled() and x.requires_grad):
        return converted
    return _StraightThrough.apply(x, converted, backward)  # pyright: ignore[reportReturnType]


def clamp_backward(gradient: Tensor, x: Tensor, low: float, high: float, out: Tensor | None = None) -> Tensor:
    """`gradient` where low <= x <= high, edges too, and zero elsewhere; of x's shape, in one pass."""
    # hardtanh's backward leaves its edges out, so they are moved to the next number outside.
    below, above = (_next(edge, toward, x.dtype) for edge, toward in ((low, -math.inf), (high, math.inf)))
    if out is None:
        return torch.ops.aten.hardtanh_backward(gradient, x, below, above)
    return torch.ops.aten.hardtanh_backward(gradient, x, below, above, grad_input=out)


@lru_cache(maxsize=64)
def _next(edge: float, toward: float, dtype: torch.dtype) -> float:
    if edge == 0.0:  # not a denormal number, which a processor may take for zero
        return math.copysign(torch.finfo(dtype).tiny, toward)
    return torch.nextafter(torch.tensor(edge, dtype=dtype), torch.tensor(toward, dtype=dtype)).item()
