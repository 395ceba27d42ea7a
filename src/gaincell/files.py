"""Files that a run keeps, read back: which one is damaged, and what to do, in one sentence."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gaincell.errors import InputError

AGAIN = "delete it, and run the same command again: what it held is made anew"
_KEY = "sha256"


@contextmanager
def reading(path: Path, remedy: str = AGAIN) -> Iterator[None]:
    """A block that reads one file, whatever its kind, and takes from it what it should hold.

    Args:
        path: the file.
        remedy: what to do where it is damaged, as the end of a sentence.

    Raises:
        InputError: of any error in the block but those of memory: the file cannot be read, or does not hold that.
    """
    try:
        yield
    except (InputError, MemoryError):
        raise
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}; {remedy}.") from None
    except Exception as error:  # whatever a damaged file provokes in those that read it
        if type(error).__name__ == "OutOfMemoryError":  # torch's, which this room does not import
            raise
        told = next(iter(str(error).splitlines()), "")[:120].rstrip(".:")
        raise InputError(f"{path} is damaged ({type(error).__name__}: {told}); {remedy}.") from None


def read_object(path: Path, remedy: str = AGAIN) -> dict[str, Any]:
    """A JSON object that was written whole; where it carries a hash of itself (`with_hash`), that of this content.

    Raises:
        InputError: as `reading`.
    """
    with reading(path, remedy):
        found = json.loads(path.read_text("utf-8"))
        if not isinstance(found, dict):
            raise ValueError("it holds no object")
        if _KEY in found and found.pop(_KEY) != _hash(found):
            raise ValueError("its content is not what its hash says")
    return found


def read_lines(path: Path, remedy: str = AGAIN) -> list[dict[str, Any]]:
    """JSON objects, one a line; without the last line where a kill left half of it.

    Raises:
        InputError: as `reading`.
    """
    found = []
    with reading(path, remedy):
        text = path.read_text("utf-8")
        if "\0" in text:
            raise ValueError("it holds zeros")
        for number, line in enumerate(text.split("\n")[:-1], 1):
            try:
                found.append(dict(json.loads(line)))
            except (ValueError, TypeError) as error:
                raise ValueError(f"line {number}, {error}") from None
    return found


def with_hash(content: Mapping[str, Any]) -> dict[str, Any]:
    """A JSON object with a hash of itself, which `read_object` checks."""
    return {**content, _KEY: _hash(json.loads(json.dumps(content)))}


def _hash(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
