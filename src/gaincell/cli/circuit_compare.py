"""`gaincell circuit compare`."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from gaincell.cli import options, screen
from gaincell.errors import InputError

if TYPE_CHECKING:
    from gaincell.circuit.compare import Compared, WindowEnergy
    from gaincell.circuit.subtile import SubTile
    from gaincell.config import GainCellConfig

#: Published energies of one head and token, window 1,024, head_dim 64, in pJ [Leroux et al. 2025].
_PUBLISHED_PJ = {"first": 1120, "second": 700}


def compare(
    source: Annotated[
        str,
        typer.Argument(
            metavar="MODEL|FILE", help="A converted model or adapter to take columns from, or a file of --save."
        ),
    ] = "extended",
    card: Annotated[
        Literal["generic", "sky130"], typer.Option("--card", help="Transistors of our cell and of the comparators.")
    ] = "generic",
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
    from gaincell.circuit.characterize import Settings, characterize
    from gaincell.circuit.compare import compare as simulate
    from gaincell.circuit.compare import random_subtiles, window_energy
    from gaincell.circuit.decks.cell import cell_from_netlist, gain_cell
    from gaincell.circuit.subtile import load_subtiles, save_subtiles

    options.check_out_file(save, "--save")
    kept = load_subtiles(Path(source)) if source.endswith(".json") else None
    transistors = load_card(card)
    circuit = gain_cell(transistors) if netlist is None else cell_from_netlist(netlist)
    settings = Settings(order=order)
    with screen.stages() as stages:
        found = characterize(circuit, transistors, settings=settings, progress=stages.of("characterize"))
        if kept is not None:
            config, tiles = kept
            config = config.replace(cell=found.cell)
        else:
            config, tiles = _take(source, found.cell, text, length, columns, whole, seed)
        if save is not None:
            save_subtiles(config, tiles, save)
        compared = simulate(tiles, config, circuit, transistors, wire_ohm=wire, progress=stages.of("columns"))
        dim = len(tiles[0].pulses)
        drawn = simulate(
            random_subtiles(config, dim, random, seed),
            config,
            circuit,
            transistors,
            wire_ohm=wire,
            progress=stages.of("random columns"),
        )
    energies = {
        (product, kind): window_energy(of, product, config, dim)
        for product in ("first", "second")
        for kind, of in (("these columns", compared), ("random codes", drawn))
    }
    if json:
        screen.show_json(_to_dict(config, compared, drawn, energies))
        return
    _show(config, compared, energies)


def _take(
    source: str, cell: Any, text: str, length: int, columns: int, whole: int, seed: int
) -> "tuple[GainCellConfig, list[SubTile]]":
    """Columns of a model that attends with this cell."""
    import torch

    from gaincell.evaluate import load_text
    from gaincell.evaluate.perplexity import encode
    from gaincell.evaluate.prefix import prefix_of

    words = load_text(text)
    network, tokenizer = options.load_model(source)
    from gaincell.models import convert_, design_point
    from gaincell.models.columns import take_subtiles

    point = design_point(network)
    if point is None:
        raise InputError(f"'{source}' attends with softmax; give a converted model or an adapter, such as 'extended'.")
    options.check_positions(network, length, "--length")
    # Circuits that are not ideal are what is simulated, so none of their figures comes into what it is held against.
    convert_(network, point.ideal().replace(cell=cell, name=f"{point.name}, {cell.name}"))
    config = design_point(network)
    assert config is not None
    ids = torch.tensor([(prefix_of(tokenizer) + encode(tokenizer, words, length))[:length]])
    tiles = take_subtiles(network, ids, (columns + 1) // 2, seed=seed)
    if whole:
        tiles += take_subtiles(network, ids, whole, tokens=config.subtile_columns, channels=4, seed=seed + 1)
    return config, tiles


def _figures(compared: "Sequence[Compared]") -> dict[str, float]:
    """Of columns that the amplifier can hold: charge in units of what saturates, rms and largest contributions."""
    import numpy as np

    charge = np.array([one.circuit for one in compared])
    figures = {"columns": float(len(compared)), "lowest": float(charge.min()), "highest": float(charge.max())}
    for name in ("difference", "law", "feedthrough", "column", "wires", "pulses"):
        values = np.array([getattr(one, name) for one in compared])
        figures[f"{name}_rms"] = float(np.sqrt(np.mean(values**2)))
        figures[f"{name}_max"] = float(np.abs(values).max())
    for name, ideal in (("pulse", "behavioural_pulse"), ("converter", "ideal_pulse")):
        values = np.array([one.circuit_pulse - getattr(one, ideal) for one in compared])
        figures[f"{name}_rms"] = float(np.sqrt(np.mean(values**2)))
        figures[f"{name}_max"] = float(np.abs(values).max())
    return figures


def _to_dict(
    config: "GainCellConfig",
    compared: "Sequence[Compared]",
    drawn: "Sequence[Compared]",
    energies: "dict[tuple[str, str], WindowEnergy | None]",
) -> dict[str, Any]:
    products = [(name, [one for one in compared if one.product == name and one.in_range]) for name in _PUBLISHED_PJ]
    return {
        "cell": config.cell.name,
        "design_point": config.name,
        "columns": [asdict(one) | {"difference": one.difference} for one in compared],
        "random_columns": [asdict(one) | {"difference": one.difference} for one in drawn],
        "summary": {name: _figures(own) for name, own in products if own},
        "energy_per_head_and_token": [
            {"product": product, "from": kind, **asdict(energy)}
            for (product, kind), energy in energies.items()
            if energy is not None
        ],
    }


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


def _show(
    config: "GainCellConfig",
    compared: "Sequence[Compared]",
    energies: "dict[tuple[str, str], WindowEnergy | None]",
) -> None:
    heads = ("column", "behavioural", "circuit", "difference", "law", "edges", "column", "wires")
    for product, full in (("first", "S_sat"), ("second", "full scale of the read-out")):
        own = [one for one in compared if one.product == product]
        if not own:
            continue
        rows = [
            (
                one.name,
                f"{one.behavioural:.4f}",
                f"{one.circuit:.4f}",
                *(f"{getattr(one, part):.2%}" for part in ("difference", "law", "feedthrough", "column", "wires")),
            )
            for one in own
        ]
        pulses = [(f"{one.behavioural_pulse:.4f}", f"{one.circuit_pulse:.4f}") for one in own]
        rows = [(*row, *pulse) for row, pulse in zip(rows, pulses, strict=True)]
        title = f"{product.title()} product: charge in units of {full}, and pulse in units of T_max"
        screen.show_table((*heads, "pulse", "circuit's"), rows, title)
        held = [one for one in own if one.in_range]
        if not held:
            continue
        figures = _figures(held)
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
        scale = "of S_sat; pulses of T_max" if product == "first" else "of full scale; pulses of T_max"
        reach = f"{figures['lowest']:.2f} to {figures['highest']:.2f}"
        title = f"{len(held)} of {len(own)} columns, charges from {reach} ({scale})"
        screen.show_table(("difference", "rms", "largest", "of these columns' range"), table, title)
    energy = [
        (
            f"{product} product, {kind}",
            f"{found.read_j * 1e12:.0f}",
            f"{found.conversion_j * 1e12:.0f}",
            f"{(found.read_j + found.conversion_j) * 1e12:.0f} ± {found.error_j * 1e12:.0f}",
            str(_PUBLISHED_PJ[product]),
            str(found.columns),
        )
        for (product, kind), found in energies.items()
        if found is not None
    ]
    if energy:
        screen.show_table(
            ("pJ per token and head", "cells", "conversion", "together", "published", "columns"),
            energy,
            f"Energy, window {config.window}; not in it: op-amp, drivers of word lines, presets",
        )
