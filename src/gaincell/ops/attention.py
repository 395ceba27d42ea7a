"""`gaincell.attention`: what the two arrays of a head compute, in parallel over all tokens."""

import torch
from torch import Tensor

from gaincell.config import GainCellConfig
from gaincell.ops.check import check_operands
from gaincell.ops.dense import pulses
from gaincell.ops.dispatch import products


def attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    config: GainCellConfig,
    *,
    pad: Tensor | None = None,
    preset: Tensor | None = None,
    absent: Tensor | None = None,
    validate: bool = True,
) -> Tensor:
    """Gain-cell attention: conversion, both products, HardSigmoid, read-out, and the normaliser if the config has one.

    S_ts = sum_d q_td f(y^K_sd e^{-leak (t - s)}), phi = clamp(S / S_sat + preset, 0, 1), and per sub-tile
    o = quantise(clamp(sum_s phi_ts f(y^V_s e^{-leak (t - s)}) / output_scale, -1, 1)), summed over sub-tiles
    [Leroux et al. 2025, released code]. Query t sees max(0, t - window + 1) <= s <= t. Exactly what writing and
    reading token by token gives (`gaincell.ops.Ring`), past the window too.

    Args:
        q: (B, Hq, T, D) pulse widths in units of T_max, after scaling.
        k, v: (B, Hkv, T, D) voltages in volt, after scaling; Hq a multiple of Hkv.
        config: the design point.
        pad: (B,) left pads of each row. A pad is never written and its output is zero.
        preset: (B, Hq, T) offset on S / S_sat per query (an option; not in the published design).
        absent: (B, Hkv, T), true at tokens that take their column but are not stored there, such as those that are
            kept digitally: they add nothing to any output nor to Z, their own query's included (an option; not in
            the published design). Their queries are served like any other.
        validate: check shapes and finiteness; internal callers that know switch it off.

    Returns:
        (B, Hq, T, D) before output scaling, in the dtype of q; computed in float32 or float64.

    Raises:
        InputError: shapes, dtypes or devices that do not fit, NaN or Inf.
    """
    if validate:
        check_operands(q, k, v, config, pad, preset, absent)
    if pad is not None and bool((pad > 0).any()):
        # A pad takes no column: move each row's tokens to the front, and its outputs back.
        shift, back = roll_index(pad, q.shape[2])
        q, k, v = (gather_tokens(x, shift) for x in (q, k, v))
        preset, absent = (None if x is None else gather_tokens(x, shift) for x in (preset, absent))
        out = attention(q, k, v, config, preset=preset, absent=absent, validate=False)
        return gather_tokens(out, back) * ~pad_mask(pad, q.shape[2])[:, None, :, None]
    out, z = products(q, k, v, config, preset, absent)
    return normalise(out, z, config).to(q.dtype)


def normalise(out: Tensor, z: Tensor | None, config: GainCellConfig) -> Tensor:
    """O / (Z + epsilon) where the design point has a normaliser; O (B, H, T, D), Z (B, H, T)."""
    return out if z is None or config.normaliser == "none" else out / (z.unsqueeze(3) + config.normaliser_epsilon)


def attention_map(
    q: Tensor,
    k: Tensor,
    config: GainCellConfig,
    *,
    pad: Tensor | None = None,
    preset: Tensor | None = None,
    absent: Tensor | None = None,
) -> Tensor:
    """phi (B, Hq, T, T) of the same operands: every pulse width, for plots; memory grows with T squared.

    Raises:
        InputError: as `attention`.
    """
    check_operands(q, k, k, config, pad, preset, absent)
    if pad is None:
        return pulses(q, k, config, preset=preset, absent=absent)
    shift, back = roll_index(pad, q.shape[2])
    q, k = (gather_tokens(x, shift) for x in (q, k))
    preset, absent = (None if x is None else gather_tokens(x, shift) for x in (preset, absent))
    phi = gather_tokens(pulses(q, k, config, preset=preset, absent=absent), back)
    phi = gather_tokens(phi.transpose(2, 3), back).transpose(2, 3)
    real = ~pad_mask(pad, q.shape[2])
    return phi * (real[:, None, :] & real[:, :, None])[:, None]


def pad_mask(pad: Tensor, tokens: int) -> Tensor:
    """(B, T), true at pads."""
    return torch.arange(tokens, device=pad.device) < pad[:, None]


def roll_index(pad: Tensor, tokens: int) -> tuple[Tensor, Tensor]:
    """(B, T) indices that move each row's tokens to the front, and back."""
    index = torch.arange(tokens, device=pad.device)
    return (index + pad[:, None]) % tokens, (index - pad[:, None]) % tokens


def gather_tokens(x: Tensor, index: Tensor) -> Tensor:
    """x (B, H, T, ...) with its tokens taken at index (B, T)."""
    shaped = index.view(index.shape[0], 1, index.shape[1], *[1] * (x.dim() - 3))
    return x.gather(2, shaped.expand(-1, x.shape[1], -1, *x.shape[3:]))
