"""Both products, sub-tile by sub-tile, exact, in memory linear in the number of tokens, with their own backward.

Nothing is normalised across keys, so sub-tiles are independent: for a few heads at a time the loop runs over blocks of
`subtile_columns` keys and, for each, over all queries that see them, so that every tensor on the way stays in the
processor's cache. Past the window a sub-tile holds its newest and its oldest tokens together: what block j still gives
to the queries that are overwriting it (its *tail*) is added to the charge of block j + window / subtile_columns before
that sub-tile is clamped and quantised, as the ring of columns does.

Without leak f folds into the stored operand, and each product is one matrix product. With leak every power of the law
decays at its own rate (`Terms`), so each product is one matrix product a power, weighted by a table of e^{-rate age}
that all blocks and heads share: an age never exceeds the window, so nothing overflows however long the sequence.
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import prod

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from gaincell.ops.leak import since_written
from gaincell.ops.model import ArrayModel
from gaincell.ops.operands import Operands
from gaincell.ops.precision import matmul, outside_autocast, rounding, widen
from gaincell.ops.quantise import fired, query_gradient, query_pulse, stored_gradient, stored_voltage
from gaincell.ops.terms import TabledTerms, Terms
from gaincell.ops.variation import Cells, Noise, arrays

#: What this form computes; see `gaincell.ops.model.ArrayModel.needs`.
SERVES = frozenset(
    {
        *("gradients", "normaliser", "feedthrough", "noise", "mismatch", "refresh", "retention table"),
        *("write error", "read disturb"),
    }
)

#: Queries times heads that are worked on at once: large enough that the matrix products are fast, small enough that
#: what lies between them stays in a core's cache of 2 MB (found by measuring: below 3,000 the steps of the loop cost
#: more than is saved; from 4,000 to 12,000 they do not, but every call has memory handed out anew, page by page).
_ROWS = 4096

#: One term's factor of a product, block by block.
_Factor = tuple[Tensor, ...]

#: Some heads, and some tokens.
_Index = tuple[slice, slice]


@dataclass(frozen=True)
class _Place:
    """Which arrays a call meets, and when: what no operand tells.

    Attributes:
        start: (B,) tokens that each row has written before.
        kv_heads: Hkv.
        noise: of this call, or None.
    """

    start: Tensor
    kv_heads: int
    noise: Noise | None


@dataclass(frozen=True)
class _Block:
    """The keys of one sub-tile, and the queries that see them: `tail` of them, then those that overwrite it.

    Sub-tiles are counted on past the window: the one that overwrites block `index` has the number index + tiles.
    """

    index: int
    rows: slice
    tail: int  # from this row on the block is being overwritten
    tiles: int
    columns: int

    @property
    def parts(self) -> tuple[tuple[int, slice], tuple[int, slice]]:
        """With which sub-tile's charge these keys' is read out, for which of the block's rows."""
        return (self.index, slice(self.tail)), (self.index + self.tiles, slice(self.tail, None))

    @property
    def inherited(self) -> int:
        """For how many of its first rows the keys that it overwrites add to its sub-tile's charge."""
        return self.columns if self.index >= self.tiles else 0

    @property
    def shared(self) -> list[slice]:
        """The rows for which its keys are not all of a sub-tile: they share its charge with another block's."""
        first = [slice(self.inherited)] if self.inherited else []
        return [*first, slice(self.tail, None)] if self.rows.stop - self.rows.start > self.tail else first


class _Tails:
    """What blocks give to the sub-tiles that overwrite them, kept until those have their own charge."""

    def __init__(self) -> None:
        self.kept: dict[int, Tensor] = {}

    def close(self, x: Tensor, block: _Block) -> Tensor:
        """All that a block's sub-tile gets, (n, tail, ...), of what its keys give, (n, r, ...). Uses x up."""
        (own, rows), (next_one, rest) = block.parts
        before = self.kept.pop(own, None)
        if before is not None:
            x[:, : before.shape[1]].add_(before)
        if x.shape[1] > block.tail:
            self.kept[next_one] = x[:, rest].clone()
        return x[:, rows]


