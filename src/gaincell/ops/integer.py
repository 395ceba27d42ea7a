"""Both products in integers: the same bits on every path, device and number of threads.

In floating point the order of a sum may flip a read-out code. Here everything that is summed is an integer that float64
holds exactly, whatever the order, and everything else is one correctly rounded operation on such a sum. The equations
are those of `gaincell.attention` [Leroux et al. 2025], on a grid (rint rounds half to even):

    n       query code: pulse width times (query_levels - 1), signed unless "unsigned", in steps of 2 if "offset_binary"
    F[c, a] rint(2^g f(y_c e^{-leak a})) of stored code c at age a in tokens, or rint(2^g f(y_c) e^{-leak a}) where
            leak_form is "factored"; evaluated in float64 on the CPU; g is the largest with every |F| < 2^15
    phi     clamp(rint(A S) + rint(2^15 preset), 0, 2^15) with S = sum_d n F[k code, age]
            and A = 2^15 / (score_saturation (query_levels - 1) 2^g), one double
    counts  rint(clamp(B charge, -full_scale, full_scale)) with a sub-tile's charge = sum_s phi F[v code, age]
            and B = full_scale / (output_scale 2^15 2^g), one double
    output  the sum of the sub-tiles' counts, times one double 1 / full_scale
    Z       2^-15 sum_s phi, or for normaliser "column" 2^-15 times the sum of every sub-tile's rint(2^15 z), where
            z = R readout(2^-15 (sum of its phi) / R) as `gaincell.ops.convert.normaliser_readout` has it in float64

Every sum stays below 2^53: |n F| < 2^31 up to a head_dim of 2^22, and |phi F| < 2^30 up to 2^23 tokens in a sub-tile.
Autocast leaves float64 alone.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal, localcontext
from functools import lru_cache
from itertools import accumulate, repeat
from math import frexp
from operator import mul

import torch
from torch import Tensor
from torch.nn.functional import pad

from gaincell.config import GainCellConfig
from gaincell.errors import InputError
from gaincell.ops.convert import code_voltage, full_scale, normaliser_readout, readout_

#: Grid points of a full pulse (phi = 1).
FULL_PULSE = 1 << 15


def check_integer(config: GainCellConfig) -> None:
    """Raise InputError unless queries, stored voltages and read-outs are all quantised."""
    for name in ("query_levels", "stored_levels", "output_levels"):
        if getattr(config, name) is None:
            raise InputError(f"arithmetic 'integer' counts in levels, but {name} is null; set it, or use 'float'.")


@dataclass(frozen=True)
class IntegerLaw:
    """A design point in integers: F (levels, window) in float64, (levels, 1) without leak; g, A and B."""

    table: Tensor
    exponent: int
    score_scale: float
    charge_scale: float


@lru_cache(maxsize=16)
def integer_law(config: GainCellConfig, device: torch.device) -> IntegerLaw:
    """F, g, A and B as the module's text defines them, with F on `device`.

    Raises:
        InputError: queries, stored voltages or read-outs are not quantised, or the leak is not set.
    """
    check_integer(config)
    queries, stored = config.query_levels or 0, config.stored_levels or 0
    with localcontext(prec=30):  # the exp of a C library may differ in its last bit from platform to platform
        factors = repeat((-Decimal(config.leak)).exp(), config.window - 1 if config.leak else 0)
        decay = torch.tensor([float(x) for x in accumulate(factors, mul, initial=Decimal(1))], dtype=torch.float64)
    f, y = config.cell.model_law, code_voltage(torch.arange(stored), config, torch.float64)[:, None]
    charge = f(y) * decay if config.leak_form == "factored" else f(y * decay)
    largest = float(charge.abs().max())
    exponent = 15 - frexp(largest)[1]
    exponent -= round(largest * 2.0**exponent) >= 1 << 15
    return IntegerLaw(
        table=(charge * 2.0**exponent).round().to(device),
        exponent=exponent,
        score_scale=FULL_PULSE / (config.score_saturation * (queries - 1) * 2.0**exponent),
        charge_scale=full_scale(config) / (config.output_scale * FULL_PULSE * 2.0**exponent),
    )


def _factors(codes: Tensor, age: Tensor, law: IntegerLaw) -> Iterator[tuple[Tensor | float, Tensor]]:
    """F of codes (..., K, D) at ages (..., R, K): a sum over weights (..., R, K) times operands (..., K, D)."""
    if law.table.shape[1] == 1:
        yield 1.0, law.table[:, 0][codes.int()]
    else:
        yield from ((charge[age], (codes == code).double()) for code, charge in enumerate(law.table))


def scores(n: Tensor, codes: Tensor, age: Tensor, law: IntegerLaw) -> Tensor:
    """S (..., R, K) of query codes n (..., R, D) against stored codes (..., K, D) of ages (..., R, K)."""
    return sum(((n @ x.mT).mul_(weight) for weight, x in _factors(codes, age, law)), n.new_zeros(()))


def charges(phi: Tensor, codes: Tensor, age: Tensor, law: IntegerLaw) -> Tensor:
    """The charge (..., R, D) that pulses phi (..., R, K) draw from stored codes (..., K, D) of ages (..., R, K)."""
    return sum(((phi * weight) @ x for weight, x in _factors(codes, age, law)), phi.new_zeros(()))


def _blocks(
    q: Tensor, k_code: Tensor, v_code: Tensor, age: Tensor, seen: Tensor, preset: Tensor | None, config: GainCellConfig
) -> tuple[Tensor, Tensor]:
    """Charges (B, Hkv, J, R, D) of J blocks of keys, and the sum of phi (B, Hkv, J, R) of each.

    Pulses q (B, Hkv, R, D), codes (B, Hkv, K, D), age and seen (..., R, K), preset (B, Hkv, R).
    """
    law = integer_law(config, q.device)
    n = (q.double() * ((config.query_levels or 0) - 1)).round_()
    phi = scores(n, k_code, age, law).mul_(law.score_scale).round_()
    if preset is not None:
        phi += (preset.double() * FULL_PULSE).round_()[..., None]
    phi = phi.clamp_(0, FULL_PULSE).mul_(seen)

    def blocks(x: Tensor) -> Tensor:  # (..., R, K) -> (..., J, R, columns)
        return x.unflatten(-1, (-1, config.subtile_columns)).transpose(-3, -2)

    phi = blocks(phi)
    charge = charges(phi, v_code.unflatten(2, (-1, config.subtile_columns)), blocks(age), law)
    return charge, phi.sum(-1)


def _readout(charge: Tensor, fired: Tensor, config: GainCellConfig) -> tuple[Tensor, Tensor]:
    """Read-outs summed over sub-tiles: charges (B, Hkv, J, R, D) -> (B, Hkv, R, D), and fired (B, Hkv, J, R) -> Z."""
    law = integer_law(config, charge.device)
    # times the reciprocal: a GPU would divide by a number so, and a CPU would not
    out = readout_(charge * law.charge_scale, config).sum(2) * (1.0 / full_scale(config))
    z = (normaliser_readout(fired / FULL_PULSE, config) * FULL_PULSE).round_()
    return out, z.sum(2) / FULL_PULSE


@torch.no_grad()
def integer_products(
    q: Tensor,
    k_code: Tensor,
    v_code: Tensor,
    config: GainCellConfig,
    preset: Tensor | None = None,
    absent: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Both products for converted operands of rows without pads, in memory linear in the number of tokens.

    Args:
        q: (B, Hq, T, D) converted pulse widths in units of T_max, float32 or float64.
        k_code, v_code: (B, Hkv, T, D) stored codes, uint8.
        config: the design point.
        preset: (B, Hq, T) offset on S / S_sat, or None.
        absent: (B, Hkv, T), true at tokens that are not stored, or None.

    Returns:
        (B, Hq, T, D) sum of the sub-tiles' read-outs, and (B, Hq, T) Z, in the dtype of q. Not
        differentiable; see `straight_through`.

    Raises:
        InputError: the design point leaves queries, stored voltages or read-outs unquantised.
    """
    (batch, heads, tokens, head_dim), kv_heads = q.shape, k_code.shape[1]
    window, columns, groups = config.window, config.subtile_columns, heads // kv_heads
    check_integer(config)
    more = -tokens % columns  # fills the last sub-tile: no token sees its future
    rows, k_code, v_code = (pad(x, (0, 0, 0, more)) for x in (q, k_code, v_code))
    rows = rows.view(batch, kv_heads, groups, tokens + more, head_dim)
    offset = None if preset is None else pad(preset, (0, more)).view(rows.shape[:4])
    stored = None if absent is None else pad(~absent, (0, more))
    out, z = torch.zeros_like(rows), rows.new_zeros(rows.shape[:4])
    index = torch.arange(tokens + more, device=q.device)
    for start in range(0, tokens, columns):
        now, keys = slice(start, start + columns), slice(max(0, start - window), start + columns)
        age = (index[now, None] - index[keys]).repeat(groups, 1)
        seen, age = (age >= 0) & (age < window), age.clamp(0, window - 1)
        if stored is not None:
            seen = seen & stored[:, :, None, keys]
        own = None if offset is None else offset[..., now].flatten(2)
        charge, fired = _blocks(
            rows[..., now, :].flatten(2, 3), k_code[:, :, keys], v_code[:, :, keys], age, seen, own, config
        )
        if start >= window:  # the sub-tile that is being overwritten holds the oldest tokens and the newest
            for x in (charge, fired):
                x[:, :, -1] += x[:, :, 0]
            charge, fired = charge[:, :, 1:], fired[:, :, 1:]
        read, widths = (x.unflatten(2, (groups, columns)) for x in _readout(charge, fired, config))
        out[..., now, :], z[..., now] = read.to(q.dtype), widths.to(q.dtype)
    return out[..., :tokens, :].reshape(q.shape), z[..., :tokens].reshape(q.shape[:3])


