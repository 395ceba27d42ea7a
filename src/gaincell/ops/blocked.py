"""Both products, sub-tile by sub-tile, exact, in memory linear in the number of tokens, with their own backward.

Nothing is normalised across keys, so sub-tiles are independent: for every key/value head the loop runs over blocks of
`subtile_columns` keys and, for each, over all queries that see them. Past the window a sub-tile holds its newest and
its oldest tokens together: what block j still gives to the queries that are overwriting it (its *tail*) is added to the
charge of block j + window / subtile_columns before that sub-tile is clamped and quantised, as the ring of columns does.

Without leak f folds into the stored operand, and each product is one matrix product. With leak, e^{-i leak (t - s)}
separates into a factor of the query and one of the key, so that the powers of the law stand side by side in one product
of width (order x head_dim). Both factors are relative to the start of a segment of keys that is short enough for
neither to leave the range of float32, however long the sequence.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from gaincell.cell import PolynomialLaw
from gaincell.config import GainCellConfig
from gaincell.ops.convert import readout_code_, readout_step
from gaincell.ops.precision import outside_autocast

#: Largest exponent order * leak * (tokens of a segment) that is allowed: e^40 lies well within float32.
_LARGEST_EXPONENT = 40.0


@dataclass(frozen=True)
class _Block:
    """Keys of one sub-tile and the rows that see them; a row is a query of one head of the group, tokens first."""

    index: int
    keys: slice
    rows: slice
    head: int  # so many rows belong to the block's own tokens: causal
    tail: int  # from this row on the block is being overwritten


class _Segment:
    """A run of blocks with one base for the exponents, and what no head changes: row weights and masks."""

    def __init__(self, lo: int, hi: int, tokens: int, groups: int, config: GainCellConfig, like: Tensor) -> None:
        columns, window = config.subtile_columns, config.window
        self.keys, self.rows = slice(lo, hi), slice(lo * groups, min(tokens, hi + window) * groups)
        self.blocks = []
        for first in range(lo, hi, columns):
            end = min(tokens, first + window + columns)
            head, tail = min(columns, end - first) * groups, min(window, end - first) * groups
            rows = slice((first - lo) * groups, (end - lo) * groups)
            keys = slice(first - lo, min(hi, first + columns) - lo)
            self.blocks.append(_Block(first // columns, keys, rows, head, tail))
        age = torch.arange(self.rows.stop // groups - lo, dtype=torch.float64, device=like.device)
        self.decay = torch.exp(-config.leak * age).repeat_interleave(groups)[:, None].to(like.dtype)
        self.growth = torch.exp(config.leak * age[: hi - lo])[:, None]
        column = torch.arange(columns, device=like.device)
        row = column.repeat_interleave(groups)[:, None]
        self.causal, self.live = (row >= column).to(like.dtype), (row < column).to(like.dtype)

    def mask_(self, x: Tensor, block: _Block) -> Tensor:
        """Zero what a row does not see: keys of its future, and keys that are overwritten by then."""
        x[: block.head] *= self.causal[: block.head, : x.shape[1]]
        x[block.tail :] *= self.live[: len(x) - block.tail, : x.shape[1]]
        return x


class _Stored:
    """A stored operand y (keys, D) of one segment under a law: factors whose product with rows gives the charge.

    Attributes:
        value: (keys, n D), C_i y^i e^{i leak (s - base)} for each power, times `scale`; f(y) without leak.
        slope: its derivative in y.
        constant: C_0 times `scale`, which needs no factor; 0 without leak.
    """

    def __init__(self, y: Tensor, law: PolynomialLaw, config: GainCellConfig, segment: _Segment, scale: float) -> None:
        self.decay, self.powers = segment.decay, [0]
        self.dim, self.constant = y.shape[1], 0.0
        if config.leak == 0.0:
            self.value, self.slope = law(y) * scale, law.derivative()(y) * scale
            return
        self.powers = [i for i, c in enumerate(law.coefficients) if i and c]
        factors = [(scale * law.coefficients[i] * segment.growth**i).to(y.dtype) for i in self.powers]
        self.value = torch.cat([c * y**i for i, c in zip(self.powers, factors, strict=True)], 1)
        self.slope = torch.cat([c * i * y ** (i - 1) for i, c in zip(self.powers, factors, strict=True)], 1)
        self.constant = scale * law.coefficients[0]

    def spread(self, x: Tensor, rows: slice) -> Tensor:
        """Rows (r, D) side by side, once for each power and weighted by e^{-i leak (t - base)}: (r, n D)."""
        if self.powers == [0]:
            return x
        weight = self.decay[rows]
        return torch.cat([x * weight**i for i in self.powers], 1)

    def gather(self, x: Tensor, rows: slice) -> Tensor:
        """The transpose of `spread`: (r, n D) -> (r, D), weighted and summed over powers."""
        if self.powers == [0]:
            return x
        weight = self.decay[rows]
        parts = x.split(self.dim, 1)
        total = parts[0] * weight ** self.powers[0]
        for part, i in zip(parts[1:], self.powers[1:], strict=True):
            total.addcmul_(part, weight**i)
        return total

    def fold(self, x: Tensor, block: _Block) -> Tensor:
        """Gradient of a block's `value` (keys, n D) -> gradient of its y (keys, D)."""
        return (x * self.slope[block.keys]).unflatten(1, (-1, self.dim)).sum(1)


