"""What the page of a cell says that was fitted to measured data."""

from collections.abc import Iterator, Sequence

import numpy as np

from gaincell.cell import Cell, Retention, load_cell
from gaincell.cell.decays import HALF_STEP_V, MeasuredDecay
from gaincell.cell.fit import LawFit
from gaincell.cell.law import REFERENCE_VOLTAGE_V
from gaincell.cell.polarity import WHY_PAIR
from gaincell.report import cell_plots, plots
from gaincell.report.cell_page import CellPage, Group, Panel
from gaincell.report.retention import retention_group
from gaincell.report.retention import time_text as _time

#: From where on a figure is worth a sentence; ours, and no more than marks of what to look at.
_DEVIATION, _FEW_CELLS = 0.01, 10
#: More decays than this are told by die and written voltage.
_SHOWN = 24


def fitted_page(cell: Cell, fit: LawFit, decays: Sequence[MeasuredDecay]) -> CellPage:
    """The page of a cell that `gaincell.cell.fit` fitted.

    Args:
        cell: the cell.
        fit: its law.
        decays: those of its retention, where they were measured.
    """
    return CellPage(
        title=cell.name,
        summary=cell.description,
        warnings=list(fitted_warnings(cell, fit, decays)),
        panels=_panels(cell, fit, decays) if plots.can_plot() else [],
        groups=fitted_groups(cell, fit, decays),
    )


def fitted_groups(cell: Cell, fit: LawFit, decays: Sequence[MeasuredDecay]) -> list[Group]:
    """All figures with their units, in groups that share a source."""
    law = [
        ("polarity", cell.polarity, ""),
        ("law", ", ".join(f"{c:.4g}" for c in cell.law.coefficients), "C/s per V^i"),
        ("order", str(len(cell.law.coefficients) - 1), ""),
        ("deviation of the data", f"{fit.deviation:.2%}", "of the largest charge"),
        ("outliers", f"{fit.outliers} of {fit.points}", "points"),
    ]
    groups = [Group("Charge law", cell.law.source, law), retention_group(cell.retention)]
    if len(decays) > _SHOWN:
        groups.append(Group("Decays", "each fitted by itself, by die and written voltage", _by_die(decays)))
    elif len(decays) > 1:
        rows = [(_name(decay), _told(decay), "") for decay in decays]
        groups.append(Group("Decays", "each fitted by itself", rows))
    return groups


def _by_die(decays: Sequence[MeasuredDecay]) -> list[tuple[str, str, str]]:
    """What the cells of every die and written voltage have: least, middle and most of their time constants."""
    groups: dict[tuple[str, float], list[MeasuredDecay]] = {}
    for decay in decays:
        groups.setdefault((decay.die, decay.written_v), []).append(decay)
    rows = []
    for (die, written), of in groups.items():
        taus = sorted(decay.tau_s for decay in of if decay.tau_s is not None)
        told = f"tau {_time(taus[0])}, {_time(float(np.median(taus)))}, {_time(taus[-1])}" if taus else "no tau"
        rows.append((f"{f'die {die}, ' if die else ''}from {written:+.3g} V", f"{told} of {len(of)} cells", ""))
    return rows


def _name(decay: MeasuredDecay) -> str:
    named = (("die", decay.die), ("cell", decay.cell))
    return ", ".join([*(f"{kind} {name}" for kind, name in named if name), f"from {decay.written_v:+.3g} V"])


def _told(decay: MeasuredDecay) -> str:
    kept = decay.reaches_s(HALF_STEP_V)
    words = ["kept " + (f"over {_time(float(decay.time_s[-1]))}" if kept is None else _time(kept))]
    if decay.tau_s is not None:
        error = "" if decay.tau_error_s is None else f" ± {_time(decay.tau_error_s)}"
        words = [f"tau {_time(decay.tau_s)}{error}", f"misfit {decay.misfit:.1%}", *words]
    return ", ".join(words)


