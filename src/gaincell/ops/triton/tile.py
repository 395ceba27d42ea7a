"""What every kernel is made of: loads of blocks, ages, masks, and the two products of one block of keys.

A block is BLOCK tokens by WIDTH columns, of which the first DIM exist; whatever lies beyond the tokens or the columns
loads as zero. Stored operands come as terms (see `gaincell.ops.terms.Terms`): (TERMS, tokens, DIM), term p decaying as
e^{-rate_p leak age}; STEPS holds the difference of each rate from the one before it, so that
sum_p w^{rate_p} x_p = (...(x_P w^{step_P} + ...) w^{step_2} + x_1) w^{step_1} with w = e^{-leak age}.
"""

# Triton's own names and types: constants in capitals, values that are tensors once compiled.
# pyright: reportArgumentType=false, reportGeneralTypeIssues=false, reportCallIssue=false

import triton
import triton.language as tl

#: Which pairs a block of queries sees of a block of keys: all; the past of its own tokens; or, of the block that it
#: is overwriting, the columns that still stand.
ALL = tl.constexpr(0)
OWN = tl.constexpr(1)
OLD = tl.constexpr(2)

#: 1.5 * 2^23: added to a float32 below 2^22 it leaves no fraction, so the sum rounds to the nearest, ties to even.
_ROUNDER = tl.constexpr(12582912.0)


@triton.jit
def load_rows(pointer, first, tokens, DIM: tl.constexpr, BLOCK: tl.constexpr, WIDTH: tl.constexpr):
    """Tokens first ... first + BLOCK - 1 of a (tokens, DIM) matrix: (BLOCK, WIDTH)."""
    row = first + tl.arange(0, BLOCK)[:, None]
    column = tl.arange(0, WIDTH)[None, :]
    return tl.load(pointer + row * DIM + column, mask=(row < tokens) & (column < DIM), other=0)


@triton.jit
def store_rows(pointer, x, first, tokens, DIM: tl.constexpr, BLOCK: tl.constexpr, WIDTH: tl.constexpr):
    """The inverse of `load_rows`, in the dtype of the matrix."""
    row = first + tl.arange(0, BLOCK)[:, None]
    column = tl.arange(0, WIDTH)[None, :]
    tl.store(pointer + row * DIM + column, x.to(pointer.dtype.element_ty), mask=(row < tokens) & (column < DIM))


@triton.jit
def load_terms(
    pointer, first, tokens, STEPS: tl.constexpr, DIM: tl.constexpr, BLOCK: tl.constexpr, WIDTH: tl.constexpr
):
    """The same tokens of every term: a tuple of (BLOCK, WIDTH)."""
    terms = ()
    for p in tl.static_range(len(STEPS)):
        terms = terms + (load_rows(pointer + p * tokens * DIM, first, tokens, DIM, BLOCK, WIDTH),)  # noqa: RUF005
    return terms


@triton.jit
def load_vector(pointer, first, tokens, BLOCK: tl.constexpr):
    """Entries first ... first + BLOCK - 1 of a vector; zeros if there is none."""
    if pointer is None:
        return tl.full((BLOCK,), 0.0, tl.float32)
    else:
        row = first + tl.arange(0, BLOCK)
        return tl.load(pointer + row, mask=row < tokens, other=0)


@triton.jit
def decay(gap, leak, AXIS: tl.constexpr, BLOCK: tl.constexpr):
    """2^{-leak age} of every pair, the queries along AXIS and `gap` tokens after the keys: (BLOCK, BLOCK).

    A factor of the query and one of the key, relative to the queries' first token: no exponent is above
    leak * (BLOCK - 1), wherever the block lies.
    """
    index = tl.arange(0, BLOCK)
    query = tl.exp2(-leak * index.to(tl.float32))
    key = tl.exp2(-leak * (gap - index).to(tl.float32))
    return tl.expand_dims(query, 1 - AXIS) * tl.expand_dims(key, AXIS)


@triton.jit
def seen(x, MASK: tl.constexpr, AXIS: tl.constexpr, BLOCK: tl.constexpr):
    """x (BLOCK, BLOCK) where a query sees a key, zero elsewhere; the queries lie along AXIS."""
    index = tl.arange(0, BLOCK)
    query, key = tl.expand_dims(index, 1 - AXIS), tl.expand_dims(index, AXIS)
    if MASK == OWN:
        x = tl.where(key <= query, x, 0.0)
    elif MASK == OLD:
        x = tl.where(key > query, x, 0.0)
    return x


@triton.jit
def stored(x, absent, first, tokens, AXIS: tl.constexpr, BLOCK: tl.constexpr):
    """x (BLOCK, BLOCK) where the keys from `first` on are stored, zero at absent ones; the queries lie along AXIS."""
    if absent is not None:
        x = tl.where(tl.expand_dims(load_vector(absent, first, tokens, BLOCK), AXIS) == 0, x, 0.0)
    return x


