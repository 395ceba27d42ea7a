"""The paper's tasks by name."""

import difflib
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
        chance: accuracy of guessing.
    """

    name: str
    title: str
    harness: str
    chance: float


#: Table 1 of Leroux et al. 2025, but for WikiText-2, which is a perplexity.
TASKS = {
    task.name: task
    for task in (
        Task("arc_easy", "ARC-Easy", "arc_easy", 0.25),
        Task("arc_challenge", "ARC-Challenge", "arc_challenge", 0.25),
        Task("winogrande", "WinoGrande", "winogrande", 0.5),
        Task("hellaswag", "HellaSwag", "hellaswag", 0.25),
        Task("lambada", "LAMBADA", "lambada_openai", 0.0),
        Task("piqa", "PIQA", "piqa", 0.5),
    )
}


def parse_tasks(text: str) -> tuple[str, ...]:
    """Names out of a comma-separated list; "paper" stands for all.

    Raises:
        InputError: a name that is no task's, or no name at all.
    """
    names: list[str] = []
    for name in filter(None, (part.strip() for part in text.split(","))):
        if name != "paper" and name not in TASKS:
            near = difflib.get_close_matches(name, ["paper", *TASKS], n=1, cutoff=0.5)
            meant = f"did you mean {near[0]}? " if near else ""
            raise InputError(f"there is no task '{name}': {meant}There are paper (all), {', '.join(TASKS)}.")
        names += TASKS if name == "paper" else [name]
    if not names:
        raise InputError(f"no task is named; give paper (all) or some of {', '.join(TASKS)}.")
    return tuple(dict.fromkeys(names))


def require_harness() -> None:
    """Refuse where the harness is not installed.

    Raises:
        InputError: it is not.
    """
    if find_spec("lm_eval") is None:
        raise InputError("tasks need lm-evaluation-harness; pip install 'gaincell[tasks]'.")
