"""`gaincell circuit compare`."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gaincell.cli import cells, options, screen

if TYPE_CHECKING:
    from gaincell.circuit.compare import Compared
    from gaincell.study.columns import Columns

#: Published energies of one head and token, window 1,024, head_dim 64, in pJ [Leroux et al. 2025].
PUBLISHED_PJ = {"first": 1120, "second": 700}


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
    from gaincell.study.columns import ColumnChoice, compare_columns

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
    for product in PUBLISHED_PJ:
        own = [one for one in found.compared if one.product == product]
        if own:
            _show_columns(product, own)
    _show_energies(found)


_PARTS = {
    "difference": "charge, all",
    "law": "fitted law",
    "feedthrough": "feedthrough of edges",
    "column": "cells on one integrator",
    "wires": "resistance of the bit line",
    "pulses": "pulses of the first product",
    "pulse": "pulse, all",
    "converter": "converter alone",
}


#: What a charge of each product is in units of.
_UNITS = {"first": ("S_sat", "S_sat"), "second": ("full scale of the read-out", "full scale")}
_BOTH = ("difference", "law", "feedthrough", "column", "wires")


def _show_columns(product: str, own: "Sequence[Compared]") -> None:
    """Every column of a product, and what makes those differ that the amplifier can hold."""
    from gaincell.study.columns import summary

    full, short = _UNITS[product]
    rows = [
        (
            one.name,
            f"{one.behavioural:.4f}",
            f"{one.circuit:.4f}",
            *(f"{getattr(one, part):.2%}" for part in _BOTH),
            f"{one.behavioural_pulse:.4f}",
            f"{one.circuit_pulse:.4f}",
        )
        for one in own
    ]
    heads = ("column", "behavioural", "circuit", "difference", "law", "edges", "column", "wires", "pulse", "circuit's")
    title = f"{product.title()} product: charge in units of {full}, and pulse in units of T_max"
    screen.show_table(heads, rows, title)
    held = [one for one in own if one.in_range]
    if not held:
        return
    figures = summary(held)
    span = figures["highest"] - figures["lowest"]
    table = [
        (
            label,
            f"{figures[f'{name}_rms']:.2%}",
            f"{figures[f'{name}_max']:.2%}",
            f"{figures[f'{name}_max'] / span:.2%}" if span and name not in ("pulse", "converter") else "",
        )
        for name, label in _PARTS.items()
        if name != "pulses" or figures["pulses_max"]
    ]
    reach = f"{figures['lowest']:.2f} to {figures['highest']:.2f} (of {short}; pulses of T_max)"
    title = f"{len(held)} of {len(own)} columns, charges from {reach}"
    screen.show_table(("difference", "rms", "largest", "of these columns' range"), table, title)


def _show_energies(found: "Columns") -> None:
    rows = [
        (
            f"{product} product, {kind}",
            f"{energy.read_j * 1e12:.0f}",
            f"{energy.conversion_j * 1e12:.0f}",
            f"{(energy.read_j + energy.conversion_j) * 1e12:.0f} ± {energy.error_j * 1e12:.0f}",
            str(PUBLISHED_PJ[product]),
            str(energy.columns),
        )
        for (product, kind), energy in found.energies.items()
        if energy is not None
    ]
    if rows:
        heads = ("pJ per token and head", "cells", "conversion", "together", "published", "columns")
        title = f"Energy, window {found.config.window}; not in it: op-amp, drivers of word lines, presets"
        screen.show_table(heads, rows, title)
