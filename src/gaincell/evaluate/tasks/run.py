"""The harness's tasks on several models, and the models compared."""

import errno
import json
import logging
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path
from typing import Any
from unittest.mock import patch

import lm_eval.tasks
from datasets.exceptions import DatasetsError
from huggingface_hub import constants, get_session
from huggingface_hub.errors import HTTPError  # pyright: ignore[reportPrivateImportUsage] # of whichever library it uses
from lm_eval import simple_evaluate
from lm_eval.tasks import TaskManager
from lm_eval.utils import handle_non_serializable
from transformers import PreTrainedModel

from gaincell.atomic import written_aside
from gaincell.errors import InputError
from gaincell.evaluate.model_identity import identity
from gaincell.evaluate.tasks.names import TASKS, Task, paper_tasks, refuse_offline
from gaincell.evaluate.tasks.paired import Z95, compare, compare_texts
from gaincell.evaluate.tasks.scorer import Answers, Scorer
from gaincell.progress import Progress

#: Grows when tasks.json changes its form.
VERSION = 1

_simple_evaluate: Any = simple_evaluate  # a decorator hides its type
_OFFLINE = resources.files("gaincell.evaluate.tasks") / "offline"
_ONLINE = Path(lm_eval.tasks.__file__).parent
#: Of a disk that is full, and of folders that are closed.
_HERE = {errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS}
#: The harness asks for a manager even of tasks that are loaded.
_NO_OTHERS = TaskManager(include_defaults=False)

Loader = Callable[[], tuple[PreTrainedModel, Any]]


@dataclass(frozen=True)
class _Scored:
    right: list[bool]
    accuracy: float
    stderr: float
    accuracy_norm: float | None


@dataclass(frozen=True)
class _Read:
    likelihoods: list[float]  # of whole texts, in nats
    words: list[int]
    perplexities: dict[str, float]


