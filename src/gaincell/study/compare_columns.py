"""Columns of a model, computed in ngspice and by the behavioural model."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gaincell.config import GainCellConfig
from gaincell.errors import InputError
from gaincell.progress import Progress, of_stage
from gaincell.study.models import Load, check_positions, load_model

if TYPE_CHECKING:
    from gaincell.cell import Cell
    from gaincell.circuit.cards import Card
    from gaincell.circuit.compare import Compared, WindowEnergy
    from gaincell.circuit.decks.cell import CellCircuit
    from gaincell.circuit.subtile import SubTile

PRODUCTS = ("first", "second")


@dataclass(frozen=True)
class ColumnChoice:
    """Which columns, and how they are computed.

    Attributes:
        order: of the behavioural model's charge law.
        wire_ohm: bit line from one cell to the next, in ohm; an assumption.
        columns: of the first product.
        whole: sub-tiles to simulate with all their tokens.
        random: columns of random codes besides, for their energy.
        text: a UTF-8 text file, or "speeches".
        length: tokens of it.
        seed: of what is drawn.
    """

    order: int = 3
    wire_ohm: float = 1.5
    columns: int = 24
    whole: int = 0
    random: int = 8
    text: str = "speeches"
    length: int = 1024
    seed: int = 0


@dataclass(frozen=True)
class Columns:
    """Columns, both ways.

    Attributes:
        config: the design point, with the cell that was characterised.
        compared: the model's columns.
        drawn: columns of random codes.
        energies: of a window, by product and by what it is taken from; None where that has no columns.
    """

    config: GainCellConfig
    compared: "Sequence[Compared]"
    drawn: "Sequence[Compared]"
    energies: "dict[tuple[str, str], WindowEnergy | None]"

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        held = {name: [c for c in self.compared if c.product == name and c.in_range] for name in PRODUCTS}
        return {
            "cell": self.config.cell.name,
            "design_point": self.config.name,
            "columns": [asdict(one) | {"difference": one.difference} for one in self.compared],
            "random_columns": [asdict(one) | {"difference": one.difference} for one in self.drawn],
            "summary": {name: summary(own) for name, own in held.items() if own},
            "energy_per_head_and_token": [
                {"product": product, "from": kind, **asdict(energy)}
                for (product, kind), energy in self.energies.items()
                if energy is not None
            ],
        }


def compare_columns(
    source: str,
    circuit: "CellCircuit",
    card: "Card",
    choice: ColumnChoice,
    *,
    save: Path | None = None,
    load: Load = load_model,
    progress: Progress | None = None,
) -> Columns:
    """Characterise a cell, and compute columns as a circuit of it and by the behavioural model with its cell file.

    Args:
        source: what a converted model is loaded by, or a file that `save` left (.json).
        circuit: the cell.
        card: transistors of the comparators.
        choice: which columns.
        save: a file that keeps them.
        load: gives the model and its tokenizer.
        progress: called with (stage, done, total).

    Raises:
        InputError: a model that attends with softmax, a damaged file, or a design point without such circuits.
        CircuitError: a simulation failed.
    """
    from gaincell.circuit.characterize import Settings, characterize
    from gaincell.circuit.compare import check_polarity, compare, random_subtiles, window_energy
    from gaincell.circuit.subtile import load_subtiles, save_subtiles

    kept = load_subtiles(Path(source)) if source.endswith(".json") else None
    settings = Settings(order=choice.order)
    found = characterize(circuit, card, settings=settings, progress=of_stage(progress, "characterize"))
    check_polarity(found.cell)
    if kept is None:
        config, tiles = _take(source, found.cell, choice, load)
    else:
        config, tiles = kept[0].replace(cell=found.cell), kept[1]
    if save is not None:
        save_subtiles(config, tiles, save)
    how: dict[str, Any] = {"wire_ohm": choice.wire_ohm}
    dim = len(tiles[0].pulses)
    compared = compare(tiles, config, circuit, card, **how, progress=of_stage(progress, "columns"))
    drawn_tiles = random_subtiles(config, dim, choice.random, choice.seed)
    drawn = compare(drawn_tiles, config, circuit, card, **how, progress=of_stage(progress, "random columns"))
    energies = {
        (product, kind): window_energy(of, product, config, dim)
        for product in PRODUCTS
        for kind, of in (("these columns", compared), ("random codes", drawn))
    }
    return Columns(config, compared, drawn, energies)


def _take(source: str, cell: "Cell", choice: ColumnChoice, load: Load) -> "tuple[GainCellConfig, list[SubTile]]":
    """Columns of a model that attends with this cell."""
    from gaincell.evaluate import load_text
    from gaincell.evaluate.perplexity import first_tokens

    words = load_text(choice.text)
    network, tokenizer = load(source)
    from gaincell.models import convert_, design_point
    from gaincell.models.subtiles import take_subtiles

    point = design_point(network)
    if point is None:
        raise InputError(f"'{source}' attends with softmax; give a converted model or an adapter, such as 'extended'.")
    check_positions(network, choice.length, "--length")
    # Circuits that are not ideal are what is simulated, so none of their figures comes into what it is held against.
    convert_(network, point.ideal().replace(cell=cell, name=f"{point.name}, {cell.name}"))
    config = design_point(network)
    assert config is not None
    ids = first_tokens(tokenizer, words, choice.length)
    tiles = take_subtiles(network, ids, (choice.columns + 1) // 2, seed=choice.seed)
    if choice.whole:
        every = {"tokens": config.subtile_columns, "channels": 4, "seed": choice.seed + 1}
        tiles += take_subtiles(network, ids, choice.whole, **every)
    return config, tiles


def summary(compared: "Sequence[Compared]") -> dict[str, float]:
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