class _Buffers:
    """Tensors that the loop writes again and again, by name and shape."""

    def __init__(self, like: Tensor) -> None:
        self.like, self.flat, self.views = like, {}, {}

    def __call__(self, name: str, *shape: int) -> Tensor:
        view = self.views.get((name, shape))
        if view is None:
            size, flat = prod(shape), self.flat.get(name)
            if flat is None or len(flat) < size:
                flat = self.flat[name] = self.like.new_empty(size)
            view = self.views[name, shape] = flat[:size].view(shape)
        return view


class _Plan:
    """What no head changes: blocks, decays and terms of one call."""

    def __init__(self, model: ArrayModel, like: Tensor, converted: bool, place: _Place) -> None:
        tokens, config = like.shape[1], model.config
        self.model, self.config, self.place = model, config, place
        self.arrays = arrays(config, place.kv_heads, like.shape[2], like)
        self.tokens, self.like, self.converted = tokens, like, converted
        self.columns, self.window = config.subtile_columns, config.window
        #: Whether it matters which cells, heads and tokens these are.
        self.counts = self.arrays is not None or place.noise is not None
        self.gate, self.key, self.value = model.gate, model.key, model.value
        self.back_key, self.back_value = model.back_key, model.back_value
        self.through_key, self.through_value = model.feedthrough or (None, None)
        self.buffer = _Buffers(like)
        self.blocks = self.blocks_of(tokens)
        self.longest = min(tokens, self.window + self.columns)
        self.rounding = rounding(config, like.dtype)
        age = torch.arange(self.longest)[:, None] - torch.arange(self.columns)
        held = since_written(age.clamp(0, self.window - 1), config)  # nobody sees others
        every = [self.key, self.value, self.back_key, self.back_value, *(model.feedthrough or ())]
        #: Of terms whose decay is a table: weights and their derivatives by age, (P, longest, C).
        self.tables = {
            id(terms): tuple(x[:, held].to(like) for x in (terms.weights, terms.steep))
            for terms in every
            if isinstance(terms, TabledTerms)
        }
        self.step_decays = {
            step: torch.exp(-step * terms.leak * held.double()).to(like)
            for terms in every
            for step in (() if self.tables else terms.steps)
            if step
        }
        self.views: dict[tuple[int, int], Tensor] = {}

    def blocks_of(self, tokens: int) -> list[_Block]:
        """The sub-tiles of so many tokens."""
        blocks = []
        for first in range(0, tokens, self.columns):
            end = min(tokens, first + self.window + self.columns)
            tail, index = min(self.window, end - first), first // self.columns
            blocks.append(_Block(index, slice(first, end), tail, self.config.tiles, self.columns))
        return blocks

    def decay(self, step: int, rows: int) -> Tensor:
        """e^{-step leak age} of a block's first rows: (rows, C)."""
        found = self.views.get((step, rows))
        if found is None:
            found = self.views[step, rows] = self.step_decays[step][:rows]
        return found

    def mask_(self, x: Tensor, block: _Block) -> Tensor:
        """Zero what a row does not see: keys of its future, and keys that are overwritten by then."""
        x[:, : self.columns].tril_()
        if x.shape[1] > block.tail:
            x[:, block.tail :].triu_(1)
        return x

    def totals(self, heads: int) -> Tensor:
        """Zeros for the pulses of every block's sub-tile, by query from the block's first on: (blocks, heads, tail)."""
        return self.like.new_zeros(len(self.blocks), heads, max(block.tail for block in self.blocks))

    def pieces(self, groups: int, kv_heads: int) -> "Iterator[tuple[_Plan, _Index, _Index]]":
        """Plans of some sub-tiles each, and what they look at: which heads and tokens of the queries, and of the keys.

        The later a sub-tile comes, the fewer queries see it, and the more heads are worked on at once: starting an
        operation is not to take longer than the operation. Past the window as many queries see every sub-tile.
        """
        first = 0
        while first < self.tokens:
            plan, tokens = copy.copy(self), self.tokens - first
            plan.tokens, plan.longest, plan.blocks = tokens, min(tokens, self.longest), self.blocks_of(tokens)
            plan.place = replace(self.place, start=self.place.start + first)
            step = max(1, round(_ROWS / (plan.longest * groups)))
            if self.tokens <= self.window and step < kv_heads:
                plan.blocks = plan.blocks[: -(-len(plan.blocks) // 2)]
            end = min(first + len(plan.blocks) * self.columns, self.tokens)
            for head in range(0, kv_heads, step):
                last = min(head + step, kv_heads)
                yield (
                    plan,
                    (slice(head * groups, last * groups), slice(first, None)),
                    (slice(head, last), slice(first, end)),
                )
            first = end


class _Heads:
    """Some query heads at once: their pulses (n, T, D) and the voltages (m, T', D) stored, T' whole sub-tiles.

    The voltages are kept in `buffers`: others that the loop writes to, where they are not needed once it has begun.
    """

    def __init__(
        self,
        plan: _Plan,
        queries: _Index,
        keys: _Index,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        preset: Tensor,
        absent: Tensor,
        buffers: tuple[str, str] = ("k", "v"),
    ) -> None:
        q, preset, k, v, absent = q[queries], preset[queries], k[keys], v[keys], absent[keys]
        self.plan, self.buffer = plan, plan.buffer
        (self.count, _, self.dim), self.groups = q.shape, len(q) // len(k)
        # Converted here, for a few heads at a time, while they are in the cache.
        self.q = q if plan.converted else query_pulse(q, plan.config, self.buffer("q", *q.shape))
        self.yk, self.yv = (self.voltages(name, x) for name, x in zip(buffers, (k, v), strict=True))
        self.key_cells = self.value_cells = None
        if plan.counts:
            kv_heads = plan.place.kv_heads
            row = torch.arange(keys[0].start, keys[0].stop, device=q.device)
            start = plan.place.start[row // kv_heads, None]
            if plan.arrays is not None:
                column = (start + torch.arange(self.yk.shape[1], device=q.device)) % plan.window
                self.key_cells, self.value_cells = (
                    array.at((row % kv_heads)[:, None], column) for array in plan.arrays
                )
            # By query head, (n, 1): which of its sequence it is, and how many tokens were written before.
            self.head = torch.arange(queries[0].start, queries[0].stop, device=q.device)[:, None] % (
                kv_heads * self.groups
            )
            self.start = start.repeat_interleave(self.groups, 0)
        if plan.through_key and plan.through_value:
            self.fired = fired(self.q, plan.config)
            self.through_keys = self.factors("through key", self.yk, plan.through_key, None)
            self.through_values = self.factors("through value", self.yv, plan.through_value, None)
        self.stored = self.present(absent) if absent.numel() else None
        self.offset = preset[..., None] if preset.numel() else None
        if plan.key.constant:
            constant = self.q.sum(2, keepdim=True) * plan.key.constant
            self.offset = constant if self.offset is None else constant.add_(self.offset)

    def voltages(self, name: str, x: Tensor) -> Tensor:
        """Stored voltages (m, T', D) of k or v (m, T, D); nobody sees what fills the last sub-tile up."""
        plan, tokens = self.plan, x.shape[1]
        y = self.buffer(name, len(x), len(plan.blocks) * plan.columns, self.dim)
        y[:, tokens:] = 0.0
        if plan.converted:
            y[:, :tokens] = x
        else:
            stored_voltage(x, plan.config, y[:, :tokens])
        return y

    def present(self, absent: Tensor) -> list[Tensor | None]:
        """For every block 1 at its columns that are stored, else 0: (n, 1, C) from absent (m, T); None if all are."""
        plan = self.plan
        present = absent.new_ones(len(absent), len(plan.blocks) * plan.columns).to(self.q)
        present[:, : absent.shape[1]].masked_fill_(absent, 0.0)
        blocks = present.repeat_interleave(self.groups, 0).unflatten(1, (-1, 1, plan.columns)).unbind(1)
        whole = (present.unflatten(1, (-1, plan.columns)).amin((0, 2)) == 1.0).tolist()
        return [None if full else block for block, full in zip(blocks, whole, strict=True)]

    def mask_(self, x: Tensor, block: _Block) -> Tensor:
        """Zero what a row does not see of a block's columns (n, r, C), or what is not there."""
        x, stored = self.plan.mask_(x, block), None if self.stored is None else self.stored[block.index]
        return x if stored is None else x.mul_(stored)

    def factors(self, name: str, y: Tensor, terms: Terms, cells: Cells | None) -> list[_Factor]:
        """The factor of a product for every term and block: (n, C, D)."""
        factors = []
        for p in range(len(terms.rates)):
            x = terms.value(p, y, self.buffer(f"{name}{p}", *y.shape), cells)
            x = x.repeat_interleave(self.groups, 0) if self.groups > 1 else x
            factors.append(x.unflatten(1, (-1, self.plan.columns)).unbind(1))
        return factors

    def operands(self) -> tuple[list[_Factor], list[_Factor]]:
        """Factors of both products."""
        keys = self.factors("key", self.yk, self.plan.key, self.key_cells)
        return keys, self.factors("value", self.yv, self.plan.value, self.value_cells)

    def scores(self, block: _Block, keys: list[_Factor]) -> Tensor:
        """S / S_sat + preset of a block, before the clamp: (n, r, C)."""
        terms = self.plan.key
        score, through = self.onto_columns("score", self.q[:, block.rows], block, keys, terms), self.plan.through_key
        if through is not None:
            fired = self.fired[:, block.rows]
            score.add_(self.onto_columns("through", fired, block, self.through_keys, through))
            score.add_(fired.sum(2, keepdim=True), alpha=through.constant)
        if self.plan.place.noise is not None and self.plan.place.noise.score:
            score.add_(self.score_noise(self.plan.place.noise, block, score))
        return score if self.offset is None else score.add_(self.offset[:, block.rows])

    def score_noise(self, noise: Noise, block: _Block, score: Tensor) -> Tensor:
        """Noise of S / S_sat of a block's columns, (n, r, C)."""
        plan, rows = self.plan, block.rows
        token = self.start + torch.arange(rows.start, rows.stop, device=score.device)
        column = (self.start + torch.arange(rows.start, rows.start + plan.columns, device=score.device)) % plan.window
        counters = self.head[..., None], token[..., None], column[:, None]
        return noise.of_scores(*counters, score).mul_(plan.gate.gain)

    def with_readout_noise_(self, charge: Tensor, block: _Block) -> Tensor:
        """A block's charges in counts (n, r, D) for its first r queries, with the noise of its read-outs if any."""
        noise, plan = self.plan.place.noise, self.plan
        if noise is None or not noise.readout:
            return charge
        token = self.start + block.rows.start + torch.arange(charge.shape[1], device=charge.device)
        tile = (self.start // plan.columns + block.index) % block.tiles
        return charge.add_(noise.of_readouts(self.head, token, tile, charge).mul_(plan.model.readout.scale))

    def charge(self, phi: Tensor, block: _Block, values: list[_Factor]) -> Tensor:
        """What a block's columns add to each output line, in counts: phi (n, r, C) -> (n, r, D). Uses phi up."""
        terms, through = self.plan.value, self.plan.through_value
        pulses = None if through is None else (phi > 0.0).to(phi)
        constant = phi.sum(2, keepdim=True) if terms.constant else None
        charge = self.onto_lines("charge", phi, block, values, terms)
        if constant is not None:
            charge.add_(constant, alpha=terms.constant)
        if through is not None and pulses is not None:
            charge.add_(pulses.sum(2, keepdim=True), alpha=through.constant)
            charge.add_(self.onto_lines("through", pulses, block, self.through_values, through))
        return charge

    def unclamped(
        self, slope: Tensor, phi: Tensor, block: _Block, values: list[_Factor], opened: list[Tensor]
    ) -> Tensor:
        """The read-outs' gradient (n, r, D) where a block's sub-tiles stayed open, zero where they were clamped.

        `phi` (n, r, C) are its pulses; `opened` tells it for the block's `shared` rows.
        """
        charge = self.charge(self.buffer("spare", *phi.shape).copy_(phi), block, values)
        charge = self.with_readout_noise_(charge, block)
        passed = self.plan.model.readout.gradient(slope, charge, out=self.buffer("slope", *slope.shape))
        for rows, both in zip(block.shared, opened, strict=True):
            torch.mul(slope[:, rows], both, out=passed[:, rows])
        return passed

    def onto_columns(self, name: str, x: Tensor, block: _Block, factors: list[_Factor], terms: Terms) -> Tensor:
        """sum_p decay_p (x factor_p^T): x (n, r, D) -> (n, r, C). By Horner's rule, from the fastest decay down."""
        plan, rows = self.plan, x.shape[1]
        out = self.buffer(name, self.count, rows, plan.columns)
        if id(terms) in plan.tables:
            out.zero_()
            for p, weight in enumerate(plan.tables[id(terms)][0]):
                part = self.buffer("part", *out.shape)
                out.addcmul_(matmul(x, factors[p][block.index].mT, part, plan.rounding), weight[:rows])
            return out
        for p, step in reversed(list(enumerate(terms.steps))):
            matmul(x, factors[p][block.index].mT, out, plan.rounding, add=p < len(factors) - 1)
            if step:
                out.mul_(plan.decay(step, rows))
        return out

    def onto_lines(self, name: str, x: Tensor, block: _Block, factors: list[_Factor], terms: Terms) -> Tensor:
        """sum_p (decay_p x) factor_p: x (n, r, C) -> (n, r, D). Uses x up."""
        out = self.buffer(name, self.count, x.shape[1], self.dim)
        for p, weighted, _ in self.weigh_(x, terms):
            matmul(weighted, factors[p][block.index], out, self.plan.rounding, add=p > 0)
        return out

    def weigh_(self, x: Tensor, terms: Terms) -> Iterator[tuple[int, Tensor, Tensor]]:
        """Every term's index, x (n, r, C) times that term's decay, and times what its slope decays by. Uses x up."""
        if id(terms) in self.plan.tables:
            weighted, steep = self.buffer("weighted", *x.shape), self.buffer("steep", *x.shape)
            for p, (weight, slope) in enumerate(zip(*self.plan.tables[id(terms)], strict=True)):
                rows = slice(x.shape[1])
                yield p, torch.mul(x, weight[rows], out=weighted), torch.mul(x, slope[rows], out=steep)
            return
        for p, step in enumerate(terms.steps):
            if step:
                x.mul_(self.plan.decay(step, x.shape[1]))
            yield p, x, x

    def blank(self, name: str, terms: Terms) -> list[Tensor]:
        """For the gradient of every term's factor: (blocks, n, C, D), so that each block's part is contiguous."""
        shape = len(self.plan.blocks), self.count, self.plan.columns, self.dim
        return [self.buffer(f"{name}{p}", *shape) for p in range(len(terms.rates))]

    def fold(self, gradients: list[Tensor], y: Tensor, terms: Terms, cells: Cells | None) -> Tensor:
        """Gradients of every block's factors (blocks, n, C, D) -> gradient of the stored voltages (m, T', D)."""
        total = torch.zeros_like(y)
        for x, slope in zip(gradients, terms.slopes(y, cells), strict=True):
            x = x.transpose(0, 1).flatten(1, 2)
            total.addcmul_(x.unflatten(0, (-1, self.groups)).sum(1) if self.groups > 1 else x, slope)
        return total


class _Products(torch.autograd.Function):
    @staticmethod
    @outside_autocast
    def forward(ctx, q, k, v, preset, absent, model, converted, place, grad):  # pyright: ignore[reportIncompatibleMethodOverride]
        whole, readout, normaliser = _Plan(model, q, converted, place), model.readout, model.normaliser
        out, z, edge = torch.zeros_like(q), q.new_zeros(q.shape[:2]), readout.edge
        # For the way back: where a sub-tile that two blocks share stayed open, and which sub-tiles were clamped at all.
        past = grad and whole.tokens > whole.window
        opened = torch.ones_like(q, dtype=torch.bool) if past else q.new_empty(0, dtype=torch.bool)
        clamped: set[tuple[int, int]] = set()
        beyond: dict[tuple[int, int], Tensor] = {}  # where more pulses fired in a sub-tile than the normaliser holds
        for piece, (plan, queries, stored) in enumerate(whole.pieces(len(q) // len(k), len(k))):
            heads = _Heads(plan, queries, stored, q, k, v, preset, absent, ("score", "charge"))
            read, counted = out[queries], z[queries]
            keys, values = heads.operands()
            charges, pulses = _Tails(), _Tails()
            totals = plan.totals(heads.count) if normaliser is not None else None
            extremes = []
            for block in plan.blocks:
                score = heads.scores(block, keys)
                phi = heads.mask_(plan.gate.width(score, out=score), block)
                if totals is not None:
                    totals[block.index][:, : block.tail] = pulses.close(phi.sum(2), block)
                charge = charges.close(heads.charge(phi, block, values), block)
                charge = heads.with_readout_noise_(charge, block)
                rows = slice(block.rows.start, block.rows.start + block.tail)
                if grad:
                    extremes += torch.aminmax(charge)
                    if block.inherited:
                        both = slice(block.inherited)
                        opened[queries][:, rows][:, both] = charge[:, both].abs() <= edge
                read[:, rows].add_(readout.count_(charge))
            if extremes:
                largest = torch.stack(extremes).abs_().view(-1, 2).amax(1).tolist()
                clamped |= {(piece, n) for n, x in enumerate(largest) if x > edge}
            if totals is not None and normaliser is not None:
                lost = normaliser.beyond(totals) if grad and normaliser.ranges else None
                if lost is not None and bool(lost.any()):
                    beyond |= {(piece, n): x for n, x in enumerate(lost) if bool(x.any())}
                for block, found in zip(plan.blocks, normaliser(totals), strict=True):
                    counted[:, block.rows][:, : block.tail].add_(found[:, : block.tail])
        ctx.save_for_backward(q, k, v, preset, absent, opened)
        ctx.model, ctx.converted, ctx.clamped, ctx.beyond = model, converted, clamped, beyond
        ctx.place = place
        return out.div_(readout.full), z

    @staticmethod
    @once_differentiable
    @outside_autocast
    def backward(ctx, *grads):  # pyright: ignore[reportIncompatibleMethodOverride]
        q, k, v, preset, absent, opened = ctx.saved_tensors
        model: ArrayModel = ctx.model
        whole = _Plan(model, q, ctx.converted, ctx.place)
        # d read-out / d charge in counts is one count, straight through.
        grad_outs, grad_zs = grads[0] / model.readout.full, grads[1][..., None]
        grad_q, grad_k, grad_v = torch.zeros_like(q), torch.empty_like(k), torch.empty_like(v)
        grad_preset = torch.zeros_like(preset)
        for piece, (plan, queries, stored) in enumerate(whole.pieces(len(q) // len(k), len(k))):
            heads = _Heads(plan, queries, stored, q, k, v, preset, absent)
            grad_out, grad_z, grad_pulse, grad_start = (x[queries] for x in (grad_outs, grad_zs, grad_q, grad_preset))
            keys, values = heads.operands()
            back_keys, back_values = keys, values
            if plan.back_key is not plan.key:
                back_keys = heads.factors("back key", heads.yk, plan.back_key, heads.key_cells)
                back_values = heads.factors("back value", heads.yv, plan.back_value, heads.value_cells)
            grad_keys, grad_values = heads.blank("grad key", plan.back_key), heads.blank("grad value", plan.back_value)
            for block in plan.blocks:
                score = heads.scores(block, keys)
                phi = plan.gate.width(score, out=heads.buffer("phi", *score.shape))
                heads.mask_(phi, block)
                slope = grad_out[:, block.rows]
                if any((piece, index) in ctx.clamped for index, _ in block.parts):
                    shared = [opened[queries][:, block.rows][:, rows] for rows in block.shared]
                    slope = heads.unclamped(slope, phi, block, values, shared)
                for p, _, steep in heads.weigh_(phi, plan.back_value):
                    matmul(steep.mT, slope, grad_values[p][block.index], plan.rounding)
                gradient = heads.onto_columns("gradient", slope, block, back_values, plan.back_value)
                if plan.back_value.constant:
                    gradient.add_(slope.sum(2, keepdim=True), alpha=plan.back_value.constant)
                if model.normaliser is not None:
                    gradient.add_(_counted_gradient(grad_z[:, block.rows], block, piece, ctx.beyond))
                plan.gate.gradient(gradient, score, out=phi)
                heads.mask_(phi, block)
                if plan.back_key.constant or preset.numel():
                    total = phi.sum(2, keepdim=True)
                    if plan.back_key.constant:
                        grad_pulse[:, block.rows].add_(total, alpha=plan.back_key.constant)
                    if preset.numel():
                        grad_start[:, block.rows].add_(total[..., 0])
                lines = heads.buffer("charge", *slope.shape)
                for p, weighted, steep in heads.weigh_(phi, plan.back_key):
                    matmul(steep.mT, heads.q[:, block.rows], grad_keys[p][block.index], plan.rounding)
                    matmul(weighted, back_keys[p][block.index], lines, plan.rounding, add=p > 0)
                grad_pulse[:, block.rows].add_(lines)
            for grad, y, folded in (
                (grad_k, k, heads.fold(grad_keys, heads.yk, plan.back_key, heads.key_cells)),
                (grad_v, v, heads.fold(grad_values, heads.yv, plan.back_value, heads.value_cells)),
            ):
                grad[stored] = folded[:, : y[stored].shape[1]]
        if not ctx.converted:
            grad_q = query_gradient(grad_q, q, model.config)
            grad_k, grad_v = (stored_gradient(x, y, model.config) for x, y in ((grad_k, k), (grad_v, v)))
        return grad_q, grad_k, grad_v, grad_preset, *[None] * 5


def _counted_gradient(pulses: Tensor, block: _Block, piece: int, beyond: dict[tuple[int, int], Tensor]) -> Tensor:
    """The gradient (n, r, 1) that Z hands to a block's pulses: none where they sum to more than it holds."""
    for index, rows in block.parts:
        lost, part = beyond.get((piece, index)), pulses[:, rows]
        if lost is not None and part.shape[1]:
            pulses = pulses.clone()
            pulses[:, rows].masked_fill_(lost[:, : part.shape[1], None], 0.0)
    return pulses


def blocked_products(operands: Operands, model: ArrayModel) -> tuple[Tensor, Tensor]:
    """Conversion and both products of operands, for rows without pads.

    Returns:
        (B, Hq, T, D) sum of the sub-tiles' read-outs, and (B, Hq, T) Z as the normaliser gives it (zeros without
        one), both in float32 or float64.
    """
    if model.write_error is not None:  # what a token finds is no block's own, so it is written before
        operands = operands.convert(model.config)
    q, k, v = (widen(x) for x in (operands.q, operands.k, operands.v))
    if not q.numel():
        return q.clone(), q.sum(3)
    (batch, heads), kv_rows = q.shape[:2], k.shape[0] * k.shape[1]
    preset, absent, start = model.gate.start(operands.preset, q), operands.absent, operands.start
    offset = q.new_empty(batch * heads, 0) if preset is None else preset.to(q.dtype).flatten(0, 1)
    absent = q.new_empty(kv_rows, 0, dtype=torch.bool) if absent is None else absent.flatten(0, 1)
    start = torch.zeros(batch, dtype=torch.long, device=q.device) if start is None else start
    place = _Place(start, k.shape[1], model.noise and model.noise.of_call())
    out, z = _Products.apply(  # pyright: ignore[reportGeneralTypeIssues]
        *(x.flatten(0, 1) for x in (q, k, v)), offset, absent, model, operands.converted, place, operands.learning
    )
    return out.unflatten(0, (batch, heads)), z.unflatten(0, (batch, heads))
