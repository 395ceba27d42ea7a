"""`gaincell characterize`."""

from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from gaincell.cli import cells, options, screen
from gaincell.cli.characterize_sweep import show_sweep
from gaincell.errors import InputError
from gaincell.progress import of_stage


def characterize(
    deck: Annotated[
        Path | None, typer.Argument(metavar="DECK", help="A netlist with a cell of your own; without it, our cell.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="The cell file to write (YAML).")] = None,
    report: cells.Report = None,
    card: cells.Card = "generic",
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
    corner: Annotated[
        Literal["tt", "ss", "ff", "sf", "fs"] | None,
        typer.Option("--corner", help="Corner of the card's process: NMOS, then PMOS. Default: tt, typical."),
    ] = None,
    leakage: Annotated[
        Literal["off", "high-k", "oxide"] | None,
        typer.Option("--leakage", help="Leakage of the generic card's gates and junctions. Default: off."),
    ] = None,
    temperature: Annotated[
        float | None, typer.Option("--temperature", help="Of the circuit, in °C. Default: 27.")
    ] = None,
    vdd: Annotated[
        float | None, typer.Option("--vdd", help="Supply and highest stored voltage, in V. Default: 0.9.")
    ] = None,
    zero: Annotated[
        float | None,
        typer.Option("--zero", help="Read bit line, and the stored voltage that is zero, in V. Default: half --vdd."),
    ] = None,
    read_high: Annotated[
        float | None, typer.Option("--read-high", help="Read word line while it reads, in V. Default: --vdd.")
    ] = None,
    write_high: Annotated[
        float | None, typer.Option("--write-high", help="Write word line while it writes, in V. Default: the device's.")
    ] = None,
    write_low: Annotated[
        float | None, typer.Option("--write-low", help="Write word line while it holds, in V. Default: the device's.")
    ] = None,
    write_time: Annotated[
        float | None, typer.Option("--write-time", help="How long a write takes, in ns. Default: 10.")
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
    sweep: Annotated[
        str | None,
        typer.Option("--sweep", help="Several values of a condition: temperature=27:85:4, corner=tt,ss, vdd=0.8,0.9."),
    ] = None,
    seed: options.Seed = 0,
    polarity: cells.CellPolarity = None,
    json: options.Json = False,
) -> None:
    """Simulate a cell's circuit into a cell file.

    With ngspice: charge law, charge-to-pulse curve, write, retention, energy, and with --mismatch how cells differ.
    """
    from gaincell.circuit.cards import load_card
    from gaincell.circuit.characterize import Settings
    from gaincell.circuit.characterize import characterize as simulate
    from gaincell.circuit.condition_sweep import Setup
    from gaincell.circuit.conditions import conditions_of
    from gaincell.circuit.decks.cell import cell_from_netlist, gain_cell

    page = cells.page_of(report, out)
    other = (
        {"--capacitor": capacitor, "--write-shift": write_shift, "--corner": corner, "--leakage": leakage}
        if deck
        else {"--pins": pins, "--subcircuit": subcircuit}
    )
    if deck and sweep and (name := sweep.partition("=")[0]) in ("corner", "leakage"):
        other[f"--{name}"] = sweep
    for name, value in other.items():
        if value is not None:
            raise InputError(f"{name} is for {'our cell, not for a netlist' if deck else 'a netlist'}; leave it out.")
    settings = Settings(order=order, mismatch=mismatch, seed=seed, polarity=polarity)
    given = {"corner": corner, "leakage": leakage, "temperature": temperature, "vdd": vdd, "zero": zero}
    given |= {"read-high": read_high, "write-high": write_high, "write-low": write_low}

    def setup(**swept: Any) -> Setup:
        at = given | swept
        transistors = load_card(card, at["corner"] or "tt", at["leakage"] or "off")
        if deck is None:
            circuit = gain_cell(transistors, write, write_shift, (8.0 if capacitor is None else capacitor) * 1e-15)
        else:
            circuit = cell_from_netlist(deck, pins=_pins(pins), subcircuit=subcircuit)
        conditions = conditions_of(
            transistors,
            write,
            temperature_c=at["temperature"],
            vdd_v=at["vdd"],
            zero_v=at["zero"],
            read_high_v=at["read-high"],
            write_high_v=at["write-high"],
            write_low_v=at["write-low"],
            write_s=None if write_time is None else write_time * 1e-9,
        )
        return Setup(circuit, transistors, conditions)

    if sweep is not None:
        given |= {"out": out, "mismatch": mismatch or None}
        show_sweep(sweep, setup, settings, {name for name, value in given.items() if value is not None}, page, json)
        return
    at = setup()
    with screen.stages() as stages:
        found = simulate(at.circuit, at.card, at.conditions, settings, progress=of_stage(stages, "characterize"))
    from gaincell.report.characterised import characterised_page, groups_of, warnings_of

    title = f"{found.cell.name}: {at.circuit.source}"
    show_page = partial(characterised_page, found)
    made = cells.Made(found.cell, title, groups_of(found), warnings_of(found), show_page, found.to_dict())
    cells.finish(made, out, page, json)


def _pins(text: str | None) -> dict[str, str]:
    pairs = [pair.split("=") for pair in text.split(",")] if text else []
    if any(len(pair) != 2 for pair in pairs):
        raise InputError(f"--pins {text} cannot be read; write role=name pairs, such as store=SN,rwl=RD0.")
    return {role.strip(): name.strip() for role, name in pairs}
