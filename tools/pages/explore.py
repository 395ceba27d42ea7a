"""The front of `extended` on SmolLM2: docs/explore.md and docs/images/explore.svg.

python -m tools.pages explore [FOLDER]   # FOLDER: what `gaincell explore --out FOLDER` left; else what was kept

The page has the command. Kept in docs/data/explore.json, without the report.
"""

import json
from pathlib import Path
from typing import Any

from gaincell.explore.dominance import front, knee
from gaincell.explore.point import Point
from gaincell.report.explore_table import shown
from gaincell.report.plots import Series, as_file, xy_plot
from tools.pages.data import DATA, shipped
from tools.pages.markdown import table

ADAPTER = "extended"


def contents(folder: str | None = None) -> dict[str, str]:
    """The front, and what decides each objective."""
    record = _record(folder)
    points, names = _points(record), record["objectives"]
    best, fields = front(points, names), [axis["name"] for axis in record["vary"]]
    middle = knee(best, names)
    rows = [
        (
            *(f"{x.values[field]}" for field in fields),
            *(shown(name, x.figures[name]) for name in (*names, "head_energy_j", "latency_s", "area_m2")),
            "the front bends here" if x == middle else "",
        )
        for x in best
    ]
    told = table((*fields, *names, "a head", "latency", "area", ""), rows)
    beaten = len(points) - len(best)
    decides = [(name, *(f"{of[field]:.2f}" for field in fields)) for name, of in record["importances"].items()]
    return {
        "explore-front": f"{told}\n\n{len(points)} points were measured; {beaten} of them are beaten by one above.",
        "explore-decides": table(("objective", *fields), decides),
    }


def pictures(folder: str | None = None) -> dict[str, str]:
    """Every point, by the levels of its read-outs, and the front."""
    record = _record(folder)
    points, names = _points(record), record["objectives"]
    levels = sorted({x.values["output_levels"] for x in points})
    series = []
    for level in levels:
        own = [x for x in points if x.values["output_levels"] == level]
        energies, kl = [1e9 * x.figures["energy_j"] for x in own], [x.figures["kl"] for x in own]
        series.append(Series(f"{level} output levels", energies, kl, "points"))
    best = sorted(front(points, names), key=lambda x: x.figures["energy_j"])
    line = [1e9 * x.figures["energy_j"] for x in best], [x.figures["kl"] for x in best]
    series.append(Series("front", *line, "line"))
    plot = xy_plot("explore", series, x="energy of attention, one token (nJ)", y="KL (nats)", beside=True)
    return {"explore.svg": as_file(plot)}


def _record(folder: str | None) -> dict[str, Any]:
    if folder is not None:
        found = json.loads((Path(folder) / "points.json").read_text("utf-8"))
        found["bench"]["rows"]["text"] = Path(found["bench"]["rows"]["text"]).name
        kept = {"adapters": shipped([ADAPTER]), **found}
        (DATA / "explore.json").write_text(json.dumps(kept) + "\n", "utf-8")
    return json.loads((DATA / "explore.json").read_text("utf-8"))


def _points(record: dict[str, Any]) -> list[Point]:
    return [Point(**point) for point in record["points"] if point["refused"] is None]
