"""What becomes of the second product's charges: the read-out of a sub-tile, and the normaliser that counts its pulses.

As in `gaincell.ops.quantise`, every path calls these on the same values in float32 or wider, and rounding is
half-to-even.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from gaincell.config import GainCellConfig
from gaincell.ops.quantise import divide_
from gaincell.ops.straight_through import clamp_backward, straight_through


@dataclass(frozen=True)
class Readout:
    """The signed charge-to-pulse circuit of an output line, and the counter behind it.

    Attributes:
        full: counts at a charge of 1, which is full scale.
        rounds: whether it counts in whole numbers; False where read-outs are unquantised.
        gain: of the circuit.
        offset: what the circuit adds to the size of every charge, 1 at full scale.
    """

    full: float
    rounds: bool = True
    gain: float = 1.0
    offset: float = 0.0

    @classmethod
    def of(cls, config: GainCellConfig) -> "Readout":
        """That of a design point.

        Full scale is (levels - 1)/2 counts, or for the "counter" its top code levels/2 - 1 (assumption). The
        reference's 15.5 rounds to even: code +-16 of 32 levels. 1 if unquantised.
        """
        levels, full = config.output_levels, 1.0
        if levels is not None:
            full = (levels - 1) / 2 if config.readout == "reference" else float(max(levels // 2 - 1, 1))
        return cls(full, levels is not None, *config.signed_conversion)

    @property
    def scale(self) -> float:
        """Counts of a charge of 1 behind the circuit's gain."""
        return self.gain * self.full

    @property
    def edge(self) -> float:
        """Counts, before the offset, beyond which a read-out is clamped, and passes no gradient."""
        return self.full * (1.0 - self.offset)

    def __call__(self, charge: Tensor) -> Tensor:
        """What is reported for charges (1 = full scale): clamped to [-1, 1], then quantised; same shape."""
        charge = self.gain * charge
        with torch.no_grad():
            value = self.count_(charge * self.full) / self.full
        edge = self.edge / self.full
        return straight_through(charge, value, lambda gradient, x: clamp_backward(gradient, x, -edge, edge))

    def count_(self, counts: Tensor) -> Tensor:
        """The code for charges in counts, gain included, in place; divided by `full` it is the read-out."""
        if self.offset:
            sign = counts.sign()
            counts.abs_().add_(self.offset * self.full).clamp_(min=0.0).mul_(sign)
        counts.clamp_(-self.full, self.full)
        return counts.round_() if self.rounds else counts

    def gradient(self, gradient: Tensor, counts: Tensor, out: Tensor | None = None) -> Tensor:
        """That of `count_` with respect to the charges, given that of the codes: straight through up to the edge."""
        return clamp_backward(gradient, counts, -self.edge, self.edge, out=out)


@dataclass(frozen=True)
class Normaliser:
    """Z, the sum of phi over all sub-tiles, by which the digital side divides a query's output.

    Attributes:
        readout: what reads its reference columns out.
        ranges: full scales of the reference columns in pulse widths, ascending; none where Z is known exactly.
        epsilon: what is added to Z.
    """

    readout: Readout
    ranges: tuple[float, ...]
    epsilon: float

    @classmethod
    def of(cls, config: GainCellConfig) -> "Normaliser | None":
        """That of a design point, or None where it has none."""
        if config.normaliser == "none":
            return None
        ranges = config.normaliser_ranges if config.normaliser == "column" else ()
        return cls(Readout.of(config), ranges, config.normaliser_epsilon)

    def __call__(self, phi_sum: Tensor) -> Tensor:
        """What a sub-tile adds to Z for the sum of its phi, `phi_sum`, in pulse widths; same shape.

        Exactly that where the normaliser is ideal. From reference columns: R readout(phi_sum / R) in the finest range R
        that holds it, else the last, with gradient 1 up to the last range [assumption].
        """
        if not self.ranges:
            return phi_sum
        *finer, last = self.ranges
        with torch.no_grad():
            scale = torch.full_like(phi_sum, last)
            for finest in reversed(finer):
                scale.masked_fill_(phi_sum <= finest, finest)
            counts = self.readout.count_((phi_sum / scale).mul_(self.readout.scale))
            counts.mul_(divide_(scale, self.readout.full))
        return straight_through(phi_sum, counts, lambda gradient, x: gradient.masked_fill(self.beyond(x), 0.0))

    def beyond(self, phi_sum: Tensor) -> Tensor:
        """Where it is clamped, and passes no gradient: no reference column holds so many pulses."""
        return phi_sum > self.ranges[-1] if self.ranges else torch.zeros_like(phi_sum, dtype=torch.bool)

    def divide(self, out: Tensor, z: Tensor) -> Tensor:
        """out / (Z + epsilon) of out (B, H, T, D) and Z (B, H, T)."""
        return out / (z.unsqueeze(3) + self.epsilon)
