"""Points of a study as tables: on a screen, as CSV, and as LaTeX."""

import csv
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

from gaincell.explore.dominance import front, lacks
from gaincell.explore.point import FIGURES, Point, told
from gaincell.report.numbers import number, scaled
from gaincell.report.tables import Table

if TYPE_CHECKING:
    from gaincell.explore import Study

_SPELT = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
_ESCAPED = str.maketrans({letter: f"\\{letter}" for letter in "_%&#${}"} | _SPELT)


def shown(name: str, value: float | None) -> str:
    """A figure with its unit, as people read it."""
    if value is None:
        return ""
    unit = FIGURES[name][0]
    if unit in ("J", "s"):
        return scaled(value, unit)
    return f"{number(value * 1e6)} mm²" if unit == "m2" else number(value)


def figures_there(points: Sequence[Point]) -> list[str]:
    """The figures that points have, in their order."""
    return [name for name in FIGURES if any(name in point.figures for point in points)]


def front_table(study: "Study") -> Table:
    """The points that no other beats: their values, how they were measured, and every figure."""
    points, best = study.points, study.front
    return points_table(best, study.asked.space.names, f"Front: {len(best)} of {len(points)} points")


def points_table(points: Sequence[Point], fields: Sequence[str], title: str = "") -> Table:
    """A row for each point."""
    names = figures_there(points)
    rows = [
        (*(told(x.values.get(each)) for each in fields), x.fidelity, *(shown(n, x.figures.get(n)) for n in names))
        for x in points
    ]
    return Table((*fields, "fidelity", *names), rows, title, len(fields) + 1)


def as_csv(points: Sequence[Point], fields: Sequence[str], objectives: Sequence[str]) -> str:
    """Every point, in SI units and to the last digit, with whether it is in the front, and what it lacks."""
    best, names, text = front(points, objectives), figures_there(points), io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    units = [f"{name} [{FIGURES[name][0] or '1'}]" for name in names]
    writer.writerow(["point", *fields, "fidelity", *units, "front", "lacks"])
    for x in points:
        values = [repr(value) if isinstance(value := x.values.get(field), float) else told(value) for field in fields]
        figures = [x.figures.get(name, "") for name in names]
        lacking = lacks(x, best, objectives)
        writer.writerow([x.number, *values, x.fidelity, *figures, "yes" if x in best else "no", lacking])
    return text.getvalue()


def as_latex(study: "Study") -> str:
    """The front as a tabular, to be put into a table."""
    table = front_table(study)
    columns = "l" * table.text_columns + "r" * (len(table.columns) - table.text_columns)
    lines = [" & ".join(_escaped(cell) for cell in row) + r" \\" for row in (table.columns, *table.rows)]
    return "\n".join(
        [
            rf"\begin{{tabular}}{{{columns}}}",
            r"\hline",
            lines[0],
            r"\hline",
            *lines[1:],
            r"\hline",
            r"\end{tabular}",
            "",
        ]
    )


def _escaped(cell: str) -> str:
    return cell.translate(_ESCAPED).replace("µ", r"\textmu{}").replace("²", r"\textsuperscript{2}")
