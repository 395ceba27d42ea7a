"""Keep what took hours of learning for `gaincell reproduce`: perplexities from runs of `gaincell adapt`.

python tools/record_reproduction.py recipe=runs/e leroux2025=runs/c,runs/h extended=runs/a,runs/b,runs/d,runs/f,runs/g
python tools/record_reproduction.py extended+=runs/i   # which went on from there; what is not named stays as it is

The runs are those of docs/notes/adaptation-trials.md, where their commands stand; `recipe` is the one of the paper's
recipe. What is measured here anew: its linear model, moved to the cubic law without and with matching.
"""

import json
import sys
from pathlib import Path
from typing import Any

import torch

import gaincell
from gaincell.adapt import AdaptSettings
from gaincell.adapt.distil.loop import restore
from gaincell.adapt.paper_recipe import linear_design
from gaincell.adapt.run.folder import Run
from gaincell.adapt.stages.matching import match_model
from gaincell.config import GainCellConfig
from gaincell.models import convert_

RECORD = Path(__file__).parents[1] / "src" / "gaincell" / "reproduce" / "record.json"


def recipe(folder: Path) -> dict[str, Any]:
    """Perplexities of the paper's recipe: while it learned, and of its linear model at the other law."""
    config = json.loads((folder / "config.json").read_text("utf-8"))
    run, settings = Run(folder, config, new=False), AdaptSettings(**config["settings"])
    point = GainCellConfig(**config["design_point"])
    linear = linear_design(point)
    assert linear is not None
    model, tokenizer = gaincell.load_demo_model()
    length, tokens = settings.distill.length or settings.length, settings.distill.validate_tokens

    def measured() -> float:
        return gaincell.perplexity(model, tokenizer, length=length, tokens=tokens).perplexity

    convert_(model, linear)
    restore(model, run, "linear", settings)
    found = {"linear": measured()}
    convert_(model, point)
    found["unmatched"] = measured()
    convert_(model, linear)
    match_model(model, point, torch.zeros(1, 1, dtype=torch.long), run)  # reads what the run matched
    found["matched"] = measured()
    learned: dict[str, list[tuple[float, float]]] = {"linear": [], "cubic": []}
    for line in run.metrics():
        if "perplexity" in line:
            learned[line["stage"]].append((line["tokens"], line["perplexity"]))
    return {**found, "length": length, "tokens": tokens, "learned": learned}


def curve(folder: Path) -> tuple[list[tuple[float, float]], AdaptSettings]:
    """(tokens, perplexity) of a run, and the settings that say how it was measured."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text("utf-8").splitlines()]
    points = [(line["tokens"], line["perplexity"]) for line in lines if "perplexity" in line]
    rows = json.loads((folder / "config.json").read_text("utf-8"))["settings"]
    steps = json.loads((folder / "distill" / "config.json").read_text("utf-8"))["settings"]
    return points, AdaptSettings(**{**rows, **steps})


def curves(folders: list[str], before: dict[str, Any] | None) -> dict[str, Any]:
    """`curve` of runs one after the other, each of which went on from the last checkpoint of the one before."""
    points = [] if before is None else [(at, perplexity) for at, perplexity in before["points"]]
    start = points[-1][0] if points else 0.0
    for folder in map(Path, folders):
        found, settings = curve(folder)
        measured = {"length": settings.distill.length or settings.length, "tokens": settings.distill.validate_tokens}
        if before is not None and measured != {name: before[name] for name in measured}:
            raise SystemExit(f"{folder} measured other tokens than what is to go on.")
        newest = max((folder / "distill").glob("step-*.safetensors"))
        steps = int(newest.stem.removeprefix("step-"))
        tokens = steps * settings.distill.batch * measured["length"]
        points += [(start + at, perplexity) for at, perplexity in found if at <= tokens]
        start += tokens
        before = measured
    return {**(before or {}), "points": points}


def main(runs: list[str]) -> None:
    """Write the record."""
    kept: dict[str, Any] = json.loads(RECORD.read_text("utf-8"))
    for name, folders in (run.split("=", 1) for run in runs):
        if name == "recipe":
            kept["recipe"] = recipe(Path(folders))
            continue
        label = name.removesuffix("+")
        kept["distilled"][label] = curves(folders.split(","), kept["distilled"][label] if name != label else None)
    rounded = json.loads(json.dumps(kept), parse_float=lambda figure: float(f"{float(figure):.6g}"))
    RECORD.write_text(json.dumps(rounded, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
