"""What the page of a cell says that was fitted to measured data."""

from collections.abc import Iterator

import numpy as np

from gaincell.cell import Cell, load_cell
from gaincell.cell.fit import LawFit
from gaincell.cell.law import REFERENCE_VOLTAGE_V
from gaincell.cell.polarity import WHY_PAIR
from gaincell.report import cell_plots, plots
from gaincell.report.cell_page import CellPage, Group, Panel
from gaincell.report.numbers import number

#: From where on a figure is worth a sentence; ours, and no more than marks of what to look at.
_DEVIATION = 0.01

Decay = tuple[np.ndarray, np.ndarray]


def fitted_page(cell: Cell, fit: LawFit, decay: Decay | None) -> CellPage:
    """The page of a cell that `gaincell.cell.fit` fitted.

    Args:
        cell: the cell.
        fit: its law.
        decay: times in s and voltages above where they end, in V, of its retention, where they were measured.
    """
    return CellPage(
        title=cell.name,
        summary=cell.description,
        warnings=list(fitted_warnings(cell, fit, decay)),
        panels=_panels(cell, fit, decay) if plots.can_plot() else [],
        groups=fitted_groups(cell, fit),
    )


def fitted_groups(cell: Cell, fit: LawFit) -> list[Group]:
    """All figures with their units, in groups that share a source."""
    law = [
        ("polarity", cell.polarity, ""),
        ("law", ", ".join(f"{c:.4g}" for c in cell.law.coefficients), "C/s per V^i"),
        ("order", str(len(cell.law.coefficients) - 1), ""),
        ("deviation of the data", f"{fit.deviation:.2%}", "of the largest charge"),
        ("outliers", f"{fit.outliers} of {fit.points}", "points"),
    ]
    holds = cell.retention
    lines = [("retention", f"{holds.tau_s * 1e3:.4g}", "ms")]
    if holds.ends_at_v:
        lines.append(("decays to", f"{holds.ends_at_v:.4g}", "V above zero"))
    return [Group("Charge law", cell.law.source, law), Group("Retention", holds.source, lines)]


def fitted_warnings(cell: Cell, fit: LawFit, decay: Decay | None) -> Iterator[str]:
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
    if decay is None:
        yield "The retention was given, not fitted."
        return
    time, y = decay
    if time[-1] < cell.retention.tau_s:
        yield f"The decay was measured for {time[-1] / cell.retention.tau_s:.2f} of its time constant only."
    exponential = _height(y, np.exp(-time / cell.retention.tau_s))
    line = np.polynomial.Polynomial.fit(time, y, 1)(time)
    errors = [float(np.sqrt(np.mean((y - fitted) ** 2)) / abs(y[0])) for fitted in (exponential, line)]
    if errors[1] < errors[0] and errors[0] > _DEVIATION:
        yield (
            f"Retention is closer to constant-current than exponential: {errors[1]:.1%} rms from a line, "
            f"{errors[0]:.1%} from the exponential."
        )


def _height(y: np.ndarray, fit: np.ndarray) -> np.ndarray:
    return fit * np.dot(y, fit) / np.dot(fit, fit)


def _panels(cell: Cell, fit: LawFit, decay: Decay | None) -> list[Panel]:
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
    if decay is not None:
        factor, unit = cell_plots.time_unit(cell.retention.tau_s)
        panels.append(
            Panel(
                "Retention",
                f"Tau {number(factor * cell.retention.tau_s, 3)} {unit}.",
                cell_plots.measured_decay_plot(*decay, cell.retention.tau_s),
            )
        )
    return panels
