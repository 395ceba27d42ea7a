"""A study as one HTML page: the front, how it grew, what decides each objective, and what every other point lacks."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gaincell.explore.dominance import hypervolumes, knee, lacks
from gaincell.explore.picking import why_empty
from gaincell.explore.point import FIGURES, Point, told
from gaincell.report.explore_table import figures_there, shown
from gaincell.report.template import filled

if TYPE_CHECKING:
    from gaincell.explore import Study

_SCRIPTS = ("core.js", "charts.js", "tables.js", "explore.js", "theme.js")
#: Factor and unit of each figure on an axis.
_AXES = {
    "kl": (1.0, "nats"),
    "perplexity_ratio": (1.0, "×"),
    "energy_j": (1e9, "nJ"),
    "head_energy_j": (1e9, "nJ"),
    "latency_s": (1e9, "ns"),
    "area_m2": (1e6, "mm²"),
}


def render_explore(study: "Study") -> str:
    """The page's text."""
    points, objectives = study.points, study.objectives
    best, names, fields = study.front, figures_there(points), study.asked.space.names
    middle = knee(best, objectives)
    refused = sum(point.refused is not None for point in points)
    limits = ", ".join(f"{name} at most {shown(name, most)}" for name, most in study.asked.limits.items())
    return filled(
        "explore.html",
        _SCRIPTS,
        page_data(study),
        kind="gaincell explore",
        title=f"{study.asked.adapter or study.asked.model}: {' against '.join(objectives)}",
        summary=f"{f'Of {len(points)} design points {len(best)} are beaten by no other' if best else _no_front(points)}"
        f"{f', within {limits}' if limits else ''}{f'; {refused} cannot be had' if refused else ''}.",
        note=" ".join(f"{x[0].upper()}{x[1:]}" for x in (*_rows(study), *study.asked.space.notes, *study.notes)),
        headline=[] if middle is None else [_headline(name, middle) for name in objectives],
        knee=None if middle is None else str(middle),
        figures=[{"name": name, "about": FIGURES[name][1]} for name in names],
        fields=fields,
        objectives=len(objectives),
        importances=study.importances,
        rows=[
            {
                "number": x.number,
                "values": [told(x.values.get(field)) for field in fields],
                "fidelity": x.fidelity,
                "figures": [(x.figures.get(name, ""), shown(name, x.figures.get(name))) for name in names],
                "best": x in best,
                "lacks": lacks(x, best, objectives),
            }
            for x in points
        ],
    )


def page_data(study: "Study") -> dict[str, Any]:
    """What the page's script draws from: figures in their axes' units, and every point's words."""
    points, objectives = study.points, study.objectives
    best, names = study.front, figures_there(points)
    return {
        "axes": [{"name": name, "label": _label(name), "objective": name in objectives} for name in names],
        "fields": list(study.asked.space.names),
        "objectives": list(objectives),
        "points": [
            {
                "number": x.number,
                "values": {name: told(value) for name, value in x.values.items()},
                "figures": {name: _AXES[name][0] * value for name, value in x.figures.items()},
                "fidelity": x.fidelity,
                "best": x in best,
                "words": _words(x, lacks(x, best, objectives)),
            }
            for x in points
            if x.refused is None
        ],
        "growth": hypervolumes(points, objectives),
        "importances": study.importances,
    }


def _rows(study: "Study") -> list[str]:
    """What quality was measured on, in a sentence; nothing of a model that does not run."""
    rows = study.bench.identity.get("rows")
    if rows is None:
        return []
    count = "1 row" if rows["rows"] == 1 else f"{rows['rows']} rows"
    return [
        f"quality is of {count} of {rows['length']:,} tokens of '{Path(rows['text']).name}' (seed {rows['seed']}), and "
        "so is what the arrays do. An adapter may have learned from such texts, perhaps from these: figures rank "
        "design points, and may be better than on texts that it never saw."
    ]


def _no_front(points: Sequence[Point]) -> str:
    return f"There is no front: {why_empty(points)}"


def _words(point: Point, lacking: str) -> str:
    lines = [f"point {point.number}, {point.fidelity}", *(f"{k} {told(v)}" for k, v in point.values.items())]
    lines += [f"{name}: {shown(name, value)}" for name, value in point.figures.items()]
    return "\n".join([*lines, *([lacking] if lacking else [])])


def _label(name: str) -> str:
    unit = _AXES[name][1]
    return f"{name.removesuffix('_j').removesuffix('_s').removesuffix('_m2').replace('_', ' ')} ({unit})"


def _headline(name: str, point: Point) -> dict[str, str]:
    value, _, unit = shown(name, point.figures[name]).partition(" ")
    return {"label": name, "value": value, "unit": unit or FIGURES[name][0], "about": "where the front bends"}
