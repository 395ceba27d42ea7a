"""What a characterised cell's page says: its figures in groups, its plots, and what to mind."""

from collections.abc import Iterator

import numpy as np

from gaincell.cell import load_cell
from gaincell.cell.figures import ChargeToPulse, CircuitFigures, Energy, Read, Write
from gaincell.cell.law import REFERENCE_VOLTAGE_V
from gaincell.cell.polarity import WHY_PAIR, sign_of, strongest_v
from gaincell.cell.retention import EXPONENTIAL
from gaincell.cell.rising_law import nearest_law
from gaincell.circuit.characterize import HELD, Characterisation
from gaincell.circuit.decay import Decay
from gaincell.circuit.decks.bench import OPTIONS
from gaincell.circuit.decks.store import HOLD_OPTIONS
from gaincell.circuit.mismatch import Spread
from gaincell.report import cell_plots, plots
from gaincell.report.cell_page import CellPage, Group, Panel
from gaincell.report.numbers import number
from gaincell.report.retention import retention_group

#: From where on a figure is worth a sentence; ours, and no more than marks of what to look at.
_LAW_RESIDUAL, _NOT_LINEAR, _DISTURB_V, _OFFSET_CODES, _LAW_DIFFERENCE = 0.02, 0.005, 5e-3, 0.5, 0.03
#: Of GPT-2's oldest token in a window of 1024: a token takes 65 ns a layer, of 12 [Leroux et al. 2025].
_OLDEST_S = 1024 * 12 * 65e-9


def characterised_page(found: Characterisation) -> CellPage:
    """The page of a cell that `gaincell.circuit.characterize` simulated."""
    text = found.circuit.text
    ours = text.rfind(".subckt gaincell ")
    return CellPage(
        title=found.cell.name,
        summary=found.cell.description,
        warnings=list(warnings_of(found)),
        panels=_panels(found) if plots.can_plot() else [],
        groups=[*groups_of(found), _setting(found)],
        netlist=text[ours:] if ours >= 0 else "",
    )


def groups_of(found: Characterisation) -> list[Group]:
    """All figures with their units, in groups that share a source."""
    law, figures, conditions = found.cell.law, _figures(found), found.conditions
    highest = min(REFERENCE_VOLTAGE_V, conditions.vdd_v - conditions.zero_v)
    at = strongest_v(law, found.cell.polarity)
    full = law(at) * conditions.pulse_max_s
    lines = [
        *([] if found.cell.polarity == "push_pull" else [("polarity", found.cell.polarity, "")]),
        (f"charge of a full pulse at {at:+g} V", f"{full * 1e15:.4g}", "fC"),
        (f"law, 1 at {at:+g} V", ", ".join(f"{c / law(at):.3f}" for c in law.coefficients), "per V^i"),
        ("rms difference from the published law", f"{found.rms_difference:.2%}", f"of f({highest:+g} V)"),
    ]
    if (read := figures.read) is not None:
        lines += [
            ("largest departure from the law", f"{read.law_residual:.2%}", "of its range"),
            ("charge not linear in pulse width", f"{read.nonlinearity:.3%}", "of full charge"),
            ("feedthrough of a pulse at zero", f"{read.feedthrough[0] * 1e15:.3f}", "fC"),
            ("read disturb", f"{read.disturb_v * 1e3:.2f}", "mV"),
        ]
        if (many := read.disturb) is not None:
            most_v = max(abs(x) for row in many.shift_v for x in row)
            lines.append((f"read disturb, up to {many.reads[-1]:g} full reads", f"{most_v * 1e3:.2f}", "mV"))
    groups = [Group("Charge law and read", _source(found, law.source), lines)]
    for name, pulse in (("", figures.charge_to_pulse), ("signed ", figures.signed_charge_to_pulse)):
        if pulse is not None:
            groups.append(_pulse_group(found, f"{name}charge-to-pulse", pulse))
    if (write := figures.write) is not None:
        groups.append(_write_group(found, write))
    groups.append(_retention_group(found))
    if (energy := figures.energy) is not None:
        groups.append(_energy_group(found, energy))
    if (mismatch := figures.mismatch) is not None:
        lines = [
            (f"mismatch of {mismatch.samples} cells: current", f"{mismatch.current:.2%}", "of f(+0.45 V)"),
            ("mismatch: zero crossing", f"{mismatch.zero_crossing_v * 1e3:.2f}", "mV"),
            ("mismatch: gain", f"{mismatch.gain:.2%}", ""),
        ]
        groups.append(Group("Mismatch, one sigma", _source(found, mismatch.source), lines))
    return groups


