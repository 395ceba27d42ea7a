"""How the cells of an array differ: drawn by counting, so that a cell is the same on every path and in every order."""

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from gaincell.config import GainCellConfig


@dataclass(frozen=True)
class Cells:
    """Cells that read gain f(y - zero): gain around 1, zero in volt.

    Attributes:
        gain, zero: (Hkv, window, D) of a whole array, by column; or of the cells that hold some tokens.
    """

    gain: Tensor
    zero: Tensor

    def at(self, head: Tensor, column: Tensor) -> "Cells":
        """The cells of some heads' columns: indices that broadcast to (...), giving (..., D)."""
        return Cells(self.gain[head, column], self.zero[head, column])


def arrays(config: GainCellConfig, kv_heads: int, head_dim: int, like: Tensor) -> tuple[Cells, Cells] | None:
    """The key and the value array's cells, on the device and in the dtype of `like`; None where all are equal.

    A cell depends on the seed, its array, head, column and row, and on nothing else: not on the batch, whose rows meet
    the same arrays, and not on how many columns or heads there are.
    """
    if config.mismatch is None:
        return None
    assert config.mismatch_seed is not None
    sizes = kv_heads, config.window, head_dim
    return _drawn(config.mismatch_seed, config.mismatch, sizes, like.device, like.dtype)


@lru_cache(maxsize=128)  # every layer of a model
def _drawn(
    seed: int,
    deviations: tuple[float, float],
    sizes: tuple[int, int, int],
    device: torch.device,
    dtype: torch.dtype,
) -> tuple[Cells, Cells]:
    with torch.inference_mode(False), torch.no_grad():  # what is made inside could not be saved for a gradient outside
        head, column, row = (torch.arange(n, device=device) for n in sizes)
        head, column = head[:, None, None], column[:, None]
        gain, zero = deviations
        key, value = (
            Cells(
                normal(seed, array, 0, head, column, row).mul_(gain).add_(1.0).to(dtype),
                normal(seed, array, 1, head, column, row).mul_(zero).to(dtype),
            )
            for array in range(2)
        )
        return key, value


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
