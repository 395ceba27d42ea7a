"""The forward kernel: both products, the gate and the read-out of every sub-tile without leaving the registers."""

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
    count_pulses,
    decay,
    load_rows,
    load_terms,
    load_vector,
    pulse_width,
    read_out,
    seen,
    stays_open,
    store_rows,
    stored,
)


@triton.jit
def _absorb(
    charge,
    phi_sum,
    q,
    base,
    key,
    value,
    absent,
    first,
    gap,
    tokens,
    leak,
    KEY_STEPS: tl.constexpr,
    VALUE_STEPS: tl.constexpr,
    GATE: tl.constexpr,
    MASK: tl.constexpr,
    AGED: tl.constexpr,
    DIM: tl.constexpr,
    BLOCK: tl.constexpr,
    WIDTH: tl.constexpr,
    MATMUL: tl.constexpr,
):
    """Add the block of keys that lies `gap` tokens before the queries: to their charge, and to the sum of phi."""
    w = decay(gap, leak, 0, BLOCK) if AGED else 1.0
    keys = load_terms(key, first - gap, tokens, KEY_STEPS, DIM, BLOCK, WIDTH)
    score = between(q, keys, w, KEY_STEPS, 0, BLOCK, MATMUL) + base[:, None]
    phi = stored(seen(pulse_width(score, GATE), MASK, 0, BLOCK), absent, first - gap, tokens, 0, BLOCK)
    values = load_terms(value, first - gap, tokens, VALUE_STEPS, DIM, BLOCK, WIDTH)
    return along(phi, values, w, charge, VALUE_STEPS, MATMUL), phi_sum + tl.sum(phi, 1)


@triton.jit
def _within(phi_sum, RANGES: tl.constexpr):
    """Whether the normaliser's reference columns hold that sum of phi."""
    return phi_sum <= (RANGES[len(RANGES) - 1] if len(RANGES) > 0 else float("inf"))


@triton.jit
def forward_kernel(
    q,  # (heads, tokens, DIM) pulses
    base,  # (heads, tokens) or None: what is added to the products whatever the keys
    key,  # (kv heads, terms, tokens, DIM), such that pulses times key is what the gate takes
    value,  # likewise, such that phi times value is a charge in counts
    absent,  # (kv heads, tokens) or None: not 0 at tokens that are not stored
    out,  # (heads, tokens, DIM) sum of read-outs
    z,  # (heads, tokens) sum of phi, as the normaliser counts it
    opened,  # (words, heads, tokens, DIM) or None: bit k % 32 of word k // 32, the sub-tile k back was not clamped
    counted,  # (words, heads, tokens) or None: likewise, the sub-tile's phi lay within the normaliser's ranges
    tokens,
    leak,  # per token, in powers of two
    constant,  # what every pulse adds to every output line besides its terms, in counts
    full,  # counts of a read-out of 1
    GROUPS: tl.constexpr,
    WINDOW: tl.constexpr,
    COLUMNS: tl.constexpr,
    KEY_STEPS: tl.constexpr,
    VALUE_STEPS: tl.constexpr,
    GATE: tl.constexpr,  # see pulse_width
    AGED: tl.constexpr,
    READOUT: tl.constexpr,  # see read_out
    RANGES: tl.constexpr,
    DIM: tl.constexpr,
    BLOCK: tl.constexpr,
    WIDTH: tl.constexpr,
    MATMUL: tl.constexpr,
):
    """One block of queries of one head against every sub-tile of its ring."""
    CHUNKS: tl.constexpr = COLUMNS // BLOCK
    RING: tl.constexpr = WINDOW // COLUMNS
    first, head = tl.program_id(0) * BLOCK, tl.program_id(1).to(tl.int64)
    tile, own = first // COLUMNS, first % COLUMNS // BLOCK
    past = first >= WINDOW
    plane = tl.num_programs(1).to(tl.int64) * tokens * DIM
    key += head // GROUPS * len(KEY_STEPS) * tokens * DIM
    value += head // GROUPS * len(VALUE_STEPS) * tokens * DIM
    absent = absent if absent is None else absent + head // GROUPS * tokens
    rows = load_rows(q + head * tokens * DIM, first, tokens, DIM, BLOCK, WIDTH)
    offset = load_vector(base if base is None else base + head * tokens, first, tokens, BLOCK)
    nothing = tl.full((BLOCK, WIDTH), 0.0, tl.float32)

    # The sub-tile that these queries are being written into: their own past, and what it held before.
    charge, phi_sum = nothing, tl.full((BLOCK,), 0.0, tl.float32)
    charge, phi_sum = _absorb(
        charge, phi_sum, rows, offset, key, value, absent, first, 0, tokens, leak,
        KEY_STEPS, VALUE_STEPS, GATE, OWN, AGED, DIM, BLOCK, WIDTH, MATMUL,
    )  # fmt: skip
    if past:
        charge, phi_sum = _absorb(
            charge, phi_sum, rows, offset, key, value, absent, first, WINDOW, tokens, leak,
            KEY_STEPS, VALUE_STEPS, GATE, OLD, AGED, DIM, BLOCK, WIDTH, MATMUL,
        )  # fmt: skip
    for n in range(1, tl.where(past, CHUNKS, own + 1)):
        gap = n * BLOCK + tl.where(n > own, WINDOW - COLUMNS, 0)
        charge, phi_sum = _absorb(
            charge, phi_sum, rows, offset, key, value, absent, first, gap, tokens, leak,
            KEY_STEPS, VALUE_STEPS, GATE, ALL, AGED, DIM, BLOCK, WIDTH, MATMUL,
        )  # fmt: skip
    charge += constant * phi_sum[:, None]
    total, bits = read_out(charge, full, READOUT), stays_open(charge, full, READOUT)
    pulses, within = count_pulses(phi_sum, full, RANGES, READOUT), _within(phi_sum, RANGES).to(tl.int32)

    # The others, 32 to a word of bits.
    for word in range((RING + 31) // 32):
        for k in range(tl.maximum(32 * word, 1), tl.minimum(32 * word + 32, tl.minimum(tile + 1, RING))):
            charge, phi_sum = nothing, tl.full((BLOCK,), 0.0, tl.float32)
            for n in range(CHUNKS):
                gap = k * COLUMNS + (own - n) * BLOCK
                charge, phi_sum = _absorb(
                    charge, phi_sum, rows, offset, key, value, absent, first, gap, tokens, leak,
                    KEY_STEPS, VALUE_STEPS, GATE, ALL, AGED, DIM, BLOCK, WIDTH, MATMUL,
                )  # fmt: skip
            charge += constant * phi_sum[:, None]
            total += read_out(charge, full, READOUT)
            bits |= stays_open(charge, full, READOUT) << (k % 32)
            pulses += count_pulses(phi_sum, full, RANGES, READOUT)
            within |= _within(phi_sum, RANGES).to(tl.int32) << (k % 32)
        if opened is not None:
            store_rows(opened + word * plane + head * tokens * DIM, bits, first, tokens, DIM, BLOCK, WIDTH)
            bits = tl.full((BLOCK, WIDTH), 0, tl.int32)
        if counted is not None:
            row = first + tl.arange(0, BLOCK)
            tl.store(counted + (word * tl.num_programs(1) + head) * tokens + row, within, mask=row < tokens)
            within = tl.full((BLOCK,), 0, tl.int32)
    store_rows(out + head * tokens * DIM, total / full, first, tokens, DIM, BLOCK, WIDTH)
    row = first + tl.arange(0, BLOCK)
    tl.store(z + head * tokens + row, pulses, mask=row < tokens)