class _Head:
    """One key/value head's rows and stored operands, segment by segment."""

    def __init__(self, q: Tensor, yk: Tensor, yv: Tensor, preset: Tensor, config: GainCellConfig) -> None:
        self.q, self.yk, self.yv = q.flatten(0, 1), yk, yv
        self.preset = preset.flatten()[:, None] if preset.numel() else None
        self.config = config

    def key(self, segment: _Segment, law: PolynomialLaw) -> _Stored:
        return _Stored(self.yk[segment.keys], law, self.config, segment, 1.0 / self.config.score_saturation)

    def value(self, segment: _Segment, law: PolynomialLaw) -> _Stored:
        return _Stored(self.yv[segment.keys], law, self.config, segment, 1.0 / self.config.output_scale)

    def gates(self, segment: _Segment, key: _Stored) -> Iterator[tuple[_Block, Tensor]]:
        """Per block S / S_sat + preset, before the clamp: (rows, keys)."""
        q = self.q[segment.rows]
        offset = None if self.preset is None else self.preset[segment.rows]
        if key.constant:
            constant = key.constant * q.sum(1, keepdim=True)
            offset = constant if offset is None else offset + constant
        spread = key.spread(q, slice(0, len(q)))
        for block in segment.blocks:
            factor = key.value[block.keys].T
            if offset is None:
                yield block, spread[block.rows] @ factor
            else:
                yield block, torch.addmm(offset[block.rows], spread[block.rows], factor)


