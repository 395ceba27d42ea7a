"""`gaincell evaluate --tasks`."""

import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from gaincell.cli import options, screen
from gaincell.errors import InputError


def evaluate_tasks(
    model: str,
    tasks: str,
    *,
    also: Sequence[str],
    limit: int | None,
    online: bool,
    batch: int,
    out: Path | None,
    device: str,
    json: bool,
) -> None:
    """Score a model, its original and others on the same items, and show how they compare."""
    from gaincell.evaluate.tasks import parse_tasks, require_harness

    chosen = parse_tasks(tasks, online=online)
    require_harness()
    if out is not None:
        options.check_out(out)
    began = time.monotonic()
    from gaincell.evaluate.tasks.run import evaluate_tasks as evaluate

    names = labels((model, *also))
    if out is None:
        screen.say("note: nothing is kept; with --out FOLDER an interrupted run goes on where it was")
    with screen.stages() as progress:
        found = evaluate(
            {label: partial(options.load_model, name, device) for label, name in names.items()},
            tasks=chosen,
            items=limit,
            online=online,
            batch=batch,
            out=out,
            progress=progress,
        )
    if json:
        screen.show_json({**found, "seconds": time.monotonic() - began})
        return
    accuracies = [*map(_row, found["tasks"].values()), _row(found["average"])] if found["tasks"] else []
    screen.show_table(("task", "items", *names), [*accuracies, *map(_text_row, found["perplexities"].values())])
    for line in _comparisons(found):
        screen.show(line)


def labels(given: Sequence[str]) -> dict[str, str]:
    """What each model is called, and what it is loaded by; adapters have their original before them.

    Raises:
        InputError: a model that cannot be one, or two that would have one name.
    """
    from gaincell.models.adapter import is_adapter
    from gaincell.models.load import check_model

    names = {"original": "demo"} if any(map(is_adapter, given)) else {}
    for name in dict.fromkeys(given):
        path = Path(name)
        if is_adapter(name):
            label = path.stem
        elif name == "demo":
            label = "original"
        else:
            last = path.resolve().parts[-2:] if path.exists() else (path.name,)
            label = "-".join(last) if last[-1] == "model" else last[-1]  # a run's model lies in its folder
        if names.get(label, name) != name:
            raise InputError(f"'{names[label]}' and '{name}' would both be called '{label}'; rename one.")
        names[label] = name
    for name in given:  # all of them, before hours go into the first
        check_model(name)
    return names


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
