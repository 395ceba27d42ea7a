"""The charge of an aged cell as a sum of terms, each with its own decay: what makes both products matrix products."""

from dataclasses import dataclass, replace
from functools import cached_property, reduce
from itertools import pairwise
from math import comb

import torch
from torch import Tensor

from gaincell.cell import Polarity, PolynomialLaw
from gaincell.config import GainCellConfig
from gaincell.ops.leak import decay_table, voltage_at, written_voltages
from gaincell.ops.variation import Cells


def backward_law(config: GainCellConfig) -> PolynomialLaw:
    """The law of one cell in the backward pass: its own, or the published surrogate, a line [released code].

    The line has `surrogate_slope` for a stored value: half of it for each cell of a pair.
    """
    if config.gradient == "true-law":
        return config.cell.model_cell_law
    slope = (0.0, config.surrogate_slope / config.cell.cells_per_value)
    return PolynomialLaw(coefficients=slope, unit="model", source="surrogate of the backward pass")


@dataclass(frozen=True)
class Terms:
    """charge(y, age) = constant + sum_p e^{-rates_p leak age} laws_p(y), of a stored value y.

    Without leak: one term, the whole law. A leaking cell, f(y e^{-leak age}) = sum_i C_i y^i e^{-i leak age}: one term
    a power. `leak_form` "factored": f(y) e^{-leak age}, one term. A cell that decays towards e reads f(e + (y - e) d),
    d = e^{-leak age}: by Taylor's series about e, power p of d has the factor f^(p)(e) (y - e)^p / p!. A pair is the
    charge of a cell written at y less that of one at -y, and a reference is taken off where nothing decays.

    Cells that differ read gain g(y e^{-leak age} - zero). Without leak that is still one term, gain g(y - zero). With
    it, power p of what is left has a factor that is a polynomial in the cell's zero, gain g^(p)(e - zero) / p!; what
    does not decay depends on the cell, so it is a term as well, of rate 0.

    Attributes:
        rates: decay of each term, in units of the leak; ascending.
        laws: one polynomial a term, lowest order first, in y; of cells that differ that of one cell, in y - zero, with
            leak in zero.
        constant: what does not decay and does not depend on y.
        leak: per token.
        polarity: how cells that differ make up a value.
        ends: where cells that differ and leak decay to, in volt above their zero.
    """

    rates: tuple[int, ...]
    laws: tuple[tuple[float, ...], ...]
    constant: float
    leak: float
    polarity: Polarity = "push_pull"
    ends: float = 0.0

    @classmethod
    def of(cls, law: PolynomialLaw, config: GainCellConfig, scale: float) -> "Terms":
        """The terms of values whose cells have `law`, times `scale`."""
        return cls._of(law.coefficients, config, scale, config.mismatch is not None)

    @classmethod
    def of_feedthrough(cls, config: GainCellConfig, scale: float) -> "Terms | None":
        """Those of F(y e^{-leak age}), or None without feedthrough; cells do not differ in it."""
        law = config.cell.model_feedthrough(config.pulse_max_s) if config.feedthrough else None
        return None if law is None else cls._of((*law, 0.0, 0.0)[: max(len(law), 2)], config, scale, False)

    @classmethod
    def _of(cls, law: tuple[float, ...], config: GainCellConfig, scale: float, differ: bool) -> "Terms":
        polarity, ends = config.cell.polarity, config.cell.retention.ends_at_v
        if config.aged:
            return AgedTerms((0,), (tuple(c * scale for c in law),), 0.0, config.leak, polarity, ends, config=config)
        if config.tabled:
            return _tabled(law, config, scale, differ)
        scaled = tuple(c * scale for c in law)
        order = range(len(scaled))
        still = config.leak == 0.0 or config.leak_form == "factored"
        if differ and not still:
            laws = (_shifted(scaled, p, ends) for p in order)
            return cls(tuple(order), tuple(laws), 0.0, config.leak, polarity, ends)
        if differ:
            return cls((int(config.leak > 0.0),), (scaled,), 0.0, config.leak, polarity)
        if polarity == "reference":  # which stands at zero, and does not leak
            scaled = (0.0, *scaled[1:])
        if still:
            whole = _odd(scaled) if polarity == "pair" else scaled
            return cls((int(config.leak > 0.0),), (whole,), 0.0, config.leak)
        laws = {i: (0.0,) * i + (scaled[i],) for i in order}
        constant = scaled[0]
        if ends:
            laws, constant = _about(scaled, ends)
        if polarity == "pair":
            laws, constant = {i: _odd(law) for i, law in laws.items()}, 0.0
        powers = tuple(i for i in order if i and any(laws[i])) or (1,)
        return cls(powers, tuple(laws[i] for i in powers), constant, config.leak)

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
        """Every term of values y, each of y's shape; `cells`, which broadcast to it, if they differ."""
        if cells is None:
            return [_polynomial(law, y) for law in self.laws]
        return [self._of_cells(p, y, cells) for p in range(len(self.laws))]

    def _of_cells(self, p: int, y: Tensor, cells: Cells) -> Tensor:
        """Term p of a value's own cell, less that of its pair's other cell, or of its reference."""
        own = self._of_cell(p, y, cells)
        if cells.other is None or (p and self.polarity == "reference"):
            return own
        if self.polarity == "pair":
            return own.sub_(self._of_cell(p, -y, cells.other))
        law, other = self.laws[0], cells.other  # at its zero, whatever the age
        at = -other.zero if len(self.laws) == 1 else other.zero + self.ends
        return own.sub_(_polynomial(law, at).mul_(other.gain))

    def _of_cell(self, p: int, y: Tensor, cells: Cells) -> Tensor:
        if len(self.laws) == 1:
            return _polynomial(self.laws[0], y - cells.zero).mul_(cells.gain)
        return _polynomial(self.laws[p], cells.zero).mul_(cells.gain).mul((y - self.ends) ** p)

    def slopes(self, y: Tensor, cells: Cells | None = None) -> list[Tensor]:
        """d/dy of every term, as `values`."""
        if cells is None:
            return [_polynomial(_derivative(law), y) for law in self.laws]
        own = [self._slope_of_cell(p, y, cells) for p in range(len(self.laws))]
        if cells.other is None or self.polarity != "pair":
            return own
        other = (self._slope_of_cell(p, -y, cells.other) for p in range(len(self.laws)))
        return [a + b for a, b in zip(own, other, strict=True)]

    def _slope_of_cell(self, p: int, y: Tensor, cells: Cells) -> Tensor:
        if len(self.laws) == 1:
            return _polynomial(_derivative(self.laws[0]), y - cells.zero).mul_(cells.gain)
        return _polynomial(self.laws[p], cells.zero) * cells.gain * p * (y - self.ends) ** max(p - 1, 0)

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


