"""The paper's tasks by name."""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.util import find_spec

from gaincell.errors import InputError


@dataclass(frozen=True)
class Task:
    """One task.

    Attributes:
        name: at the command line and in files.
        title: in reports.
        harness: what lm-evaluation-harness calls its own.
        folder: where that lies among the harness's tasks.
        chance: accuracy of guessing; None of a task whose figure is a perplexity.
    """

    name: str
    title: str
    harness: str
    folder: str
    chance: float | None

    @property
    def is_perplexity(self) -> bool:
        """Whether its figure is a perplexity; such texts come from the hub alone."""
        return self.chance is None


#: Table 1 of Leroux et al. 2025. Its average is of the accuracies.
TASKS = {
    task.name: task
    for task in (
        Task("arc_easy", "ARC-Easy", "arc_easy", "arc", 0.25),
        Task("arc_challenge", "ARC-Challenge", "arc_challenge", "arc", 0.25),
        Task("winogrande", "WinoGrande", "winogrande", "winogrande", 0.5),
        Task("hellaswag", "HellaSwag", "hellaswag", "hellaswag", 0.25),
        Task("lambada", "LAMBADA", "lambada_openai", "lambada", 0.0),
        Task("piqa", "PIQA", "piqa", "piqa", 0.5),
        Task("wikitext", "WikiText-2", "wikitext", "wikitext", None),
    )
}


def paper_tasks(*, online: bool = False) -> tuple[str, ...]:
    """The paper's tasks: all of them, or those that need no hub."""
    return tuple(name for name, task in TASKS.items() if online or not task.is_perplexity)


def parse_tasks(text: str, *, online: bool = False) -> tuple[str, ...]:
    """Names out of a comma-separated list; "paper" stands for all that there are, on the hub or without it.

    Raises:
        InputError: a name that is no task's, one that needs the hub, or no name at all.
    """
    names: list[str] = []
    for name in filter(None, (part.strip() for part in text.split(","))):
        if name != "paper" and name not in TASKS:
            near = difflib.get_close_matches(name, ["paper", *TASKS], n=1, cutoff=0.5)
            meant = f"did you mean {near[0]}? " if near else ""
            raise InputError(f"there is no task '{name}': {meant}There are paper (all), {', '.join(TASKS)}.")
        names += paper_tasks(online=online) if name == "paper" else [name]
    refuse_offline(names, online=online)
    if not names:
        raise InputError(f"no task is named; give paper (all) or some of {', '.join(TASKS)}.")
    return tuple(dict.fromkeys(names))


def refuse_offline(names: Iterable[str], *, online: bool) -> None:
    """Refuse tasks whose data comes from the hub alone, where that is not asked.

    Raises:
        InputError: there is one.
    """
    for name in names:
        if TASKS[name].is_perplexity and not online:
            raise InputError(
                f"{name} comes from the hub alone: add --online, or take the perplexity of another text with --text in "
                "place of --tasks."
            )


def require_harness() -> None:
    """Refuse where the harness is not installed.

    Raises:
        InputError: it is not.
    """
    if find_spec("lm_eval") is None:
        raise InputError("tasks need lm-evaluation-harness; pip install 'gaincell[tasks]'.")