def _segments(tokens: int, groups: int, config: GainCellConfig, like: Tensor) -> list[_Segment]:
    columns, order = config.subtile_columns, len(config.cell.model_law.coefficients) - 1
    blocks = -(-tokens // columns)
    if config.leak:
        blocks = max(1, min(blocks, int(_LARGEST_EXPONENT / (order * config.leak) / columns)))
    step = blocks * columns
    return [_Segment(lo, min(tokens, lo + step), tokens, groups, config, like) for lo in range(0, tokens, step)]


def _charge(phi: Tensor, block: _Block, value: _Stored) -> Tensor:
    """What a block's columns add to each output line, over the output scale: (rows, D)."""
    charge = value.gather(phi @ value.value[block.keys], block.rows)
    return charge.add_(phi.sum(1, keepdim=True), alpha=value.constant) if value.constant else charge


class _Products(torch.autograd.Function):
    @staticmethod
    @outside_autocast
    def forward(ctx, q, yk, yv, preset, config):  # pyright: ignore[reportIncompatibleMethodOverride]
        tokens, groups = q.shape[1:3]
        law, ring = config.cell.model_law, config.tiles
        out, z = torch.zeros_like(q), q.new_zeros(q.shape[:3])
        # Where a sub-tile that two blocks share was not clamped; only past the window.
        inside = torch.ones_like(q, dtype=torch.bool) if tokens > config.window else q.new_ones(0, dtype=torch.bool)
        segments = _segments(tokens, groups, config, q)
        for n in range(len(q)):
            head = _Head(q[n], yk[n], yv[n], preset[n] if preset.numel() else preset, config)
            rows_out, rows_z, tails = out[n].flatten(0, 1), z[n].flatten(), {}
            for segment in segments:
                value, base = head.value(segment, law), segment.rows.start
                for block, gate in head.gates(segment, head.key(segment, law)):
                    phi = segment.mask_(gate.clamp_(0.0, 1.0), block)
                    charge = _charge(phi, block, value)
                    first = base + block.rows.start
                    if config.normaliser != "none":
                        rows_z[first : first + len(phi)] += phi.sum(1)
                    if block.index >= ring:
                        charge[: block.head] += tails.pop(block.index - ring)
                        inside[n].flatten(0, 1)[first : first + block.head] = charge[: block.head].abs() <= 1
                    tails[block.index] = charge[block.tail :].clone()
                    rows_out[first : first + block.tail] += readout_code_(charge[: block.tail], config)
        ctx.save_for_backward(q, yk, yv, preset, inside)
        ctx.config = config
        return out.mul_(readout_step(config)), z

    @staticmethod
    @outside_autocast
    def backward(ctx, *grads):
        q, yk, yv, preset, inside = ctx.saved_tensors
        config: GainCellConfig = ctx.config
        tokens, groups = q.shape[1:3]
        law, ring = config.cell.model_law, config.tiles
        back_law = law
        if config.gradient == "linear-law":
            back_law = PolynomialLaw(coefficients=(0.0, config.surrogate_slope), unit="model", source="surrogate")
        grad_out, grad_z = (g.contiguous() for g in grads)
        grad_q, grad_yk, grad_yv = torch.zeros_like(q), torch.zeros_like(yk), torch.zeros_like(yv)
        grad_preset = torch.zeros_like(preset)
        segments = _segments(tokens, groups, config, q)
        for n in range(len(q)):
            head = _Head(q[n], yk[n], yv[n], preset[n] if preset.numel() else preset, config)
            rows_grad, rows_z, rows_q = (x[n].flatten(0, 1) for x in (grad_out, grad_z[..., None], grad_q))
            for segment in segments:
                key, value, base = head.key(segment, law), head.value(segment, law), segment.rows.start
                back_key, back_value = key, value
                if back_law is not law:
                    back_key, back_value = head.key(segment, back_law), head.value(segment, back_law)
                spread_q = back_key.spread(head.q[segment.rows], slice(0, segment.rows.stop - base))
                grad_spread, grad_sum = torch.zeros_like(spread_q), q.new_zeros(len(spread_q), 1)
                for block, gate in head.gates(segment, key):
                    rows = slice(base + block.rows.start, base + block.rows.stop)
                    passed = (gate >= 0) & (gate <= 1)  # edges too: a query that rounds to zero still learns
                    phi = segment.mask_(gate.clamp_(0.0, 1.0), block)
                    # Where the sub-tile was clamped no gradient passes; shared sub-tiles were noted on the way forward.
                    open_ = _charge(phi, block, value).abs_() <= 1
                    if inside.numel():
                        shared = inside[n].flatten(0, 1)[rows]
                        if block.index >= ring:
                            open_[: block.head] = shared[: block.head]
                        open_[block.tail :] = shared[block.tail :]
                    charge = rows_grad[rows] * open_
                    spread = back_value.spread(charge, block.rows)
                    grad_yv[n, segment.keys][block.keys] += back_value.fold(phi.T @ spread, block)
                    gradient = spread @ back_value.value[block.keys].T
                    if back_value.constant:
                        gradient += back_value.constant * charge.sum(1, keepdim=True)
                    gradient += rows_z[rows]
                    gradient = segment.mask_(gradient.mul_(passed), block)
                    grad_spread[block.rows].addmm_(gradient, back_key.value[block.keys])
                    grad_yk[n, segment.keys][block.keys] += back_key.fold(gradient.T @ spread_q[block.rows], block)
                    grad_sum[block.rows] += gradient.sum(1, keepdim=True)
                rows_q[segment.rows] += back_key.gather(grad_spread, slice(0, len(grad_spread)))
                rows_q[segment.rows] += back_key.constant * grad_sum
                if preset.numel():
                    grad_preset[n].flatten()[segment.rows] += grad_sum[:, 0]
        return grad_q, grad_yk, grad_yv, grad_preset, None


def blocked_products(
    q: Tensor, yk: Tensor, yv: Tensor, config: GainCellConfig, preset: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Both products for converted operands of rows without pads.

    Args:
        q: (B, Hq, T, D) converted pulse widths.
        yk, yv: (B, Hkv, T, D) stored voltages minus zero, in volt.
        config: the design point.
        preset: (B, Hq, T) offset on S / S_sat, or None.

    Returns:
        (B, Hq, T, D) sum of the sub-tiles' read-outs, and (B, Hq, T) Z = sum of phi.
    """
    batch, heads, tokens, _ = q.shape
    groups = heads // yk.shape[1]

    def grouped(x: Tensor) -> Tensor:  # (B, Hq, T, ...) -> (B Hkv, T, G, ...): a group's rows share one key block
        return x.reshape(batch * yk.shape[1], groups, *x.shape[2:]).transpose(1, 2).contiguous()

    def ungrouped(x: Tensor) -> Tensor:
        return x.transpose(1, 2).reshape(batch, heads, tokens, *x.shape[3:])

    offset = q.new_zeros(0) if preset is None else grouped(preset.to(q.dtype))
    out, z = _Products.apply(  # pyright: ignore[reportGeneralTypeIssues]
        grouped(q), yk.flatten(0, 1).contiguous(), yv.flatten(0, 1).contiguous(), offset, config
    )
    return ungrouped(out), ungrouped(z)
