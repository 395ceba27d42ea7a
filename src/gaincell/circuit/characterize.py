"""From a cell's circuit to its cell file: charge law, read-out, write, retention, energy and mismatch."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from gaincell.cell import Cell, CircuitFigures, PolynomialLaw, PulseLaw, Retention, load_cell
from gaincell.cell.figures import ChargeToPulse, Energy, Mismatch, Read, ReadEnergies, Write, WriteErrors
from gaincell.cell.law import REFERENCE_CHARGE, REFERENCE_VOLTAGE_V
from gaincell.cell.polarity import Polarity, polarity_for, sign_of, strongest_v, value_law
from gaincell.cell.rising_law import nearest_law
from gaincell.circuit.cards import Card
from gaincell.circuit.conditions import characterised_at
from gaincell.circuit.decay import Decay, decay_of
from gaincell.circuit.decks.cell import CellCircuit, Conditions
from gaincell.circuit.decks.converter import ColumnCell, Conversion, Converter, column_deck, conversion
from gaincell.circuit.decks.read import DRIVEN, DRIVEN_V, Reads, read_deck, read_results
from gaincell.circuit.leak_spread import leak_spread
from gaincell.circuit.mismatch import Spread, mismatch_of
from gaincell.circuit.ngspice import Ngspice
from gaincell.circuit.pulse_curve import measured_law
from gaincell.circuit.writes import Writes, read_disturb, write_errors, writes_of
from gaincell.errors import InputError

#: S at which the HardSigmoid saturates, in model units [Leroux et al. 2025, released code].
_SATURATION = 80.0
#: The largest charges that converters are tried with, in units of the one that stands for S_sat.
_BEYOND = 1.3
#: A cell's charges are simulated to within some 1e-19 C (`chgtol`); a range of less than a hundred times that is none.
_LEAST_CHARGE_C = 1e-17
#: A law that is further from what was simulated, as a fraction of its range, is none of the cell.
_WORST_LAW = 0.15
#: Fifteenths of the longest pulse by which columns are read where a circuit's offset shows: just above no charge.
_TOE_CODES = (0.1, 0.25, 0.5)
#: What the source of a law says that was fitted so.
HELD = "held to rise, as the simulated charge does"
#: Likewise, of a charge of one sign.
HELD_TO_ONE_SIGN = f"{HELD}, and to its sign"


@dataclass(frozen=True)
class Settings:
    """How a cell is characterised.

    Attributes:
        order: of the charge law's polynomial.
        levels: stored voltages, evenly spaced over the supply.
        column: cells on the bit line of the charge-to-pulse circuit.
        mismatch: cells to draw; 0 leaves mismatch out.
        seed: of that draw.
        polarity: how such cells store values. None: push-pull where charges have both signs, else pairs.
    """

    order: int = 3
    levels: int = 19
    column: int = 64
    mismatch: int = 0
    seed: int = 0
    polarity: Polarity | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.order <= 11 or self.order + 2 > self.levels:
            raise InputError(f"a law of order {self.order} cannot be fitted; take one of 1 to 11, 3, 5 or 7 best.")
        if self.mismatch and self.mismatch < 2:
            raise InputError("mismatch needs 2 cells at least; 200 and more give a useful deviation.")


@dataclass(frozen=True)
class Characterisation:
    """What characterising a cell gave.

    Attributes:
        circuit: the cell.
        card: transistors of the comparator.
        conditions: voltages and times.
        settings: how it was characterised.
        cell: its cell file's content.
        stored_v: voltages above zero that were read (L,), in V.
        slope_c_per_s: charge per second of pulse at each (L,), in C/s: what the law is fitted to.
        rms_difference: root mean square, over `stored_v`, of the difference of a value's law from the published one, as
            the function of that name has it.
        transfer: charge and pulse of the charge-to-pulse circuit's runs, in C and s.
        transfer_signed: the same of its signed variant.
        full_charge_c: charge that stands for S_sat, in C.
        reads: charges that the law is taken from.
        widths_s: pulse widths of those reads (W,), in s.
        writes: cells while they are written.
        decay: cells while they hold.
        spread: cells that differ; None without mismatch.
    """

    circuit: CellCircuit
    card: Card
    conditions: Conditions
    settings: Settings
    cell: Cell
    stored_v: np.ndarray
    slope_c_per_s: np.ndarray
    rms_difference: float
    transfer: tuple[Conversion, ...]
    transfer_signed: tuple[Conversion, ...]
    full_charge_c: float
    reads: Reads
    widths_s: tuple[float, ...]
    writes: Writes
    decay: Decay
    spread: Spread | None

    def to_dict(self) -> dict[str, Any]:
        """The cell file's content and what it compares to, as plain values."""
        law = self.cell.law
        return {
            **self.cell.model_dump(mode="json", exclude_none=True),
            "normalised_coefficients": [c / law(strongest_v(law, self.cell.polarity)) for c in law.coefficients],
            "rms_difference_from_published": self.rms_difference,
            "full_charge_c": self.full_charge_c,
            "simulated": {"y_v": self.stored_v.tolist(), "charge_c_per_s": self.slope_c_per_s.tolist()},
            "transfer": [_ends(run) for run in self.transfer],
            "signed_transfer": [_ends(run) for run in self.transfer_signed],
        }


