"""The README's table and picture from a finished run of `make demo`.

python -m tools.pages demo runs/demo
"""

import json
from pathlib import Path
from typing import Any

from gaincell.report.numbers import number, unit
from gaincell.report.plots import as_file, perplexity_plot
from tools.pages.markdown import table


def results(folder: str) -> dict[str, Any]:
    """What the run found."""
    return json.loads((Path(folder) / "results.json").read_text("utf-8"))["results"]


def contents(folder: str) -> dict[str, str]:
    """The README's table."""
    return {"perplexities": perplexities(results(folder))}


def pictures(folder: str) -> dict[str, str]:
    """Its perplexities, drawn."""
    return {"perplexity.svg": as_file(perplexity_plot(results(folder)["perplexities"]))}


def perplexities(found: dict[str, Any]) -> str:
    """The table of perplexities, and what the original has."""
    rows, costs = found["perplexities"], found["costs"]
    columns = (
        f"{found['model']} (softmax: {number(rows[0]['perplexity'])})",
        *("mapped as it is", "adapted", "worst kind of text", "latency", "energy"),
    )
    lines = []
    for column, point in enumerate(costs["design_points"]):
        own = [row for row in rows if row["attention"] == point]
        worst = own[-1]["worst"]
        cells = [f"`{point}`", *(f"{number(row['perplexity'])} (×{number(row['ratio'], 3)})" for row in own)]
        cells.append(f"×{number(worst['ratio'], 3)} ({worst['genre']})")
        for name in ("latency, all layers", "energy, all layers"):
            (row,) = (row for row in costs["rows"] if row["name"] == name)
            cells.append(f"{number(row['values'][column])} {unit(row['unit'])}")
        lines.append(cells)
    return table(columns, lines)