@triton.jit
def product(a, b, total, MATMUL: tl.constexpr):
    """total + a b in float32, the operands rounded as MATMUL says."""
    if MATMUL == "bfloat16":
        total = tl.dot(a.to(tl.bfloat16), b.to(tl.bfloat16), total)
    elif MATMUL == "bfloat16, interpreted":  # the interpreter multiplies the bit patterns of bfloat16
        total = tl.dot(a.to(tl.bfloat16).to(tl.float32), b.to(tl.bfloat16).to(tl.float32), total)
    else:
        total = tl.dot(a, b, total, input_precision=MATMUL)
    return total


@triton.jit
def age(x, w, STEP: tl.constexpr):
    """x w^STEP."""
    for _ in tl.static_range(STEP):
        x = x * w
    return x


@triton.jit
def between(rows, terms, w, STEPS: tl.constexpr, AXIS: tl.constexpr, BLOCK: tl.constexpr, MATMUL: tl.constexpr):
    """sum_d rows_td charge_sd of every pair, the queries along AXIS: the product along head_dim."""
    total = tl.full((BLOCK, BLOCK), 0.0, tl.float32)
    for n in tl.static_range(len(STEPS)):
        if AXIS == 0:
            total = product(rows, tl.trans(terms[len(STEPS) - 1 - n]), total, MATMUL)
        else:
            total = product(terms[len(STEPS) - 1 - n], tl.trans(rows), total, MATMUL)
        total = age(total, w, STEPS[len(STEPS) - 1 - n])
    return total


@triton.jit
def along(pulses, terms, w, total, STEPS: tl.constexpr, MATMUL: tl.constexpr):
    """total + sum_s pulses_ts charge_sd: the product along the keys."""
    for p in tl.static_range(len(STEPS)):
        pulses = age(pulses, w, STEPS[p])
        total = product(pulses, terms[p], total, MATMUL)
    return total


@triton.jit
def round_half_even(x):
    """The nearest integer, ties to even, for |x| < 2^22."""
    return (x + _ROUNDER) - _ROUNDER


@triton.jit
def pulse_width(score, GATE: tl.constexpr):
    """phi of what the products give, as `gaincell.ops.gate.Gate.width`.

    GATE is how many ramps there are, then start, length and slope of each, then start and height of every jump.
    """
    phi = tl.minimum(tl.maximum(score - GATE[1], 0.0), GATE[2]) * GATE[3]
    for n in tl.static_range(1, GATE[0]):
        phi += tl.minimum(tl.maximum(score - GATE[3 * n + 1], 0.0), GATE[3 * n + 2]) * GATE[3 * n + 3]
    for n in tl.static_range((len(GATE) - 1 - 3 * GATE[0]) // 2):
        phi += tl.where(score > GATE[3 * GATE[0] + 2 * n + 1], GATE[3 * GATE[0] + 2 * n + 2], 0.0)
    return phi


@triton.jit
def steepness(grad, score, GATE: tl.constexpr):
    """`grad` times the slope of the ramp that `score` lies on, as `gaincell.ops.gate.Gate.gradient`.

    Where one ramp ends the next begins. Both ends of the polyline are counted in: a query that rounds to zero learns.
    """
    passed = tl.where(score >= GATE[1], grad * GATE[3], 0.0)
    for n in tl.static_range(1, GATE[0]):
        passed = tl.where(score >= GATE[3 * n + 1], grad * GATE[3 * n + 3], passed)
    return tl.where(score <= GATE[3 * GATE[0] - 2] + GATE[3 * GATE[0] - 1], passed, 0.0)


@triton.jit
def read_out(charge, full, READOUT: tl.constexpr):
    """What a sub-tile's counter reports for a charge in counts, as `gaincell.ops.readout.Readout.count_`.

    READOUT is whether it counts in whole numbers, and the gain and the offset of the circuit before it.
    """
    if READOUT[2] != 0.0:
        size = tl.maximum(tl.abs(charge) + READOUT[2] * full, 0.0)
        charge = tl.where(charge > 0.0, size, tl.where(charge < 0.0, -size, 0.0))
    code = tl.minimum(tl.maximum(charge, -full), full)
    if READOUT[0]:
        code = round_half_even(code)
    return code


@triton.jit
def stays_open(charge, full, READOUT: tl.constexpr):
    """1 where a read-out is not clamped, and passes a gradient, else 0."""
    return (tl.abs(charge) <= full * (1.0 - READOUT[2])).to(tl.int32)


@triton.jit
def count_pulses(phi_sum, full, RANGES: tl.constexpr, READOUT: tl.constexpr):
    """What a sub-tile adds to Z for the sum of its phi, as `gaincell.ops.readout.Normaliser`; () where it is ideal."""
    if len(RANGES) > 0:
        scale = tl.full(phi_sum.shape, RANGES[len(RANGES) - 1], tl.float32)
        for n in tl.static_range(1, len(RANGES)):
            finest = RANGES[len(RANGES) - 1 - n]
            scale = tl.where(phi_sum <= finest, finest, scale)
        phi_sum = read_out(tl.div_rn(phi_sum, scale) * (READOUT[1] * full), full, READOUT) * (scale / full)
    return phi_sum
