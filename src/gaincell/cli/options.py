"""Arguments and options that several commands share, and what they become."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gaincell.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gaincell.study.models import Load, Loaded

Model = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="A model folder in Hugging Face format, or one on the hub, 'owner/name'; 'demo': the demo model; or an "
        "adapter of it, by name or file.",
    ),
]
Config = Annotated[str, typer.Option("--config", help="Design point: a shipped one's name, or a YAML or JSON file.")]
OptionalConfig = Annotated[
    str | None, typer.Option("--config", help="Design point: a shipped one's name, or a YAML or JSON file.")
]
Seed = Annotated[int, typer.Option("--seed", min=0, max=2**31 - 1, help="Seed of everything drawn at random.")]
Device = Annotated[
    str,
    typer.Option("--device", help="Where models run, as torch calls it: cpu, cuda, cuda:1, mps; rounding differs."),
]
Digital = Annotated[
    str | None,
    typer.Option("--digital", help="Layers and heads to keep digital, such as 24,18,20.3; else the design point's."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, and nothing else, on stdout.")]


def split(entries: str) -> list[int | str]:
    """Layers and heads to keep digital, from "24,18,20.3".

    Raises:
        InputError: one that is neither.
    """
    from gaincell.digital_heads import digital_entries

    try:
        return list(digital_entries([entry.strip() for entry in entries.split(",") if entry.strip()]))
    except ValueError as error:
        raise InputError(f"--digital '{entries}': {error}") from None


def joined(entries: "Iterable[int | str]") -> str:
    """What `split` reads."""
    return ",".join(map(str, entries))


def load_model(name_or_path: str, device: str = "cpu", digital: str | None = None) -> "Loaded":
    """`gaincell.study.models.load_model`, quietly.

    Raises:
        InputError: as that.
    """
    from gaincell.cli.screen import quiet_transformers
    from gaincell.study.models import load_model

    quiet_transformers()
    return load_model(name_or_path, device, None if digital is None else split(digital))


def loads(device: str, digital: str | None = None) -> "Load":
    """`load_model` onto a device, for what loads models by name when it comes to need them.

    Layers and heads are kept digital of models that attend in gain cells; an original stays as it is, be it the
    original of others or one that is still to be converted.
    """
    return lambda name: load_model(name, device, digital if digital is not None and in_gain_cells(name) else None)


def in_gain_cells(name_or_path: str) -> bool:
    """Whether a model attends in gain cells as it is loaded: an adapter, or what was saved converted.

    Raises:
        InputError: as `gaincell.models.load.inspect_model`.
    """
    from gaincell.models.adapter import is_adapter
    from gaincell.models.load import find_saved

    if name_or_path == "demo" or is_adapter(name_or_path):
        return name_or_path != "demo"
    return find_saved(name_or_path).design_point is not None


def check_device(device: str) -> None:
    """Refuse a device that models cannot run on here, before anything is loaded.

    Raises:
        InputError: torch knows none of that name, or finds none here.
    """
    if device == "cpu":
        return  # without importing torch
    from gaincell.models.device import check_device

    check_device(device)


def check_out(out: Path) -> None:
    """Refuse an output folder that cannot be one.

    Raises:
        InputError: it is a file, lies in one, or cannot be written to.
    """
    folder = _nearest(out)
    if not folder.is_dir():
        raise InputError(f"--out {out}: {folder} is not a folder; choose another.")
    _check_writable(folder, f"--out {out}")


def check_out_file(out: Path | None, option: str = "--out") -> None:
    """Refuse an output file, given by `option`, that cannot be one.

    Raises:
        InputError: it is a folder, lies in a file, or in a folder that cannot be written to.
    """
    if out is None:
        return
    if out.is_dir() or any(folder.is_file() for folder in out.parents):
        raise InputError(f"{option} {out} cannot be a file; choose another path.")
    _check_writable(_nearest(out.parent), f"{option} {out}")


def _nearest(folder: Path) -> Path:
    """The folder itself, or the nearest above it that is there."""
    return next((each for each in (folder, *folder.parents) if each.exists()), folder)


def _check_writable(folder: Path, what: str) -> None:
    if not os.access(folder, os.W_OK | os.X_OK):
        raise InputError(f"{what}: {folder} cannot be written to; choose another place.")
