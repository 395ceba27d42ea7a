"""Text to score or to learn from: the packaged default, or a file."""

import gzip
from importlib import resources
from pathlib import Path

from gaincell.cell.cell import is_file, read_text
from gaincell.errors import InputError


def default_text() -> str:
    """State of the Union addresses since 1950 (public domain), as packaged; see data/README.md."""
    return (resources.files("gaincell.evaluate") / "data" / "state_of_the_union.txt").read_text("utf-8")


def default_training_text() -> str:
    """English prose to learn from (public domain), as packaged: Moby Dick, and State of the Union addresses 1921-1948.

    Some 2.2 million characters, none of them in `default_text`, though half are of its kind: a perplexity on that text
    after learning from this one falls by the kind alone, in the original model as well. See data/README.md.
    """
    data = (resources.files("gaincell.evaluate") / "data" / "training.txt.gz").read_bytes()
    return gzip.decompress(data).decode("utf-8")


def load_text(path: str | Path | None) -> str:
    """A UTF-8 text file, or the default text for None.

    Raises:
        InputError: missing, unreadable, not UTF-8, or empty.
    """
    if path is None:
        return default_text()
    path = Path(path)
    if not is_file(path):
        raise InputError(f"text file {path} does not exist; check the path.")
    text = read_text(path)
    if not text.strip():
        raise InputError(f"text file {path} is empty; give one with some hundred words at least.")
    return text
