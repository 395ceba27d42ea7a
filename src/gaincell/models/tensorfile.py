"""One safetensors file with JSON metadata: there whole or not at all, and read without trust."""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from gaincell.atomic import written_aside
from gaincell.errors import InputError

#: Where a file says the SHA-256 of all its bytes, this one counted as zeros.
_HASH = re.compile(rb'\\"sha256\\": \\"([0-9a-f]{64})\\"')
_NO_HASH = "0" * 64


def write_tensors(path: str | Path, tensors: dict[str, Tensor], key: str, metadata: dict[str, Any]) -> Path:
    """Write tensors and, under `key` of the header, metadata as JSON: aside first, then renamed.

    The header holds a hash of the whole file, which `check_hash` and `read_tensors` look at.

    Raises:
        OSError: the disk is full, or the folder cannot be written to.
    """
    path = Path(path)
    with written_aside(path) as aside:
        try:
            save_file(tensors, aside, metadata={key: json.dumps({"sha256": _NO_HASH, **metadata})})
            digest, place = _hash(aside)
            with aside.open("r+b") as file:
                file.seek(place)
                file.write(digest.encode())
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
    found.pop("sha256", None)
    return found


def check_hash(path: Path) -> bool:
    """Whether a file carries the hash of its content.

    Raises:
        InputError: it carries that of another content, or cannot be read.
    """
    try:
        digest, place = _hash(path)
        with path.open("rb") as file:
            file.seek(place)
            said = file.read(len(digest)) if place else b""
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}.") from None
    if place and said != digest.encode():
        raise InputError(f"{path} is damaged: its content is not what its hash says; fetch or make it again.")
    return place > 0


def _hash(path: Path) -> tuple[str, int]:
    """The SHA-256 of a file with the hash in its header as zeros, and where that stands; 0 where there is none."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        file.seek(0)
        found = _HASH.search(file.read(8 + min(length, path.stat().st_size)))
        digest = hashlib.sha256()
        file.seek(0)
        if found:
            digest.update(file.read(found.start(1)) + _NO_HASH.encode())
            file.seek(found.end(1))
        while part := file.read(1 << 20):
            digest.update(part)
    return digest.hexdigest(), found.start(1) if found else 0


def read_tensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a file whose metadata was read.

    Raises:
        InputError: the file is damaged (where it carries a hash, by one bit), or holds a number that is not finite.
    """
    check_hash(path)
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dictionary
    except (SafetensorError, OSError):
        raise InputError(f"{path} is truncated or damaged; fetch or make it again.") from None
    for name, tensor in tensors.items():
        if not bool(tensor.isfinite().all()):
            raise InputError(f"{path} is damaged: {name} holds numbers that are not finite; fetch or make it again.")
    return tensors