def _energy_group(found: Characterisation, energy: Energy) -> Group:
    conditions, highest_v = found.conditions, strongest_v(found.cell.law, found.cell.polarity)
    cells = 64 * found.cell.cells_per_value
    per_head = 1024 * (cells * energy.read_mean_j + energy.conversion_j) * 1e12
    top = conditions.vdd_v - conditions.zero_v if highest_v > 0 else -conditions.zero_v
    by_law = _read_energies(found)
    lines = [
        (f"energy of a full read at {top:+g} V", number(energy.read_full_j * 1e15, 3), "fJ"),
        ("the same by the law: supply x charge", number(by_law[0] * 1e15, 3), "fJ"),
        ("energy of a read, mean", number(energy.read_mean_j * 1e15, 3), "fJ"),
        ("the same by the law", number(by_law[1] * 1e15, 3), "fJ"),
        ("energy of a conversion, mean", number(energy.conversion_j * 1e15, 3), "fJ"),
        ("energy of a write, mean", number(energy.write_j * 1e15, 3), "fJ"),
        (f"first product, 1024 x {cells} cells (published: 1120)", f"{per_head:.4g}", "pJ"),
    ]
    return Group("Energy", _source(found, energy.source), lines)


def _read_energies(found: Characterisation) -> tuple[float, float]:
    """Full and mean read as `Energy` has them, in J, if cells drew what the law says, once and from the supply."""
    law, conditions = found.cell.law, found.conditions
    stored = np.linspace(0, conditions.vdd_v, 8) - conditions.zero_v
    widths = np.linspace(0, conditions.pulse_max_s, 16)
    strongest = conditions.vdd_v if strongest_v(law, found.cell.polarity) > 0 else 0.0
    full = conditions.vdd_v * abs(law(strongest - conditions.zero_v)) * conditions.pulse_max_s
    return full, float(conditions.vdd_v * np.abs(law(stored)).mean() * widths.mean())


def _write_group(found: Characterisation, write: Write) -> Group:
    settling = "never in 100" if write.settling_s is None else f"{write.settling_s * 1e9:.3g}"
    lines = [("write to half a step", settling, "ns"), ("write error", f"{write.error_v * 1e3:.1f}", "mV")]
    if (errors := write.errors) is not None:
        time = f"{errors.time_s * 1e9:g} ns"
        lines.append((f"write error, written in {time}", f"{errors.worst_v * 1e3:.1f}", "mV"))
        lines.append((f"left of what was there before, in {time}", f"{errors.residual:.2%}", "of the difference"))
    return Group("Write", _source(found, write.source), lines)


def _pulse_group(found: Characterisation, title: str, pulse: ChargeToPulse) -> Group:
    lines = [
        (f"{title}: gain", f"{pulse.gain:.4f}", ""),
        (f"{title}: offset", f"{pulse.offset_s * 1e9:.3f}", "ns"),
        (f"{title}: not linear", f"{pulse.nonlinearity:.3%}", "of T_max"),
        (f"{title}: saturated", f"{pulse.saturated_s * 1e9:.3f}", "ns"),
    ]
    if not pulse.signed:
        lines.append((f"{title}: longest pulse below zero", f"{pulse.below_zero_s * 1e9:.3f}", "ns"))
    return Group(title.capitalize(), _source(found, pulse.source), lines)


def _retention_group(found: Characterisation) -> Group:
    holds = found.cell.retention
    least = "at least " if found.decay.tau_s is None else ""
    return retention_group(holds, least, _source(found, holds.source))