@dataclass(frozen=True, eq=False, kw_only=True)
class AgedTerms(Terms):
    """charge(y, age) of cells that leak each at its own pace, or by a table from what is none of its codes: one term,
    which is the charge as it is now.

    Nothing separates by cell and age here, so it is computed anew for every age, and `values` wants cells as old as
    they are (`Cells.aged`).

    Attributes:
        config: how voltages decay.
    """

    config: GainCellConfig

    def _of_cell(self, p: int, y: Tensor, cells: Cells) -> Tensor:
        assert cells.pace is not None
        left = voltage_at(y, cells.pace, self.config) - cells.zero
        if left.requires_grad:
            return _polynomial(self.laws[p], left).mul_(cells.gain)
        return self.value(p, left, torch.empty_like(left)).mul_(cells.gain)


@dataclass(frozen=True, eq=False, kw_only=True)
class TabledTerms(Terms):
    """charge(y, age) = sum_p weights_p(age) factor_p, of cells whose voltage decays as a table has it.

    A term is a code, whose factor is 1 where it is stored and whose weight is the charge of what is left of it: of
    both cells of a pair, or less the reference's. Of cells that differ it is a code and a power of what is left, whose
    factor is a polynomial in the cell's zero as in `Terms`; a pair's other cell, or the reference, has its own.

    Attributes:
        levels: y of every term's code as it is written.
        weights: (P, window) by age, float64.
        steep: their derivatives by the voltage that was written, likewise.
        cell: of every term, whose factor it is: 1 the value's own cell, -1 the other one.
    """

    levels: tuple[float, ...]
    weights: Tensor
    steep: Tensor
    cell: tuple[int, ...]

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
        own = cells if self.cell[p] > 0 or cells.other is None else cells.other
        return _polynomial(self.laws[p], own.zero).mul_(own.gain).mul(stored)

    def slopes(self, y: Tensor, cells: Cells | None = None) -> list[Tensor]:
        """The factors again: the derivative is in `steep`."""
        return self.values(y, cells)

    def value(self, p: int, y: Tensor, out: Tensor, cells: Cells | None = None) -> Tensor:
        """Factor p of `values` into `out`."""
        return out.copy_(self._of_code(p, y, cells))