def evaluate_tasks(
    models: Mapping[str, Loader],
    *,
    tasks: Sequence[str] | None = None,
    items: int | None = None,
    online: bool = False,
    batch: int = 16,
    seed: int = 0,
    out: Path | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Score models on the same items of the paper's tasks, and compare each with the first.

    Args:
        models: what each is called, and a call that loads it with its tokenizer. One is in memory at a time.
        tasks: names out of `TASKS`; all that there are on the hub, or without it, by default.
        items: how many of each task's items, of WikiText-2 articles, drawn with `seed`; a smaller number draws a part
            of what a larger one does. None takes all.
        online: take the harness's own tasks from the hub, not the local ones (`items`); prompts are the same.
        batch: requests a forward pass.
        seed: of the draw.
        out: a folder that keeps answers as they come (what is there is not computed again), tasks.json, and each
            model's results as the harness reports them.
        progress: called with (model's name, answers there, answers in all).

    Returns:
        What tasks.json holds: `tasks`, by name, each with its number of items and every model's accuracy, standard
        error, and, but for the first model, its paired difference (see `compare`); the same of their `average`, empty
        without tasks; and `perplexities`, by name, of WikiText-2: every model's, by word and by byte, and its ratio to
        the first model's (see `compare_texts`).

    Raises:
        InputError: items that cannot be fetched, a task that needs the hub without `online`, a tokenizer without a
            token for WikiText-2's texts to begin with, or an `out` that holds another run's answers.
        OSError, MemoryError: the disk is full or a folder cannot be written to, or the memory does not suffice.
    """
    tasks = paper_tasks(online=online) if tasks is None else tasks
    refuse_offline(tasks, online=online)
    with _quiet_harness():
        found_tasks = _load([TASKS[task] for task in tasks], online)
    chosen = {name: _draw(len(task.eval_docs), items, seed) for name, task in found_tasks.items()}
    scored: dict[str, dict[str, Any]] = {}
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
            _check_prefix(name, scorer, tasks)
            scored[name], report = _score(scorer, found_tasks, chosen)
        if out is not None:
            _write(out / f"harness-{name}.json", report)
        del model, scorer
    rows = {task: [(name, scored[name][task]) for name in models] for task in tasks}
    found = {
        "version": VERSION,
        "items_asked": items,
        "online": online,
        "seed": seed,
        "models": list(models),
        "tasks": {task: _one_task(TASKS[task], rows[task]) for task in tasks if not TASKS[task].is_perplexity},
        "perplexities": {task: _one_text(TASKS[task], rows[task]) for task in tasks if TASKS[task].is_perplexity},
    }
    found["average"] = _average(found["tasks"], list(models)) if found["tasks"] else {}
    if out is not None:
        _write(out / "tasks.json", found)
    return found


def _check_prefix(name: str, scorer: Scorer, tasks: Sequence[str]) -> None:
    if scorer.prefix_token_id is None and any(TASKS[task].is_perplexity for task in tasks):
        raise InputError(
            f"{name}: its tokenizer names neither a first nor a last token of texts, and WikiText-2's are read after "
            "one; name a bos_token in tokenizer_config.json, or leave wikitext out."
        )


def _load(tasks: Sequence[Task], online: bool) -> dict[str, Any]:
    """The harness's tasks, with their data, by our names.

    Raises:
        InputError: data that cannot be fetched.
    """
    if not online:
        names = {task.name: f"gaincell_{task.name}" for task in tasks}
        return _loaded(TaskManager(include_path=str(_OFFLINE), include_defaults=False), names)
    # Of the harness's thousands of tasks these folders alone: to read all of them takes a minute.
    folders: list[str | Path] = [*dict.fromkeys(_ONLINE / task.folder for task in tasks)]
    manager = TaskManager(include_path=folders, include_defaults=False)
    # Offline, what was fetched before is found at once; else the hub would be asked for half a minute, file by file.
    with nullcontext() if _hub_answers() else patch("huggingface_hub.constants.HF_HUB_OFFLINE", True):
        found: dict[str, Any] = {}
        for task in tasks:
            try:
                found |= _loaded(manager, {task.name: task.harness})
            except (DatasetsError, HTTPError, OSError, ValueError) as error:  # the last of what is not in the cache
                if (fault := _fault_here(error)) is not None:
                    raise fault from None
                first = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
                instead = "" if task.is_perplexity else ", or leave --online out"
                raise InputError(
                    f"the data of {task.title} cannot be had from the hub ({first:.160}); check the network{instead}."
                ) from error
    return found


def _fault_here(error: BaseException | None) -> BaseException | None:
    """What this machine lacks, where that is behind an error: data sets wrap it in their own."""
    while error is not None:
        if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno in _HERE):
            return error
        error = error.__cause__
    return None


def _loaded(manager: TaskManager, names: Mapping[str, str]) -> dict[str, Any]:
    found = manager.load(list(names.values()))["tasks"]
    return {name: found[harness] for name, harness in names.items()}


def _hub_answers() -> bool:
    try:
        get_session().head(constants.ENDPOINT, timeout=10)
    except Exception:  # the hub's own, httpx's, the operating system's
        return False
    return True


def _score(
    scorer: Scorer, tasks: Mapping[str, Any], chosen: Mapping[str, list[int]]
) -> tuple[dict[str, _Scored | _Read], dict[str, Any]]:
    samples = {task.task_name: chosen[name] for name, task in tasks.items()}
    results = _simple_evaluate(
        scorer, tasks=list(tasks.values()), task_manager=_NO_OTHERS, samples=samples, bootstrap_iters=0
    )
    scored: dict[str, _Scored | _Read] = {}
    for name, task in tasks.items():
        row = results["results"][task.task_name]
        answers = sorted(results["samples"][task.task_name], key=lambda sample: sample["doc_id"])
        scored[name] = _read(answers, row) if TASKS[name].is_perplexity else _scored(answers, row)
    return scored, {key: value for key, value in results.items() if key != "samples"}


def _scored(samples: Sequence[Any], row: Mapping[str, Any]) -> _Scored:
    right = [bool(sample["acc"]) for sample in samples]
    accuracy = sum(right) / len(right)
    # of a mean of items that are 0 or 1, with one degree of freedom spent, as the harness has it
    stderr = (accuracy * (1 - accuracy) / max(1, len(right) - 1)) ** 0.5
    return _Scored(right, accuracy, stderr, row.get("acc_norm,none"))


def _read(samples: Sequence[Any], row: Mapping[str, Any]) -> _Read:
    likelihoods, words = zip(*(sample["word_perplexity"] for sample in samples), strict=True)
    kinds = ("word_perplexity", "byte_perplexity", "bits_per_byte")
    return _Read(list(likelihoods), list(words), {kind: float(row[f"{kind},none"]) for kind in kinds})


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


def _one_text(task: Task, read: Sequence[tuple[str, _Read]]) -> dict[str, Any]:
    _, original = read[0]
    models = {}
    for place, (name, one) in enumerate(read):
        models[name] = dict(one.perplexities)
        if place:
            models[name] |= asdict(compare_texts(original.likelihoods, one.likelihoods, original.words))
    return {"title": task.title, "metric": "word_perplexity", "items": len(original.words), "models": models}


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