def warnings_of(found: Characterisation) -> Iterator[str]:
    """What somebody who uses the cell should know, in words."""
    figures, law = _figures(found), found.cell.law
    if "not fitted to silicon" in found.circuit.source:
        leaks = "" if "leakage" in found.circuit.source else ", whose gates and junctions do not leak (--leakage)"
        yield f"The transistors are a generic card that is not fitted to silicon{leaks}."
    if found.cell.polarity == "pair":
        yield WHY_PAIR
    order = len(law.coefficients) - 1
    if HELD in law.source:
        falls = "falls" if found.cell.polarity == "push_pull" else "falls or turns"
        yield f"The nearest polynomial of order {order} {falls} somewhere; the law is {law.source.rpartition('; ')[2]}."
    if (top := float(found.stored_v[-1])) < REFERENCE_VOLTAGE_V * (1 - 1e-9):
        yield (
            f"The highest stored voltage is {top:+g} V, below the {REFERENCE_VOLTAGE_V:+g} V that laws are scaled by; "
            "f there is extrapolated."
        )
    if figures.read is not None:
        yield from _read_warnings(found, figures.read)
    if figures.write is not None:
        yield from _write_warnings(found, figures.write)
    if found.rms_difference > _LAW_DIFFERENCE:
        yield (
            f"The law differs from the published one by {found.rms_difference:.1%}: match an adapter that learned with "
            "that one to this cell (gaincell adapt --from NAME --stages matching)."
        )
    code = found.conditions.pulse_max_s / 15
    for name, pulse in (("", figures.charge_to_pulse), ("signed ", figures.signed_charge_to_pulse)):
        if pulse is not None and abs(pulse.offset_s) > _OFFSET_CODES * code:
            yield (
                f"The {name}charge-to-pulse circuit adds {pulse.offset_s * 1e9:.2f} ns to every pulse, "
                f"{pulse.offset_s / code:.1f} of 15 steps."
            )
    yield from _retention_warnings(found.decay)
    kept = found.decay.kept_s(found.writes.within_v)
    if kept is not None and kept < _OLDEST_S:
        factor, unit = cell_plots.time_unit(kept)
        yield (
            f"Some stored voltage is off by half a step after {number(factor * kept, 3)} {unit}; GPT-2's oldest token "
            f"waits {_OLDEST_S * 1e3:.1f} ms (1024 tokens, 12 layers, 65 ns)."
        )
    if figures.energy is not None:
        cancel = " is an upper bound (charges of both signs on one bit line cancel);"
        how = cancel if found.cell.polarity == "push_pull" else ":"
        yield f"Energy of reads{how} op-amp and drivers of word lines are not in it."
    if figures.mismatch is None:
        yield "How cells differ was not drawn; --mismatch 200 does."


def _read_warnings(found: Characterisation, read: Read) -> Iterator[str]:
    law = found.cell.law
    order = len(law.coefficients) - 1
    if read.law_residual > _LAW_RESIDUAL:
        y = found.stored_v
        sign = sign_of(y, found.slope_c_per_s)
        better, _ = nearest_law(y, found.slope_c_per_s, order + 2, sign)
        span = law(y[-1]) - law(y[0])
        rest = np.abs(np.polynomial.polynomial.polyval(y, better) - found.slope_c_per_s).max() / span
        yield (
            f"The law of order {order} departs from the simulation by up to {read.law_residual:.1%} of its range; "
            f"one of order {order + 2} (--order) by {rest:.1%}."
        )
    if read.nonlinearity > _NOT_LINEAR:
        yield f"Charge is not linear in pulse width: off by up to {read.nonlinearity:.1%} of a full pulse's."
    if read.disturb_v > _DISTURB_V:
        yield f"One full read changes the stored voltage by up to {read.disturb_v * 1e3:.1f} mV."


def _write_warnings(found: Characterisation, write: Write) -> Iterator[str]:
    if write.settling_s is None:
        yield "A write does not come within half a step of its target in 100 ns."
    if write.error_v > found.writes.within_v:
        yield f"After a write the stored voltage is off by up to {write.error_v * 1e3:.0f} mV, over half a step."
    if write.errors is None:
        yield (
            f"A write of {found.conditions.write_s * 1e9:g} ns leaves a cell as far from what is written as it was, so "
            "there are no figures of its errors; write for longer (--write-time)."
        )
    elif write.errors.worst_v > found.writes.within_v:
        yield (
            f"A write of {write.errors.time_s * 1e9:g} ns is off by up to {write.errors.worst_v * 1e3:.0f} mV, more "
            f"than half a step of eight levels: {write.errors.residual:.0%} of what was there before is left in it."
        )


def _retention_warnings(decay: Decay) -> Iterator[str]:
    tau = decay.tau_s
    if tau is None:
        yield f"Nothing decayed to 1/e within {decay.watched_s:g} s, so the retention is a lower bound."
        return
    if len(decay.rows) < len(decay.y_v):
        yield (
            f"Only {len(decay.rows)} of {len(decay.y_v)} stored voltages decay to 1/e within {decay.watched_s:g} s; "
            "tau is theirs alone."
        )
    exponential, constant = decay.misfits
    if decay.departure > EXPONENTIAL:
        shape = "closer to constant-current than exponential" if constant < exponential else "not exponential"
        yield (
            f"Retention is {shape}: the decay departs from exp(-t/tau) by up to {decay.departure:.0%} of what was "
            f"written (each voltage by itself: {exponential:.1%} rms from an exponential, {constant:.1%} from a line)."
        )
    ends = [float(t[-1]) for t, _ in decay.rows]
    if max(ends) > 3 * min(ends):
        factor, unit = cell_plots.time_unit(max(ends))
        yield (
            f"Stored voltages decay at different rates: to 1/e in {number(factor * min(ends), 3)} to "
            f"{number(factor * max(ends), 3)} {unit}."
        )


