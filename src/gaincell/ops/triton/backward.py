"""The backward kernels: gradients of the queries by blocks of queries, of what is stored by blocks of keys.

Both recompute S; where a read-out was clamped, and so passes no gradient, the forward kernel has noted. No gradient is
added up by atomics: two runs give the same bits.
"""

# Triton's own names and types: constants in capitals, values that are tensors once compiled.
# pyright: reportArgumentType=false, reportGeneralTypeIssues=false, reportCallIssue=false

import triton
import triton.language as tl

from gaincell.ops.triton.tile import (
    ALL,
    OLD,
    OWN,
    along,
    between,
    decay,
    load_rows,
    load_terms,
    load_vector,
    product,
    pulse_width,
    seen,
    steepness,
    store_rows,
    stored,
)


@triton.jit
def _descend(
    grad_q,
    grad_base,
    q,
    base,
    slope,
    extra,
    key,
    back_key,
    back_value,
    absent,
    first,
    gap,
    tokens,
    leak,
    KEY_STEPS: tl.constexpr,
    BACK_STEPS: tl.constexpr,
    GATE: tl.constexpr,
    MASK: tl.constexpr,
    AGED: tl.constexpr,
    DIM: tl.constexpr,
    BLOCK: tl.constexpr,
    WIDTH: tl.constexpr,
    MATMUL: tl.constexpr,
):
    """Add what the queries and their offsets get back from the block of keys that lies `gap` tokens before them."""
    w = decay(gap, leak, 0, BLOCK) if AGED else 1.0
    keys = load_terms(key, first - gap, tokens, KEY_STEPS, DIM, BLOCK, WIDTH)
    score = between(q, keys, w, KEY_STEPS, 0, BLOCK, MATMUL) + base[:, None]
    values = load_terms(back_value, first - gap, tokens, BACK_STEPS, DIM, BLOCK, WIDTH)
    grad = between(slope, values, w, BACK_STEPS, 0, BLOCK, MATMUL) + extra[:, None]
    grad = seen(steepness(grad, score, GATE), MASK, 0, BLOCK)
    grad = stored(grad, absent, first - gap, tokens, 0, BLOCK)
    keys = load_terms(back_key, first - gap, tokens, BACK_STEPS, DIM, BLOCK, WIDTH)
    return along(grad, keys, w, grad_q, BACK_STEPS, MATMUL), grad_base + tl.sum(grad, 1)


@triton.jit
def _passed(slope, bits, k):
    """d loss / d charge: the read-out's where bit k says that its sub-tile stayed open."""
    return tl.where(((bits >> (k % 32)) & 1) != 0, slope, tl.zeros_like(slope))


