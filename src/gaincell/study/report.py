"""A report of what a user names: which run it is, where the page goes, and what writes it again."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from gaincell.progress import Listener
from gaincell.study.models import Load, load_model
from gaincell.study.report_steps import make_page
from gaincell.study.subject import find_subject

if TYPE_CHECKING:
    from gaincell.report import Report


def report_run(
    run: str,
    out: Path | None = None,
    *,
    sentence: str | None = None,
    tasks: Path | None = None,
    base: str = "demo",
    device: str = "cpu",
    load: Load | None = None,
    listener: Listener | None = None,
) -> "tuple[Report, Path]":
    """Write the page of a run or an adapter; returns what it shows and where it is.

    Args:
        run: a run folder of `gaincell adapt` or `gaincell demo`; or an adapter, by its shipped name or file.
        out: the page; by default report.html in the run folder, of an adapter in runs/.
        sentence: what attention maps are drawn of; by default one of ours.
        tasks: accuracy on tasks; by default the run folder's tasks.json, if any.
        base: what the original is loaded by that `run` was adapted from.
        device: where models run.
        load: gives a model there and its tokenizer, in place of `load_model`; called only if something is left to do.
        listener: is told which step it is, and how far.

    Raises:
        InputError: no such run or adapter, one that is unfinished, another original, or a damaged tasks.json.
    """
    given = {"--out": out, "--sentence": sentence, "--tasks": tasks}
    given |= {"--base": None if base == "demo" else base, "--device": None if device == "cpu" else device}
    named = [str(part) for name, value in given.items() if value is not None for part in (name, value)]
    subject = find_subject(run, base, load or (lambda name: load_model(name, device)))
    folder = subject.folder
    if out is None:
        out = Path("runs") / f"{Path(run).stem}.html" if folder is None else folder / "report.html"
    if tasks is None and folder is not None and (folder / "tasks.json").is_file():
        tasks = folder / "tasks.json"
    command = shlex.join(["gaincell", "report", run, *named])
    return make_page(subject, out, command, sentence=sentence, tasks=tasks, listener=listener), out
