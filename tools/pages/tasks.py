"""Accuracy on tasks, from docs/data/tasks.json: docs/tasks.md.

gaincell evaluate extended --also leroux2025 --tasks paper --limit 500 --out FOLDER
python -m tools.pages tasks FOLDER
"""

import math
from typing import Any

from tools.pages.data import kept
from tools.pages.markdown import label, table

#: In %, from the model card of SmolLM2-135M-Instruct (HuggingFaceTB); which accuracy it means is not said there.
PUBLISHED = {"hellaswag": 40.9, "piqa": 66.3}


def contents(folder: str | None = None) -> dict[str, str]:
    """The tables of a run, by default of the one that was kept last."""
    found = kept("tasks.json", folder)
    return {"accuracy": accuracy(found), "differences": differences(found), "scorer": scorer(found)}


def accuracy(found: dict[str, Any]) -> str:
    """Accuracy and standard error of every model, in %."""
    names, tasks = found["models"], found["tasks"].values()
    rows = [
        (task["title"], f"{task['items']:,}", f"{100 * task['chance']:.0f}", *(score(task["models"][x]) for x in names))
        for task in tasks
    ]
    chance = sum(task["chance"] for task in tasks) / len(tasks)
    mean = " | ".join((f"{100 * chance:.0f}", *(score(found["average"][name]) for name in names)))
    return f"{table(('task', 'items', 'chance', *map(label, names)), rows)}\n| average | | {mean} |"


def differences(found: dict[str, Any]) -> str:
    """What each model gains or loses against the first, in points."""
    names = found["models"][1:]
    columns = ("task", *(column for name in names for column in (label(name), "McNemar's p")))
    rows = []
    for task in found["tasks"].values():
        own = [task["models"][name] for name in names]
        rows.append((task["title"], *(cell for one in own for cell in (points(one), f"{one['mcnemar_p']:.2g}"))))
    mean = " | ".join(f"{points(found['average'][name])} | " for name in names)
    return f"{table(columns, rows)}\n| average | {mean}|"


def scorer(found: dict[str, Any]) -> str:
    """The original model as its makers scored it, and as we do."""
    rows = []
    for name, published in PUBLISHED.items():
        task = found["tasks"][name]
        one = task["models"][found["models"][0]]
        norm = one["accuracy_norm"]
        stderr = math.sqrt(norm * (1 - norm) / (task["items"] - 1))
        normalised = {"accuracy": norm, "stderr": stderr}
        rows.append((task["title"], str(published), score(one), score(normalised)))
    return table(("the original", "published", "accuracy", "length-normalised"), rows)


def score(one: dict[str, Any]) -> str:
    """Accuracy ± standard error, in %."""
    return f"{100 * one['accuracy']:.1f} ± {100 * one['stderr']:.1f}"


def points(one: dict[str, Any]) -> str:
    """A difference with its 95 % interval, in points."""
    low, high = (100 * edge for edge in one["interval"])
    return f"{100 * one['difference']:+.1f} ({low:+.1f} to {high:+.1f})"