def _tabled(law: tuple[float, ...], config: GainCellConfig, scale: float, differ: bool) -> TabledTerms:
    polarity, (left, steep) = config.cell.polarity, decay_table(config)
    order, written = range(len(law)), written_voltages(config).tolist()
    if differ:
        weights, slopes = _powers(left, steep, order)
        factors = [tuple(c * scale for c in _shifted(law, p)) for p in order]
        cell = [1] * len(factors)
        if polarity == "pair":  # the other cell holds -y, which is the code from the other end
            others, against = _powers(left.flip(0), -steep.flip(0), order)
            weights, slopes = torch.cat([weights, others], 1), torch.cat([slopes, against], 1)
        elif polarity == "reference":
            still = torch.ones_like(weights[:, :1])
            weights, slopes = torch.cat([weights, still], 1), torch.cat([slopes, 0.0 * still], 1)
        if polarity != "push_pull":
            others = factors if polarity == "pair" else factors[:1]
            factors = [*factors, *(tuple(-c for c in x) for x in others)]
            cell += [-1] * len(others)
    else:
        charge = (0.0, *law[1:]) if polarity == "reference" else law
        weights, slopes = _polynomial(charge, left), _polynomial(_derivative(charge), left) * steep
        if polarity == "pair":
            weights, slopes = weights - weights.flip(0), slopes + slopes.flip(0)
        weights, slopes, factors, cell = weights[:, None], slopes[:, None], [(scale,)], [1]
    return TabledTerms(
        rates=tuple(range(len(written) * len(factors))),
        laws=tuple(factors) * len(written),
        constant=0.0,
        leak=config.leak,
        levels=tuple(y for y in written for _ in factors),
        weights=weights.flatten(0, 1),
        steep=slopes.flatten(0, 1),
        cell=tuple(cell) * len(written),
    )


def _powers(left: Tensor, steep: Tensor, order: range) -> tuple[Tensor, Tensor]:
    """Powers of what is left of every code (levels, window), and their derivatives: (levels, powers, window)."""
    weights = torch.stack([left**p for p in order], 1)
    return weights, torch.stack([p * left ** max(p - 1, 0) * steep for p in order], 1)


def _shifted(law: tuple[float, ...], p: int, ends: float = 0.0) -> tuple[float, ...]:
    """g^(p)(ends - zero) / p! of the polynomial g, as a polynomial in zero."""
    about = law if not ends else tuple(_taylor(law, i, ends) for i in range(len(law)))
    return tuple(comb(i, p) * about[i] * (-1) ** (i - p) for i in range(p, len(law)))


def _taylor(law: tuple[float, ...], p: int, at: float) -> float:
    """g^(p)(at) / p! of the polynomial g."""
    return sum(comb(i, p) * law[i] * at ** (i - p) for i in range(p, len(law)))


def _about(law: tuple[float, ...], ends: float) -> tuple[dict[int, tuple[float, ...]], float]:
    """Of g(ends + (y - ends) d): what every power of d is multiplied with, a polynomial in y, and what none is."""
    laws = {}
    for p in range(1, len(law)):
        power = (comb(p, i) * (-ends) ** (p - i) for i in range(p + 1))
        laws[p] = tuple(_taylor(law, p, ends) * c for c in power)
    return laws, _taylor(law, 0, ends)


def _odd(law: tuple[float, ...]) -> tuple[float, ...]:
    """g(y) - g(-y) of the polynomial g."""
    return tuple(2.0 * c if i % 2 else 0.0 for i, c in enumerate(law))


def _polynomial(law: tuple[float, ...], x: Tensor) -> Tensor:
    return reduce(lambda total, c: total * x + c, reversed(law), torch.zeros_like(x))


def _derivative(law: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(i * c for i, c in enumerate(law))[1:]
