"""`gaincell evaluate --tasks`."""

import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from gaincell.cli import options, screen


def evaluate_tasks(
    model: str,
    tasks: str,
    *,
    also: Sequence[str],
    limit: int | None,
    online: bool,
    batch: int,
    out: Path | None,
    json: bool,
) -> None:
    """Score a model, its original and others on the same items, and show how they compare."""
    from gaincell.evaluate.tasks import parse_tasks, require_harness

    chosen = parse_tasks(tasks)
    require_harness()
    if out is not None:
        options.check_out(out)
    began = time.monotonic()
    from gaincell.evaluate.tasks.run import evaluate_tasks as evaluate
    from gaincell.models.adapter import is_adapter

    adapters = [name for name in (model, *also) if is_adapter(name)]
    names = {"original": "demo"} if adapters else {}
    names |= {"original" if name == "demo" else Path(name).stem: name for name in (model, *also)}
    if out is None:
        screen.say("note: nothing is kept; with --out FOLDER an interrupted run goes on where it was")
    with screen.stages() as progress:
        found = evaluate(
            {label: partial(options.load_model, name) for label, name in names.items()},
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
    screen.show_table(("task", "items", *names), [*map(_row, found["tasks"].values()), _row(found["average"])])
    for line in _comparisons(found):
        screen.show(line)


def _row(task: dict[str, Any]) -> tuple[str, ...]:
    models = task.get("models", task)
    scores = [f"{100 * one['accuracy']:.1f} ± {100 * one['stderr']:.1f}" for one in models.values()]
    return task.get("title", "average"), str(task.get("items", "")), *scores


def _comparisons(found: dict[str, Any]) -> list[str]:
    lines = []
    for name in found["models"][1:]:
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