@triton.jit
def _counted(grad_z, counted, first, tokens, k, rows, BLOCK: tl.constexpr):
    """d loss / d phi by way of Z: none where bit k says that a sub-tile went beyond the normaliser's ranges."""
    if counted is not None:
        bits = load_vector(counted + k // 32 * rows, first, tokens, BLOCK)
        grad_z = tl.where(((bits >> (k % 32)) & 1) != 0, grad_z, 0.0)
    return grad_z


@triton.jit
def query_kernel(
    q,  # these as in forward_kernel
    base,
    key,
    back_key,  # (kv heads, terms, tokens, DIM) of the law of the backward pass
    back_value,
    absent,
    opened,
    counted,
    grad_out,  # (heads, tokens, DIM) d loss / d read-out in counts
    grad_z,  # (heads, tokens)
    grad_q,  # (heads, tokens, DIM)
    grad_base,  # (heads, tokens)
    tokens,
    leak,
    back_constant,  # as `constant` of the forward kernel, of the law of the backward pass
    GROUPS: tl.constexpr,
    WINDOW: tl.constexpr,
    COLUMNS: tl.constexpr,
    KEY_STEPS: tl.constexpr,
    BACK_STEPS: tl.constexpr,
    GATE: tl.constexpr,
    AGED: tl.constexpr,
    DIM: tl.constexpr,
    BLOCK: tl.constexpr,
    WIDTH: tl.constexpr,
    MATMUL: tl.constexpr,
):
    """One block of queries of one head, against every sub-tile of its ring, in the order of the forward kernel."""
    CHUNKS: tl.constexpr = COLUMNS // BLOCK
    RING: tl.constexpr = WINDOW // COLUMNS
    first, head = tl.program_id(0) * BLOCK, tl.program_id(1).to(tl.int64)
    tile, own = first // COLUMNS, first % COLUMNS // BLOCK
    past = first >= WINDOW
    key += head // GROUPS * len(KEY_STEPS) * tokens * DIM
    back_key += head // GROUPS * len(BACK_STEPS) * tokens * DIM
    back_value += head // GROUPS * len(BACK_STEPS) * tokens * DIM
    absent = absent if absent is None else absent + head // GROUPS * tokens
    opened += head * tokens * DIM
    counted = counted if counted is None else counted + head * tokens
    all_rows = tl.num_programs(1).to(tl.int64) * tokens
    rows = load_rows(q + head * tokens * DIM, first, tokens, DIM, BLOCK, WIDTH)
    offset = load_vector(base if base is None else base + head * tokens, first, tokens, BLOCK)
    slope = load_rows(grad_out + head * tokens * DIM, first, tokens, DIM, BLOCK, WIDTH)
    pulses = load_vector(grad_z + head * tokens, first, tokens, BLOCK)
    bits = load_rows(opened, first, tokens, DIM, BLOCK, WIDTH).to(tl.int32)
    total, total_base = tl.full((BLOCK, WIDTH), 0.0, tl.float32), tl.full((BLOCK,), 0.0, tl.float32)

    charge = _passed(slope, bits, 0)
    extra = _counted(pulses, counted, first, tokens, 0, all_rows, BLOCK)
    extra += back_constant * tl.sum(charge.to(tl.float32), 1)
    total, total_base = _descend(
        total, total_base, rows, offset, charge, extra, key, back_key, back_value, absent, first, 0,
        tokens, leak, KEY_STEPS, BACK_STEPS, GATE, OWN, AGED, DIM, BLOCK, WIDTH, MATMUL,
    )  # fmt: skip
    if past:
        total, total_base = _descend(
            total, total_base, rows, offset, charge, extra, key, back_key, back_value, absent, first, WINDOW,
            tokens, leak, KEY_STEPS, BACK_STEPS, GATE, OLD, AGED, DIM, BLOCK, WIDTH, MATMUL,
        )  # fmt: skip
    for n in range(1, tl.where(past, CHUNKS, own + 1)):
        gap = n * BLOCK + tl.where(n > own, WINDOW - COLUMNS, 0)
        total, total_base = _descend(
            total, total_base, rows, offset, charge, extra, key, back_key, back_value, absent, first, gap,
            tokens, leak, KEY_STEPS, BACK_STEPS, GATE, ALL, AGED, DIM, BLOCK, WIDTH, MATMUL,
        )  # fmt: skip

    for word in range((RING + 31) // 32):
        bits = load_rows(opened + word * all_rows * DIM, first, tokens, DIM, BLOCK, WIDTH).to(tl.int32)
        for k in range(tl.maximum(32 * word, 1), tl.minimum(32 * word + 32, tl.minimum(tile + 1, RING))):
            charge = _passed(slope, bits, k)
            extra = _counted(pulses, counted, first, tokens, k, all_rows, BLOCK)
            extra += back_constant * tl.sum(charge.to(tl.float32), 1)
            for n in range(CHUNKS):
                gap = k * COLUMNS + (own - n) * BLOCK
                total, total_base = _descend(
                    total, total_base, rows, offset, charge, extra, key, back_key, back_value, absent, first, gap,
                    tokens, leak, KEY_STEPS, BACK_STEPS, GATE, ALL, AGED, DIM, BLOCK, WIDTH, MATMUL,
                )  # fmt: skip
    store_rows(grad_q + head * tokens * DIM, total, first, tokens, DIM, BLOCK, WIDTH)
    row = first + tl.arange(0, BLOCK)
    tl.store(grad_base + head * tokens + row, total_base, mask=row < tokens)


@triton.jit
def _ascend(
    grad_key,
    grad_value,
    keys,
    values,
    q,
    base,
    absent,
    opened,
    counted,
    grad_out,
    grad_z,
    start,
    first,
    tokens,
    leak,
    rate,
    all_rows,
    back_constant,
    WINDOW: tl.constexpr,
    COLUMNS: tl.constexpr,
    KEY_STEPS: tl.constexpr,
    BACK_STEPS: tl.constexpr,
    GATE: tl.constexpr,
    MASK: tl.constexpr,
    AGED: tl.constexpr,
    DIM: tl.constexpr,
    BLOCK: tl.constexpr,
    WIDTH: tl.constexpr,
    MATMUL: tl.constexpr,
):
    """Add what a block of keys gets back from the block of queries that begins at `first`; queries along axis 1."""
    k = (first // COLUMNS - start // COLUMNS) % (WINDOW // COLUMNS)
    rows = load_rows(q, first, tokens, DIM, BLOCK, WIDTH)
    bits = load_rows(opened + k // 32 * all_rows * DIM, first, tokens, DIM, BLOCK, WIDTH).to(tl.int32)
    slope = _passed(load_rows(grad_out, first, tokens, DIM, BLOCK, WIDTH), bits, k)
    extra = _counted(load_vector(grad_z, first, tokens, BLOCK), counted, first, tokens, k, all_rows, BLOCK)
    extra += back_constant * tl.sum(slope.to(tl.float32), 1)
    w = decay(first - start, leak, 1, BLOCK) if AGED else 1.0
    score = between(rows, keys, w, KEY_STEPS, 1, BLOCK, MATMUL) + load_vector(base, first, tokens, BLOCK)[None, :]
    phi = stored(seen(pulse_width(score, GATE), MASK, 1, BLOCK), absent, start, tokens, 1, BLOCK)
    grad = between(slope, values, w, BACK_STEPS, 1, BLOCK, MATMUL) + extra[None, :]
    grad = seen(steepness(grad, score, GATE), MASK, 1, BLOCK)
    grad = stored(grad, absent, start, tokens, 1, BLOCK)
    if AGED:
        w = decay(first - start, leak * rate, 1, BLOCK)
        phi, grad = phi * w, grad * w
    return product(grad, rows, grad_key, MATMUL), product(phi, slope, grad_value, MATMUL)


@triton.jit
def stored_kernel(
    q,  # these as in query_kernel
    base,
    key,
    back_value,
    absent,
    opened,
    counted,
    grad_out,
    grad_z,
    grad_key,  # (kv heads, terms, tokens, DIM), gradients of back_key and back_value
    grad_value,
    tokens,
    leak,
    back_constant,
    GROUPS: tl.constexpr,
    WINDOW: tl.constexpr,
    COLUMNS: tl.constexpr,
    KEY_STEPS: tl.constexpr,
    BACK_STEPS: tl.constexpr,
    GATE: tl.constexpr,
    AGED: tl.constexpr,
    DIM: tl.constexpr,
    BLOCK: tl.constexpr,
    WIDTH: tl.constexpr,
    MATMUL: tl.constexpr,
):
    """One term of one block of keys, over the queries that see it, of all heads of the group."""
    start, kv_head, term = tl.program_id(0) * BLOCK, tl.program_id(1).to(tl.int64), tl.program_id(2)
    all_rows = tl.num_programs(1).to(tl.int64) * GROUPS * tokens
    keys = load_terms(key + kv_head * len(KEY_STEPS) * tokens * DIM, start, tokens, KEY_STEPS, DIM, BLOCK, WIDTH)
    place = kv_head * len(BACK_STEPS) * tokens * DIM
    absent = absent if absent is None else absent + kv_head * tokens
    values = load_terms(back_value + place, start, tokens, BACK_STEPS, DIM, BLOCK, WIDTH)
    rate = 0
    for p in tl.static_range(len(BACK_STEPS)):
        rate += tl.where(term >= p, BACK_STEPS[p], 0)
    total_key = tl.full((BLOCK, WIDTH), 0.0, tl.float32)
    total_value = tl.full((BLOCK, WIDTH), 0.0, tl.float32)
    for group in range(GROUPS):
        row = (kv_head * GROUPS + group) * tokens
        rows, bits, slopes, pulses = q + row * DIM, opened + row * DIM, grad_out + row * DIM, grad_z + row
        offset = base if base is None else base + row
        marks = counted if counted is None else counted + row
        total_key, total_value = _ascend(
            total_key, total_value, keys, values, rows, offset, absent, bits, marks, slopes, pulses, start, start,
            tokens, leak, rate, all_rows, back_constant,
            WINDOW, COLUMNS, KEY_STEPS, BACK_STEPS, GATE, OWN, AGED, DIM, BLOCK, WIDTH, MATMUL,
        )  # fmt: skip
        for first in range(start + BLOCK, tl.minimum(start + WINDOW, tokens), BLOCK):
            total_key, total_value = _ascend(
                total_key, total_value, keys, values, rows, offset, absent, bits, marks, slopes, pulses, start, first,
                tokens, leak, rate, all_rows, back_constant,
                WINDOW, COLUMNS, KEY_STEPS, BACK_STEPS, GATE, ALL, AGED, DIM, BLOCK, WIDTH, MATMUL,
            )  # fmt: skip
        if start + WINDOW < tokens:
            total_key, total_value = _ascend(
                total_key, total_value, keys, values, rows, offset, absent, bits, marks, slopes, pulses, start,
                start + WINDOW, tokens, leak, rate, all_rows, back_constant,
                WINDOW, COLUMNS, KEY_STEPS, BACK_STEPS, GATE, OLD, AGED, DIM, BLOCK, WIDTH, MATMUL,
            )  # fmt: skip
    place += term * tokens * DIM
    store_rows(grad_key + place, total_key, start, tokens, DIM, BLOCK, WIDTH)
    store_rows(grad_value + place, total_value, start, tokens, DIM, BLOCK, WIDTH)
