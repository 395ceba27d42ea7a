"""How the first product's charge becomes a pulse: the pulse law, its edge and its gradient, in one place."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from gaincell.cell.pulse import PulseLaw
from gaincell.config import GainCellConfig
from gaincell.ops.precision import widen
from gaincell.ops.straight_through import clamp_backward


@dataclass(frozen=True)
class Gate:
    """phi = width(gain x + offset), where x is S / S_sat + preset.

    A law that is a single ramp, behind a jump or not, is one clamp: then gain and offset are the ramp's own, `gain` is
    multiplied into the stored operand once, and what the products give is phi before it is clamped. Any other polyline
    is taken at x itself: gain 1, offset 0.

    Attributes:
        law: see `PulseLaw`.
    """

    law: PulseLaw

    @cached_property
    def is_ramp(self) -> bool:
        """Whether one clamp is enough."""
        jumps = self.law.jumps
        return len(self.law.ramps) == 1 and (not jumps or (len(jumps) == 1 and jumps[0][0] == self.law.ramps[0][0]))

    @cached_property
    def gain(self) -> float:
        """What S / S_sat, the preset and their noise are multiplied with."""
        return self.law.ramps[0][2] if self.is_ramp else 1.0

    @cached_property
    def offset(self) -> float:
        """What is added to that."""
        if not self.is_ramp:
            return 0.0
        start, _, slope = self.law.ramps[0]
        return self.edge - slope * start

    @cached_property
    def edge(self) -> float:
        """Of a ramp: phi just above its jump, 0 without one. At it, and below, there is no pulse."""
        return self.law.jumps[0][1] if self.is_ramp and self.law.jumps else 0.0

    @cached_property
    def ramps(self) -> tuple[tuple[float, float, float], ...]:
        """Where it begins, its length and its slope of every ramp, in terms of gain x + offset."""
        return ((self.edge, self.law.width[-1] - self.edge, 1.0),) if self.is_ramp else self.law.ramps

    @cached_property
    def jumps(self) -> tuple[tuple[float, float], ...]:
        """Where it happens and its height of every jump, likewise."""
        return ((self.edge, self.edge),) * bool(self.edge) if self.is_ramp else self.law.jumps

    def scale(self, config: GainCellConfig) -> float:
        """What S is multiplied with."""
        return self.gain / config.score_saturation

    def start(self, preset: Tensor | None, q: Tensor) -> Tensor | None:
        """What is added to that, gain preset + offset: (B, Hq, T) of q (B, Hq, T, D), or None for nothing."""
        if preset is None:
            return q.new_full(q.shape[:3], self.offset) if self.offset else None
        if self.gain == 1.0 and not self.offset:
            return preset
        exact = preset.to(torch.promote_types(preset.dtype, widen(q).dtype))  # rounded, zero might start a pulse
        return self.gain * exact + self.offset

    def width(self, score: Tensor, out: Tensor | None = None) -> Tensor:
        """phi of gain x + offset; same shape, into `out` where it is given, which may be `score`."""
        if self.is_ramp:
            phi = torch.clamp(score, 0.0, self.law.width[-1], out=out)
            return torch.threshold_(phi, self.edge, 0.0) if self.edge else phi
        phi = torch.zeros_like(score)
        for start, length, slope in self.law.ramps:
            phi.add_((score - start).clamp_(0.0, length), alpha=slope)
        for start, height in self.law.jumps:
            phi.add_(score > start, alpha=height)
        return phi if out is None else out.copy_(phi)

    def gradient(self, gradient: Tensor, score: Tensor, out: Tensor | None = None) -> Tensor:
        """That of `width` with respect to `score`, given that of phi.

        It passes from the first point of the polyline to the last, both counted in: a query that rounds to zero still
        learns. A jump passes none of its own.
        """
        if self.is_ramp:
            return clamp_backward(gradient, score, self.edge, self.law.width[-1], out=out)
        passed = torch.zeros_like(gradient)
        for n, (start, length, slope) in enumerate(self.law.ramps):
            inside = (score >= start) & (score < start + length)
            if n == len(self.law.ramps) - 1:
                inside = inside | (score == start + length)
            passed.add_(gradient * inside, alpha=slope)
        return passed if out is None else out.copy_(passed)
