"""Entries of the paper as steps of a run: what was found stays found, and each leaves its figure."""

from functools import partial
from pathlib import Path
from typing import Any

from gaincell.errors import InputError
from gaincell.hardware.measure_gpu import load_measurement
from gaincell.progress import Listener, Progress
from gaincell.report.plots import can_plot, write_plot
from gaincell.reproduce import choose
from gaincell.reproduce.authors_data import Reference
from gaincell.reproduce.context import Context
from gaincell.reproduce.entry import Entry, UnavailableError
from gaincell.study.steps import Record, Step, run_steps


def run_entries(
    entries: str,
    out: Path,
    *,
    items: int = 60,
    reference: Path | None = None,
    compare: Path | None = None,
    listener: Listener | None = None,
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Run or finish entries in a folder; returns what they found, and what could not be run here and why.

    Args:
        entries: "all", or names with commas between.
        out: the run folder; figures are written into it.
        items: of every task of table1.
        reference: the authors' released data, where the user has it.
        compare: a file of `gaincell measure-gpu`, for fig5.
        listener: is told which entry it is, and how far.

    Raises:
        InputError: an unknown entry, a damaged file, or none of the entries can be run here.
    """
    chosen = choose(entries)
    gpu = None if compare is None else load_measurement(compare)
    known = None if reference is None else Reference(reference)
    context = Context(out, items=items, reference=known, gpu=gpu)
    record = Record(out / "results.json", {})
    steps = {entry.name: _step(entry, context) for entry in chosen}
    skipped = run_steps(list(steps.values()), record, listener, (UnavailableError,))
    if len(skipped) == len(steps):
        raise InputError(str(next(iter(skipped.values()))))
    done = [entry for entry in chosen if steps[entry.name].name not in skipped]
    left_out = [entry for entry in chosen if entry not in done]
    return (
        [_described(entry, context, record) for entry in done],
        [{"name": entry.name, "why": str(skipped[steps[entry.name].name])} for entry in left_out],
    )


def _step(entry: Entry, context: Context) -> Step:
    """An entry as a step that leaves its figure."""
    files = (_figure(entry, context),) if can_plot() else ()
    return Step(entry.key(context), f"{entry.name}: {entry.title}", partial(_run, entry, context), files)


def _figure(entry: Entry, context: Context) -> Path:
    return context.folder / f"{entry.key(context)}.svg"


def _run(entry: Entry, context: Context, progress: Progress) -> dict[str, Any]:
    context.progress = progress
    found = entry.run(context)
    if found.figure:
        write_plot(found.figure, _figure(entry, context))
    return found.to_dict()


def _described(entry: Entry, context: Context, record: Record) -> dict[str, Any]:
    """A finished entry with what it found."""
    name, figure = entry.key(context), _figure(entry, context)
    return {
        "name": entry.name,
        "title": entry.title,
        "compares": entry.compares,
        **record.result(name),
        "seconds": record.seconds(name),
        "figure": str(figure) if figure.exists() else None,
    }
