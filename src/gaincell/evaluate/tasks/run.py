"""The harness's tasks on several models, and the models compared."""

import json
import logging
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path
from typing import Any
from unittest.mock import patch

from lm_eval import simple_evaluate
from lm_eval.tasks import TaskManager
from lm_eval.utils import handle_non_serializable
from transformers import PreTrainedModel

from gaincell.aside import written_aside
from gaincell.evaluate.tasks.names import TASKS, Task
from gaincell.evaluate.tasks.paired import Z95, compare
from gaincell.evaluate.tasks.scorer import Answers, Scorer, identity

#: Grows when tasks.json changes its form.
VERSION = 1

_simple_evaluate: Any = simple_evaluate  # a decorator hides its type
_OFFLINE = resources.files("gaincell.evaluate.tasks") / "offline"

Loader = Callable[[], tuple[PreTrainedModel, Any]]


@dataclass(frozen=True)
class _Scored:
    right: list[bool]
    accuracy: float
    stderr: float
    accuracy_norm: float | None


def evaluate_tasks(
    models: Mapping[str, Loader],
    *,
    tasks: Sequence[str] = tuple(TASKS),
    items: int | None = None,
    online: bool = False,
    batch: int = 16,
    seed: int = 0,
    out: Path | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> dict[str, Any]:
    """Score models on the same items of the paper's tasks, and compare each with the first.

    Args:
        models: what each is called, and a call that loads it with its tokenizer. One is in memory at a time.
        tasks: names out of `TASKS`.
        items: how many of each task's items, drawn with `seed`; a smaller number draws a part of what a larger one
            does. None takes all.
        online: take the harness's own tasks from the hub, not the local ones (`items`); prompts are the same.
        batch: requests a forward pass.
        seed: of the draw.
        out: a folder that keeps answers as they come (what is there is not computed again), tasks.json, and each
            model's results as the harness reports them.
        progress: called with (model's name, answers there, answers in all).

    Returns:
        What tasks.json holds: `tasks`, by name, each with its number of items and every model's accuracy, standard
        error, and, but for the first model, its paired difference (see `compare`); and the same of the `average`.

    Raises:
        InputError: items that cannot be fetched, or an `out` that holds another run's answers.
    """
    scored: dict[str, dict[str, _Scored]] = {}
    for name, load in models.items():
        model, tokenizer = load()
        path = None if out is None else out / f"answers-{name}.jsonl"
        with Answers(path, identity(model)) as answers, _quiet_harness():
            scorer = Scorer(
                model,
                tokenizer,
                batch=batch,
                answers=answers,
                progress=None if progress is None else lambda done, asked, name=name: progress(name, done, asked),
            )
            scored[name], report = _score(scorer, [TASKS[task] for task in tasks], items, online, seed)
        if out is not None:
            _write(out / f"harness-{name}.json", report)
        del model, scorer
    found = {
        "version": VERSION,
        "items_asked": items,
        "online": online,
        "seed": seed,
        "models": list(models),
        "tasks": {task: _one_task(TASKS[task], [(name, scored[name][task]) for name in models]) for task in tasks},
    }
    found["average"] = _average(found["tasks"], list(models))
    if out is not None:
        _write(out / "tasks.json", found)
    return found


def _score(
    scorer: Scorer, tasks: Sequence[Task], items: int | None, online: bool, seed: int
) -> tuple[dict[str, _Scored], dict[str, Any]]:
    names = {task.name: task.harness if online else f"gaincell_{task.name}" for task in tasks}
    manager = TaskManager(include_path=None if online else str(_OFFLINE), include_defaults=online)
    found = manager.load(list(names.values()))["tasks"]
    chosen = {name: _draw(len(found[name].eval_docs), items, seed) for name in names.values()}
    results = _simple_evaluate(
        scorer, tasks=list(names.values()), task_manager=manager, samples=chosen, bootstrap_iters=0
    )
    scored = {}
    for task in tasks:
        row = results["results"][names[task.name]]
        samples = sorted(results["samples"][names[task.name]], key=lambda sample: sample["doc_id"])
        right = [bool(sample["acc"]) for sample in samples]
        accuracy = sum(right) / len(right)
        # of a mean of items that are 0 or 1, with one degree of freedom spent, as the harness has it
        stderr = (accuracy * (1 - accuracy) / max(1, len(right) - 1)) ** 0.5
        scored[task.name] = _Scored(right, accuracy, stderr, row.get("acc_norm,none"))
    return scored, {key: value for key, value in results.items() if key != "samples"}


def _draw(documents: int, items: int | None, seed: int) -> list[int]:
    order = list(range(documents))
    random.Random(seed).shuffle(order)
    return sorted(order[:items])


def _one_task(task: Task, scored: Sequence[tuple[str, _Scored]]) -> dict[str, Any]:
    _, original = scored[0]
    models = {}
    for place, (name, one) in enumerate(scored):
        models[name] = {"accuracy": one.accuracy, "stderr": one.stderr}
        if one.accuracy_norm is not None:
            models[name]["accuracy_norm"] = float(one.accuracy_norm)
        if place:
            models[name] |= asdict(compare(original.right, one.right))
    return {
        "title": task.title,
        "metric": "acc",
        "chance": task.chance,
        "items": len(original.right),
        "models": models,
    }


def _average(tasks: Mapping[str, Any], models: Sequence[str]) -> dict[str, Any]:
    """Unweighted means over tasks; errors add in squares, since tasks share no items."""
    average = {}
    for name in models:
        rows = [task["models"][name] for task in tasks.values()]
        average[name] = {
            "accuracy": sum(row["accuracy"] for row in rows) / len(rows),
            "stderr": sum(row["stderr"] ** 2 for row in rows) ** 0.5 / len(rows),
        }
        if name != models[0]:
            difference = sum(row["difference"] for row in rows) / len(rows)
            half = Z95 * sum(row["variance"] for row in rows) ** 0.5 / len(rows)
            average[name] |= {"difference": difference, "interval": (difference - half, difference + half)}
    return average


def _write(path: Path, content: Any) -> None:
    with written_aside(path) as aside:
        aside.write_text(json.dumps(content, indent=2, default=handle_non_serializable), "utf-8")


@contextmanager
def _quiet_harness() -> Iterator[None]:
    """Without what the harness logs of its own workings, and its bars."""
    logger = logging.getLogger("lm_eval")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with (
            patch("lm_eval.api.task.tqdm", lambda rows, **_: rows),
            patch("lm_eval.evaluator.get_git_commit_hash", lambda: None),  # of the folder one happens to be in
        ):
            yield
    finally:
        logger.setLevel(level)
