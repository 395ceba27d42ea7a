"""`gaincell evaluate --tasks`."""

import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gaincell.cli import screen

if TYPE_CHECKING:
    from gaincell.study.models import Load


def evaluate_tasks(
    models: Sequence[str],
    tasks: str,
    *,
    limit: int | None,
    online: bool,
    batch: int,
    out: Path | None,
    load: "Load",
    json: bool,
) -> None:
    """Score models, and the original of adapters, on the same items, and show how they compare."""
    from gaincell.evaluate.tasks import parse_tasks, require_harness
    from gaincell.study.models import labels

    chosen = parse_tasks(tasks, online=online)
    require_harness()
    began = time.monotonic()
    from gaincell.evaluate.tasks.run import evaluate_tasks as evaluate

    names = labels(models)
    if out is None:
        screen.say("note: nothing is kept; with --out FOLDER an interrupted run goes on where it was")
    loaders = {label: partial(load, name) for label, name in names.items()}
    how = {"items": limit, "online": online, "batch": batch, "out": out}
    with screen.stages() as progress:
        found = evaluate(loaders, tasks=chosen, **how, progress=progress)
    if json:
        screen.show_json({**found, "seconds": time.monotonic() - began})
        return
    accuracies = [*map(_row, found["tasks"].values()), _row(found["average"])] if found["tasks"] else []
    screen.show_table(("task", "items", *names), [*accuracies, *map(_text_row, found["perplexities"].values())])
    for line in _comparisons(found):
        screen.show(line)


def _row(task: dict[str, Any]) -> tuple[str, ...]:
    models = task.get("models", task)
    scores = [f"{100 * one['accuracy']:.1f} ± {100 * one['stderr']:.1f}" for one in models.values()]
    return task.get("title", "average"), str(task.get("items", "")), *scores


def _text_row(text: dict[str, Any]) -> tuple[str, ...]:
    from gaincell.report.numbers import number

    scores = [number(one["word_perplexity"]) for one in text["models"].values()]
    return f"{text['title']}, perplexity by word", str(text["items"]), *scores


def _comparisons(found: dict[str, Any]) -> list[str]:
    lines = []
    for name in found["models"][1:]:
        for text in found["perplexities"].values():
            one = text["models"][name]
            spread = one["interval"]
            sure = "one text alone" if spread is None else f"95 % interval {spread[0]:.3f} to {spread[1]:.3f}"
            lines.append(f"{name}: {one['ratio']:.3f} times the perplexity on {text['title']}, {sure}")
        if not found["tasks"]:
            continue
        one = found["average"][name]
        low, high = (100 * edge for edge in one["interval"])
        lines.append(
            f"{name}: {100 * one['difference']:+.1f} points on average, 95 % interval {low:+.1f} to {high:+.1f}"
        )
        for task in found["tasks"].values():
            one = task["models"][name]
            low, high = (100 * edge for edge in one["interval"])
            lines.append(
                f"  {task['title']}: {100 * one['difference']:+.1f} ({low:+.1f} to {high:+.1f}), McNemar's p "
                f"{one['mcnemar_p']:.2g}; right alone: {found['models'][0]} {one['only_original']}, "
                f"{name} {one['only_this']}"
            )
    return lines
