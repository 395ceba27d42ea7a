"""Both products as they stand, with every pair of tokens at once: readable, differentiable, and nothing thrown away.

For attention maps, activity and whoever wants to look inside; memory grows with the square of the tokens.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from gaincell.ops.leak import since_written
from gaincell.ops.model import ArrayModel
from gaincell.ops.operands import Operands
from gaincell.ops.precision import without_autocast
from gaincell.ops.quantise import fired
from gaincell.ops.terms import AgedTerms, TabledTerms, Terms
from gaincell.ops.variation import Cells, arrays


@dataclass(frozen=True, eq=False)
class Trace:
    """All that happens between operands and output, for T tokens and J sub-tiles.

    Attributes:
        phi: (B, Hq, T, T) pulses of the second product; 0 where the query does not see the key.
        charge: (B, Hq, T, J, D) charge of every sub-tile, noise included; 1 is what ideally reads out as 1.
        read: (B, Hq, T, J, D) what its read-out reports of that.
        in_use: (T, J) whether the sub-tile holds a token that the query sees, stored there or not: else it is not read.
        out: (B, Hq, T, D) sum of the read-outs.
        z: (B, Hq, T) sum of phi, as the normaliser counts it.
    """

    phi: Tensor
    charge: Tensor
    read: Tensor
    in_use: Tensor
    out: Tensor
    z: Tensor


def dense(operands: Operands, model: ArrayModel, *, kv_head: int = 0, kv_heads: int | None = None) -> Trace:
    """`gaincell.attention` of rows without pads, before the normaliser, with what it computes on the way.

    In the dtype of q, float32 at least; operands are not rounded to `matmul`. Gradients are those of the other paths,
    by autograd.

    Args:
        operands: queries, keys and values, all from the first token on: `start` is None.
        model: the arrays.
        kv_head: which of the layer's key/value heads the first one is: cells and noise depend on it.
        kv_heads: how many the layer has, if these are not all.
    """
    with without_autocast(operands.q.device.type):
        pairs = _Pairs(operands, model, kv_head, kv_heads)
        phi = pairs.phi()
        charge = pairs.charges(phi)
        read = model.readout(charge) * pairs.in_use[..., None]
        z = pairs.by_tile(pairs.blocks(phi).sum(4), 3)
        z = z if model.normaliser is None else model.normaliser(z)
        return Trace(phi, charge, read, pairs.in_use, read.sum(3), z.sum(3))


def pulses(operands: Operands, model: ArrayModel) -> Tensor:
    """phi of `dense`, without the second product."""
    with without_autocast(operands.q.device.type):
        return _Pairs(operands, model, 0, None).phi()


class _Pairs:
    """Every query with every key of some heads: who sees whom, from which cell, at what age."""

    def __init__(self, operands: Operands, model: ArrayModel, kv_head: int, kv_heads: int | None) -> None:
        self.model, self.config, self.groups = model, model.config, operands.groups
        self.operands = operands.convert(model.config)
        q, k, absent, config = self.operands.q, self.operands.k, operands.absent, model.config
        heads, tokens = k.shape[1:3]
        self.index = torch.arange(tokens, device=q.device)
        age, self.column = self.index[:, None] - self.index, self.index % config.window
        within = (age >= 0) & (age < config.window)
        #: (T, T), or (B, Hq, T, T): whether a query reads what was stored of a key.
        self.seen = within if absent is None else within & ~absent.repeat_interleave(self.groups, 1)[:, :, None]
        self.age = since_written(age.clamp(0, config.window - 1), config)
        own = torch.arange(kv_head, kv_head + heads, device=q.device)
        #: (Hq, 1, 1) which query head of the layer.
        self.head = (own.repeat_interleave(self.groups) * self.groups).view(-1, 1, 1)
        self.head = self.head + torch.arange(self.groups, device=q.device).repeat(heads).view(-1, 1, 1)
        cells = arrays(config, kv_heads or kv_head + heads, k.shape[3], q)
        self.cells = (None, None) if cells is None else tuple(x.at(own[:, None], self.column) for x in cells)
        #: Of feedthrough, which cells do not differ in but for their leak.
        self.through = tuple(x and x.alike if model.aged else None for x in self.cells)
        self.noise = model.noise and model.noise.of_call()
        count = -(-tokens // config.subtile_columns)
        self.rest = count * config.subtile_columns - tokens
        #: Which sub-tile a block of so many tokens goes into: past the window the newest and the oldest share one.
        self.tile = torch.arange(count, device=q.device) % config.tiles
        #: (T, J)
        self.in_use = self.by_tile(self.blocks(within).any(2).float(), 1) > 0

    def phi(self) -> Tensor:
        """Pulses (B, Hq, T, T)."""
        model, pulse, y = self.model, self.operands.q, self.operands.k
        score = self._learned(self._scores, pulse, y, model.key, model.back_key, self.cells[0])
        if model.feedthrough is not None:
            score = score + self._scores(fired(pulse, self.config), y, model.feedthrough[0], self.through[0]).detach()
        start = model.gate.start(self.operands.preset, pulse)
        if start is not None:
            score = score + start.to(score)[..., None]
        if self.noise is not None and self.noise.score:
            noise = self.noise.of_scores(self.head, self.index[:, None], self.column, score)
            score = score + noise * model.gate.gain
        return model.gate.width(score) * self.seen

    def charges(self, phi: Tensor) -> Tensor:
        """Charges (B, Hq, T, J, D) of every sub-tile."""
        model, y = self.model, self.operands.v
        charge = self._learned(self._sums, phi, y, model.value, model.back_value, self.cells[1])
        if model.feedthrough is not None:
            charge = charge + self._sums((phi > 0).to(phi), y, model.feedthrough[1], self.through[1]).detach()
        charge = charge / model.readout.scale
        if self.noise is not None and self.noise.readout:
            tile = torch.arange(len(self.in_use[0]), device=phi.device)
            noise = self.noise.of_readouts(self.head, self.index[:, None], tile, charge)
            charge = charge + noise * self.in_use[..., None]
        return charge

    def _learned(
        self,
        product: Callable[[Tensor, Tensor, Terms, Cells | None], Tensor],
        x: Tensor,
        y: Tensor,
        terms: Terms,
        back: Terms,
        cells: Cells | None,
    ) -> Tensor:
        """A product by the cell's law, whose gradient is that by the law of the backward pass."""
        exact = product(x, y, terms, cells)
        if back is terms or not exact.requires_grad:
            return exact
        line = product(x, y, back, cells)
        return line + (exact - line).detach()

    def _scores(self, x: Tensor, y: Tensor, terms: Terms, cells: Cells | None) -> Tensor:
        """sum_d x_td charge(y_sd, t - s): (B, Hq, T, T)."""
        if isinstance(terms, AgedTerms):
            return torch.cat(
                [row @ now.mT for row, now in zip(x.split(1, 2), self._aged(y, terms, cells), strict=True)], 2
            )
        total = terms.constant * x.sum(3, keepdim=True)
        for decay, factor in self._terms(y, terms, cells):
            total = total + (x @ factor.mT) * decay
        return total

    def _sums(self, x: Tensor, y: Tensor, terms: Terms, cells: Cells | None) -> Tensor:
        """sum_s x_ts charge(y_sd, t - s) over every sub-tile's columns: (B, Hq, T, J, D)."""
        if isinstance(terms, AgedTerms):
            now = (self.tiled(factor) for factor in self._aged(y, terms, cells))
            rows = zip(self.blocks(x).split(1, 2), now, strict=True)
            return self.by_tile(torch.cat([torch.einsum("bhtjc,bhjcd->bhtjd", *row) for row in rows], 2), 3)
        total = terms.constant * self.blocks(x).sum(4)[..., None]
        for decay, factor in self._terms(y, terms, cells):
            total = total + torch.einsum("bhtjc,bhjcd->bhtjd", self.blocks(x * decay), self.tiled(factor))
        return self.by_tile(total, 3)

    def _aged(self, y: Tensor, terms: AgedTerms, cells: Cells | None) -> Iterator[Tensor]:
        """The charge (B, Hq, T, D) of every value for a full pulse, as each query meets it."""
        assert cells is not None
        for age in self.age:
            (now,) = terms.values(y, cells.aged(age[:, None]))
            yield now.repeat_interleave(self.groups, 1)

    def tiled(self, factor: Tensor) -> Tensor:
        """(B, Hq, T, D) -> (B, Hq, blocks, columns, D)."""
        return pad(factor, (0, 0, 0, self.rest)).unflatten(2, (-1, self.config.subtile_columns))

    def _terms(self, y: Tensor, terms: Terms, cells: Cells | None) -> list[tuple[Tensor, Tensor]]:
        """Decay (T, T) and factor (B, Hq, T, D) of every term."""
        factors, decays = terms.values(y, cells), terms.decays(self.age)
        if isinstance(terms, TabledTerms) and y.requires_grad:  # a code carries no gradient, its voltage does
            factors += [x.detach() * (y - y.detach()) for x in factors]
            decays = torch.cat((decays, terms.steep.to(decays)[:, self.age]))
        return [(decay, x.repeat_interleave(self.groups, 1)) for decay, x in zip(decays.to(y), factors, strict=True)]

    def blocks(self, x: Tensor) -> Tensor:
        """(..., T) -> (..., blocks, columns)."""
        return pad(x, (0, self.rest)).unflatten(-1, (-1, self.config.subtile_columns))

    def by_tile(self, x: Tensor, dim: int) -> Tensor:
        """A sum over each block (..., blocks, ...) -> one over each sub-tile (..., J, ...)."""
        shape = list(x.shape)
        shape[dim] = min(len(self.tile), self.config.tiles)
        return x.new_zeros(shape).index_add(dim, self.tile, x)
