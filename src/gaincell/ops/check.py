"""Refusal of operands that no path could compute, in one sentence that names the shapes."""

import torch
from torch import Tensor

from gaincell.config import GainCellConfig
from gaincell.errors import InputError
from gaincell.ops.dispatch import check_path
from gaincell.ops.leak import check_retention
from gaincell.ops.model import array_model
from gaincell.ops.operands import Operands

_DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def check_attention(operands: Operands, config: GainCellConfig, pad: Tensor | None = None) -> None:
    """Raise InputError where operands are not sound, or the design point cannot be computed."""
    check_operands(operands, pad)
    check_design(config)


def check_operands(operands: Operands, pad: Tensor | None = None) -> None:
    """Raise InputError unless operands and pad (B,) fit together and hold finite numbers."""
    q, k, v, preset, absent = operands.q, operands.k, operands.v, operands.preset, operands.absent
    options = {"pad": pad, "preset": preset, "absent": absent}
    for name, x in {"q": q, "k": k, "v": v, **options}.items():
        if not isinstance(x, Tensor) and not (x is None and name in options):
            raise InputError(f"{name} must be a torch tensor; got {type(x).__name__}.")
    shapes = f"q {tuple(q.shape)}, k {tuple(k.shape)}, v {tuple(v.shape)}"
    if q.dim() != 4 or k.dim() != 4 or k.shape != v.shape:
        raise InputError(f"attention needs q (B, Hq, T, D) and k, v of equal shape (B, Hkv, T, D); got {shapes}.")
    if q.shape[0] != k.shape[0] or q.shape[2:] != k.shape[2:]:
        raise InputError(f"q, k and v must agree in batch, tokens and head_dim; got {shapes}.")
    if not k.shape[1] or q.shape[1] % k.shape[1]:
        raise InputError(f"query heads must be a multiple of key/value heads; got {shapes}.")
    if len({q.dtype, k.dtype, v.dtype}) > 1 or q.dtype not in _DTYPES:
        raise InputError(f"q, k and v must share one floating dtype; got {q.dtype}, {k.dtype}, {v.dtype}.")
    if len({q.device, k.device, v.device}) > 1:
        raise InputError(f"q, k and v must be on one device; got {q.device}, {k.device}, {v.device}.")
    if pad is not None and (pad.dtype not in (torch.int32, torch.int64) or pad.device != q.device):
        raise InputError(f"pad must hold integers on {q.device}; got {pad.dtype} on {pad.device}.")
    if pad is not None and (pad.shape != q.shape[:1] or bool(((pad < 0) | (pad > q.shape[2])).any())):
        raise InputError(f"pad must hold 0...T left pads for each of the {q.shape[0]} rows; got {pad.tolist()}.")
    if preset is not None and preset.shape != q.shape[:3]:
        raise InputError(f"preset must have shape {tuple(q.shape[:3])} (B, Hq, T); got {tuple(preset.shape)}.")
    if preset is not None and (preset.dtype not in _DTYPES or preset.device != q.device):
        raise InputError(f"preset must be floating on {q.device}; got {preset.dtype} on {preset.device}.")
    if absent is not None and (absent.shape, absent.dtype, absent.device) != (k.shape[:3], torch.bool, k.device):
        raise InputError(
            f"absent must be boolean, of shape {tuple(k.shape[:3])} (B, Hkv, T), on {k.device}; "
            f"got {absent.dtype} {tuple(absent.shape)} on {absent.device}."
        )
    for name, x in (("k", k), ("v", v), ("q", q), ("preset", preset)):
        if x is not None and not bool(torch.isfinite(x).all()):
            raise InputError(f"{name} holds NaN or Inf; clean it before attention.")


def check_ring(shape: tuple[int, int, int], operands: Operands, real: Tensor | None = None) -> None:
    """Raise InputError unless a ring of `shape` (B, Hkv, D) can take operands and `real` (B, n), and both are sound.

    Where nothing is read, k stands for q, too.
    """
    read = {} if operands.q is operands.k else {"q": operands.q}
    _check_rows(shape, {**read, "k": operands.k, "v": operands.v})
    if operands.k.shape[1] != shape[1]:
        raise InputError(f"the ring holds {shape[1]} key/value heads; got k {tuple(operands.k.shape)}.")
    check_operands(operands)
    rows = shape[0], operands.k.shape[2]
    if real is not None and (real.shape != rows or real.dtype != torch.bool):
        raise InputError(f"real must be boolean, of shape {rows} (B, n); got {real.dtype} {tuple(real.shape)}.")


def check_read(shape: tuple[int, int, int], q: Tensor, preset: Tensor | None) -> None:
    """Raise InputError unless a ring of `shape` (B, Hkv, D) can be read by q (B, Hq, 1, D) and preset (B, Hq, 1)."""
    _check_rows(shape, {"q": q})
    ring = q.new_zeros(shape[0], shape[1], q.shape[2], shape[2])
    check_operands(Operands(q, ring, ring, preset))
    if q.shape[2] != 1:
        raise InputError(f"a ring is read by one query a row, (B, Hq, 1, D); got {q.shape[2]}; use extend.")


def _check_rows(shape: tuple[int, int, int], operands: dict[str, Tensor]) -> None:
    batch, _, head_dim = shape
    for name, x in operands.items():
        if x.dim() != 4 or x.shape[0] != batch or x.shape[3] != head_dim:
            raise InputError(
                f"{name} must be (B, H, n, D) with the ring's B = {batch} and D = {head_dim}; got {tuple(x.shape)}."
            )


def check_design(config: GainCellConfig) -> None:
    """Raise InputError where the design point cannot be computed.

    It is none, its leak is not set, its retention table is too short, the path that it asks for by name lacks what it
    needs, or it has digital heads, which are none of the arrays'. A ring is given its design point once, and checks it
    then.
    """
    if not isinstance(config, GainCellConfig):
        raise InputError(
            f"config must be a GainCellConfig, such as GainCellConfig.named('leroux2025'); got {config!r}."
        )
    if config.digital:
        raise InputError(
            "the operator computes arrays alone, but this design point keeps heads digital; take the design point of "
            "one layer (for_layer), or convert a model to it."
        )
    check_retention(config)
    check_path(array_model(config))
