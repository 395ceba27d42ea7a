"""`gaincell characterize`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from gaincell.cli import options, screen
from gaincell.errors import InputError

if TYPE_CHECKING:
    from gaincell.circuit.characterize import Characterisation


def characterize(
    deck: Annotated[
        Path | None, typer.Argument(metavar="DECK", help="A netlist with a cell of your own; without it, our cell.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="The cell file to write (YAML).")] = None,
    report: options.CellReport = None,
    card: Annotated[
        Literal["generic", "sky130"],
        typer.Option("--card", help="Transistors of our cell and of the comparator that reads columns out."),
    ] = "generic",
    write: Annotated[
        Literal["transmission", "boosted", "oxide"], typer.Option("--write", help="Write device of our cell.")
    ] = "transmission",
    write_shift: Annotated[
        float | None,
        typer.Option("--write-shift", help="Threshold shift of our write device, in V. Default: the card's."),
    ] = None,
    capacitor: Annotated[
        float | None, typer.Option("--capacitor", min=0, help="Capacitor on our storage node, in fF. Default: 8.")
    ] = None,
    write_high: Annotated[
        float | None, typer.Option("--write-high", help="Write word line while it writes, in V. Default: the device's.")
    ] = None,
    write_low: Annotated[
        float | None, typer.Option("--write-low", help="Write word line while it holds, in V. Default: the device's.")
    ] = None,
    subcircuit: Annotated[
        str | None, typer.Option("--subcircuit", help="DECK's subcircuit that is the cell. Default: its last.")
    ] = None,
    pins: Annotated[
        str | None, typer.Option("--pins", help="Pins of DECK with names of their own: store=SN,rwl=RD0,...")
    ] = None,
    order: Annotated[int, typer.Option("--order", help="Order of the charge law's polynomial.")] = 3,
    mismatch: Annotated[
        int, typer.Option("--mismatch", min=0, help="How many cells to draw for mismatch; 200 and more tell something.")
    ] = 0,
    seed: options.Seed = 0,
    json: options.Json = False,
) -> None:
    """Simulate a cell's circuit into a cell file.

    With ngspice: charge law, charge-to-pulse curve, write, retention, energy, and with --mismatch how cells differ.
    """
    from gaincell.cell import save_cell
    from gaincell.circuit.cards import load_card
    from gaincell.circuit.characterize import Settings
    from gaincell.circuit.characterize import characterize as simulate
    from gaincell.circuit.decks.cell import WRITE_LEVELS_V, Conditions, cell_from_netlist, gain_cell

    options.check_out_file(out)
    page = options.cell_report(report, out)
    other = (
        {"--capacitor": capacitor, "--write-shift": write_shift}
        if deck
        else {"--pins": pins, "--subcircuit": subcircuit}
    )
    for name, value in other.items():
        if value is not None:
            raise InputError(f"{name} is for {'our cell, not for a netlist' if deck else 'a netlist'}; leave it out.")
    settings = Settings(order=order, mismatch=mismatch, seed=seed)
    transistors = load_card(card)
    high, low = WRITE_LEVELS_V[write]
    conditions = Conditions(
        write_high_v=high if write_high is None else write_high, write_low_v=low if write_low is None else write_low
    )
    if deck is None:
        circuit = gain_cell(transistors, write, write_shift, (8.0 if capacitor is None else capacitor) * 1e-15)
    else:
        circuit = cell_from_netlist(deck, pins=_pins(pins), subcircuit=subcircuit)
    with screen.stages() as stages:
        found = simulate(circuit, transistors, conditions, settings, progress=stages.of("characterize"))
    from gaincell.report.characterised import characterised_page, groups_of, warnings_of

    if out is not None:
        save_cell(found.cell, out)
    if page is not None:
        options.write_cell_report(characterised_page(found), page)
    if json:
        screen.show_json(to_dict(found))
        return
    rows = [row for group in groups_of(found) for row in group.rows]
    screen.show_table(("", "value", "unit"), rows, f"{found.cell.name}: {circuit.source}")
    for warning in warnings_of(found):
        screen.show(f"- {warning}")
    options.tell_written(out, page)


def _pins(text: str | None) -> dict[str, str]:
    pairs = [pair.split("=") for pair in text.split(",")] if text else []
    if any(len(pair) != 2 for pair in pairs):
        raise InputError(f"--pins {text} cannot be read; write role=name pairs, such as store=SN,rwl=RD0.")
    return {role.strip(): name.strip() for role, name in pairs}


def to_dict(found: "Characterisation") -> dict[str, Any]:
    """The cell file's content, and what it compares to."""
    law = found.cell.law
    return {
        **found.cell.model_dump(mode="json", exclude_none=True),
        "normalised_coefficients": [c / law(0.45) for c in law.coefficients],
        "rms_difference_from_published": found.rms_difference,
        "full_charge_c": found.full_charge_c,
        "simulated": {"y_v": found.stored_v.tolist(), "charge_c_per_s": found.slope_c_per_s.tolist()},
        "transfer": [{"charge_c": run.charge_c, "width_s": run.width_s} for run in found.transfer],
        "signed_transfer": [{"charge_c": run.charge_c, "width_s": run.width_s} for run in found.transfer_signed],
    }
