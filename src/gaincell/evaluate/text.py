"""Text to score or to learn from: the packaged default, or a file."""

from importlib import resources
from pathlib import Path

from gaincell.cell.cell import is_file, read_text
from gaincell.errors import InputError


def default_text() -> str:
    """State of the Union addresses since 1950 (public domain), as packaged; see data/README.md."""
    return (resources.files("gaincell.evaluate") / "data" / "state_of_the_union.txt").read_text("utf-8")


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
