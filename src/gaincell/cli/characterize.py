"""`gaincell characterize`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from gaincell.cli import options, screen
from gaincell.errors import InputError

if TYPE_CHECKING:
    from gaincell.circuit.cards import Card
    from gaincell.circuit.characterize import Characterisation


def characterize(
    deck: Annotated[
        Path | None, typer.Argument(metavar="DECK", help="A netlist with a cell of your own; without it, our cell.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="The cell file to write (YAML).")] = None,
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
    from gaincell.circuit.characterize import Settings
    from gaincell.circuit.characterize import characterize as simulate
    from gaincell.circuit.decks.cell import WRITE_LEVELS_V, Conditions, cell_from_netlist, gain_cell

    options.check_out_file(out)
    other = (
        {"--capacitor": capacitor, "--write-shift": write_shift}
        if deck
        else {"--pins": pins, "--subcircuit": subcircuit}
    )
    for name, value in other.items():
        if value is not None:
            raise InputError(f"{name} is for {'our cell, not for a netlist' if deck else 'a netlist'}; leave it out.")
    settings = Settings(order=order, mismatch=mismatch, seed=seed)
    transistors = _card(card)
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
    if out is not None:
        save_cell(found.cell, out)
    if json:
        screen.show_json(to_dict(found))
        return
    screen.show_table(("", "value", "unit"), rows(found), f"{found.cell.name}: {circuit.source}")
    if out is not None:
        screen.show(f"Written to {out}; use it with a design point's field 'cell'.")


def _card(name: str) -> "Card":
    from gaincell.circuit.cards import generic_card
    from gaincell.circuit.sky130 import sky130_card

    return sky130_card() if name == "sky130" else generic_card()


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


def rows(found: "Characterisation") -> list[tuple[str, str, str]]:
    """The same as a table."""
    from gaincell.circuit.decks.cell import Conditions

    law, figures = found.cell.law, found.cell.circuit
    assert figures is not None
    lines = [
        ("charge of a full pulse at +0.45 V", f"{law(0.45) * Conditions().pulse_max_s * 1e15:.4g}", "fC"),
        ("law, 1 at +0.45 V", ", ".join(f"{c / law(0.45):.3f}" for c in law.coefficients), "per V^i"),
        ("rms difference from the published law", f"{found.rms_difference:.2%}", "of f(+0.45 V)"),
    ]
    if (read := figures.read) is not None:
        lines += [
            ("largest departure from the law", f"{read.law_residual:.2%}", "of its range"),
            ("charge not linear in pulse width", f"{read.nonlinearity:.3%}", "of full charge"),
            ("feedthrough of a pulse at zero", f"{read.feedthrough[0] * 1e15:.3f}", "fC"),
            ("read disturb", f"{read.disturb_v * 1e3:.2f}", "mV"),
        ]
    for name, pulse in (("", figures.charge_to_pulse), ("signed ", figures.signed_charge_to_pulse)):
        if pulse is not None:
            lines += [
                (f"{name}charge-to-pulse: gain", f"{pulse.gain:.4f}", ""),
                (f"{name}charge-to-pulse: offset", f"{pulse.offset_s * 1e9:.3f}", "ns"),
                (f"{name}charge-to-pulse: not linear", f"{pulse.nonlinearity:.3%}", "of T_max"),
                (f"{name}charge-to-pulse: saturated", f"{pulse.saturated_s * 1e9:.3f}", "ns"),
            ]
            if not pulse.signed:
                lines.append(("charge-to-pulse: longest pulse below zero", f"{pulse.below_zero_s * 1e9:.3f}", "ns"))
    if (write := figures.write) is not None:
        settling = "never in 100" if write.settling_s is None else f"{write.settling_s * 1e9:.3g}"
        lines += [("write to half a step", settling, "ns"), ("write error", f"{write.error_v * 1e3:.1f}", "mV")]
    holds = found.cell.retention
    least = "at least " if holds.source.startswith("at least") else ""
    lines.append(("retention", f"{least}{holds.tau_s * 1e3:.4g}", "ms"))
    if (energy := figures.energy) is not None:
        lines += [
            ("energy of a full read at +0.45 V", f"{energy.read_full_j * 1e15:.3g}", "fJ"),
            ("energy of a read, mean", f"{energy.read_mean_j * 1e15:.3g}", "fJ"),
            ("energy of a conversion, mean", f"{energy.conversion_j * 1e15:.3g}", "fJ"),
            ("energy of a write, mean", f"{energy.write_j * 1e15:.3g}", "fJ"),
        ]
        per_head = 1024 * (64 * energy.read_mean_j + energy.conversion_j) * 1e12
        lines.append(("first product, 1024 x 64 cells (published: 1120)", f"{per_head:.4g}", "pJ"))
    if (mismatch := figures.mismatch) is not None:
        lines += [
            (f"mismatch of {mismatch.samples} cells: current", f"{mismatch.current:.2%}", "of f(+0.45 V)"),
            ("mismatch: zero crossing", f"{mismatch.zero_crossing_v * 1e3:.2f}", "mV"),
            ("mismatch: gain", f"{mismatch.gain:.2%}", ""),
        ]
    return lines
