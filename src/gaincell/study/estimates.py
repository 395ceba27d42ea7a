"""Latency, energy and area of a model at several design points, as a report shows them."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from gaincell.config import GainCellConfig

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from gaincell.report.results import Costs, PublishedRow


def estimated(model: "PreTrainedModel", points: dict[str, GainCellConfig]) -> dict[str, Any]:
    """What attention costs, here and in the paper, as plain values."""
    from gaincell.hardware import estimate, paper_table
    from gaincell.hardware.published_gpus import CAVEAT

    found = {name: estimate(model.config, config) for name, config in points.items()}
    return {
        "model": model_name(model),
        "points": {name: {"parts": e.parts, "rows": [row._asdict() for row in e.table()]} for name, e in found.items()},
        "estimates": {name: e.to_dict() for name, e in found.items()},
        "design_points": {name: config.model_dump(mode="json") for name, config in points.items()},
        "published": [row._asdict() for row in paper_table() if row.published is not None],
        "caveat": CAVEAT,
    }


def model_name(model: "PreTrainedModel") -> str:
    """What reports call a model."""
    from gaincell.models.demo_model import demo_model_folder

    path = Path(model.config.name_or_path or type(model).__name__)
    return "SmolLM2-135M-Instruct" if path == demo_model_folder() else path.name


def costs(cost: dict[str, Any], names: list[str]) -> "Costs":
    """A report's costs, from what `estimated` gave."""
    return {
        "model": cost["model"],
        "design_points": names,
        "rows": _cost_rows(cost["points"], names),
        "energy_parts_j": {name: cost["points"][name]["parts"] for name in names},
    }


def published(cost: dict[str, Any]) -> "list[PublishedRow]":
    """The paper's own model, from what `estimated` gave."""
    return [
        {
            "name": row["name"],
            "unit": row["unit"],
            "estimate": row["value"],
            "published": row["published"],
            "ratio": row["ratio"],
        }
        for row in cost["published"]
    ]


def _cost_rows(points: dict[str, Any], names: list[str]) -> "list[Any]":
    """The points' tables side by side, less the GPU ratios, which are for another model."""
    rows: dict[str, dict[str, Any]] = {}
    for column, name in enumerate(names):
        for row in points[name]["rows"]:
            if "GPT-2" not in row["name"]:
                values = rows.setdefault(row["name"], {"unit": row["unit"], "values": [None] * len(names)})["values"]
                values[column] = row["value"]
    return [{"name": name, **row} for name, row in rows.items()]
