"""The same arrays on a GPU: fused Triton kernels for both products, their gradients, and the read of a ring.

Nothing here imports Triton until a kernel is wanted: ask `unsupported` first, then import
`gaincell.ops.triton.products.triton_products` or `gaincell.ops.triton.decode.triton_read`.
"""

import importlib.util
import os
from functools import cache

import torch
from torch import Tensor

from gaincell.ops.model import ArrayModel
from gaincell.ops.triton.limits import NARROWEST, WIDEST

__all__ = ["SERVES", "unsupported"]

#: What the kernels compute; see `gaincell.ops.model.ArrayModel.needs`.
SERVES = frozenset({"gradients", "normaliser"})


@cache
def _installed() -> bool:
    return importlib.util.find_spec("triton") is not None


def unsupported(q: Tensor, model: ArrayModel) -> str | None:
    """One phrase saying why the kernels cannot run here on q (..., T, D), or None where they can."""
    tokens, head_dim = q.shape[-2:]
    columns = model.config.subtile_columns
    if not _installed():
        return "Triton is not installed"
    if q.dtype == torch.float64:
        return "operands are float64"
    if q.device.type == "cuda":
        if torch.cuda.get_device_capability(q.device) < (8, 0):
            return f"{torch.cuda.get_device_name(q.device)} is older than compute capability 8.0"
    elif q.device.type != "cpu" or os.environ.get("TRITON_INTERPRET") != "1":
        return f"device {q.device.type} is not a CUDA device"
    if not NARROWEST <= head_dim <= WIDEST:
        return f"head_dim {head_dim} is not {NARROWEST} to {WIDEST}"
    if columns < NARROWEST or columns & (columns - 1):
        return f"subtile_columns {columns} is not a power of two from {NARROWEST}"
    if tokens * head_dim * len(model.key.rates) >= 1 << 31:
        return "one head holds more tokens than 32-bit offsets reach"
    return None
