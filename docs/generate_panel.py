"""Write the tables of docs/panel.md from docs/panel.json.

gaincell evaluate extended --also leroux2025 --panel --tokens 2048 --out FOLDER
cp FOLDER/panel.json docs/; python docs/generate_panel.py
"""

import json
import re
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parent
PAGES = (DOCS / "panel.md",)


def page(text: str) -> str:
    """A page's text with its tables anew."""
    found = json.loads((DOCS / "panel.json").read_text("utf-8"))
    for name, table in {"panel": genres(found), "beyond": beyond(found)}.items():
        text = re.sub(
            rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", lambda m, t=table: f"{m[1]}{t}\n{m[2]}", text, flags=re.DOTALL
        )
    return text


def genres(found: dict[str, Any]) -> str:
    """Every model's ratio to the original and divergence from it, by genre."""
    (_, original), *others = found["models"].items()
    header = "".join(f" `{name}` | KL |" for name, _ in others)
    lines = [f"| genre | original, perplexity |{header}", "| --- " * (2 + 2 * len(others)) + "|"]
    for genre, title in found["genres"].items():
        cells = "".join(f" {beside(one['genres'][genre])} |" for _, one in others)
        lines.append(f"| {title} | {original['genres'][genre]['perplexity']:.2f} |{cells}")
    lines.append("| geometric mean | |" + "".join(f" {beside(one)} |" for _, one in others))
    how = (
        f"Times the original's perplexity, with the 95 % interval, on the first {found['tokens']:,} tokens of each "
        f"text in windows of {found['length']:,}; KL is that of the original from the model, in nats per token."
    )
    return "\n".join([*lines, "", how])


def beyond(found: dict[str, Any]) -> str:
    """What models repeat, and what they find in their context."""
    models = found["models"].values()
    lines = [f"| | {' | '.join(map(label, found['models']))} |", "| --- " * (1 + len(models)) + "|"]
    lines.append(f"| repeated 4-grams, greedy | {' | '.join(percent(one['repeated']) for one in models)} |")
    for place, first in enumerate(next(iter(models))["copying"]):
        cells = " | ".join(percent(one["copying"][place]["accuracy"]) for one in models)
        lines.append(f"| copied over {first['distance']} tokens | {cells} |")
    return "\n".join(lines)


def beside(one: dict[str, Any]) -> str:
    """A ratio with its interval, and a divergence."""
    spread = "" if one["interval"] is None else " ({:.2f} to {:.2f})".format(*one["interval"])
    return f"×{one['ratio']:.2f}{spread} | {one['divergence']:.2f}"


def label(name: str) -> str:
    """A model's name as a heading."""
    return name if name == "original" else f"`{name}`"


def percent(share: float) -> str:
    """A share in %."""
    return f"{100 * share:.1f} %"


if __name__ == "__main__":
    for path in PAGES:
        path.write_text(page(path.read_text("utf-8")), "utf-8")
