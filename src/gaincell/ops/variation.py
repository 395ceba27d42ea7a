"""How the cells of an array differ, and noise: drawn by counting, so that every path meets the same, in any order."""

import math
from dataclasses import dataclass, replace
from threading import Lock

import torch
from torch import Tensor

from gaincell.config import GainCellConfig

#: Arrays that were drawn are kept up to so many bytes.
_KEPT_BYTES = 2 << 30
_kept: dict[tuple[object, ...], tuple["Cells", "Cells"]] = {}
_keeping = Lock()  # models may attend in several threads


@dataclass(frozen=True)
class Cells:
    """Cells that read gain f(y - zero): gain around 1, zero in volt; each may leak at a pace of its own.

    Attributes:
        gain, zero: (Hkv, window, D) of a whole array, by column; or of the cells that hold some tokens. Of reference
            cells in the second array, which all output lines share, (Hkv, window, 1).
        pace: how many times as fast as others they leak, likewise; None where all leak alike.
        other: the cells whose charge is taken off theirs: the other ones of pairs, or the references; None where a
            cell is a value alone.
    """

    gain: Tensor
    zero: Tensor
    other: "Cells | None" = None
    pace: Tensor | None = None

    @property
    def nbytes(self) -> int:
        """Of all."""
        own = sum(x.nbytes for x in (self.gain, self.zero, self.pace) if x is not None)
        return own + (self.other.nbytes if self.other else 0)

    def at(self, head: Tensor, column: Tensor) -> "Cells":
        """The cells of some heads' columns: indices that broadcast to (...), giving (..., D)."""
        other = self.other.at(head, column) if self.other else None
        pace = None if self.pace is None else self.pace[head, column]
        return Cells(self.gain[head, column], self.zero[head, column], other, pace)

    def first(self, columns: int) -> "Cells":
        """The cells of so many first columns, without a copy."""
        other, pace = self.other and self.other.first(columns), None if self.pace is None else self.pace[:, :columns]
        return Cells(self.gain[:, :columns], self.zero[:, :columns], other, pace)

    @property
    def alike(self) -> "Cells":
        """The same as if they differed in nothing but their leak."""
        other = self.other and self.other.alike
        return Cells(torch.ones_like(self.gain), torch.zeros_like(self.zero), other, self.pace)

    def aged(self, age: Tensor) -> "Cells":
        """The same as old as they are when their tokens are `age` old, which broadcasts to theirs, in `pace`."""
        other = self.other and self.other.aged(age)
        return replace(self, other=other, pace=None if self.pace is None else age.to(self.pace) * self.pace)


def arrays(config: GainCellConfig, kv_heads: int, head_dim: int, like: Tensor) -> tuple[Cells, Cells] | None:
    """The key and the value array's cells, on the device and in the dtype of `like`; None where all are equal.

    A cell depends on the seed, its array, head, column and row, and on nothing else: not on the batch, whose rows meet
    the same arrays, and not on how many columns or heads there are. A pair's other cell is drawn as a cell of further
    arrays. References stand in a column of each sub-tile of keys, and on a line of each sub-tile of values.
    """
    if config.mismatch is None and not config.aged:
        return None
    sizes, columns = (kv_heads, config.window, head_dim), config.subtile_columns
    shares = {"push_pull": None, "pair": (1, 1), "reference": (columns, config.subtile_rows)}[config.cell.polarity]
    deviations = (*(config.mismatch or (0.0, 0.0)), (config.leak_spread or 0.0) if config.aged else None)
    seeds = config.mismatch_seed or 0, config.retention_seed or 0
    drawn_by = seeds, deviations, sizes, shares, like.device, like.dtype
    with _keeping:
        if (found := _kept.get(drawn_by)) is None:
            found = _drawn(*drawn_by)
            size = sum(array.nbytes for both in (*_kept.values(), found) for array in both)
            while _kept and size > _KEPT_BYTES:  # the newest goes: layers come round in turn; the others are met again
                size -= sum(array.nbytes for array in _kept.popitem()[1])
            _kept[drawn_by] = found
    return found


