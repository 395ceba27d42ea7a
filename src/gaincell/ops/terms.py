"""The charge of an aged cell as a sum of terms, each with its own decay: what makes both products matrix products."""

from dataclasses import dataclass, replace
from functools import cached_property, reduce
from itertools import pairwise
from math import comb

import torch
from torch import Tensor

from gaincell.cell import PolynomialLaw
from gaincell.config import GainCellConfig
from gaincell.ops.leak import decay_table, written_voltages
from gaincell.ops.variation import Cells


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

    Cells that differ read gain f(y e^{-leak age} - zero). Without leak that is still one term, gain f(y - zero). With
    it, power p of the stored voltage has a factor that is a polynomial in the cell's zero, gain f^(p)(-zero) / p!; what
    does not decay depends on the cell, so it is a term as well, of rate 0.

    Attributes:
        rates: decay of each term, in units of the leak; ascending.
        laws: one polynomial a term, lowest order first, in y; of cells that differ in y - zero, with leak in zero.
        constant: what does not decay and does not depend on y.
        leak: per token.
    """

    rates: tuple[int, ...]
    laws: tuple[tuple[float, ...], ...]
    constant: float
    leak: float

    @classmethod
    def of(cls, law: PolynomialLaw, config: GainCellConfig, scale: float) -> "Terms":
        """The terms of `law` times `scale`."""
        return cls._of(law.coefficients, config, scale, config.mismatch is not None)

    @classmethod
    def of_feedthrough(cls, config: GainCellConfig, scale: float) -> "Terms | None":
        """Those of F(y e^{-leak age}), or None without feedthrough; cells do not differ in it."""
        law = config.cell.model_feedthrough(config.pulse_max_s) if config.feedthrough else None
        return None if law is None else cls._of((*law, 0.0, 0.0)[: max(len(law), 2)], config, scale, False)

    @classmethod
    def _of(cls, law: tuple[float, ...], config: GainCellConfig, scale: float, differ: bool) -> "Terms":
        if config.retention == "table":
            return _tabled(law, config, scale, differ)
        scaled = tuple(c * scale for c in law)
        if config.leak == 0.0 or config.leak_form == "factored":
            return cls((int(config.leak > 0.0),), (scaled,), 0.0, config.leak)
        if differ:
            order = range(len(scaled))
            laws = (tuple(comb(i, p) * scaled[i] * (-1) ** (i - p) for i in order[p:]) for p in order)
            return cls(tuple(order), tuple(laws), 0.0, config.leak)
        powers = tuple(i for i, c in enumerate(scaled) if i and c) or (1,)
        return cls(powers, tuple((0.0,) * i + (scaled[i],) for i in powers), scaled[0], config.leak)

    def over(self, by: float) -> "Terms":
        """The terms of the same charge divided by a number."""
        return replace(self, laws=tuple(tuple(c / by for c in law) for law in self.laws), constant=self.constant / by)

    def charge(self, y: Tensor, age: Tensor) -> Tensor:
        """What one cell each gives for a full pulse, of cells written at voltages y, `age` tokens ago."""
        aged = (x * decay for x, decay in zip(self.values(y), self.decays(age), strict=True))
        return sum(aged, torch.zeros_like(y)) + self.constant

    def decays(self, age: Tensor) -> Tensor:
        """What every term is multiplied with at ages in tokens: (P, ...) of age (...), float64."""
        rates = torch.tensor(self.rates, dtype=torch.float64, device=age.device)
        return torch.exp(-self.leak * rates.view(-1, *[1] * age.dim()) * age.double())

    @cached_property
    def steps(self) -> tuple[int, ...]:
        """How much faster each term decays than the one before it, or than no decay for the first."""
        return tuple(b - a for a, b in zip((0, *self.rates), self.rates, strict=False))

    def values(self, y: Tensor, cells: Cells | None = None) -> list[Tensor]:
        """Every term of cells at voltages y, each of y's shape; `cells`, which broadcast to it, if they differ."""
        if cells is None:
            return [_polynomial(law, y) for law in self.laws]
        return [self._of_cells(p, y, cells) for p in range(len(self.laws))]

    def _of_cells(self, p: int, y: Tensor, cells: Cells) -> Tensor:
        if len(self.laws) == 1:
            return _polynomial(self.laws[0], y - cells.zero).mul_(cells.gain)
        return _polynomial(self.laws[p], cells.zero).mul_(cells.gain).mul(y**p)

    def slopes(self, y: Tensor, cells: Cells | None = None) -> list[Tensor]:
        """d/dy of every term, as `values`."""
        if cells is None or len(self.laws) == 1:
            return Terms(self.rates, tuple(map(_derivative, self.laws)), 0.0, self.leak).values(y, cells)
        return [_polynomial(law, cells.zero) * cells.gain * p * y ** max(p - 1, 0) for p, law in enumerate(self.laws)]

    def value(self, p: int, y: Tensor, out: Tensor, cells: Cells | None = None) -> Tensor:
        """Term p of `values` into `out`, in place: Horner's rule, from the last power that counts to the first."""
        if cells is not None:
            return out.copy_(self._of_cells(p, y, cells))
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


