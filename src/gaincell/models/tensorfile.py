"""One safetensors file with JSON metadata: there whole or not at all, and read without trust."""

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from gaincell.aside import written_aside
from gaincell.errors import InputError


def write_tensors(path: str | Path, tensors: dict[str, Tensor], key: str, metadata: dict[str, Any]) -> Path:
    """Write tensors and, under `key` of the header, metadata as JSON: aside first, then renamed.

    Raises:
        OSError: the disk is full, or the folder cannot be written to.
    """
    path = Path(path)
    with written_aside(path) as aside:
        try:
            save_file(tensors, aside, metadata={key: json.dumps(metadata)})
        except SafetensorError as error:  # how safetensors tells what the system refused
            raise OSError(f"{path} cannot be written: {error}") from error
    return path


def read_metadata(path: Path, key: str, what: str) -> dict[str, Any]:
    """The metadata that `write_tensors` put there; `what` says what the file should be ("an adapter").

    Raises:
        InputError: the file is damaged, truncated, or something else.
    """
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get(key)
    except SafetensorError:
        raise InputError(f"{path} is truncated, damaged, or no safetensors file; fetch or make it again.") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}.") from None
    try:
        found = None if text is None else json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise InputError(f"{path} is not {what}: its header does not say so; check the path.")
    return found


def read_tensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a file whose metadata was read.

    Raises:
        InputError: the file is damaged, or holds a number that is not finite.
    """
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dictionary
    except (SafetensorError, OSError):
        raise InputError(f"{path} is truncated or damaged; fetch or make it again.") from None
    for name, tensor in tensors.items():
        if not bool(tensor.isfinite().all()):
            raise InputError(f"{path} is damaged: {name} holds numbers that are not finite; fetch or make it again.")
    return tensors
