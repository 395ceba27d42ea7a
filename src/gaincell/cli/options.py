"""Arguments and options that several commands share, and what they become."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gaincell.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

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
Json = Annotated[bool, typer.Option("--json", help="Print JSON, and nothing else, on stdout.")]


def load_model(name_or_path: str) -> "tuple[PreTrainedModel, Any]":
    """`gaincell.models.load.load_model`, quietly.

    Raises:
        InputError: as that.
    """
    from gaincell.cli.screen import quiet_transformers

    quiet_transformers()
    from gaincell.models.load import load_model

    return load_model(name_or_path)


def check_out(out: Path) -> None:
    """Refuse an output folder that cannot be one.

    Raises:
        InputError: it is a file, or lies in one.
    """
    for folder in (out, *out.parents):
        if folder.exists():
            if not folder.is_dir():
                raise InputError(f"--out {out}: {folder} is not a folder; choose another.")
            return


def check_out_file(out: Path | None, option: str = "--out") -> None:
    """Refuse an output file, given by `option`, that cannot be one.

    Raises:
        InputError: it is a folder, or lies in a file.
    """
    if out is not None and (out.is_dir() or any(folder.is_file() for folder in out.parents)):
        raise InputError(f"{option} {out} cannot be a file; choose another path.")


def check_positions(model: "PreTrainedModel", length: int, what: str) -> None:
    """Refuse more tokens than the model has positions for.

    Raises:
        InputError: there are fewer positions than `length`.
    """
    positions = getattr(model.config.get_text_config(decoder=True), "max_position_embeddings", None)
    if isinstance(positions, int) and length > positions:
        raise InputError(
            f"{what} asks for {length} tokens in a row, but this model has {positions} positions; use fewer."
        )
