"""The same arrays on a GPU: fused Triton kernels for both products, their gradients, and the read of a ring.

Nothing here imports Triton until a kernel is wanted: ask `unsupported` first, then import
`gaincell.ops.triton.products.triton_products` or `gaincell.ops.triton.decode.triton_read`.
"""

import importlib.util
import os
from functools import cache

import torch
from torch import Tensor

from gaincell.config import GainCellConfig
from gaincell.ops.triton.limits import NARROWEST, WIDEST

__all__ = ["unsupported"]


#: Fields of the design point that the kernels compute, or that change nothing in the arrays. A field that is not among
#: them, a new one for instance, makes them leave the design point to the blocked form.
# fmt: off
SERVES = frozenset({
    "window", "subtile_columns", "query_levels", "stored_levels", "output_levels", "readout", "stored_max_v", "zero_v",
    "score_saturation", "output_scale", "cell", "token_period_s", "leak_per_token", "leak_form", "gradient",
    "surrogate_slope", "normaliser", "normaliser_ranges", "normaliser_epsilon", "query_sign", "storage", "matmul",
    "path", "name", "subtile_rows", "pulse_max_s", "layer_latency_s", "equalisation", "score_preset", "sinks",
    "mismatch_gain", "mismatch_zero_v", "noise_seed",  # which are nothing without what they belong to
})
# fmt: on


@cache
def _installed() -> bool:
    return importlib.util.find_spec("triton") is not None


def unsupported(q: Tensor, config: GainCellConfig) -> str | None:
    """One phrase saying why the kernels cannot take q (..., T, D) under `config`, or None where they can."""
    tokens, head_dim = q.shape[-2:]
    columns = config.subtile_columns
    if unknown := [name for name in config.changed if name not in SERVES]:
        return f"they do not know {', '.join(unknown)}"
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
    if tokens * head_dim * len(config.cell.model_law.coefficients) >= 1 << 31:
        return "one head holds more tokens than 32-bit offsets reach"
    return None
