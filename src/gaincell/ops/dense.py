"""Both products as they stand, with every pair of tokens at once: readable, differentiable, and nothing thrown away.

For attention maps, activity and whoever wants to look inside; memory grows with the square of the tokens.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from gaincell.config import GainCellConfig
from gaincell.ops.convert import fired, full_scale, normaliser_readout, query_pulse, readout, stored_voltage
from gaincell.ops.model import array_model
from gaincell.ops.precision import outside_autocast
from gaincell.ops.terms import Terms
from gaincell.ops.variation import Cells, arrays, readout_noise, score_noise, seed_of_noise


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


@outside_autocast
def dense(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    config: GainCellConfig,
    *,
    preset: Tensor | None = None,
    absent: Tensor | None = None,
    kv_head: int = 0,
    kv_heads: int | None = None,
) -> Trace:
    """`gaincell.attention` of rows without pads, before the normaliser, with what it computes on the way.

    In the dtype of q; operands are not rounded to `matmul`. Gradients are those of the other paths, by autograd.

    Args:
        q: (B, Hq, T, D) pulse widths after scaling.
        k, v: (B, Hkv, T, D) voltages in volt after scaling; Hq a multiple of Hkv.
        config: the design point.
        preset: (B, Hq, T) offset on S / S_sat, or None.
        absent: (B, Hkv, T), true at tokens that are not stored, or None.
        kv_head: which of the layer's key/value heads the first one is: cells and noise depend on it.
        kv_heads: how many the layer has, if these are not all.
    """
    pairs = _Pairs(q, k, config, absent, kv_head, kv_heads)
    phi = pairs.phi(q, k, preset)
    charge = pairs.charges(phi, v)
    read = readout(charge, config) * pairs.in_use[..., None]
    z = normaliser_readout(pairs.by_tile(pairs.blocks(phi).sum(4), 3), config)
    return Trace(phi, charge, read, pairs.in_use, read.sum(3), z.sum(3))


@outside_autocast
def pulses(
    q: Tensor, k: Tensor, config: GainCellConfig, *, preset: Tensor | None = None, absent: Tensor | None = None
) -> Tensor:
    """phi of `dense`, without the second product."""
    return _Pairs(q, k, config, absent, 0, None).phi(q, k, preset)


class _Pairs:
    """Every query with every key of some heads: who sees whom, from which cell, at what age."""

    def __init__(
        self, q: Tensor, k: Tensor, config: GainCellConfig, absent: Tensor | None, kv_head: int, kv_heads: int | None
    ) -> None:
        self.config, self.model, self.groups = config, array_model(config), q.shape[1] // k.shape[1]
        heads, tokens = k.shape[1:3]
        self.index = torch.arange(tokens, device=q.device)
        age, self.column = self.index[:, None] - self.index, self.index % config.window
        within = (age >= 0) & (age < config.window)
        #: (T, T), or (B, Hq, T, T): whether a query reads what was stored of a key.
        self.seen = within if absent is None else within & ~absent.repeat_interleave(self.groups, 1)[:, :, None]
        self.age = age.clamp(0, config.window - 1)
        own = torch.arange(kv_head, kv_head + heads, device=q.device)
        #: (Hq, 1, 1) which query head of the layer.
        self.head = (own.repeat_interleave(self.groups) * self.groups).view(-1, 1, 1)
        self.head = self.head + torch.arange(self.groups, device=q.device).repeat(heads).view(-1, 1, 1)
        cells = arrays(config, kv_heads or kv_head + heads, k.shape[3], query_pulse(q[:0], config))
        self.cells = (None, None) if cells is None else tuple(x.at(own[:, None], self.column) for x in cells)
        self.seed = seed_of_noise(config)
        count = -(-tokens // config.subtile_columns)
        self.rest = count * config.subtile_columns - tokens
        #: Which sub-tile a block of so many tokens goes into: past the window the newest and the oldest share one.
        self.tile = torch.arange(count, device=q.device) % config.tiles
        #: (T, J)
        self.in_use = self.by_tile(self.blocks(within).any(2).float(), 1) > 0

    def phi(self, q: Tensor, k: Tensor, preset: Tensor | None) -> Tensor:
        """Pulses (B, Hq, T, T)."""
        config, model, gate = self.config, self.model, self.model.gate
        pulse, y = query_pulse(q, config), stored_voltage(k, config)
        score = self._learned(self._scores, pulse, y, model.key, model.back_key, self.cells[0])
        if model.through is not None:
            score = score + self._scores(fired(pulse, config), y, model.through[0], None).detach()
        start = gate.start(preset, q)
        if start is not None:
            score = score + start.to(score)[..., None]
        if config.score_noise:
            noise = score_noise(config, self.seed, self.head, self.index[:, None], self.column, score)
            score = score + noise * gate.gain
        return gate.width(score) * self.seen

    def charges(self, phi: Tensor, v: Tensor) -> Tensor:
        """Charges (B, Hq, T, J, D) of every sub-tile."""
        config, model, y = self.config, self.model, stored_voltage(v, self.config)
        charge = self._learned(self._sums, phi, y, model.value, model.back_value, self.cells[1])
        if model.through is not None:
            charge = charge + self._sums((phi > 0).to(phi), y, model.through[1], None).detach()
        charge = charge / (config.signed_conversion[0] * full_scale(config))
        if config.readout_noise:
            tile = torch.arange(len(self.in_use[0]), device=phi.device)
            noise = readout_noise(config, self.seed, self.head, self.index[:, None], tile, charge)
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
        total = terms.constant * x.sum(3, keepdim=True)
        for decay, factor in self._terms(y, terms, cells):
            total = total + (x @ factor.mT) * decay
        return total

    def _sums(self, x: Tensor, y: Tensor, terms: Terms, cells: Cells | None) -> Tensor:
        """sum_s x_ts charge(y_sd, t - s) over every sub-tile's columns: (B, Hq, T, J, D)."""
        total = terms.constant * self.blocks(x).sum(4)[..., None]
        for decay, factor in self._terms(y, terms, cells):
            stored = pad(factor, (0, 0, 0, self.rest)).unflatten(2, (-1, self.config.subtile_columns))
            total = total + torch.einsum("bhtjc,bhjcd->bhtjd", self.blocks(x * decay), stored)
        return self.by_tile(total, 3)

    def _terms(self, y: Tensor, terms: Terms, cells: Cells | None) -> list[tuple[Tensor, Tensor]]:
        """Decay (T, T) and factor (B, Hq, T, D) of every term."""
        factors = (x.repeat_interleave(self.groups, 1) for x in terms.values(y, cells))
        return list(zip(terms.decays(self.age, self.config.leak).to(y), factors, strict=True))

    def blocks(self, x: Tensor) -> Tensor:
        """(..., T) -> (..., blocks, columns)."""
        return pad(x, (0, self.rest)).unflatten(-1, (-1, self.config.subtile_columns))

    def by_tile(self, x: Tensor, dim: int) -> Tensor:
        """A sum over each block (..., blocks, ...) -> one over each sub-tile (..., J, ...)."""
        shape = list(x.shape)
        shape[dim] = min(len(self.tile), self.config.tiles)
        return x.new_zeros(shape).index_add(dim, self.tile, x)
