"""`gaincell circuit compare`."""

from pathlib import Path
from typing import Annotated

import typer

from gaincell.cli import cells, options, screen


def compare(
    source: Annotated[
        str,
        typer.Argument(
            metavar="MODEL|FILE", help="A converted model or adapter to take columns from, or a file of --save."
        ),
    ] = "extended",
    card: cells.Card = "generic",
    netlist: Annotated[
        Path | None, typer.Option("--netlist", help="A netlist with a cell of your own, as for characterize.")
    ] = None,
    order: Annotated[int, typer.Option("--order", help="Order of the behavioural model's charge law.")] = 3,
    wire: Annotated[
        float, typer.Option("--wire", min=0, help="Bit line from one cell to the next, in ohm; an assumption.")
    ] = 1.5,
    columns: Annotated[int, typer.Option("--columns", min=2, help="Columns of the first product.")] = 24,
    whole: Annotated[
        int, typer.Option("--whole", min=0, help="Of the sub-tiles, how many to simulate with all their tokens.")
    ] = 0,
    random: Annotated[
        int, typer.Option("--random", min=0, help="Columns of random codes besides, for their energy.")
    ] = 8,
    text: Annotated[str, typer.Option("--text", help="A UTF-8 text file; speeches: State of the Union.")] = "speeches",
    length: Annotated[int, typer.Option("--length", min=2, help="Tokens of the text.")] = 1024,
    save: Annotated[Path | None, typer.Option("--save", help="Keep the columns in this file (JSON).")] = None,
    seed: options.Seed = 0,
    json: options.Json = False,
) -> None:
    """Compute columns of a model in ngspice and in the behavioural model.

    The cell is characterised first, and the behavioural model gets its cell file. Of each column: both results, and
    what makes them differ. What was simulated once is not simulated again, so a run that was stopped goes on.
    """
    from gaincell.circuit.cards import load_card
    from gaincell.circuit.decks.cell import cell_from_netlist, gain_cell
    from gaincell.report import tables
    from gaincell.study.compare_columns import ColumnChoice, compare_columns

    options.check_out_file(save, "--save")
    transistors = load_card(card)
    circuit = gain_cell(transistors) if netlist is None else cell_from_netlist(netlist)
    choice = ColumnChoice(order, wire, columns, whole, random, text, length, seed)
    with screen.stages() as progress:
        found = compare_columns(
            source, circuit, transistors, choice, save=save, load=options.load_model, progress=progress
        )
    if json:
        screen.show_json(found.to_dict())
        return
    for table in tables.columns(found):
        screen.show_table(*table)
