"""What the commands that make a cell share: where its page goes, and how it is told."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from gaincell.cli import options, screen
from gaincell.errors import InputError

if TYPE_CHECKING:
    from gaincell.cell import Cell
    from gaincell.report.cell_page import CellPage, Group

Card = Annotated[
    Literal["generic", "sky130"], typer.Option("--card", help="Transistors of our cell and of the comparators.")
]
CellPolarity = Annotated[
    Literal["push_pull", "pair", "reference"] | None,
    typer.Option(
        "--polarity",
        help="How cells store values of both signs: one that draws charge of both, or, of cells that draw one sign, a "
        "pair, or one beside a shared reference. Default: push_pull where charges have both signs, else pair.",
    ),
]
Report = Annotated[
    Path | None,
    typer.Option(
        "--report", help="The page of plots and figures to write (HTML). Default: beside --out, as its name .html."
    ),
]


def page_of(report: Path | None, out: Path | None) -> Path | None:
    """Where a cell's page goes: `--report`, else beside the cell file, else nowhere.

    Raises:
        InputError: the cell file or the page cannot be a file, they are the same, or the page would take the place of
            what is no cell's page, unasked.
    """
    from gaincell.report.cell_page import is_cell_page

    options.check_out_file(out)
    page = out.with_suffix(".html") if report is None and out is not None else report
    options.check_out_file(page, "--report")
    if page is not None and page == out:
        raise InputError(f"--out {out} would be both cell file and report; name the cell file .yaml.")
    if report is None and page is not None and page.is_file() and not is_cell_page(page):
        raise InputError(f"the report would replace {page}, which is no cell's report; give it a name by --report.")
    return page


@dataclass(frozen=True)
class Made:
    """A cell that was made.

    Attributes:
        cell: the cell.
        title: of the table of its figures.
        groups: its figures.
        warnings: what to mind.
        page: draws its page.
        data: what `--json` prints.
    """

    cell: "Cell"
    title: str
    groups: "Iterable[Group]"
    warnings: Iterable[str]
    page: "Callable[[], CellPage]"
    data: dict[str, Any]


def finish(made: Made, out: Path | None, page: Path | None, json: bool) -> None:
    """Write the cell file and the page where they are wanted, and show the cell."""
    from gaincell.cell import save_cell
    from gaincell.report.cell_page import write_cell_page

    if out is not None:
        save_cell(made.cell, out)
    if page is not None and (lacks := write_cell_page(made.page(), page)) is not None:
        screen.say(f"note: {lacks}")
    if json:
        screen.show_json(made.data)
        return
    screen.show_table(("", "value", "unit"), [row for group in made.groups for row in group.rows], made.title)
    for warning in made.warnings:
        screen.show(f"- {warning}")
    if out is not None:
        screen.show(f"Written to {out}; use it with a design point's field 'cell'.")
    if page is not None:
        screen.show(f"Report: {page}")
