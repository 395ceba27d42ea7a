"""The read of a ring by one query a row: codes are looked up where they lie, several programs to a head."""

# Triton's own names and types: constants in capitals, values that are tensors once compiled.
# pyright: reportArgumentType=false, reportGeneralTypeIssues=false, reportCallIssue=false

from functools import lru_cache
from math import e, log2

import torch
import triton
import triton.language as tl
from torch import Tensor

from gaincell.config import GainCellConfig
from gaincell.ops.model import ArrayModel
from gaincell.ops.precision import outside_autocast
from gaincell.ops.quantise import code_voltage
from gaincell.ops.triton.limits import NARROWEST, width
from gaincell.ops.triton.products import circuits, precision
from gaincell.ops.triton.tile import count_pulses, product, pulse_width, read_out

#: Programs that a read is split into at least, where the ring has the sub-tiles: two for each processor of an H100.
_PROGRAMS = 264


@triton.jit
def _of_law(law, y, ORDER: tl.constexpr):
    """The polynomial of ORDER whose coefficients are `law`, of y."""
    charge = tl.full((1, 1), 0.0, tl.float32) + tl.load(law + ORDER)
    for i in tl.static_range(ORDER):
        charge = charge * y + tl.load(law + ORDER - 1 - i)
    return charge


@triton.jit
def _charges(
    codes,
    table,
    law,
    zero,
    ends,
    column,
    written,
    left,
    TABLE: tl.constexpr,
    ORDER: tl.constexpr,
    LEAK: tl.constexpr,
    ENDS: tl.constexpr,
    PACKED: tl.constexpr,
    DIM: tl.constexpr,
    WIDTH: tl.constexpr,
):
    """f(y, age) of the cells in the given columns: (columns, WIDTH); rubbish where nothing is written."""
    index, line = column[:, None], tl.arange(0, WIDTH)[None, :]
    mask = written[:, None] & (line < DIM)
    if PACKED:
        pair = tl.load(codes + index * (DIM // 2) + line // 2, mask=mask, other=0).to(tl.int32)
        y = tl.load(table + ((pair >> (4 * (line % 2))) & 15))
    elif TABLE:
        y = tl.load(table + tl.load(codes + index * DIM + line, mask=mask, other=0).to(tl.int32))
    else:
        y = tl.load(codes + index * DIM + line, mask=mask, other=0.0) - zero
    if LEAK == "cell":
        y = y * left[:, None]
    if ENDS == "pair":
        end = ends * (1.0 - left[:, None])
        y = _of_law(law, end + y, ORDER) - _of_law(law, end - y, ORDER)
    elif ORDER > 0:
        if ENDS == "cell":
            y = ends * (1.0 - left[:, None]) + y
        y = _of_law(law, y, ORDER)
    if LEAK == "factored":
        y = y * left[:, None]
    return y


@triton.jit
def read_kernel(
    pulse,  # (heads, DIM)
    preset,  # (heads,) or None: what is added to the products whatever the keys
    codes,  # (2, kv heads, WINDOW, DIM), or two codes a byte
    absent,  # (kv heads, WINDOW) or None: not 0 at columns that are to add nothing
    count,  # (batch,) tokens written
    table,  # what a code stands for: a voltage, or a charge if no law is to follow
    law,  # (ORDER + 1,) coefficients
    partial,  # (splits, heads, DIM + 1): sums of read-out codes, and what the normaliser counts
    kv_heads,
    leak,  # per token, in powers of two
    zero,
    ends,  # where cells decay to, above zero
    per_charge,  # what the gate takes of a charge of one
    output,  # counts per charge
    full,
    GROUPS: tl.constexpr,
    WINDOW: tl.constexpr,
    COLUMNS: tl.constexpr,
    TABLE: tl.constexpr,
    ORDER: tl.constexpr,
    LEAK: tl.constexpr,
    ENDS: tl.constexpr,  # "zero", or elsewhere: of a "cell", or of both cells of a "pair"
    PACKED: tl.constexpr,
    GATE: tl.constexpr,
    READOUT: tl.constexpr,
    RANGES: tl.constexpr,
    DIM: tl.constexpr,
    BLOCK: tl.constexpr,
    WIDTH: tl.constexpr,
    MEMBERS: tl.constexpr,
    MATMUL: tl.constexpr,
):
    """One group of query heads against every so manieth sub-tile of its ring."""
    split, splits = tl.program_id(0), tl.num_programs(0)
    kv_head, all_kv = tl.program_id(1).to(tl.int64), tl.num_programs(1).to(tl.int64)
    written = tl.load(count + kv_head // kv_heads)
    used = tl.minimum(written, WINDOW).to(tl.int32)
    newest = ((written + WINDOW - 1) % WINDOW).to(tl.int32)
    head_bytes: tl.constexpr = WINDOW * (DIM // 2 if PACKED else DIM)
    keys, values = codes + kv_head * head_bytes, codes + (all_kv + kv_head) * head_bytes
    member, line = tl.arange(0, MEMBERS), tl.arange(0, WIDTH)
    head = kv_head * GROUPS + member
    real = (member[:, None] < GROUPS) & (line[None, :] < DIM)
    q = tl.load(pulse + head[:, None] * DIM + line[None, :], mask=real, other=0.0)
    offset = tl.full((MEMBERS,), 0.0, tl.float32)
    if preset is not None:
        offset = tl.load(preset + head, mask=member < GROUPS, other=0.0)
    total = tl.full((MEMBERS, WIDTH), 0.0, tl.float32)
    pulses = tl.full((MEMBERS,), 0.0, tl.float32)
    for tile in range(split, (used + COLUMNS - 1) // COLUMNS, splits):
        charge, phi_sum = tl.full((MEMBERS, WIDTH), 0.0, tl.float32), tl.full((MEMBERS,), 0.0, tl.float32)
        for n in range(COLUMNS // BLOCK):
            column = tile * COLUMNS + n * BLOCK + tl.arange(0, BLOCK)
            held = column < used
            if absent is not None:
                held = held & (tl.load(absent + kv_head * WINDOW + column, mask=held, other=0) == 0)
            age = tl.where(column > newest, newest + WINDOW - column, newest - column)
            left = tl.exp2(-leak * age.to(tl.float32))
            stored = _charges(
                keys, table, law, zero, ends, column, held, left, TABLE, ORDER, LEAK, ENDS, PACKED, DIM, WIDTH
            )
            score = product(q, tl.trans(stored), tl.full((MEMBERS, BLOCK), 0.0, tl.float32), MATMUL)
            phi = tl.where(held[None, :], pulse_width(score * per_charge + offset[:, None], GATE), 0.0)
            stored = _charges(
                values, table, law, zero, ends, column, held, left, TABLE, ORDER, LEAK, ENDS, PACKED, DIM, WIDTH
            )
            charge = product(phi, stored, charge, MATMUL)
            phi_sum += tl.sum(phi, 1)
        total += read_out(charge * output, full, READOUT)
        pulses += count_pulses(phi_sum, full, RANGES, READOUT)
    row = partial + (split * all_kv * GROUPS + head) * (DIM + 1)
    tl.store(row[:, None] + line[None, :], total, mask=real)
    tl.store(row + DIM, pulses, mask=member < GROUPS)


def _ends(config: GainCellConfig) -> str:
    """What of a stored value decays to elsewhere than zero: nothing, its cell, or both cells of its pair."""
    if not config.leak or not config.cell.retention.ends_at_v:
        return "zero"
    return "pair" if config.cell.polarity == "pair" else "cell"


@lru_cache(maxsize=64)
def _tables(config: GainCellConfig, device: torch.device) -> tuple[Tensor, Tensor, int]:
    """What codes stand for, the law's coefficients, and the law's order, 0 where the table holds charges already.

    The law is that of a stored value: g(u) - g(-u) of a pair is odd, so it holds for what is left of u, too, but not
    where both cells decay to elsewhere than zero; there it is that of one cell.
    """
    cell = config.cell
    law = cell.model_cell_law if _ends(config) == "pair" else cell.model_law
    coefficients = torch.tensor(law.coefficients, dtype=torch.float32, device=device)
    order = len(law.coefficients) - 1
    if config.stored_levels is None:
        return coefficients, coefficients, order
    y = code_voltage(torch.arange(config.stored_levels), config, torch.float64)
    if config.leak and config.leak_form == "cell":
        return y.float().to(device), coefficients, order
    return law(y).float().to(device), coefficients, 0


@outside_autocast
def triton_read(
    pulse: Tensor,
    codes: Tensor,
    count: Tensor,
    model: ArrayModel,
    preset: Tensor | None = None,
    packed: bool = False,
    absent: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """What `Ring.read` computes before the normaliser, without ever unpacking the ring; no gradient.

    Args:
        pulse: (B, Hq, D) converted pulse widths, float32.
        codes: (2, B, Hkv, window, D) codes (uint8) or unquantised voltages (float32); (..., D / 2) if `packed`.
        count: (B,) tokens that each row has written.
        model: the arrays; `gaincell.ops.triton.SERVES` says which ones fit.
        preset: (B, Hq) offset on S / S_sat, or None.
        packed: two codes a byte, the even one low.
        absent: (B, Hkv, window), true at columns that are to add nothing, or None.

    Returns:
        (B, Hq, D) sum of the sub-tiles' read-outs, and (B, Hq) Z; zeros for a row without tokens.
    """
    config, (batch, heads, head_dim) = model.config, pulse.shape
    preset = model.gate.start(None if preset is None else preset.unsqueeze(2), pulse.unsqueeze(2))
    kv_heads = codes.shape[2]
    groups = heads // kv_heads
    splits = min(config.tiles, -(-_PROGRAMS // (batch * kv_heads)))
    partial = pulse.new_empty(splits, batch, heads, head_dim + 1)
    table, law, order = _tables(config, pulse.device)
    with torch.cuda.device_of(pulse):
        read_kernel[(splits, batch * kv_heads)](
            pulse.contiguous(),
            None if preset is None else preset.reshape(batch, heads).to(pulse.dtype).contiguous(),
            codes.contiguous(),
            None if absent is None else absent.to(torch.int8).contiguous(),
            count,
            table,
            law,
            partial,
            kv_heads,
            leak=config.leak * log2(e),
            zero=config.zero_v,
            ends=config.cell.retention.ends_at_v,
            per_charge=model.gate.scale(config),
            output=model.readout.scale / config.output_scale,
            full=model.readout.full,
            GROUPS=groups,
            WINDOW=config.window,
            COLUMNS=config.subtile_columns,
            TABLE=config.stored_levels is not None,
            ORDER=order,
            LEAK=config.leak_form if config.leak else "none",
            ENDS=_ends(config),
            PACKED=packed,
            **circuits(model),
            DIM=head_dim,
            BLOCK=min(config.subtile_columns, 64 if width(head_dim) <= 128 else 32),
            WIDTH=width(head_dim),
            MEMBERS=max(NARROWEST, triton.next_power_of_2(groups)),
            MATMUL=precision(config),
            num_warps=4,
            enable_fp_fusion=True,
        )
    total = partial.sum(0)
    return total[..., :-1] / model.readout.full, total[..., -1]