def _drawn(
    seeds: tuple[int, int],
    deviations: tuple[float, float, float | None],
    sizes: tuple[int, int, int],
    shares: tuple[int, int] | None,
    device: torch.device,
    dtype: torch.dtype,
) -> tuple[Cells, Cells]:
    """Both arrays; `shares`: how many columns share a key's other cells, and rows a value's; None where are none."""
    with torch.inference_mode(False), torch.no_grad():  # what is made inside could not be saved for a gradient outside
        head, column, row = (torch.arange(n, device=device) for n in sizes)
        head, column = head[:, None, None], column[:, None]
        gain, zero, spread = deviations

        def cells(array: int, column: Tensor, row: Tensor, other: Cells | None = None) -> Cells:
            def drawn(seed: int, what: int, deviation: float) -> Tensor:
                return normal(seed, array, what, head, column, row).mul_(deviation)

            pace = None if spread is None else drawn(seeds[1], 2, spread).exp_().to(dtype)
            return Cells(drawn(seeds[0], 0, gain).add_(1.0).to(dtype), drawn(seeds[0], 1, zero).to(dtype), other, pace)

        others: tuple[Cells | None, Cells | None] = (None, None)
        if shares is not None:
            columns, rows = shares
            others = cells(2, column // columns, row), cells(3, column, row // rows)
        key, value = (cells(array, column, row, other) for array, other in enumerate(others))
        return key, value


@dataclass(frozen=True)
class Noise:
    """Normal noise of both products, by query head, token and column or sub-tile.

    Attributes:
        score: standard deviation of every column's S / S_sat.
        readout: that of every sub-tile's charge, 1 at full scale.
        seed: of the draw; None for a new one at every call.
    """

    score: float
    readout: float
    seed: int | None

    @classmethod
    def of(cls, config: GainCellConfig) -> "Noise | None":
        """That of a design point, or None where it has none."""
        if not (config.score_noise or config.readout_noise):
            return None
        return cls(config.score_noise, config.readout_noise, config.noise_seed)

    def of_call(self) -> "Noise":
        """That of one call: with a seed, from torch's generator where there is none yet."""
        return self if self.seed is not None else replace(self, seed=int(torch.randint(1 << 62, ())))

    def of_scores(self, head: Tensor, token: Tensor, column: Tensor, like: Tensor) -> Tensor:
        """Noise of S / S_sat, in the dtype of `like`: indices of query heads, tokens and columns that broadcast."""
        return self._normal(0, head, token, column).mul_(self.score).to(like.dtype)

    def of_readouts(self, head: Tensor, token: Tensor, tile: Tensor, like: Tensor) -> Tensor:
        """Noise of every output line (..., D) of sub-tiles, 1 at full scale; likewise, of D from `like` (..., D)."""
        row = torch.arange(like.shape[-1], device=like.device)
        counters = (x[..., None] for x in (head, token, tile))
        return self._normal(1, *counters, row).mul_(self.readout).to(like.dtype)

    def _normal(self, *counters: Tensor | int) -> Tensor:
        assert self.seed is not None
        return normal(self.seed, *counters)


_GOLDEN = 0x9E3779B97F4A7C15 - (1 << 64)


def normal(seed: int, *counters: Tensor | int) -> Tensor:
    """A standard normal number, float64, for every combination of counters: integers that broadcast, one a Tensor.

    By SplitMix64's mixing function [Steele, Lea and Flood, OOPSLA 2014] of one counter after another, and the
    transformation of Box and Muller [Ann. Math. Stat. 29, 610 (1958)].
    """
    device = next(x.device for x in counters if isinstance(x, Tensor))
    bits = torch.tensor(seed, dtype=torch.int64, device=device)
    for counter in counters:
        bits = _mixed(bits + (torch.as_tensor(counter, device=device) + 1) * _GOLDEN)
    radius = (_above(bits, 32).double() + 0.5).mul_(2.0**-32).log_().mul_(-2.0).sqrt_()
    return radius.mul_((bits & 0xFFFFFFFF).double().mul_(2.0**-31 * math.pi).cos_())


def _mixed(x: Tensor) -> Tensor:
    x = (x ^ _above(x, 30)) * (0xBF58476D1CE4E5B9 - (1 << 64))
    x = (x ^ _above(x, 27)) * (0x94D049BB133111EB - (1 << 64))
    return x ^ _above(x, 31)


def _above(x: Tensor, bit: int) -> Tensor:
    """x shifted down, its sign like any bit."""
    return (x >> bit) & ((1 << (64 - bit)) - 1)
