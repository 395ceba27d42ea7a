"""`gaincell evaluate --tasks`."""

import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

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
    from gaincell.report import tables
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
    screen.show_table(*tables.task_scores(found))
    for line in tables.task_comparisons(found):
        screen.show(line)
