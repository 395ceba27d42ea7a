"""A cell at several values of one condition: the table, and the page of plots."""

from collections.abc import Sequence

from gaincell.cell.polarity import strongest_v
from gaincell.circuit.condition_sweep import UNITS, Point, Sweep
from gaincell.report import plots
from gaincell.report.cell_page import CellPage, Group, Panel
from gaincell.report.cell_plots import sweep_plot
from gaincell.report.numbers import number, scaled
from gaincell.report.tables import Table

_HEADS = ("law off by", "tau", "kept", "written in", "read, mean", "conversion", "write")
#: Of each panel: its title, what it says, the axis, figures by the name in its legend, factor to the axis's unit.
_PANELS: tuple[tuple[str, str, str, dict[str, str], float], ...] = (
    (
        "Retention",
        "The nearest exponential, and how long every stored voltage stays within half a step of eight levels.",
        "time (s)",
        {"tau": "tau_s", "kept": "kept_s"},
        1.0,
    ),
    ("Write", "Time to within half a step of eight levels.", "time (ns)", {"written in": "settling_s"}, 1e9),
    (
        "Energy",
        "Means of a read, of a conversion and of a write.",
        "energy (fJ)",
        {"read": "read_mean_j", "conversion": "conversion_j", "write": "write_j"},
        1e15,
    ),
    (
        "Law",
        "Root mean square of its difference from the published one, both 1 at +0.45 V.",
        "difference (%)",
        {"law": "rms_difference"},
        100.0,
    ),
)


def sweep_table(sweep: Sweep, points: Sequence[Point]) -> Table:
    """A row for each value."""
    rows = [(_value(point), *_cells(point)) for point in points]
    return Table((_axis(sweep), *_HEADS), rows, f"{_name(points)}, by {sweep.name}")


def sweep_page(sweep: Sweep, points: Sequence[Point]) -> CellPage:
    """The page of a sweep: plots against its values, and the figures at each."""
    axis, values = _axis(sweep), [point.value for point in points]
    panels = [
        Panel(title, text, sweep_plot(axis, values, label, _lines(points, names, factor)))
        for title, text, label, names, factor in (_PANELS if plots.can_plot() else ())
    ]
    return CellPage(
        title=f"{_name(points)}, by {sweep.name}",
        summary=f"Characterised with ngspice at {len(points)} values of one condition.",
        warnings=[f"{_value(point)}: {point.failed}" for point in points if point.failed],
        panels=panels,
        groups=[_group(sweep, point) for point in points if point.found is not None],
    )


def _lines(points: Sequence[Point], names: dict[str, str], factor: float) -> dict[str, list[float | None]]:
    figures = [point.figures for point in points]
    return {
        label: [None if (value := each.get(name)) is None else factor * value for each in figures]
        for label, name in names.items()
    }


def _axis(sweep: Sweep) -> str:
    return f"{sweep.name} ({UNITS[sweep.name]})" if UNITS[sweep.name] else sweep.name


def _group(sweep: Sweep, point: Point) -> Group:
    found = point.found
    assert found is not None
    law, at = found.cell.law, strongest_v(found.cell.law, found.cell.polarity)
    charge = law(at) * found.conditions.pulse_max_s
    rows = [
        (f"charge of a full pulse at {at:+g} V", f"{charge * 1e15:.4g}", "fC"),
        *((head, text, "") for head, text in zip(_HEADS, _cells(point), strict=True)),
    ]
    return Group(f"{sweep.name} {_value(point)}", found.circuit.source, rows)


def _cells(point: Point) -> tuple[str, ...]:
    figures, found = point.figures, point.found
    if found is None:
        return ("–",) * len(_HEADS)

    def told(name: str, unit: str, beyond: str) -> str:
        value = figures[name]
        return beyond if value is None else scaled(value, unit)

    over = f"> {found.decay.watched_s:g} s"
    return (
        f"{found.rms_difference:.2%}",
        told("tau_s", "s", over),
        told("kept_s", "s", over),
        told("settling_s", "s", "> 100 ns"),
        *(f"{number(1e15 * (figures[name] or 0.0), 3)} fJ" for name in ("read_mean_j", "conversion_j", "write_j")),
    )


def _value(point: Point) -> str:
    return point.value if isinstance(point.value, str) else f"{point.value:g}"


def _name(points: Sequence[Point]) -> str:
    return next(point.found.cell.name for point in points if point.found is not None)
