"""Retention: how a stored voltage decays, towards its zero or another level."""

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer, model_validator

#: How far from its zero a voltage may decay to, in V: supplies are lower, and far beyond, a decay's terms cancel.
FAR_V = 2.0

#: A decay that departs from an exponential by more than this fraction of what was written is not called one; ours.
EXPONENTIAL = 0.02


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


class LevelRetention(BaseModel):
    """What one written voltage does.

    Attributes:
        written: it, above its zero, in V.
        kept: how long it stays within half a step of what was written, in the unit of the retention; None where it does
            as long as it was watched.
        tau: its own time constant, in the unit of the retention; None where no exponential describes its decay.
        misfit: largest departure of its decay from the exponential nearest to it, as a fraction of what was written;
            None where it did not decay far enough to tell.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    written: float
    kept: float | None = Field(default=None, ge=0)
    tau: float | None = Field(default=None, gt=0)
    misfit: float | None = Field(default=None, ge=0)


class RetentionSpread(BaseModel):
    """How retention differs from cell to cell: its time is log-normal, T exp(sigma normal).

    As was measured and derived for the cells of arrays of two-transistor gain cells, where the threshold voltage of the
    write transistor decides [Edri, Meinerzhagen, Teman, Burg and Fish, IEEE Trans. Circuits Syst. I 63, 222 (2016)].

    Attributes:
        sigma: standard deviation of the natural logarithm of a cell's retention time.
        cells: how many cells it comes from; None where that is not known.
        source: where the figure comes from.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    sigma: float = Field(ge=0, le=5)
    cells: int | None = Field(default=None, ge=2)
    source: str = Field(min_length=1)


class Retention(BaseModel):
    """Exponential decay towards the zero level, y(t) = y(0) exp(-t / tau) [Leroux et al. 2025].

    A cell that leaks elsewhere than to its zero, such as to ground, ends at e = `ends_at_v`: y(t) = e + (y(0) - e)
    exp(-t / tau), an RC discharge towards e.

    Attributes:
        tau: the time constant, in `unit`; where `misfit` says that the decay is none, that of the nearest one.
        unit: "s", "ms" or "us"; must be given.
        source: where the figure comes from.
        ends_at_v: the voltage above the law's zero that a stored one decays to, in V; 0 is the zero itself.
        table: how it really decays, where that is known; design points with `retention` "table" use it.
        tau_error: standard error of tau, in `unit`, where it is known.
        misfit: largest departure of any written voltage from the exponential of `tau`, as a fraction of what was
            written, where it is known.
        within_v: half a step between stored voltages, in V: what `kept` of the levels means.
        levels: every written voltage that was watched.
        spread: how cells differ, where that is known; design points with a `retention_seed` draw it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    tau: float = Field(gt=0, allow_inf_nan=False)
    unit: Literal["s", "ms", "us"]
    source: str = Field(min_length=1)
    ends_at_v: float = Field(default=0.0, ge=-FAR_V, le=FAR_V)
    table: RetentionTable | None = None
    tau_error: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    misfit: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    within_v: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    levels: tuple[LevelRetention, ...] = ()
    spread: RetentionSpread | None = None

    @model_serializer(mode="wrap")
    def _without_absent(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        fields = handler(self)  # absent ones are left out, as in files that were written before there were any
        later = ("ends_at_v", "table", "tau_error", "misfit", "within_v", "levels", "spread")
        defaults = {name: type(self).model_fields[name].default for name in later}
        return {name: x for name, x in fields.items() if name not in later or getattr(self, name) != defaults[name]}

    @model_validator(mode="after")
    def _kept_within(self) -> Self:
        if self.within_v is None and any(level.kept is not None for level in self.levels):
            raise ValueError("levels that are kept for a time need within_v, half a step, which they are kept within")
        return self

    @property
    def exponential(self) -> bool:
        """Whether the exponential describes the decay, as far as is known: there is a table where it does not."""
        return self.table is None

    @property
    def kept_s(self) -> float | None:
        """How long every written voltage stays within half a step, in s: the worst one's time.

        None where all stayed as long as they were watched, or none was.
        """
        kept = [level.kept for level in self.levels if level.kept is not None]
        return min(kept) * self.unit_s if kept else None

    @property
    def tau_s(self) -> float:
        """The time constant in seconds."""
        return self.tau * self.unit_s

    @property
    def unit_s(self) -> float:
        """The unit in seconds."""
        return {"s": 1.0, "ms": 1e-3, "us": 1e-6}[self.unit]
