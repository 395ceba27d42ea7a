"""`gaincell.attention`: what the two arrays of a head compute, in parallel over all tokens."""

import torch
from torch import Tensor

from gaincell.config import GainCellConfig
from gaincell.ops.check import check_attention
from gaincell.ops.dense import pulses
from gaincell.ops.dispatch import attend
from gaincell.ops.model import array_model
from gaincell.ops.naive import naive_products
from gaincell.ops.operands import Operands, take_tokens


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
        InputError: shapes, dtypes or devices that do not fit, NaN or Inf; a `path` of the design point that cannot
            compute this.
    """
    operands = Operands(q, k, v, preset, absent)
    if validate:
        check_attention(operands, config, pad)
    if pad is None or not bool((pad > 0).any()):
        return attend(operands, array_model(config)).to(q.dtype)
    # A pad takes no column: move each row's tokens to the front, and its outputs back.
    shift, back = roll_index(pad, q.shape[2])
    out = attend(operands.take(shift), array_model(config)).to(q.dtype)
    return take_tokens(out, back) * ~pad_mask(pad, q.shape[2])[:, None, :, None]


def naive_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    config: GainCellConfig,
    *,
    pad: Tensor | None = None,
    preset: Tensor | None = None,
    absent: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """`attention` of the same operands by the oracle, in float64 and without gradient, and phi (B, Hq, T, T).

    Raises:
        InputError: shapes, dtypes or devices that do not fit, NaN or Inf.
    """
    operands = Operands(q, k, v, preset, absent)
    check_attention(operands, config, pad)
    model = array_model(config)
    out, z, phi = naive_products(operands, model, pad)
    return model.output(out, z), phi


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
        InputError: shapes, dtypes or devices that do not fit, NaN or Inf.
    """
    operands = Operands(q, k, k, preset, absent)
    check_attention(operands, config, pad)
    if pad is None:
        return pulses(operands, array_model(config))
    shift, back = roll_index(pad, q.shape[2])
    phi = take_tokens(pulses(operands.take(shift), array_model(config)), back)
    phi = take_tokens(phi.transpose(2, 3), back).transpose(2, 3)
    real = ~pad_mask(pad, q.shape[2])
    return phi * (real[:, None, :] & real[:, :, None])[:, None]


def pad_mask(pad: Tensor, tokens: int) -> Tensor:
    """(B, T), true at pads."""
    return torch.arange(tokens, device=pad.device) < pad[:, None]


def roll_index(pad: Tensor, tokens: int) -> tuple[Tensor, Tensor]:
    """(B, T) indices that move each row's tokens to the front, and back."""
    index = torch.arange(tokens, device=pad.device)
    return (index + pad[:, None]) % tokens, (index - pad[:, None]) % tokens