def _ends(run: Conversion) -> dict[str, float]:
    return {"charge_c": run.charge_c, "width_s": run.width_s}


def characterize(
    circuit: CellCircuit,
    card: Card,
    conditions: Conditions | None = None,
    settings: Settings | None = None,
    ngspice: Ngspice | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Characterisation:
    """Simulate a cell in all that it does.

    Args:
        circuit: the cell.
        card: transistors of the comparator.
        conditions: voltages and times; their defaults if None.
        settings: likewise.
        ngspice: how to run it; likewise.
        progress: called with (steps done, steps) as they are.

    Raises:
        InputError: mismatch of a cell that has no parameter to shift, or a cell that cannot be a multiplier.
        CircuitError: a simulation failed.
    """
    work = _Work(circuit, card, conditions or Conditions(), settings or Settings(), ngspice or Ngspice())
    _check_mismatch(work)
    steps = 6 if work.settings.mismatch else 5
    tell = progress or (lambda done, total: None)
    tell(0, steps)
    reads = _read(work)
    law, polarity, figures = _law(work, reads)
    tell(1, steps)
    value = value_law(law, polarity)
    work = replace(work, settings=replace(work.settings, polarity=polarity))
    full = _full_c(work, law)
    transfer = _transfer(work, law, signed=False)
    tell(2, steps)
    signed = _transfer(work, law, signed=True)
    tell(3, steps)
    held = circuit, work.conditions, work.ngspice
    writes, errors, disturb = writes_of(*held), write_errors(*held), read_disturb(*held)
    tell(4, steps)
    decay = decay_of(*held)
    tell(5, steps)
    mismatch, spread, holds = _differing(work, law, decay, decay.retention(writes.within_v), writes.within_v)
    if work.settings.mismatch:
        tell(steps, steps)
    toe = _columns(work, law, [(_strongest(work, law)[0], code) for code in _TOE_CODES], signed=False)
    converters = [_charge_to_pulse(work, at, full, signed=sign) for at, sign in ((transfer, False), (signed, True))]
    found = CircuitFigures(
        conditions=characterised_at(circuit, work.conditions),
        read=figures.model_copy(update={"disturb": disturb}),
        charge_to_pulse=converters[0],
        signed_charge_to_pulse=converters[1],
        write=_write(work, writes, errors),
        energy=_energy(work, reads, transfer, full, writes.energy_j),
        mismatch=mismatch,
    )
    y = work.stored_v - work.conditions.zero_v
    return Characterisation(
        circuit=circuit,
        card=card,
        conditions=work.conditions,
        settings=work.settings,
        cell=_cell(circuit, polarity, law, holds, _pulse_law(work, [*transfer, *toe], full), found),
        stored_v=y,
        slope_c_per_s=_slope(reads, work.widths_s),
        rms_difference=rms_difference(value, y),
        transfer=tuple(transfer),
        transfer_signed=tuple(signed),
        full_charge_c=full,
        reads=reads,
        widths_s=work.widths_s,
        writes=writes,
        decay=decay,
        spread=spread,
    )


def _cell(
    circuit: CellCircuit,
    polarity: Polarity,
    law: PolynomialLaw,
    holds: Retention,
    pulse: PulseLaw,
    found: CircuitFigures,
) -> Cell:
    return Cell(
        name=circuit.name,
        description=f"Characterised with ngspice: {circuit.source}.",
        polarity=polarity,
        law=law,
        retention=holds,
        pulse=pulse,
        circuit=found,
    )


def rms_difference(law: PolynomialLaw, y_v: np.ndarray) -> float:
    """Root mean square of the difference from the published law, over those of the voltages `y_v` (L,) that it is of.

    Both are 1 at +0.45 V, or at the highest voltage where that is lower.
    """
    published, y = load_cell("leroux2025").law, y_v[np.abs(y_v) <= REFERENCE_VOLTAGE_V * (1 + 1e-9)]
    at = min(REFERENCE_VOLTAGE_V, float(y_v.max()))
    ours, theirs = (f(y) / f(at) for f in (law, published))
    return float(np.sqrt(np.mean((ours - theirs) ** 2)))


@dataclass(frozen=True)
class _Work:
    circuit: CellCircuit
    card: Card
    conditions: Conditions
    settings: Settings
    ngspice: Ngspice
    stored_v: np.ndarray = field(init=False)
    widths_s: tuple[float, ...] = field(init=False)

    def __post_init__(self) -> None:
        # the law is taken from the shortest and the longest pulse; the one between shows whether charge is linear
        longest = self.conditions.pulse_max_s
        object.__setattr__(self, "widths_s", (0.2 * longest, 0.6 * longest, longest))
        object.__setattr__(self, "stored_v", np.linspace(0, self.conditions.vdd_v, self.settings.levels))

    @property
    def one_sign(self) -> bool:
        """Whether the cell's charge has one sign: known once its polarity is."""
        return self.settings.polarity in ("pair", "reference")

    @property
    def columns(self) -> str:
        """The columns that charge-to-pulse circuits are characterised with."""
        source = ", an ideal source for the other sign" if self.one_sign else ""
        return f"columns of {self.settings.column} cells{source}, ideal op-amp, comparator of inverters"

    def source(self, what: str) -> str:
        return f"ngspice, {what}; {self.circuit.source}"


def _check_mismatch(work: _Work) -> None:
    if work.settings.mismatch and not work.circuit.mismatch_v:
        raise InputError(
            f"{work.circuit.source} has no parameters dvt_NAME with w_NAME and l_NAME, which mismatch is drawn for; "
            "add them, or leave mismatch out."
        )


def _differing(
    work: _Work, law: PolynomialLaw, decay: Decay, holds: Retention, within_v: float
) -> tuple[Mismatch | None, Spread | None, Retention]:
    """How cells differ in what they read and in how long they hold, where cells are to be drawn."""
    circuit, cells, seed = work.circuit, work.settings.mismatch, work.settings.seed
    if not cells:
        return None, None, holds
    full_v = strongest_v(law, work.settings.polarity or "push_pull")
    found = mismatch_of(circuit, work.conditions, work.ngspice, law, full_v=full_v, cells=cells, seed=seed)
    pace = leak_spread(circuit, work.conditions, work.ngspice, decay, within_v, cells, seed)
    return *found, holds.model_copy(update={"spread": pace})


def _read(work: _Work) -> Reads:
    deck = read_deck(work.circuit, work.conditions, work.stored_v.tolist(), work.widths_s)
    reads = read_results(work.ngspice.run(deck)[0], (len(work.stored_v), len(work.widths_s)))
    if np.abs(reads.start_v - work.stored_v[:, None]).max() > DRIVEN_V:
        raise InputError(DRIVEN.format(work.circuit.source))
    return reads


def _slope(reads: Reads, widths_s: Sequence[float]) -> np.ndarray:
    """Charge per second of pulse (L,)."""
    return (reads.charge_c[:, -1] - reads.charge_c[:, 0]) / (widths_s[-1] - widths_s[0])


def _law(work: _Work, reads: Reads) -> tuple[PolynomialLaw, Polarity, Read]:
    y, widths = work.stored_v - work.conditions.zero_v, np.array(work.widths_s)
    slope = _slope(reads, work.widths_s)
    intercept = reads.charge_c[:, 0] - slope * widths[0]
    line = intercept[:, None] + slope[:, None] * widths
    sign = sign_of(y, slope)
    # a law of one sign is scaled, and asked for its sign, at +-0.45 V, wherever zero and supply are
    reach = (min(y[0], -REFERENCE_VOLTAGE_V), max(y[-1], REFERENCE_VOLTAGE_V)) if sign else None
    coefficients, held = nearest_law(y, slope, work.settings.order, sign, reach)
    source = work.source(f"{len(y)} stored voltages, pulses of {widths[0] * 1e9:g} and {widths[-1] * 1e9:g} ns")
    source = f"{source}; {HELD_TO_ONE_SIGN if sign else HELD}" if held else source
    polarity: Polarity = work.settings.polarity or ("pair" if sign else "push_pull")
    try:
        law = PolynomialLaw(coefficients=tuple(map(float, coefficients)), unit="C/s", source=source)
        value_law(law, polarity).in_model_scale()
    except ValueError:
        law = None
    span = 0.0 if law is None else law(y[-1]) - law(y[0])
    if law is None or not span * widths[-1] > _LEAST_CHARGE_C:
        raise InputError(
            f"{work.circuit.source} is no multiplier: the charge that it draws must rise with the stored voltage, by "
            f"{_LEAST_CHARGE_C:g} C a full pulse at least, and a value's be above zero at +{REFERENCE_VOLTAGE_V} V."
        )
    polarity = polarity_for(sign, work.settings.polarity, work.circuit.source)
    full, residual = abs(law(strongest_v(law, polarity))), float(np.abs(law(y) - slope).max() / span)
    if residual > _WORST_LAW:
        raise InputError(
            f"{work.circuit.source}: the nearest law of order {work.settings.order} departs from the simulated charge "
            f"by {residual:.0%} of its range; give a higher --order."
        )
    return (
        law,
        polarity,
        Read(
            feedthrough=tuple(map(float, np.polynomial.polynomial.polyfit(y, intercept, work.settings.order))),
            nonlinearity=float(np.abs(reads.charge_c - line).max() / (full * widths[-1])),
            law_residual=residual,
            disturb_v=float(np.abs(reads.disturb_v).max()),
            source=work.source("the same reads"),
        ),
    )


def _full_c(work: _Work, law: PolynomialLaw) -> float:
    """Charge that stands for S_sat, in C, of cells with that law."""
    value = value_law(law, work.settings.polarity or "push_pull")
    return _SATURATION / REFERENCE_CHARGE * value(REFERENCE_VOLTAGE_V) * work.conditions.pulse_max_s


def _transfer(work: _Work, law: PolynomialLaw, *, signed: bool) -> list[Conversion]:
    """Conversions of columns whose charge goes from below zero (or the negative full charge) to above the full one."""
    strong_v, _ = _strongest(work, law)
    widths = (15, 12, 9, 6, 3, 1) if signed else (15, 5, 0.25)
    below = [(strong_v, -width) if work.one_sign else (0.0, width) for width in widths]
    above = [(strong_v, width) for width in ((1, 3, 6, 9, 12, 15) if signed else range(16))]
    return _columns(work, law, below + above, signed=signed)


def _strongest(work: _Work, law: PolynomialLaw) -> tuple[float, int]:
    """The stored voltage that draws most, or gives most where the charge of a cell is below zero; and its sign."""
    at = strongest_v(law, work.settings.polarity or "push_pull")
    return (0.0, -1) if at < 0 else (work.conditions.vdd_v, 1)


def _columns(
    work: _Work, law: PolynomialLaw, pulses: Sequence[tuple[float, float]], *, signed: bool
) -> list[Conversion]:
    """Conversions of columns with cells of a stored voltage that get pulses of so many fifteenths of the longest.

    For pulses of the sign that cells of one sign do not have, an ideal source takes their place, as the other cells of
    their pairs, or the reference, would.
    """
    conditions, column, full_c = work.conditions, work.settings.column, _full_c(work, law)
    strong_v, sign = _strongest(work, law)
    # so many cells that draw most give 1.3 times the full charge with the longest pulse
    active = min(column, math.ceil(_BEYOND * full_c / conditions.pulse_max_s / abs(law(strong_v - conditions.zero_v))))
    by_source = [min(sign * code, 0) * sign / 15 * _BEYOND * full_c for _, code in pulses]
    converters = [Converter(full_c, signed=signed, preset_c=preset_c) for preset_c in by_source]
    decks = [
        column_deck(
            work.circuit,
            conditions,
            work.card,
            converter,
            [
                ColumnCell(conditions.zero_v, 0.0, max(column - active, 1)),
                ColumnCell(stored, max(sign * code, 0) / 15 * conditions.pulse_max_s, active),
            ],
        )
        for (stored, code), converter in zip(pulses, converters, strict=True)
    ]
    runs = zip(converters, work.ngspice.run_all(decks), strict=True)
    found = [(conversion(plots[0], conditions, work.card, converter), converter.preset_c) for converter, plots in runs]
    return [replace(run, charge_c=run.charge_c + preset_c) for run, preset_c in found]


def _pulse_law(work: _Work, runs: Sequence[Conversion], full_c: float) -> PulseLaw:
    score, pulse = (np.array([getattr(run, name) for run in runs]) for name in ("charge_c", "width_s"))
    source = work.source(f"{len(runs)} {work.columns}")
    return measured_law(score / full_c, pulse / work.conditions.pulse_max_s, source)


def _charge_to_pulse(work: _Work, runs: Sequence[Conversion], full_c: float, *, signed: bool) -> ChargeToPulse:
    longest = work.conditions.pulse_max_s
    charge, width = (np.array([getattr(run, name) for run in runs]) for name in ("charge_c", "width_s"))
    if signed:  # the same circuit for both signs, told apart by the comparator
        charge, width = np.abs(charge), np.where(charge < 0, -width, width)
    score, pulse = charge / full_c, width / longest
    linear = (score >= 0.1) & (score <= 0.9)
    if linear.sum() < 3 or score.max() < 1.1:
        raise InputError(
            f"{work.circuit.source}: a column's charge is far from what the law of order {work.settings.order} says; "
            "the cell may be no multiplier, lose what it stores within a read, or need a higher order."
        )
    gain, offset = np.polyfit(score[linear], pulse[linear], 1)
    return ChargeToPulse(
        gain=float(gain),
        offset_s=float(offset * longest),
        nonlinearity=float(np.abs(pulse - gain * score - offset)[linear].max()),
        below_zero_s=float(width[score < 0].max(initial=0)),
        saturated_s=float(width[score >= 1.1].min()),
        signed=signed,
        source=work.source(f"{len(runs)} {work.columns}"),
    )


def _write(work: _Work, writes: Writes, errors: WriteErrors | None) -> Write:
    return Write(
        settling_s=writes.settling_s,
        error_v=writes.error_v,
        errors=errors,
        source=work.source(f"{len(writes.steps_v)} writes, to within {writes.within_v * 1e3:.0f} mV"),
    )


def _read_energies(work: _Work, full_j: np.ndarray) -> ReadEnergies | None:
    """Full reads by stored voltage; None where some would give energy back: such a circuit is driven by others."""
    if full_j.min() < 0 or not full_j[-1] > 0:
        return None
    written_v = work.stored_v - work.conditions.zero_v
    source = work.source(f"{len(full_j)} stored voltages, currents from the supplies")
    return ReadEnergies(written_v=tuple(map(float, written_v)), full_j=tuple(map(float, full_j)), source=source)


def _energy(work: _Work, reads: Reads, runs: Sequence[Conversion], full_c: float, write_j: float) -> Energy:
    conditions = work.conditions
    # what a cell draws from the bit line comes from the supply too, through the integrator
    drawn = reads.supply_c + np.maximum(reads.charge_c, 0)
    gives = work.one_sign and -reads.charge_c[0, -1] > reads.charge_c[-1, -1]
    energy = conditions.vdd_v * drawn
    if gives:  # what it gives comes from its supply, or from the driver of its read word line
        given = np.maximum(-reads.charge_c - reads.supply_c, 0)
        energy = conditions.vdd_v * reads.supply_c + conditions.read_v * given
    per_second = (energy[:, -1] - energy[:, 0]) / (work.widths_s[-1] - work.widths_s[0])
    fixed = energy[:, 0] - per_second * work.widths_s[0]
    widths = np.linspace(0, conditions.pulse_max_s, 16)
    levels = np.linspace(0, conditions.vdd_v, 8)
    at_level = [np.interp(levels, work.stored_v, line) for line in (fixed, per_second)]
    mean = np.mean([(at_level[0] + at_level[1] * w).mean() if w else 0.0 for w in widths])
    converting = [run.energy_j for run in runs if 0 <= run.charge_c <= full_c]
    return Energy(
        read_full_j=float(energy[0 if gives else -1, -1]),
        read_mean_j=float(mean),
        conversion_j=float(np.mean(converting)),
        write_j=write_j,
        reads=_read_energies(work, energy[:, -1]),
        source=work.source("currents from the supplies"),
    )
