"""`gaincell reproduce`."""

from pathlib import Path
from typing import Annotated

import typer

from gaincell.cli import options, screen


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
    from gaincell.report import tables
    from gaincell.reproduce.run import run_entries

    options.check_out(out)
    screen.quiet_transformers()
    found, left_out = run_entries(entries, out, items=items, reference=reference, compare=compare, listener=screen)
    if json:
        screen.show_json({"out": str(out), "entries": found, "left_out": left_out})
        return
    for entry in found:
        screen.show(entry["compares"])
        screen.show_table(*tables.entry(entry))
        screen.show(f"{entry['reach']}\n")
    screen.show(f"{sum(entry['seconds'] for entry in found):.0f} s in all; figures and every row: {out}")