@dataclass(frozen=True, eq=False)
class TabledTerms(Terms):
    """charge(y, age) = sum_p weights_p(age) factor_p, of cells whose voltage decays as a table has it.

    A term is a code, whose factor is 1 where it is stored and whose weight is f at what is left of it. Of cells that
    differ it is a code and a power of what is left, whose factor is a polynomial in the cell's zero as in `Terms`.

    Attributes:
        levels: y of every term's code as it is written.
        weights: (P, window) by age, float64.
        steep: their derivatives by the voltage that was written, likewise.
    """

    levels: tuple[float, ...]
    weights: Tensor
    steep: Tensor

    def decays(self, age: Tensor) -> Tensor:
        """`weights` at ages in tokens."""
        return self.weights.to(age.device)[:, age.long()]

    def values(self, y: Tensor, cells: Cells | None = None) -> list[Tensor]:
        """Every factor, as `Terms.values`."""
        return [self._of_code(p, y, cells) for p in range(len(self.laws))]

    def _of_code(self, p: int, y: Tensor, cells: Cells | None) -> Tensor:
        known = sorted(set(self.levels))
        nearest = min(b - a for a, b in pairwise(known)) / 2
        stored = ((y - self.levels[p]).abs_() < nearest).to(y)
        if cells is None:
            return stored.mul_(self.laws[p][0])
        return _polynomial(self.laws[p], cells.zero).mul_(cells.gain).mul(stored)

    def slopes(self, y: Tensor, cells: Cells | None = None) -> list[Tensor]:
        """The factors again: the derivative is in `steep`."""
        return self.values(y, cells)

    def value(self, p: int, y: Tensor, out: Tensor, cells: Cells | None = None) -> Tensor:
        """Factor p of `values` into `out`."""
        return out.copy_(self._of_code(p, y, cells))


def _tabled(law: tuple[float, ...], config: GainCellConfig, scale: float, differ: bool) -> TabledTerms:
    left, steep = decay_table(config)
    if differ:
        order = range(len(law))
        laws = [tuple(comb(i, p) * law[i] * scale * (-1) ** (i - p) for i in order[p:]) for p in order]
        weights = torch.stack([left**p for p in order], 1)
        slopes = torch.stack([p * left ** max(p - 1, 0) * steep for p in order], 1)
    else:
        laws = [(scale,)]
        weights, slopes = _polynomial(law, left)[:, None], (_polynomial(_derivative(law), left) * steep)[:, None]
    levels = tuple(y for y in written_voltages(config).tolist() for _ in laws)
    terms = tuple(range(len(levels)))
    return TabledTerms(
        terms, tuple(laws) * len(left), 0.0, config.leak, levels, weights.flatten(0, 1), slopes.flatten(0, 1)
    )


def _polynomial(law: tuple[float, ...], x: Tensor) -> Tensor:
    return reduce(lambda total, c: total * x + c, reversed(law), torch.zeros_like(x))


def _derivative(law: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(i * c for i, c in enumerate(law))[1:]
