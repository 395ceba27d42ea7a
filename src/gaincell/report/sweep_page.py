"""Two swept numbers as one HTML page: latency, energy and area of every pair, and those that no other beats."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from gaincell.atomic import written_aside
from gaincell.errors import InputError
from gaincell.hardware.sweep import Choice
from gaincell.report.numbers import number, scaled
from gaincell.report.template import filled

_SCRIPTS = ("core.js", "charts.js", "tables.js", "sweep.js", "theme.js")


class Point(NamedTuple):
    """What one choice of the swept numbers takes."""

    name: str
    latency_s: float
    energy_j: float
    area_m2: float

    @property
    def figures(self) -> tuple[float, float, float]:
        """Of which less is better."""
        return self.latency_s, self.energy_j, self.area_m2


def pareto(points: Sequence[Point]) -> list[Point]:
    """The points that no other beats: none is as good in all three figures and better in one."""

    def beaten(point: Point) -> bool:
        return any(
            all(a <= b for a, b in zip(other.figures, point.figures, strict=True)) and other.figures != point.figures
            for other in points
        )

    return [point for point in points if not beaten(point)]


def write_sweep(folder: Path, model: str, names: Sequence[str], found: Sequence[Choice]) -> None:
    """Write sweep.html into a folder, which is made where it is missing.

    Args:
        folder: where to.
        model: what it is called.
        names: the swept numbers.
        found: every choice of their values; those that were refused are counted only.
    """
    points = [
        Point(str(choice), choice.found.latency_s, choice.found.energy_j, choice.found.area_m2)
        for choice in found
        if not isinstance(choice.found, InputError)
    ]
    folder.mkdir(parents=True, exist_ok=True)
    with written_aside(folder / "sweep.html") as path:
        path.write_text(render_sweep(model, names, points, len(found) - len(points)), "utf-8")


def render_sweep(model: str, names: Sequence[str], points: Sequence[Point], refused: int) -> str:
    """The page's text.

    Args:
        model: what it is called.
        names: the swept numbers.
        points: what each choice takes.
        refused: how many more choices there were that the model cannot have.
    """
    best = pareto(points)
    return filled(
        "sweep.html",
        _SCRIPTS,
        page_data(points),
        kind="gaincell cost --sweep",
        title=f"Attention of {model}: {' and '.join(names)}",
        summary=f"One token, all layers. Of {len(points)} choices {len(best)} are beaten by no other in latency, "
        f"energy and area together{f'; {refused} more were refused' if refused else ''}.",
        rows=[
            {
                "name": point.name,
                "latency": scaled(point.latency_s, "s"),
                "energy": scaled(point.energy_j, "J"),
                "area": f"{number(point.area_m2 * 1e6)} mm²",
                "values": point.figures,
                "best": point in best,
            }
            for point in points
        ],
    )


def page_data(points: Sequence[Point]) -> dict[str, Any]:
    """What the page's script draws from: µs, µJ and mm² of every point, and whether any other beats it."""
    best = pareto(points)
    return {
        "points": [
            {
                "name": point.name,
                "latency": 1e6 * point.latency_s,
                "energy": 1e6 * point.energy_j,
                "area": 1e6 * point.area_m2,
                "best": point in best,
            }
            for point in points
        ]
    }
