"""The charge law f(y): what one cell adds to its bit line per unit of pulse width."""

import math
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

#: The published cubic law at +0.45 V [Leroux et al. 2025, released code]. A law that is loaded in
#: coulomb per second is rescaled to this value, so that S_sat and the output scale keep their meaning.
REFERENCE_VOLTAGE_V = 0.45
REFERENCE_CHARGE = 10.313


class PolynomialLaw(BaseModel):
    """f(y) = sum_i C_i y^i, with y the stored voltage above its zero, in volt.

    Of one cell: what a value is made of where that takes more than one, `gaincell.cell.polarity` says.

    Any order; `linear` and `cubic` of the paper are orders 1 and 3. An aged cell reads
    f(y exp(-leak age)) = sum_i C_i y^i exp(-i leak age).

    Attributes:
        coefficients: C_0 ... C_n, lowest order first, per volt^i.
        unit: "model" (the paper's scale, in which S saturates at 80) or "C/s" (coulomb per second of
            pulse, from a netlist or a measurement).
        source: where the coefficients come from.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    coefficients: tuple[float, ...] = Field(min_length=2, max_length=12)
    unit: Literal["model", "C/s"]
    source: str = Field(min_length=1)

    @field_validator("coefficients")
    @classmethod
    def _finite(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if not all(math.isfinite(c) for c in value):
            raise ValueError("every coefficient must be a finite number")
        if not any(value[1:]):
            raise ValueError("the law must depend on the stored voltage: a coefficient above C_0 must be non-zero")
        return value

    def __call__(self, y: Any) -> Any:
        """f(y) for a float, NumPy array or torch tensor of any shape, in volt, by Horner's rule."""
        result = y * 0 + self.coefficients[-1]
        for c in reversed(self.coefficients[:-1]):
            result = result * y + c
        return result

    def derivative(self) -> "PolynomialLaw":
        """df/dy, as a law of one order less (of order 1 with C_1 = 0 never: a line keeps a constant)."""
        slopes = tuple(i * c for i, c in enumerate(self.coefficients))[1:]
        return self.model_copy(update={"coefficients": slopes})

    def in_model_scale(self) -> tuple["PolynomialLaw", float]:
        """The law on the paper's scale, and the factor: coulomb per second of one model unit (1.0 if it was there).

        Raises:
            ValueError: a law in C/s that gives no positive, finite charge at +0.45 V.
        """
        if self.unit == "model":
            return self, 1.0
        factor = self(REFERENCE_VOLTAGE_V) / REFERENCE_CHARGE
        scaled = tuple(c / factor for c in self.coefficients) if 0 < factor < math.inf else (math.nan,)
        if not all(math.isfinite(c) for c in scaled):
            raise ValueError(f"the law must give a positive, finite charge at +{REFERENCE_VOLTAGE_V} V")
        return self.model_copy(update={"coefficients": scaled, "unit": "model"}), factor
