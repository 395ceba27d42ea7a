"""What a design point made a model do on some rows, kept under the hash of all that it depends on."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import platformdirs

from gaincell.atomic import written_aside
from gaincell.errors import InputError
from gaincell.files import read_object, with_hash


@dataclass(frozen=True)
class Measured:
    """Quality, and what the arrays do: nothing of it depends on the hardware's parameters.

    Attributes:
        kl: KL(original || adapted) of the next token, in nats.
        perplexity: of the model in gain cells.
        original: of the original, on the same tokens.
        activity: see `gaincell.hardware.Activity.to_dict`.
    """

    kl: float
    perplexity: float
    original: float
    activity: dict[str, Any]


class Kept:
    """A folder of measurements, shared by all studies of a user; one that is damaged is made anew.

    Args:
        folder: by default in the user's cache folder.
    """

    def __init__(self, folder: Path | str | None = None) -> None:
        self.folder = platformdirs.user_cache_path("gaincell") / "explore" if folder is None else Path(folder)

    def find(self, key: Mapping[str, Any], measure: Callable[[], Measured]) -> Measured:
        """What is kept under a key, else what `measure` finds, which is kept then."""
        path = self.folder / f"{key_hash(key)}.json"
        if path.is_file():
            try:
                return Measured(**read_object(path))
            except (InputError, TypeError):
                path.unlink(missing_ok=True)
        found = measure()
        with written_aside(path) as aside:
            aside.write_text(json.dumps(with_hash(asdict(found))), "utf-8")
        return found


def key_hash(key: Mapping[str, Any]) -> str:
    """A checksum of plain values."""
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:32]
