"""`tasks.json` of `gaincell evaluate --tasks`: how the original and adapted models do, with intervals."""

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from gaincell.errors import InputError, one_sentence

#: The version of the file that this reads.
VERSION = 1
_Z95 = 1.96


class Score(BaseModel):
    """One model on one task, or on average: accuracy, and for an adapted model its difference to the original.

    `interval` is the 95 % interval of the difference, of the same items; `only_original` and `only_this` count items
    that one of the two alone has right.
    """

    model_config = ConfigDict(allow_inf_nan=False)

    accuracy: float = Field(ge=0, le=1)
    stderr: float = Field(ge=0)
    difference: float | None = None
    interval: tuple[float, float] | None = None
    mcnemar_p: float | None = Field(None, ge=0, le=1)
    only_original: int | None = Field(None, ge=0)
    only_this: int | None = Field(None, ge=0)

    @property
    def bounds(self) -> tuple[float, float]:
        """95 % interval of the accuracy: so many standard errors to both sides."""
        return max(self.accuracy - _Z95 * self.stderr, 0.0), min(self.accuracy + _Z95 * self.stderr, 1.0)


class Task(BaseModel):
    """One task: what it is called, how it is scored, on how many items, and what guessing gives."""

    title: str
    metric: str
    items: int = Field(ge=1)
    chance: float | None = Field(None, ge=0, le=1)
    models: dict[str, Score]


class Perplexity(BaseModel):
    """One model on whole texts, and for an adapted model its ratio to the original, with a 95 % interval."""

    model_config = ConfigDict(allow_inf_nan=False)

    word_perplexity: float = Field(ge=1)
    ratio: float | None = Field(None, gt=0)
    interval: tuple[float, float] | None = None


class Texts(BaseModel):
    """Texts that are scored by perplexity: what they are called, how many, and the models."""

    title: str
    items: int = Field(ge=1)
    models: dict[str, Perplexity]


class Tasks(BaseModel):
    """All of `tasks.json`; `models` in the order to show them, the original first."""

    version: int
    items_asked: int | None = None
    models: list[str] = Field(min_length=1)
    tasks: dict[str, Task]
    average: dict[str, Score] = Field(default_factory=dict)
    perplexities: dict[str, Texts] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _complete(self) -> "Tasks":
        if not self.tasks and not self.perplexities:
            raise ValueError("there are no tasks in it")
        scored = {**self.tasks, **self.perplexities}
        for name, scores in [*((name, task.models) for name, task in scored.items()), ("average", self.average)]:
            absent = [model for model in self.models if model not in scores]
            if absent and (name != "average" or scores):
                raise ValueError(f"{name} has no '{absent[0]}'")
        return self


def read_tasks(path: Path) -> Tasks:
    """Read and check a file of tasks.

    Raises:
        InputError: missing, damaged, of another version, or with a field that is missing or impossible.
    """
    again = "score the tasks again with 'gaincell evaluate --tasks'"
    try:
        found: Any = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise InputError(f"tasks {path} cannot be read: {error.strerror}; check the path.") from None
    except (ValueError, RecursionError):
        raise InputError(f"{path} is damaged: it is not JSON; {again}.") from None
    version = found.get("version") if isinstance(found, dict) else None
    if version != VERSION:
        raise InputError(f"{path} is of version {version!r}, but this gaincell reads {VERSION}; {again}.")
    try:
        return Tasks.model_validate(found)
    except ValidationError as error:
        raise one_sentence(error, f"tasks {path}") from None


def page_data(tasks: Tasks) -> dict[str, Any] | None:
    """Rows for the page's plots, of accuracies; colours and shapes go by a model's place in `models`."""
    if not tasks.tasks:
        return None
    adapted = tasks.models[1:]

    def row(at: int, title: str, items: str, chance: float | None, scores: dict[str, Score], average: bool) -> Any:
        marks, differences = [], []
        for place, name in enumerate(tasks.models):
            score, (low, high) = scores[name], scores[name].bounds
            words = (
                f"{title}, {name}\n{100 * score.accuracy:.1f} % (95 %: {100 * low:.1f} to {100 * high:.1f})\n{items}"
            )
            marks.append({"model": place, "at": score.accuracy, "low": low, "high": high, "words": words})
            if score.difference is not None:
                low, high = score.interval or (None, None)
                about = "" if low is None or high is None else f" (95 %: {100 * low:+.1f} to {100 * high:+.1f})"
                words = f"{title}, {name}\n{100 * score.difference:+.1f} points{about}"
                differences.append(
                    {"model": place, "value": score.difference, "low": low, "high": high, "words": words}
                )
        return {
            "at": at,
            "title": title,
            "chance": chance,
            "average": average,
            "marks": marks,
            "differences": differences,
        }

    rows = [
        row(at, task.title, f"{task.items} items, {task.metric}", task.chance, task.models, average=False)
        for at, task in enumerate(tasks.tasks.values())
    ]
    if tasks.average:
        rows.append(row(len(rows), "Average", "of the tasks", None, tasks.average, average=True))
    return {"rows": rows, "models": tasks.models, "names": adapted}
