"""What one query does in one sub-tile of a head, as codes and pulses: what a circuit is given to compute."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from gaincell.atomic import written_aside
from gaincell.cell.cell import read_json
from gaincell.config import GainCellConfig
from gaincell.errors import InputError


@dataclass(frozen=True)
class SubTile:
    """One query at the n tokens of a sub-tile; D is head_dim.

    Attributes:
        name: where it was taken from.
        sampled: whether it was drawn at random, so that a mean over such ones is one over the whole window.
        pulses: query codes (D,), signed: widths in steps of T_max / (query_levels - 1).
        preset: offset on S / S_sat.
        tokens: which of the n tokens have their key here (m,).
        keys: stored codes of these (m, D).
        channels: which output lines have their values here (c,).
        values: stored codes of these lines (c, n).
        ages: tokens since each was written (n,).
        phi: pulses of the second product in units of T_max (n,), as the behavioural model gives them.
    """

    name: str
    sampled: bool
    pulses: tuple[int, ...]
    preset: float
    tokens: tuple[int, ...]
    keys: tuple[tuple[int, ...], ...]
    channels: tuple[int, ...]
    values: tuple[tuple[int, ...], ...]
    ages: tuple[int, ...]
    phi: tuple[float, ...]

    @property
    def whole(self) -> bool:
        """Whether every token's key is here, so that the circuit's own pulses can drive the second product."""
        return len(self.tokens) == len(self.ages)


def save_subtiles(config: GainCellConfig, tiles: Sequence[SubTile], path: Path) -> None:
    """Write sub-tiles with their design point as JSON that `load_subtiles` reads back."""
    data = {"design_point": config.model_dump(mode="json"), "subtiles": [asdict(tile) for tile in tiles]}
    with written_aside(path) as aside:
        aside.write_text(json.dumps(data, separators=(",", ":")) + "\n", "utf-8")


def load_subtiles(path: Path) -> tuple[GainCellConfig, list[SubTile]]:
    """Sub-tiles and their design point.

    Raises:
        InputError: not such a file, or one whose numbers do not fit together.
    """
    data = read_json(path)
    if not isinstance(data.get("design_point"), dict) or not isinstance(data.get("subtiles"), list):
        raise InputError(f"{path} holds no sub-tiles; make one with 'gaincell circuit compare MODEL --save FILE'.")
    config = GainCellConfig(**data["design_point"])
    tiles = [_tile(entry, config, f"{path}, sub-tile {i}") for i, entry in enumerate(data["subtiles"])]
    if not tiles:
        raise InputError(f"{path} holds no sub-tiles; make one with 'gaincell circuit compare MODEL --save FILE'.")
    return config, tiles


def _tile(entry: Any, config: GainCellConfig, where: str) -> SubTile:
    names = [field.name for field in fields(SubTile)]
    if not isinstance(entry, dict) or sorted(entry) != sorted(names):
        raise InputError(f"{where} must have the fields {', '.join(names)}, and no others.")
    try:
        arrays = {name: np.array(entry[name], float) for name in names[2:]}
    except (TypeError, ValueError):
        raise InputError(f"{where} holds something that is no number; take it from a model anew.") from None
    dim, count = arrays["pulses"].size, arrays["ages"].size
    shapes = {
        "pulses": (dim,),
        "preset": (),
        "tokens": (arrays["tokens"].size,),
        "keys": (arrays["tokens"].size, dim),
        "channels": (arrays["channels"].size,),
        "values": (arrays["channels"].size, count),
        "ages": (count,),
        "phi": (count,),
    }
    levels = config.stored_levels or 0
    limits = {
        "pulses": ((config.query_levels or 0) - 1, config.query_sign != "unsigned"),
        "tokens": (count - 1, False),
        "keys": (levels - 1, False),
        "values": (levels - 1, False),
        "phi": (1, False),
    }
    for name, array in arrays.items():
        top, signed = limits.get(name, (np.inf, name == "preset"))
        low = -top if signed else 0
        whole = name in ("preset", "phi") or (array == np.round(array)).all()
        # an array without elements has no shape of its own: [] for (0, D)
        fits = array.shape == shapes[name] or (array.size == 0 and 0 in shapes[name])
        if not fits or not np.isfinite(array).all() or not whole or (array < low).any() or (array > top).any():
            raise InputError(f"{where}: '{name}' does not fit its design point; take it from a model anew.")

    def numbers(name: str) -> Any:
        kind = float if name == "phi" else int
        array = arrays[name]
        return tuple(tuple(map(kind, row)) for row in array) if array.ndim == 2 else tuple(map(kind, array.tolist()))

    given = {name: numbers(name) for name in names[2:] if name != "preset"}
    return SubTile(name=str(entry["name"]), sampled=bool(entry["sampled"]), preset=float(arrays["preset"]), **given)
