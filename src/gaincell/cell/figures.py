"""What a circuit does besides its charge law and its retention: design points say which of it counts."""

from itertools import pairwise
from typing import Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from gaincell.cell.retention import FAR_V


class _Figures(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    source: str = Field(min_length=1)


_FAR = f"no voltage of a table may lie further than {FAR_V:g} V from zero"


def _without(fields: dict[str, Any], absent: dict[str, Any]) -> dict[str, Any]:
    """Fields without those that are None in `absent`: as in files that were written before there were any."""
    return {name: value for name, value in fields.items() if name not in absent or absent[name] is not None}


def _check_grid(table: tuple[tuple[float, ...], ...], rows: tuple[float, ...], columns: tuple[float, ...]) -> None:
    """Refuse a table that does not have these rows and columns, both ascending."""
    if any(later <= earlier for knots in (rows, columns) for earlier, later in pairwise(knots)):
        raise ValueError("voltages and counts of a table must increase")
    if len(table) != len(rows) or any(len(row) != len(columns) for row in table):
        raise ValueError(f"the table must have {len(rows)} rows of {len(columns)} voltages each")
    if any(abs(x) > FAR_V for x in (*rows, *(x for row in table for x in row))):
        raise ValueError(_FAR)


class ReadDisturb(_Figures):
    """By how much reads shift what a cell holds, beside what it leaks.

    Attributes:
        reads: how many full reads (N,), ascending, one at least.
        written_v: voltages above zero that cells held (L,), ascending, in V.
        shift_v: what so many reads add to each (L, N), in V; none add nothing.
    """

    reads: tuple[float, ...] = Field(min_length=1)
    written_v: tuple[float, ...] = Field(min_length=2)
    shift_v: tuple[tuple[float, ...], ...]

    @model_validator(mode="after")
    def _rectangular(self) -> Self:
        _check_grid(self.shift_v, self.written_v, self.reads)
        if self.reads[0] <= 0:
            raise ValueError("reads must be counts above zero: none shift nothing")
        return self


class Read(_Figures):
    """What a read adds to its charge law, and what it does to the cell.

    Attributes:
        feedthrough: coefficients F_0 ... F_n of F(y) = sum_i F_i y^i, lowest order first, in C per V^i: a pulse of
            width w > 0 adds f(y) w + F(y) to the bit line.
        nonlinearity: largest departure from that line in w, as a fraction of the charge of a full pulse at +0.45 V, or,
            of a cell of one sign, where that is largest.
        law_residual: largest departure of the law from the simulated or measured slopes, as a fraction of the law's
            range over the stored voltages.
        disturb_v: largest change of a stored voltage by one full read, in V.
        disturb: what many reads do, where that is known; design points with `read_disturb` "cell" use it.
    """

    feedthrough: tuple[float, ...]
    nonlinearity: float = Field(ge=0)
    law_residual: float = Field(ge=0)
    disturb_v: float = Field(ge=0)
    disturb: ReadDisturb | None = None

    @model_serializer(mode="wrap")
    def _without_absent(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return _without(handler(self), {"disturb": self.disturb})


class ChargeToPulse(_Figures):
    """The HardSigmoid as a circuit: width = clamp(gain T_max S / S_sat + offset, 0, T_max) where S > 0, else 0.

    Attributes:
        gain: slope in units of the ideal one.
        offset_s: in s.
        nonlinearity: largest departure from the line between 10 % and 90 % of S_sat, as a fraction of T_max.
        below_zero_s: longest pulse for S below zero, in s.
        saturated_s: shortest pulse for S of 1.1 S_sat and more, in s.
        signed: whether charges of both signs give pulses.
    """

    gain: float = Field(gt=0)
    offset_s: float
    nonlinearity: float = Field(ge=0)
    below_zero_s: float = Field(ge=0)
    saturated_s: float = Field(ge=0)
    signed: bool = False


class WriteErrors(_Figures):
    """By how much a written voltage is off: by charge that is injected when the write ends, and where the write was
    too short, by what is left of the difference to what the cell held before.

    Attributes:
        time_s: how long the write word line is on, in s.
        levels_v: voltages above zero that cells are written to, and that they hold before (L,), ascending, in V.
        error_v: stored voltage when it is at rest less the one to be written (L, L), in V: a row for each written
            voltage, a column for each held before.
    """

    time_s: float = Field(gt=0)
    levels_v: tuple[float, ...] = Field(min_length=2)
    error_v: tuple[tuple[float, ...], ...]

    @model_validator(mode="after")
    def _square(self) -> Self:
        _check_grid(self.error_v, self.levels_v, self.levels_v)
        apart = [later - earlier for earlier, later in pairwise(self.levels_v)]
        for row in self.error_v:
            if any(abs(b - a) > gap * (1 + 1e-9) for (a, b), gap in zip(pairwise(row), apart, strict=True)):
                raise ValueError("a write must not leave two cells further apart than they were before")
        return self

    @property
    def worst_v(self) -> float:
        """The largest error, in V."""
        return max(abs(x) for row in self.error_v for x in row)

    @property
    def residual(self) -> float:
        """Share of the difference between the outermost voltages held before that is left in what is written."""
        apart_v = self.levels_v[-1] - self.levels_v[0]
        return max(abs(row[-1] - row[0]) for row in self.error_v) / apart_v


class Write(_Figures):
    """Writing a cell.

    Attributes:
        settling_s: longest time until the stored voltage is within half a step of eight levels of its target, in s;
            None where it does not get there.
        error_v: largest departure from the target after the write word line went off, in V.
        errors: what every write is off by, where that is known; design points with `writes` "cell" use it.
    """

    settling_s: float | None = Field(default=None, ge=0)
    error_v: float = Field(ge=0)
    errors: WriteErrors | None = None

    @model_serializer(mode="wrap")
    def _without_absent(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return _without(handler(self), {"errors": self.errors})


class ReadEnergies(_Figures):
    """What a full read takes from the supplies, by stored voltage.

    Attributes:
        written_v: voltages above zero (L,), ascending, in V.
        full_j: a read with the longest pulse (L,), in J.
    """

    written_v: tuple[float, ...] = Field(min_length=2)
    full_j: tuple[float, ...]

    @model_validator(mode="after")
    def _one_each(self) -> Self:
        _check_grid((self.full_j,), (0.0,), self.written_v)
        if max(map(abs, self.written_v)) > FAR_V:
            raise ValueError(_FAR)
        if min(self.full_j) < 0 or not self.full_j[-1]:
            raise ValueError("full_j must hold energies, and one above zero at the highest voltage")
        return self

    def at(self, y: float) -> float:
        """Energy at a voltage above zero, in J: linear between those that there are, and beyond them as at the last."""
        y = min(max(y, self.written_v[0]), self.written_v[-1])
        (low, left), (high, right) = next(
            (a, b) for a, b in pairwise(zip(self.written_v, self.full_j, strict=True)) if y <= b[0]
        )
        return left + (right - left) * (y - low) / (high - low)


class Energy(_Figures):
    """Energy from the supplies, in J; drivers of word lines and the op-amp of the integrator are not in it.

    Attributes:
        read_full_j: a read of the highest stored voltage with the longest pulse; of the lowest, where the charge has
            one sign and is largest there.
        read_mean_j: mean over eight stored voltages and pulse widths that are uniform between 0 and the longest.
        conversion_j: one charge-to-pulse conversion, mean over S between 0 and S_sat.
        write_j: one write, mean over the steps between lowest, middle and highest stored voltage.
        reads: full reads by stored voltage, where they are known: estimates of push-pull cells take them in place of
            what the charge law has in proportion.
    """

    read_full_j: float = Field(ge=0)
    read_mean_j: float = Field(ge=0)
    conversion_j: float = Field(ge=0)
    write_j: float = Field(ge=0)
    reads: ReadEnergies | None = None

    @model_serializer(mode="wrap")
    def _without_absent(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return _without(handler(self), {"reads": self.reads})


class Mismatch(_Figures):
    """How cells of one array differ: standard deviations over `samples` cells, drawn with `seed`.

    Simulations draw `gain` and `zero_crossing_v`, independent of each other. `current` overlaps with both and is not
    drawn: it tells by how much they fall short, as a cell has one gain for charges of both signs there.

    Attributes:
        current: of the read current, at the stored voltage where it is largest, as a fraction of f(+0.45 V), or, of
            cells of one sign, of the largest charge.
        zero_crossing_v: of the stored voltage that gives no charge, or, of cells of one sign, the charge that they give
            at their zero level on average, in V.
        gain: of f(+0.45 V) - f(-0.45 V), as a fraction of its mean.
        samples: how many cells.
        seed: of the draw.
    """

    current: float = Field(ge=0)
    zero_crossing_v: float = Field(ge=0)
    gain: float = Field(ge=0)
    samples: int = Field(ge=2)
    seed: int = Field(ge=0)


class CellConditions(_Figures):
    """Under what a cell was characterised: all that its file says, law and retention included, holds there.

    Attributes:
        temperature_c: in degrees Celsius.
        vdd_v: supply, in V, and the highest stored voltage that the law was taken at.
        zero_v: level of the read bit line, in V, and the stored voltage that stands for zero.
        read_high_v: read word line while it is on, in V.
        write_high_v: write word line while it writes, in V.
        write_low_v: write word line while it holds, in V.
        corner: of its transistors: tt, ss, ff, sf or fs; None where they are not ours.
    """

    temperature_c: float = Field(gt=-273.15)
    vdd_v: float = Field(gt=0)
    zero_v: float = Field(gt=0)
    read_high_v: float
    write_high_v: float
    write_low_v: float
    corner: Literal["tt", "ss", "ff", "sf", "fs"] | None = None

    @model_validator(mode="after")
    def _between(self) -> Self:
        if self.zero_v >= self.vdd_v:
            raise ValueError(f"zero_v {self.zero_v:g} must lie below vdd_v {self.vdd_v:g}")
        return self


class CircuitFigures(BaseModel):
    """All of it; what is absent was not characterised.

    Attributes:
        conditions: see `CellConditions`; None where they are not known.
        unit: that every field carries the SI unit its name ends with, and coulomb per volt^i for `feedthrough`.
        read: see `Read`.
        charge_to_pulse: see `ChargeToPulse`.
        signed_charge_to_pulse: the same for the variant that reads out both signs.
        write: see `Write`.
        energy: see `Energy`.
        mismatch: see `Mismatch`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    unit: Literal["SI"] = "SI"
    conditions: CellConditions | None = None
    read: Read | None = None
    charge_to_pulse: ChargeToPulse | None = None
    signed_charge_to_pulse: ChargeToPulse | None = None
    write: Write | None = None
    energy: Energy | None = None
    mismatch: Mismatch | None = None

    @model_serializer(mode="wrap")
    def _without_absent(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        fields = handler(self)
        if self.conditions is None:
            fields.pop("conditions", None)
        return fields
