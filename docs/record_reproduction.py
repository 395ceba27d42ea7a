"""Keep what took hours of learning for `gaincell reproduce`: perplexities from runs of `gaincell adapt`.

python docs/record_reproduction.py recipe=runs/e leroux2025=runs/c extended=runs/a,runs/b,runs/d

The runs are those of docs/adaptation.md, where their commands stand; `recipe` is the one of the paper's recipe. What is
measured here anew: its linear model, moved to the cubic law without and with matching.
"""

import json
import sys
from pathlib import Path
from typing import Any

import torch
from generate_curve import curves
from generate_results import ROOT

import gaincell
from gaincell.adapt import AdaptSettings
from gaincell.adapt.distill import restore
from gaincell.adapt.matching import match_model
from gaincell.adapt.recipe import linear_design
from gaincell.adapt.run import Run
from gaincell.config import GainCellConfig
from gaincell.models import convert_

RECORD = ROOT / "src" / "gaincell" / "reproduce" / "record.json"


def recipe(folder: Path) -> dict[str, Any]:
    """Perplexities of the paper's recipe: while it learned, and of its linear model at the other law."""
    config = json.loads((folder / "config.json").read_text("utf-8"))
    run, settings = Run(folder, config, new=False), AdaptSettings(**config["settings"])
    point = GainCellConfig(**config["design_point"])
    linear = linear_design(point)
    assert linear is not None
    model, tokenizer = gaincell.load_demo_model()
    length, tokens = settings.distill_length or settings.length, settings.distill_validate_tokens

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


def main(runs: list[str]) -> None:
    """Write the record."""
    named = dict(run.split("=", 1) for run in runs)
    kept: dict[str, Any] = {"recipe": recipe(Path(named.pop("recipe"))), "distilled": {}}
    for name, folders in named.items():
        points, settings = curves(folders.split(","))
        kept["distilled"][name] = {
            "length": settings.distill_length or settings.length,
            "tokens": settings.distill_validate_tokens,
            "points": points,
        }
    text = json.dumps(kept, indent=1)
    RECORD.write_text(json.dumps(json.loads(text, parse_float=lambda figure: float(f"{float(figure):.6g}"))) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
