"""A run of `gaincell reproduce`: docs/reproduction.md and its figures.

python -m tools.pages reproduction runs/reproduce
"""

import json
from pathlib import Path
from typing import Any

from gaincell.report.numbers import number, unit
from gaincell.reproduce import ENTRIES
from tools.pages.markdown import table

#: Rows of the first table: the paper's headline figures.
HEADLINES = (
    ("fig1", "charge law, coefficient of 1: our circuit"),
    ("fig1", "charge law, coefficient of y: our circuit"),
    ("fig1", "charge law, coefficient of y^2: our circuit"),
    ("fig1", "charge law, coefficient of y^3: our circuit"),
    ("fig1", "retention"),
    ("fig1", "retention, ours at least"),
    ("fig2", "slope from 10 to 90 % of S_sat, over the law's"),
    ("subtile", "output, root mean square"),
    ("fig4c", "perplexity before matching, from softmax"),
    ("fig4c", "perplexity after matching, from softmax"),
    ("fig4c", "perplexity before matching, from a linear model"),
    ("fig4c", "perplexity after matching, from a linear model"),
    ("fig4d", "nonlinear, end (published: 5,900 iterations)"),
    ("fig5", "latency, one layer"),
    ("fig5", "energy, one head"),
    ("fig5", "energy, one head: first array and charge-to-pulse"),
    ("fig5", "energy, one head: second array"),
    ("fig5", "area, one head"),
    ("fig5", "RTX 4090 latency / ours, one GPT-2 layer"),
    ("fig5", "RTX 4090 energy / ours, one GPT-2 layer"),
    ("fig5", "Jetson Nano latency / ours, one GPT-2 layer"),
    ("fig5", "Jetson Nano energy / ours, one GPT-2 layer"),
    ("table1", "mean accuracy, softmax as pre-trained"),
    ("table1", "mean accuracy kept, extended"),
    ("table1", "mean accuracy kept, leroux2025"),
)
#: How far each entry reaches, in a few words for that table.
REACH = {
    "fig1": "our transistors and sizes",
    "fig2": "ideal op-amp",
    "subtile": "their run: bfloat16 in places",
    "fig4c": "SmolLM2-135M, thousands of times fewer tokens",
    "fig4d": "SmolLM2-135M, thousands of times fewer tokens",
    "table1": "SmolLM2-135M, few items",
}


def findings(folder: str) -> dict[str, tuple[str, dict[str, Any]]]:
    """`found_in` of a run's folder."""
    return found_in(json.loads((Path(folder) / "results.json").read_text("utf-8"))["steps"])


def contents(folder: str) -> dict[str, str]:
    """Every entry of the run, and the headlines."""
    found = findings(folder)
    sections = "\n\n".join(section(name, *finding) for name, finding in found.items())
    return {"entries": f"\n{sections}\n", "headlines": headlines(found)}


def pictures(folder: str) -> dict[str, bytes]:
    """Every entry's figure."""
    return {
        f"reproduce-{name}.svg": (Path(folder) / f"{key}.svg").read_bytes()
        for name, (key, _) in findings(folder).items()
    }


def found_in(steps: dict[str, Any]) -> dict[str, tuple[str, dict[str, Any]]]:
    """Step and finding of every finished entry; where there are several, the last with the most to go by."""
    found = {}
    for entry in ENTRIES:
        keys = [key for key in steps if key.partition("-")[0] == entry.name]
        if keys:
            key = max(reversed(keys), key=lambda key, uses=entry.uses: sum(f"-{use}-" in key for use in uses))
            found[entry.name] = (key, steps[key])
    return found


def amount(value: float | None, of: str) -> str:
    """A value with its unit."""
    return number(value) if value is None or not unit(of) else f"{number(value)} {unit(of)}"


def section(name: str, key: str, step: dict[str, Any]) -> str:
    """One entry: what it compares, its rows, how far they reach, and its figure."""
    entry = next(entry for entry in ENTRIES if entry.name == name)
    rows = [
        (
            row["quantity"],
            amount(row["published"], row["unit"]),
            amount(row["ours"], row["unit"]),
            number(row["ratio"], 3),
            row["note"],
        )
        for row in step["result"]["rows"]
    ]
    sources = list(dict.fromkeys(row["source"] for row in step["result"]["rows"] if row["source"]))
    return "\n\n".join(
        (
            f"## {entry.name}: {entry.title}",
            entry.compares,
            f"![{entry.title[0].upper()}{entry.title[1:]}](images/reproduce-{name}.svg)",
            table(("", "published", "ours", "ours / published", "ours is"), rows),
            f"{step['result']['reach']} Published: {'; '.join(sources)}.",
            f"`gaincell reproduce {name}{' --reference DIR' * ('-reference-' in key)}`",
        )
    )


def headlines(found: dict[str, tuple[str, dict[str, Any]]]) -> str:
    """The headline rows."""
    lines = []
    for name, quantity in HEADLINES:
        if name not in found:
            continue
        row = next((row for row in found[name][1]["result"]["rows"] if row["quantity"] == quantity), None)
        if row is not None:
            basis = row["note"].removeprefix("gaincell cost: ") if name == "fig5" else REACH[name]
            published, ours = (amount(row[key], row["unit"]) for key in ("published", "ours"))
            lines.append((f"`{name}`", quantity.split(": our")[0], published, ours, number(row["ratio"], 3), basis))
    return table(("entry", "", "published", "ours", "ours / published", "reach"), lines)
