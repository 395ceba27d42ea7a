"""An estimate as files."""

import csv
import io
import json
from dataclasses import astuple
from pathlib import Path
from typing import TYPE_CHECKING

from gaincell.atomic import written_aside
from gaincell.hardware import Row
from gaincell.hardware.pricing import Priced
from gaincell.report.cost_page import render_cost

if TYPE_CHECKING:
    from gaincell.hardware import Activity


def write_cost(folder: Path, model: str, priced: Priced, watched: "Activity | None") -> list[str]:
    """cost.json, cost.csv, cost.html, a measured activity.json; with matplotlib two plots as files.

    Args:
        folder: where to; it is made where it is missing.
        model: what it is called.
        priced: what is told of it.
        watched: what its arrays did, where that was measured.

    Returns:
        The files that were written.
    """
    from gaincell.report import plots

    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(Row._fields)
    writer.writerows(priced.rows)
    files = {
        "cost.json": json.dumps(priced.to_dict(), indent=2) + "\n",
        "cost.csv": table.getvalue(),
        "cost.html": render_cost(model, priced),
    }
    if watched is not None:
        files["activity.json"] = json.dumps(watched.to_dict()) + "\n"
    if plots.can_plot():
        found = priced.found
        layers = [{part: sum(values.values()) for part, values in layer.items()} for layer in found.layers]
        files["energy.svg"] = plots.as_file(plots.layers_plot(layers))
        files["timeline.svg"] = plots.as_file(plots.timeline_plot([astuple(p) for p in found.timeline.phases]))
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        with written_aside(folder / name) as path:
            path.write_text(text, "utf-8")
    return list(files)
