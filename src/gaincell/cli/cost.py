"""`gaincell cost`."""

import json as json_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from gaincell.cli import options, screen
from gaincell.errors import InputError

if TYPE_CHECKING:
    from gaincell.hardware import AttentionShape, Row


def cost(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="'gpt2', 'smollm2', or a model folder (only config.json is read).")
    ] = "gpt2",
    config: Annotated[
        str | None,
        typer.Option(
            "--config",
            help="Design point: a preset's name, or a file. Default: an adapted model's own, else 'leroux2025'.",
        ),
    ] = None,
    kv_sharing: Annotated[
        Literal["copied", "in_turn"],
        typer.Option(
            "--kv-sharing",
            help="Query heads that share keys and values: a copy of the arrays each, or the same ones in turn.",
        ),
    ] = "copied",
    json: options.Json = False,
) -> None:
    """Estimate latency, energy and area of attention.

    For one token of one sequence, over all layers, from the published parts of one head.
    """
    from gaincell.config import GainCellConfig
    from gaincell.hardware import HardwareParameters, estimate
    from gaincell.hardware.gpu import CAVEAT

    shape, own = _shape(model)
    design_point = own if own is not None and config is None else GainCellConfig.load(config or "leroux2025")
    found = estimate(shape, design_point, HardwareParameters(kv_sharing=kv_sharing))
    if json:
        screen.show_json(found.to_dict())
        return
    title = f"Attention of {model} at '{design_point.name}', one token"
    screen.show_table(COLUMNS, cost_rows(found.table()), title)
    if found.gpu_ratios:
        screen.show(CAVEAT)


COLUMNS = ("", "estimate", "unit", "published", "estimate / published")


def cost_rows(rows: "list[Row]") -> list[tuple[str, ...]]:
    """Rows of an estimate as text."""
    from gaincell.report.numbers import number, unit

    return [(row.name, number(row.value), unit(row.unit), number(row.published), number(row.ratio, 3)) for row in rows]


def _shape(model: str) -> "tuple[AttentionShape | dict[str, Any], Any]":
    """What `estimate` takes, and the design point of an adapted model."""
    from gaincell.config import GainCellConfig
    from gaincell.hardware import GPT2, AttentionShape

    known = {
        "gpt2": GPT2,
        "smollm2": AttentionShape(num_hidden_layers=30, num_attention_heads=9, num_key_value_heads=3, head_dim=64),
    }
    known["demo"] = known["smollm2"]
    if model in known:
        return known[model], None
    fields = _read_config(Path(model), ", ".join(known))
    section = fields.get("quantization_config")
    point = section.get("design_point") if isinstance(section, dict) else None
    return fields, GainCellConfig(**point) if isinstance(point, dict) else None


def _read_config(folder: Path, names: str) -> dict[str, Any]:
    from gaincell.cell.cell import fields_of, is_file, read_text

    path = folder / "config.json"
    if not is_file(path):
        raise InputError(f"model '{folder}' is neither one of {names} nor a folder with config.json; check the path.")
    text = read_text(path)
    try:
        data = json_module.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not valid JSON: {error}.") from None
    return fields_of(data, str(path))
