"""Draw perplexity against tokens from runs of `gaincell adapt ... --validate speeches` into docs/images/curve.svg.

python docs/generate_curve.py extended=runs/a,runs/b leroux2025=runs/c   # b went on from a's last checkpoint
"""

import json
import sys
from pathlib import Path

from generate_results import ROOT

import gaincell
from gaincell.adapt import AdaptSettings
from gaincell.report.plots import as_file, curve_plot


def curve(folder: Path) -> tuple[list[tuple[float, float]], AdaptSettings]:
    """(tokens, perplexity) of a run, and the settings that say how it was measured."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text("utf-8").splitlines()]
    points = [(line["tokens"], line["perplexity"]) for line in lines if "perplexity" in line]
    rows = json.loads((folder / "config.json").read_text("utf-8"))["settings"]
    steps = json.loads((folder / "distill" / "config.json").read_text("utf-8"))["settings"]
    return points, AdaptSettings(**{**rows, **steps})


def curves(folders: list[str]) -> tuple[list[tuple[float, float]], AdaptSettings]:
    """`curve` of runs one after the other, each of which went on from the last checkpoint of the one before."""
    points, before = [], 0.0
    for folder in map(Path, folders):
        found, settings = curve(folder)
        newest = max((folder / "distill").glob("step-*.safetensors"))
        steps = int(newest.stem.removeprefix("step-"))
        tokens = steps * settings.distill_batch * (settings.distill_length or settings.length)
        points += [(before + at, perplexity) for at, perplexity in found if at <= tokens]
        before += tokens
    return points, settings


def main(runs: list[str]) -> None:
    """Measure the original as the runs measured their students, and draw."""
    found = {name: curves(folders.split(",")) for name, _, folders in (run.partition("=") for run in runs)}
    (length,) = {settings.distill_length or settings.length for _, settings in found.values()}
    (tokens,) = {settings.distill_validate_tokens for _, settings in found.values()}
    original = gaincell.perplexity(*gaincell.load_demo_model(), length=length, tokens=tokens).perplexity
    plot = curve_plot({name: points for name, (points, _) in found.items()}, original)
    (ROOT / "docs" / "images" / "curve.svg").write_text(as_file(plot), "utf-8")
    for name, (points, _) in found.items():
        print(name, *(f"{tokens}: {perplexity:.2f}" for tokens, perplexity in points))


if __name__ == "__main__":
    main(sys.argv[1:])