def fitted_warnings(cell: Cell, fit: LawFit, decays: Sequence[MeasuredDecay]) -> Iterator[str]:
    """What somebody who uses the cell should know, in words."""
    if cell.polarity == "pair":
        yield WHY_PAIR
    if "held to rise" in cell.law.source:
        yield "The nearest polynomial falls or turns somewhere within 0.45 V of the zero level; the law is held not to."
    if fit.outliers:
        yield f"{fit.outliers} of {fit.points} points lie far from the law and were weighed down."
    if fit.deviation > _DEVIATION:
        yield f"The data scatter around the law by {fit.deviation:.1%} of the largest charge."
    reach = min(float(fit.y_v.max()), -float(fit.y_v.min()))
    if reach < REFERENCE_VOLTAGE_V - 1e-6:
        yield (
            f"The data reach {reach:.2f} V from the zero level on one side; beyond it, up to {REFERENCE_VOLTAGE_V} V, "
            "the law is continued."
        )
    if not decays:
        yield "The retention was given, not fitted."
        return
    yield from _retention_warnings(cell.retention, decays)


def _retention_warnings(holds: Retention, decays: Sequence[MeasuredDecay]) -> Iterator[str]:
    longest = max(float(decay.time_s[-1]) for decay in decays)
    if longest < holds.tau_s:
        yield f"The decay was measured for {longest / holds.tau_s:.2f} of its time constant only."
    if holds.table is not None:
        yield (
            f"Retention is no exponential: the nearest departs by up to {holds.misfit or 0:.1%} of what was written; "
            "the cell file has a table beside it, which a design point with retention 'table' uses."
        )
        if len(holds.table.stored) < 2:
            yield "Such a design point needs a table of two written voltages or more; this one has one."
        exponential, line = shapes(decays)
        if line < exponential:
            yield (
                f"It is closer to constant-current than exponential: {line:.1%} rms from a line, "
                f"{exponential:.1%} from the exponential."
            )
    if holds.spread is not None and (holds.spread.cells or 0) < _FEW_CELLS:
        yield f"The spread of retention is of {holds.spread.cells} cells, which is few to tell one."


def shapes(decays: Sequence[MeasuredDecay]) -> tuple[float, float]:
    """Root mean square distance of decays from an exponential each, and from a line each, as fractions of the start."""
    squares = []
    for decay in decays:
        if decay.tau_s is not None:
            exponential = _height(decay.left, np.exp(-decay.time_s / decay.tau_s))
            line = np.polynomial.Polynomial.fit(decay.time_s, decay.left, 1)(decay.time_s)
            squares.append([np.mean((decay.left - fitted) ** 2) for fitted in (exponential, line)])
    exponential, line = np.sqrt(np.mean(squares, axis=0))
    return float(exponential), float(line)


def _height(y: np.ndarray, fit: np.ndarray) -> np.ndarray:
    return fit * np.dot(y, fit) / np.dot(fit, fit)


def _panels(cell: Cell, fit: LawFit, decays: Sequence[MeasuredDecay]) -> list[Panel]:
    order, y, rate = len(cell.law.coefficients) - 1, fit.y_v, fit.rate_c_per_s
    published = load_cell("leroux2025").law if cell.polarity == "push_pull" else None
    panels = [
        Panel(
            "Charge law",
            f"Order {order}, {fit.points} points, less the feedthrough where several pulse widths tell it.",
            cell_plots.law_plot(y, rate, cell.law, published),
        ),
        Panel(
            "Residuals",
            f"In percent of the law's range; robust deviation {fit.deviation:.2%} of the largest charge.",
            cell_plots.residual_plot(y, rate, cell.law),
        ),
        Panel(
            "Order",
            f"Cross-validated error of each order; {order} was taken.",
            cell_plots.order_plot(fit.errors, order),
        ),
    ]
    if decays:
        tau = _time(cell.retention.tau_s)
        text = f"Tau {tau}." if cell.retention.exponential else f"No exponential; the nearest has {tau}."
        panels.append(Panel("Retention", text, cell_plots.measured_decay_plot(decays, cell.retention.tau_s)))
    return panels
