"""Text to score or to learn from: the packaged default, or a file."""

import gzip
from collections.abc import Callable
from importlib import resources
from pathlib import Path

from gaincell.cell.cell import is_file, read_text
from gaincell.errors import InputError


def default_text() -> str:
    """State of the Union addresses since 1950 (public domain), as packaged; see data/README.md."""
    return (resources.files("gaincell.evaluate") / "data" / "state_of_the_union.txt").read_text("utf-8")


def novel() -> str:
    """Jane Austen's Persuasion (1818), as packaged: a second text to score; see data/README.md."""
    return _unpacked("persuasion")


def default_training_text() -> str:
    """English prose to learn from (public domain), as packaged: Moby Dick, and State of the Union addresses 1921-1948.

    Some 2.2 million characters, none of them in `default_text`, though half are of its kind: a perplexity on that text
    after learning from this one falls by the kind alone, in the original model as well. See data/README.md.
    """
    return _unpacked("training")


def library() -> str:
    """More English prose to learn from (public domain): `default_training_text`, and eight books of 1827 to 1914.

    Some 5 million characters, a fifth of them speeches; see data/README.md.
    """
    return f"{default_training_text().strip()}\n\n{_unpacked('books')}"


#: Packaged texts to score, by the name that they have at the command line.
PACKAGED: dict[str, Callable[[], str]] = {"speeches": default_text, "novel": novel}
#: Packaged texts to learn from, likewise.
TO_LEARN: dict[str, Callable[[], str]] = {"packaged": default_training_text, "library": library}


def load_text(name_or_path: str | Path) -> str:
    """A packaged text, "speeches" (`default_text`) or "novel"; or a UTF-8 text file.

    Raises:
        InputError: missing, unreadable, not UTF-8, or empty.
    """
    path = Path(name_or_path)
    if not is_file(path):
        if str(name_or_path) in PACKAGED:
            return PACKAGED[str(name_or_path)]()
        raise InputError(
            f"text '{path}' is neither a file nor a packaged text ({', '.join(PACKAGED)}); check the path."
        )
    text = read_text(path)
    if not text.strip():
        raise InputError(f"text file {path} is empty; give one with some hundred words at least.")
    return text


def _unpacked(name: str) -> str:
    data = (resources.files("gaincell.evaluate") / "data" / f"{name}.txt.gz").read_bytes()
    return gzip.decompress(data).decode("utf-8")
