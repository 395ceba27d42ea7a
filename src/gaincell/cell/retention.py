"""Retention: how a stored voltage decays, towards its zero or another level."""

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer, model_validator


class RetentionTable(BaseModel):
    """Decay that is not exponential: the stored voltage at these times.

    Attributes:
        time: since it was written (N,), increasing, in the unit of the retention.
        stored: voltage above its zero (L, N), in V: one row per voltage that was written, in its first entry.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    time: tuple[float, ...] = Field(min_length=2)
    stored: tuple[tuple[float, ...], ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _rectangular(self) -> Self:
        if any(later <= earlier for earlier, later in zip(self.time, self.time[1:], strict=False)):
            raise ValueError("times must increase")
        if any(len(row) != len(self.time) for row in self.stored):
            raise ValueError("every row of the table must have one voltage for each time")
        return self


class Retention(BaseModel):
    """Exponential decay towards the zero level, y(t) = y(0) exp(-t / tau) [Leroux et al. 2025].

    A cell that leaks elsewhere than to its zero, such as to ground, ends at e = `ends_at_v`: y(t) = e + (y(0) - e)
    exp(-t / tau), an RC discharge towards e.

    Attributes:
        tau: the time constant, in `unit`.
        unit: "s", "ms" or "us"; must be given.
        source: where the figure comes from.
        ends_at_v: the voltage above the law's zero that a stored one decays to, in V; 0 is the zero itself.
        table: how it really decays, where that is known; design points with `retention` "table" use it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    tau: float = Field(gt=0, allow_inf_nan=False)
    unit: Literal["s", "ms", "us"]
    source: str = Field(min_length=1)
    ends_at_v: float = Field(default=0.0, allow_inf_nan=False)
    table: RetentionTable | None = None

    @model_serializer(mode="wrap")
    def _without_absent(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        fields = handler(self)
        if self.table is None:
            fields.pop("table", None)
        if self.ends_at_v == 0.0:  # as files that were written before it could be another
            fields.pop("ends_at_v", None)
        return fields

    @property
    def tau_s(self) -> float:
        """The time constant in seconds."""
        return self.tau * self.unit_s

    @property
    def unit_s(self) -> float:
        """The unit in seconds."""
        return {"s": 1.0, "ms": 1e-3, "us": 1e-6}[self.unit]