@torch.no_grad()
def integer_read(
    q: Tensor,
    k_code: Tensor,
    v_code: Tensor,
    age: Tensor,
    present: Tensor,
    config: GainCellConfig,
    preset: Tensor | None = None,
    absent: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Both products of one query per row against the columns of a ring.

    Args:
        q: (B, Hq, 1, D) converted pulse widths in units of T_max.
        k_code, v_code: (B, Hkv, K, D) stored codes, uint8, of the first K columns: whole sub-tiles.
        age: (B, K) tokens since each column was written, 0 ... window - 1, int64.
        present: (B, K), false at columns that hold nothing yet.
        config, preset: as for `integer_products`, preset (B, Hq, 1).
        absent: (B, Hkv, K), true at columns that are to add nothing, or None.

    Returns:
        (B, Hq, 1, D) and (B, Hq, 1), as `integer_products`.

    Raises:
        InputError: the design point leaves queries, stored voltages or read-outs unquantised.
    """
    rows = q.reshape(len(q), k_code.shape[1], q.shape[1] // k_code.shape[1], q.shape[3])
    own = None if preset is None else preset.reshape(rows.shape[:3])
    seen = present[:, None, None]
    if absent is not None:
        seen = seen & ~absent[:, :, None]
    charge, fired = _blocks(rows, k_code, v_code, age[:, None, None], seen, own, config)
    out, widths = _readout(charge, fired, config)
    return out.reshape(q.shape).to(q.dtype), widths.reshape(q.shape[:3]).to(q.dtype)


class _ValueOf(torch.autograd.Function):
    """The first operand, with the gradient of the second."""

    @staticmethod
    def forward(ctx, value, surrogate):  # pyright: ignore[reportIncompatibleMethodOverride]
        return value

    @staticmethod
    def backward(ctx, *grads):
        return None, grads[0]


def straight_through(value: Tensor, surrogate: Tensor) -> Tensor:
    """`value` to the bit, with the gradient of `surrogate`, a float path's result of the same shape and dtype."""
    return _ValueOf.apply(value, surrogate)  # pyright: ignore[reportReturnType]
