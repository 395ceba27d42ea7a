"""The charge of an aged cell as a sum of terms, each with its own decay: what makes both products matrix products."""

from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor

from gaincell.cell import PolynomialLaw
from gaincell.config import GainCellConfig


def backward_law(config: GainCellConfig) -> PolynomialLaw:
    """The cell law of the backward pass: the cell's own, or the published surrogate, a line [released code]."""
    if config.gradient == "true-law":
        return config.cell.model_law
    slope = (0.0, config.surrogate_slope)
    return PolynomialLaw(coefficients=slope, unit="model", source="surrogate of the backward pass")


@dataclass(frozen=True)
class Terms:
    """charge(y, age) = constant + sum_p e^{-rates_p leak age} laws_p(y).

    Without leak: one term, the whole law. A leaking cell, f(y e^{-leak age}) = sum_i C_i y^i e^{-i leak age}: one term
    a power. `leak_form` "factored": f(y) e^{-leak age}, one term.

    Attributes:
        rates: decay of each term, in units of the leak; ascending.
        laws: one polynomial a term, lowest order first.
        constant: what does not decay and does not depend on y.
    """

    rates: tuple[int, ...]
    laws: tuple[tuple[float, ...], ...]
    constant: float

    @classmethod
    def of(cls, law: PolynomialLaw, config: GainCellConfig, scale: float) -> "Terms":
        """The terms of `law` times `scale`."""
        scaled = tuple(c * scale for c in law.coefficients)
        if config.leak == 0.0 or config.leak_form == "factored":
            return cls((int(config.leak > 0.0),), (scaled,), 0.0)
        powers = tuple(i for i, c in enumerate(scaled) if i and c)
        return cls(powers, tuple((0.0,) * i + (scaled[i],) for i in powers), scaled[0])

    @property
    def steps(self) -> tuple[int, ...]:
        """How much faster each term decays than the one before it, or than no decay for the first."""
        return tuple(b - a for a, b in zip((0, *self.rates), self.rates, strict=False))

    def values(self, y: Tensor) -> list[Tensor]:
        """laws_p(y) for every term, each of y's shape; differentiable."""
        return [reduce(lambda total, c: total * y + c, reversed(law), torch.zeros_like(y)) for law in self.laws]

    def value(self, p: int, y: Tensor, out: Tensor) -> Tensor:
        """laws_p(y) into `out`, in place: Horner's rule, from the last power that counts to the first."""
        law = self.laws[p]
        low = next((i for i, c in enumerate(law) if c), 0)
        *rest, top = law[low:]
        if len(law) == 1:
            return out.fill_(top)
        torch.mul(y, top, out=out)
        for n, c in enumerate(reversed(rest)):
            if n:
                out.mul_(y)
            if c:
                out.add_(c)
        for _ in range(low if rest else low - 1):
            out.mul_(y)
        return out

    def derivative(self) -> "Terms":
        """d/dy of every term; the constant goes."""
        laws = tuple(tuple(i * c for i, c in enumerate(law))[1:] for law in self.laws)
        return Terms(self.rates, laws, 0.0)
