"""Markdown of several parts."""

import re
from collections.abc import Iterable, Sequence


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table."""
    lines = (columns, ("---",) * len(columns), *rows)
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def plain(text: str) -> str:
    """Any text, written by a model for example, as it reads in one cell of a table."""
    return re.sub(r"([|*_`<>\[\]])", r"\\\1", " ".join(text.split()))


def label(model: str) -> str:
    """A model's name as a heading: what ships is code, the original a word."""
    return model if model == "original" else f"`{model}`"
