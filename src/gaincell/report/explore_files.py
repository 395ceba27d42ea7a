"""A study as files: its page, its tables, and all of it for machines."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gaincell.atomic import written_aside
from gaincell.report.explore_page import render_explore
from gaincell.report.explore_table import as_csv, as_latex

if TYPE_CHECKING:
    from gaincell.explore import Study


def study_data(study: "Study") -> dict[str, Any]:
    """All of a study as plain values, for JSON, with the design point and the hardware that its values are put into."""
    space = study.asked.space
    return {
        **study.to_dict(),
        "notes": [*space.notes, *study.notes],
        "base": space.base.model_dump(mode="json"),
        "hardware": space.parameters.model_dump(mode="json"),
    }


def write_explore(folder: Path, study: "Study") -> list[str]:
    """report.html, points.csv, front.tex and points.json.

    Args:
        folder: where to; it is made where it is missing.
        study: with a point at least.

    Returns:
        The files that were written.
    """
    files = {
        "report.html": render_explore(study),
        "points.csv": as_csv(study.points, study.asked.space.names, study.objectives),
        "front.tex": as_latex(study),
        "points.json": json.dumps(study_data(study), indent=1) + "\n",
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        with written_aside(folder / name) as path:
            path.write_text(text, "utf-8")
    return list(files)
