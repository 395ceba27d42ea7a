"""Write the README's figures and picture from a finished run: make demo, then this script.

python docs/generate_results.py runs/demo
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

from gaincell.report.numbers import number, unit
from gaincell.report.plots import as_file, perplexity_plot

ROOT = Path(__file__).parent.parent


def perplexities(results: dict[str, Any]) -> str:
    """The table of perplexities, and what the original has."""
    rows = results["perplexities"]
    original = rows[0]["perplexity"]
    lines = [
        f"| {results['model']} (softmax: {number(original)}) | mapped as it is | adapted | worst kind of text "
        "| latency | energy |",
        "| --- " * 6 + "|",
    ]
    costs = results["costs"]
    for column, point in enumerate(costs["design_points"]):
        own = [row for row in rows if row["attention"] == point]
        worst = own[-1]["worst"]
        cells = [f"{number(row['perplexity'])} (×{number(row['ratio'], 3)})" for row in own]
        cells.append(f"×{number(worst['ratio'], 3)} ({worst['genre']})")
        for name in ("latency, all layers", "energy, all layers"):
            (row,) = (row for row in costs["rows"] if row["name"] == name)
            cells.append(f"{number(row['values'][column])} {unit(row['unit'])}")
        lines.append(f"| `{point}` | {' | '.join(cells)} |")
    return "\n".join(lines)


def cell(text: str) -> str:
    """Any text as one cell of a Markdown table."""
    return re.sub(r"([|*_`<>\[\]])", r"\\\1", " ".join(text.split()))


def samples(results: dict[str, Any]) -> str:
    """The same prompts, continued by both models."""
    lines = [f"| prompt | original | `{results['adapted']}` |", "| --- | --- | --- |"]
    for sample in results["samples"]:
        lines.append(f"| {cell(sample['prompt'])} | {cell(sample['original'])} | {cell(sample['adapted'])} |")
    return "\n".join(lines)


def fill(text: str, name: str, content: str) -> str:
    """Put content between the marks of that name."""
    begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    before, _, rest = text.partition(begin)
    _, found, after = rest.partition(end)
    if not found:
        raise SystemExit(f"the page has no marks {begin} ... {end}")
    return f"{before}{begin}\n{content}\n{end}{after}"


def main(folder: Path) -> None:
    """Fill README.md and docs/images/perplexity.svg from a run's results.json."""
    results = json.loads((folder / "results.json").read_text("utf-8"))["results"]
    readme = ROOT / "README.md"
    text = readme.read_text("utf-8")
    for name, content in (
        ("perplexities", perplexities(results)),
        ("samples", samples(results)),
    ):
        text = fill(text, name, content)
    readme.write_text(text, "utf-8")
    (ROOT / "docs" / "images" / "perplexity.svg").write_text(as_file(perplexity_plot(results["perplexities"])), "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
