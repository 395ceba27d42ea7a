"""Arguments and options that several commands share, and what they become."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gaincell.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from gaincell.report.cell_page import CellPage

Model = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="A model folder in Hugging Face format, or one on the hub, 'owner/name'; 'demo': the demo model; or an "
        "adapter of it, by name or file.",
    ),
]
Config = Annotated[str, typer.Option("--config", help="Design point: a preset's name, or a YAML or JSON file.")]
OptionalConfig = Annotated[
    str | None, typer.Option("--config", help="Design point: a preset's name, or a YAML or JSON file.")
]
Seed = Annotated[int, typer.Option("--seed", min=0, max=2**31 - 1, help="Seed of everything drawn at random.")]
Device = Annotated[
    str,
    typer.Option("--device", help="Where models run, as torch calls it: cpu, cuda, cuda:1, mps; rounding differs."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, and nothing else, on stdout.")]

CellReport = Annotated[
    Path | None,
    typer.Option(
        "--report", help="The page of plots and figures to write (HTML). Default: beside --out, as its name .html."
    ),
]


def load_model(name_or_path: str, device: str = "cpu") -> "tuple[PreTrainedModel, Any]":
    """`gaincell.models.load.load_model`, quietly, and onto a device.

    Raises:
        InputError: as that; no such device.
    """
    from gaincell.cli.screen import quiet_transformers

    quiet_transformers()
    from gaincell.models.load import load_model

    model, tokenizer = load_model(name_or_path)
    if device != "cpu":
        model.to(device)  # pyright: ignore[reportArgumentType]
    return model, tokenizer


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


def cell_report(report: Path | None, out: Path | None) -> Path | None:
    """Where a cell's page goes: `--report`, else beside the cell file, else nowhere.

    Raises:
        InputError: it cannot be a file, is the cell file, or would take the place of what is no cell's page, unasked.
    """
    from gaincell.report.cell_page import is_cell_page

    page = out.with_suffix(".html") if report is None and out is not None else report
    check_out_file(page, "--report")
    if page is not None and page == out:
        raise InputError(f"--out {out} would be both cell file and report; name the cell file .yaml.")
    if report is None and page is not None and page.is_file() and not is_cell_page(page):
        raise InputError(f"the report would replace {page}, which is no cell's report; give it a name by --report.")
    return page


def write_cell_report(page: "CellPage", path: Path) -> None:
    """Write a cell's page, with a note where matplotlib is missing."""
    from gaincell.cli.screen import say
    from gaincell.report.cell_page import write_cell_page

    lacks = write_cell_page(page, path)
    if lacks is not None:
        say(f"note: {lacks}")


def tell_written(cell: Path | None, report: Path | None) -> None:
    """Say what was written, and what it is for."""
    from gaincell.cli.screen import show

    if cell is not None:
        show(f"Written to {cell}; use it with a design point's field 'cell'.")
    if report is not None:
        show(f"Report: {report}")


def check_positions(model: "PreTrainedModel", length: int, what: str) -> None:
    """Refuse more tokens than the model has positions for.

    Raises:
        InputError: there are fewer positions than `length`.
    """
    from gaincell.models import positions_of

    positions = positions_of(model)
    if positions is not None and length > positions:
        raise InputError(
            f"{what} asks for {length} tokens in a row, but this model has {positions} positions; use fewer."
        )
