"""Every field of a design point and of adaptation, from the code: docs/parameters.md and docs/settings.md.

python -m tools.pages parameters
"""

from importlib import resources
from typing import Any

from gaincell.adapt import AdaptSettings
from gaincell.adapt.settings import every_setting
from gaincell.cell import Cell, cell_names, load_cell
from gaincell.config import GainCellConfig
from tools.pages.markdown import table

SHORT = {
    "Leroux et al., Nature Computational Science 5, 813-824 (2025)": "paper",
    "released training code of Leroux et al. 2025": "released code",
}


def contents() -> dict[str, str]:
    """Both pages' tables, and a cell file that ships."""
    example = (resources.files("gaincell.cell") / "shipped" / "leroux2025.yaml").read_text("utf-8")
    return {
        "fields": fields(),
        "design_points": design_points(),
        "cell-file": f'```yaml title="my_cell.yaml"\n{example}```',
        "cells": cells(),
        "settings": settings(),
    }


def fields() -> str:
    """Every field of a design point."""
    schema = GainCellConfig.model_json_schema()["properties"]
    rows = []
    for name, field in GainCellConfig.model_fields.items():
        about: Any = field.json_schema_extra
        source = about["source"]
        for long, short in SHORT.items():
            source = source.replace(long, short)
        means = (field.description or "").replace("*", "\\*")
        meaning = f"{means}<br>*Allowed: {allowed(name, schema[name])}. Source: {source}.*"
        rows.append(entries(f"`{name}`", show(field.default), about["unit"], meaning))
    return table(("Field", "Default", "Unit", "Meaning"), rows)


def design_points() -> str:
    """The shipped design points, in what they differ."""
    points = [GainCellConfig(), *map(GainCellConfig.named, GainCellConfig.names())]
    rows = []
    for name in GainCellConfig.model_fields:
        values = [getattr(point, name) for point in points]
        if name != "name" and any(value != values[0] for value in values):
            rows.append(entries(f"`{name}`", *map(show, values)))
    return table(("Field", "default", *(f"`{point.name}`" for point in points[1:])), rows)


def cells() -> str:
    """The shipped cells."""
    rows = []
    for cell in map(load_cell, cell_names()):
        coefficients = ", ".join(f"{c:.10g}" for c in cell.law.coefficients)
        tau = f"{cell.retention.tau:g} {cell.retention.unit}"
        rows.append(entries(f"`{cell.name}`", coefficients, tau, cell.description))
    return table(("Cell", "Coefficients", "tau", "What it is"), rows)


def settings() -> str:
    """Every setting of adaptation."""
    whole = AdaptSettings.model_json_schema()
    rows = []
    for name, field in every_setting().items():
        part, _, inner = name.rpartition(".")
        schema = (whole["$defs"][f"{part.capitalize()}Settings"] if part else whole)["properties"][inner]
        options = schema.get("anyOf", [schema])
        choices = [f"`{choice}`" for option in options for choice in option.get("enum", ())]
        meaning = (field.description or "") + (f"<br>*Allowed: {' or '.join(choices)}.*" if choices else "")
        rows.append(entries(f"`{name}`", show(field.default), meaning))
    return table(("Field", "Default", "Meaning"), rows)


def show(value: Any) -> str:
    """A value as a design file would have it."""
    if isinstance(value, Cell):
        value = value.name
    if isinstance(value, float):
        value = f"{value:.6g}"
    if isinstance(value, tuple):
        value = f"[{', '.join(f'{x:.6g}' for x in value)}]"
    return "`null`" if value is None else f"`{value}`"


def allowed(name: str, schema: dict[str, Any]) -> str:
    """The values a field may have, from its JSON schema."""
    if name in ("name", "cell"):
        return "see below" if name == "cell" else "text"
    options = schema.get("anyOf", [schema])
    number = next(option for option in options if option.get("type") != "null")
    if "enum" in number:
        return " or ".join(f"`{choice}`" for choice in number["enum"])
    if number["type"] == "array":
        return "positive, increasing numbers"
    if number["type"] == "boolean":
        return "`true` or `false`"
    kind = "whole number" if number["type"] == "integer" else "number"
    words = {"exclusiveMinimum": "above", "minimum": "at least", "maximum": "at most"}
    limits = [
        f"{word} {number[key]:g}" if kind == "number" else f"{word} {number[key]}"
        for key, word in words.items()
        if key in number
    ]
    return f"{kind} {', '.join(limits)}" + (", or `null`" if len(options) > 1 else "")


def entries(*texts: str) -> list[str]:
    """Texts that stay inside their cells of a table."""
    return [text.replace("|", "\\|").replace("\n", " ") for text in texts]
