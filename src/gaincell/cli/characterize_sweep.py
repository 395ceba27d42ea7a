"""`gaincell characterize --sweep`: a cell at several values of one condition."""

from collections.abc import Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING

from gaincell.cli import screen
from gaincell.errors import InputError
from gaincell.progress import of_stage

if TYPE_CHECKING:
    from gaincell.circuit.characterize import Settings
    from gaincell.circuit.condition_sweep import Setup


def show_sweep(
    text: str,
    setup: "Callable[..., Setup]",
    settings: "Settings",
    given: Collection[str],
    page: Path | None,
    json: bool,
) -> None:
    """Print what the cell is at every value, and write the page where it is wanted.

    Args:
        text: the sweep, as it was written.
        setup: what is simulated where one condition, by the name of its option, has a value.
        settings: how each cell is characterised.
        given: names of options that were given.
        page: where the plots go.
        json: whether JSON is printed.

    Raises:
        InputError: a sweep that cannot be read, beside options that do not go with it, or without a working cell.
    """
    from gaincell.circuit.condition_sweep import characterize_each, parse_sweep
    from gaincell.report.cell_page import write_cell_page
    from gaincell.report.swept import sweep_page, sweep_table

    sweep = parse_sweep(text)
    for name in (sweep.name, "out", "mismatch"):
        if name in given:
            why = "is what is swept" if name == sweep.name else "is of one cell, not of a sweep"
            raise InputError(f"--{name} {why}; leave it out.")
    with screen.stages() as stages:
        points = characterize_each(
            sweep, lambda value: setup(**{sweep.name: value}), settings, progress=of_stage(stages, "sweep")
        )
    if page is not None and (lacks := write_cell_page(sweep_page(sweep, points), page)) is not None:
        screen.say(f"note: {lacks}")
    if json:
        screen.show_json({"sweep": sweep.name, "rows": [point.to_dict() for point in points]})
        return
    screen.show_table(*sweep_table(sweep, points))
    for point in points:
        if point.failed:
            screen.show(f"- {sweep.name} {point.value}: {point.failed}")
    if page is not None:
        screen.show(f"Report: {page}")
