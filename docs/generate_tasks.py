"""Write the tables of docs/tasks.md, and the README's, from docs/tasks.json.

gaincell evaluate extended --also leroux2025 --tasks paper --limit 500 --out FOLDER
cp FOLDER/tasks.json docs/; python docs/generate_tasks.py
"""

import json
import math
import re
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parent
PAGES = (DOCS / "tasks.md", DOCS.parent / "README.md")

#: In %, from the model card of SmolLM2-135M-Instruct (HuggingFaceTB); which accuracy it means is not said there.
PUBLISHED = {"hellaswag": 40.9, "piqa": 66.3}


def page(text: str) -> str:
    """A page's text with its tables anew."""
    found = json.loads((DOCS / "tasks.json").read_text("utf-8"))
    tables = {"accuracy": accuracy(found), "differences": differences(found), "scorer": scorer(found)}
    for name, table in tables.items():
        text = re.sub(
            rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", lambda m, t=table: f"{m[1]}{t}\n{m[2]}", text, flags=re.DOTALL
        )
    return text


def accuracy(found: dict[str, Any]) -> str:
    """Accuracy and standard error of every model, in %."""
    names = found["models"]
    lines = [f"| task | items | chance | {' | '.join(map(label, names))} |", "| --- " * (3 + len(names)) + "|"]
    for task in found["tasks"].values():
        cells = [score(task["models"][name]) for name in names]
        lines.append(f"| {task['title']} | {task['items']:,} | {100 * task['chance']:.0f} | {' | '.join(cells)} |")
    chance = sum(task["chance"] for task in found["tasks"].values()) / len(found["tasks"])
    cells = [score(found["average"][name]) for name in names]
    return "\n".join([*lines, f"| average | | {100 * chance:.0f} | {' | '.join(cells)} |"])


def differences(found: dict[str, Any]) -> str:
    """What each model gains or loses against the first, in points."""
    names = found["models"][1:]
    header = "".join(f" {label(name)} | McNemar's p |" for name in names)
    lines = [f"| task |{header}", "| --- " * (1 + 2 * len(names)) + "|"]
    for task in found["tasks"].values():
        cells = [f"{points(task['models'][name])} | {task['models'][name]['mcnemar_p']:.2g}" for name in names]
        lines.append(f"| {task['title']} | {' | '.join(cells)} |")
    cells = [f"{points(found['average'][name])} | " for name in names]
    return "\n".join([*lines, f"| average | {' | '.join(cells)}|"])


def scorer(found: dict[str, Any]) -> str:
    """The original model as its makers scored it, and as we do."""
    lines = ["| the original | published | accuracy | length-normalised |", "| --- " * 4 + "|"]
    for name, published in PUBLISHED.items():
        task = found["tasks"][name]
        one = task["models"][found["models"][0]]
        norm = one["accuracy_norm"]
        stderr = math.sqrt(norm * (1 - norm) / (task["items"] - 1))
        lines.append(f"| {task['title']} | {published} | {score(one)} | {100 * norm:.1f} ± {100 * stderr:.1f} |")
    return "\n".join(lines)


def label(name: str) -> str:
    """A model's name as a heading."""
    return name if name == "original" else f"`{name}`"


def score(one: dict[str, Any]) -> str:
    """Accuracy ± standard error, in %."""
    return f"{100 * one['accuracy']:.1f} ± {100 * one['stderr']:.1f}"


def points(one: dict[str, Any]) -> str:
    """A difference with its 95 % interval, in points."""
    low, high = (100 * edge for edge in one["interval"])
    return f"{100 * one['difference']:+.1f} ({low:+.1f} to {high:+.1f})"


if __name__ == "__main__":
    for path in PAGES:
        path.write_text(page(path.read_text("utf-8")), "utf-8")