def _panels(found: Characterisation) -> list[Panel]:
    law, figures = found.cell.law, _figures(found)
    pulse, signed, write = figures.charge_to_pulse, figures.signed_charge_to_pulse, figures.write
    assert figures.read is not None
    assert figures.energy is not None
    assert pulse is not None
    assert signed is not None
    assert write is not None
    y, slope, push_pull = found.stored_v, found.slope_c_per_s, found.cell.polarity == "push_pull"
    whose = "Differs" if push_pull else "Of one cell; the law of a value differs"
    settling = "over 100" if write.settling_s is None else number(write.settling_s * 1e9, 3)
    panels = [
        Panel(
            "Charge law",
            f"{whose} from the published law by {found.rms_difference:.1%} rms (scaled to meet at +0.45 V).",
            cell_plots.law_plot(y, slope, law, load_cell("leroux2025").law if push_pull else None),
        ),
        Panel(
            "Residuals",
            f"Order {len(law.coefficients) - 1}; at most {figures.read.law_residual:.1%} of the law's range.",
            cell_plots.residual_plot(y, slope, law),
        ),
        Panel(
            "Linear in pulse width",
            f"Middle width off the line by {figures.read.nonlinearity:.2%} of full charge at most.",
            cell_plots.width_plot(y, found.reads.charge_c, found.widths_s),
        ),
        Panel(
            "Charge to pulse",
            f"Gain {pulse.gain:.3f} and offset {pulse.offset_s * 1e9:.2f} ns; signed {signed.gain:.3f} and "
            f"{signed.offset_s * 1e9:.2f} ns.",
            cell_plots.transfer_plot(
                found.transfer, found.transfer_signed, found.full_charge_c, found.conditions.pulse_max_s
            ),
        ),
        Panel(
            "Write",
            f"Within half a step (grey) in {settling} ns; off by {write.error_v * 1e3:.1f} mV at the end.",
            cell_plots.write_plot(
                found.writes.time_s, found.writes.stored_v, found.writes.steps_v, found.writes.within_v
            ),
        ),
        Panel("Retention", _retention_text(found.decay), cell_plots.decay_plot(found.decay)),
        Panel(
            "Energy by phase",
            "One write, one read (mean over levels and widths, and at +0.45 V with the longest pulse), one conversion.",
            cell_plots.energy_plot(figures.energy),
        ),
    ]
    return panels if found.spread is None else panels + _spread_panels(found.spread)


def _spread_panels(spread: Spread) -> list[Panel]:
    zero, gain = cell_plots.spread_plots(spread)
    drawn = f"{len(spread.gain)} cells, thresholds drawn by Pelgrom's law."
    return [Panel("Mismatch: zero crossing", drawn, zero), Panel("Mismatch: gain", drawn, gain)]


def _retention_text(decay: Decay) -> str:
    if decay.tau_s is None:
        return f"Nothing fell to 1/e within {decay.watched_s:g} s."
    factor, unit = cell_plots.time_unit(decay.tau_s)
    return f"Tau {number(factor * decay.tau_s, 3)} {unit}; the decay departs by up to {decay.departure:.0%}."


def _setting(found: Characterisation) -> Group:
    """Under what conditions, and with what of ngspice's options."""
    conditions, settings = found.conditions, found.settings
    rows = [
        ("supply; zero level", f"{conditions.vdd_v:g}; {conditions.zero_v:g}", "V"),
        ("read word line: on", f"{conditions.read_v:g}", "V"),
        ("write word line: on; off", f"{conditions.write_high_v:g}; {conditions.write_low_v:g}", "V"),
        ("longest pulse; edges", f"{conditions.pulse_max_s * 1e9:g}; {conditions.edge_s * 1e9:g}", "ns"),
        ("temperature", f"{conditions.temperature_c:g}", "°C"),
        ("process corner", found.circuit.corner or "not known", ""),
        ("stored voltages; cells of a column", f"{settings.levels}; {settings.column}", ""),
        ("comparator", found.card.name, f"{found.card.comparator_v:g} V"),
    ]
    if settings.mismatch:
        rows.append(("cells drawn; seed", f"{settings.mismatch}; {settings.seed}", ""))
    return Group("Conditions", f"ngspice options: {OPTIONS}; while a cell holds: {HOLD_OPTIONS}", rows)


def _figures(found: Characterisation) -> CircuitFigures:
    assert found.cell.circuit is not None
    return found.cell.circuit


def _source(found: Characterisation, source: str) -> str:
    """A source without the cell's own, which the page has at its top."""
    return source.removesuffix(f"; {found.circuit.source}")
