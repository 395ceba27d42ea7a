"""`gaincell cost --out`: an estimate as files."""

import csv
import io
import json
from dataclasses import astuple
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gaincell.hardware import Activity, Estimate, Row


def write_cost(
    folder: Path, cost: dict[str, Any], page: str, found: "Estimate", rows: "list[Row]", watched: "Activity | None"
) -> list[str]:
    """cost.json (`cost`), cost.csv, cost.html (`page`), a measured activity.json; with matplotlib two plots as files.

    Returns:
        The files that were written.
    """
    from gaincell.aside import written_aside
    from gaincell.hardware import Row
    from gaincell.report import plots

    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(Row._fields)
    writer.writerows(rows)
    files = {"cost.json": json.dumps(cost, indent=2) + "\n", "cost.csv": table.getvalue(), "cost.html": page}
    if watched is not None:
        files["activity.json"] = json.dumps(watched.to_dict()) + "\n"
    if plots.can_plot():
        layers = [{part: sum(values.values()) for part, values in layer.items()} for layer in found.layers]
        files["energy.svg"] = plots.as_file(plots.layers_plot(layers))
        files["timeline.svg"] = plots.as_file(plots.timeline_plot([astuple(p) for p in found.timeline.phases]))
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        with written_aside(folder / name) as path:
            path.write_text(text, "utf-8")
    return list(files)
