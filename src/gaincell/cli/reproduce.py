"""`gaincell reproduce`."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gaincell.cli import options, screen
from gaincell.cli.record import Record, Step, run_steps
from gaincell.errors import InputError

if TYPE_CHECKING:
    from gaincell.cli.screen import Stages
    from gaincell.reproduce import Context, Entry


def reproduce(
    entries: Annotated[
        str,
        typer.Argument(
            metavar="LIST",
            help="all, or some of fig1, fig2, subtile, fig4c, fig4d, fig5 and table1, with commas between.",
        ),
    ] = "all",
    out: Annotated[Path, typer.Option("--out", help="Run folder; a run in it that was cut short goes on.")] = Path(
        "runs/reproduce"
    ),
    items: Annotated[int, typer.Option("--items", min=1, help="Items of every task of table1.")] = 60,
    reference: Annotated[
        Path | None, typer.Option("--reference", metavar="DIR", help="The authors' released data, where you have it.")
    ] = None,
    compare: Annotated[
        Path | None, typer.Option("--compare", help="A file of 'gaincell measure-gpu', for fig5.")
    ] = None,
    json: options.Json = False,
) -> None:
    """Reproduce the paper's figures and tables.

    Each entry prints the published value, ours, their ratio, and how far the comparison reaches, and draws its figure
    into OUT. What takes hours of learning is read from a record that ships; everything else is computed here.
    """
    from gaincell.reproduce import Context, Reference, choose

    chosen = choose(entries)
    options.check_out(out)
    gpu = None
    if compare is not None:
        from gaincell.hardware.measure import load_measurement

        gpu = load_measurement(compare)
    known = None if reference is None else Reference(reference)
    screen.quiet_transformers()
    context = Context(out, items=items, reference=known, gpu=gpu)
    record = Record(out / "results.json", {})
    steps = [step_of(entry, context) for entry in chosen]
    from gaincell.reproduce import UnavailableError

    skipped = run_steps(steps, record, (UnavailableError,))
    if len(skipped) == len(steps):
        raise InputError(str(next(iter(skipped.values()))))
    found = [
        described(entry, context, record) for entry, step in zip(chosen, steps, strict=True) if step.name not in skipped
    ]
    if json:
        left_out = [
            {"name": entry.name, "why": str(skipped[step.name])}
            for entry, step in zip(chosen, steps, strict=True)
            if step.name in skipped
        ]
        screen.show_json({"out": str(out), "entries": found, "left_out": left_out})
        return
    for entry in found:
        show(entry)
    screen.show(f"{sum(entry['seconds'] for entry in found):.0f} s in all; figures and every row: {out}")


def step_of(entry: "Entry", context: "Context") -> Step:
    """An entry as a step that leaves its figure."""
    from gaincell.report.plots import can_plot

    figure = figure_of(entry, context)
    return Step(
        entry.key(context),
        f"{entry.name}: {entry.title}",
        partial(_run, entry, context, figure),
        (figure,) if can_plot() else (),
    )


def figure_of(entry: "Entry", context: "Context") -> Path:
    """Where an entry's figure lies."""
    return context.folder / f"{entry.key(context)}.svg"


def _run(entry: "Entry", context: "Context", figure: Path, progress: "Stages") -> dict[str, Any]:
    from gaincell.aside import written_aside
    from gaincell.report.plots import as_file

    context.progress = progress
    found = entry.run(context)
    if found.figure:
        with written_aside(figure) as aside:
            aside.write_text(as_file(found.figure), "utf-8")
    return found.to_dict()


def described(entry: "Entry", context: "Context", record: Record) -> dict[str, Any]:
    """A finished entry with what it found."""
    name, figure = entry.key(context), figure_of(entry, context)
    return {
        "name": entry.name,
        "title": entry.title,
        "compares": entry.compares,
        **record.result(name),
        "seconds": record.seconds(name),
        "figure": str(figure) if figure.exists() else None,
    }


def show(entry: dict[str, Any]) -> None:
    """An entry on stdout."""
    from gaincell.report.numbers import number, unit

    rows = [
        (row["quantity"], number(row["published"]), number(row["ours"]), number(row["ratio"], 3), unit(row["unit"]))
        for row in entry["rows"]
    ]
    title = f"{entry['name']}: {entry['title']} ({entry['seconds']:.0f} s)"
    screen.show(entry["compares"])
    screen.show_table(("", "published", "ours", "ours / published", "unit"), rows, title)
    screen.show(f"{entry['reach']}\n")
