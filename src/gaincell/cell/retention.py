"""Retention: how a stored voltage decays towards its zero."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Retention(BaseModel):
    """Exponential decay towards the zero level, y(t) = y(0) exp(-t / tau) [Leroux et al. 2025].

    Attributes:
        tau: the time constant, in `unit`.
        unit: "s", "ms" or "us"; must be given.
        source: where the figure comes from.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    tau: float = Field(gt=0, allow_inf_nan=False)
    unit: Literal["s", "ms", "us"]
    source: str = Field(min_length=1)

    @property
    def tau_s(self) -> float:
        """The time constant in seconds."""
        return self.tau * {"s": 1.0, "ms": 1e-3, "us": 1e-6}[self.unit]
