"""What a call brings to the arrays of a head."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gaincell.config import GainCellConfig
from gaincell.ops.quantise import query_pulse, stored_voltage
from gaincell.ops.written import overwrite


@dataclass(frozen=True, eq=False)
class Operands:
    """Queries, keys and values of some rows of tokens, and what belongs to them.

    Attributes:
        q: (B, Hq, T, D) pulse widths in units of T_max, after scaling.
        k: (B, Hkv, T, D) voltages in volt, after scaling; Hq is a multiple of Hkv.
        v: likewise.
        preset: (B, Hq, T) offset on S / S_sat, or None.
        absent: (B, Hkv, T), true at tokens that take their column but are not stored there, or None.
        start: (B,) tokens that each row has written before these, in whole sub-tiles, or None for none.
        converted: whether q holds pulse widths as they are applied, and k and v stored voltages minus zero, as they
            were really written.
    """

    q: Tensor
    k: Tensor
    v: Tensor
    preset: Tensor | None = None
    absent: Tensor | None = None
    start: Tensor | None = None
    converted: bool = False

    @property
    def groups(self) -> int:
        """Query heads that share a key/value head."""
        return self.q.shape[1] // self.k.shape[1]

    @property
    def learning(self) -> bool:
        """Whether a gradient is to come back to any of them."""
        leaves = self.q, self.k, self.v, self.preset
        return torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in leaves)

    def convert(self, config: GainCellConfig) -> "Operands":
        """The same as the arrays hold them: clamped, quantised and written.

        Rows must have written nothing before, where writes are not ideal.
        """
        if self.converted:
            return self
        found = self.quantise(config)
        if config.writes == "ideal":
            return found
        assert self.start is None
        k, v = overwrite(torch.stack((found.k, found.v)), None, self._none_written(), None, self.absent, config)
        return replace(found, k=k, v=v)

    def _none_written(self) -> Tensor:
        return torch.zeros(len(self.k), dtype=torch.long, device=self.k.device)

    def quantise(self, config: GainCellConfig) -> "Operands":
        """The same as converters hand them to the arrays."""
        yk = stored_voltage(self.k, config)
        yv = yk if self.v is self.k else stored_voltage(self.v, config)
        return replace(self, q=query_pulse(self.q, config), k=yk, v=yv, converted=True)

    def take(self, index: Tensor) -> "Operands":
        """The same with each row's tokens in the order of `index` (B, T)."""
        preset, absent = (None if x is None else take_tokens(x, index) for x in (self.preset, self.absent))
        q, k, v = (take_tokens(x, index) for x in (self.q, self.k, self.v))
        return replace(self, q=q, k=k, v=v, preset=preset, absent=absent)


def take_tokens(x: Tensor, index: Tensor) -> Tensor:
    """x (B, H, T, ...) with its tokens taken at index (B, T)."""
    shaped = index.view(index.shape[0], 1, index.shape[1], *[1] * (x.dim() - 3))
    return x.gather(2, shaped.expand(-1, x.shape[1], -1, *x.shape[3:]))
