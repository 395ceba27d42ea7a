"""The panel's tables, from docs/data/panel.json: docs/panel.md.

gaincell evaluate extended --also leroux2025 --panel --tokens 2048 --out FOLDER
python -m tools.pages panel FOLDER
"""

import json
from typing import Any

from gaincell.report.plots import as_file, curve_plot
from tools.pages.data import DATA, kept
from tools.pages.markdown import label, table


def contents(folder: str | None = None) -> dict[str, str]:
    """The tables of a run, by default of the one that was kept last."""
    found = kept("panel.json", folder)
    return {"panel": genres(found), "beyond": beyond(found)}


def pictures(folder: str | None = None) -> dict[str, str]:
    """What every adapter that shipped reached, from docs/data/learned.json; what ships now is in `panel.json`, too."""
    shipped = json.loads((DATA / "learned.json").read_text("utf-8"))
    names = {"mean": "geometric mean", "worst": "worst kind of text"}
    curves = {
        f"{adapter}, {title}": [(one["tokens"], one[name]) for one in points]
        for adapter, points in shipped.items()
        for name, title in names.items()
    }
    what = "perplexity over the original's (logarithmic)"
    return {"panel-curve.svg": as_file(curve_plot(curves, 1.0, what))}


def genres(found: dict[str, Any]) -> str:
    """Every model's ratio to the original and divergence from it, by genre."""
    (_, original), *others = found["models"].items()
    columns = ["genre", "original, perplexity", *(column for name, _ in others for column in (label(name), "KL"))]
    rows = [
        (title, f"{original['genres'][genre]['perplexity']:.2f}", *(beside(one["genres"][genre]) for _, one in others))
        for genre, title in found["genres"].items()
    ]
    mean = "".join(f" {beside(one)} |" for _, one in others)
    how = (
        f"Times the original's perplexity, with the 95 % interval, on the first {found['tokens']:,} tokens of each "
        f"text in windows of {found['length']:,}; KL is that of the original from the model, in nats per token."
    )
    return f"{table(columns, rows)}\n| geometric mean | |{mean}\n\n{how}"


def beyond(found: dict[str, Any]) -> str:
    """What models repeat, and what they find in their context."""
    models = found["models"].values()
    head = f"| | {' | '.join(map(label, found['models']))} |\n{'| --- ' * (1 + len(models))}|"
    rows = {"repeated 4-grams, greedy": [one["repeated"] for one in models]}
    for place, first in enumerate(next(iter(models))["copying"]):
        rows[f"copied over {first['distance']} tokens"] = [one["copying"][place]["accuracy"] for one in models]
    lines = (f"| {name} | {' | '.join(f'{100 * share:.1f} %' for share in shares)} |" for name, shares in rows.items())
    return "\n".join((head, *lines))


def beside(one: dict[str, Any]) -> str:
    """A ratio with its interval, and a divergence: two cells."""
    spread = "" if one["interval"] is None else " ({:.2f} to {:.2f})".format(*one["interval"])
    return f"×{one['ratio']:.2f}{spread} | {one['divergence']:.2f}"
