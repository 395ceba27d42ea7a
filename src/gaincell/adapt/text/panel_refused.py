"""What is in the panel is not learned from, whoever gives it."""

from typing import Any

from torch import Tensor

from gaincell.errors import InputError
from gaincell.evaluate.panel import PanelPassages

#: Rows that are read at once: they may be larger than memory.
_ROWS = 512


def check_panel(tokenizer: Any, text: str | None, rows: Tensor | None) -> None:
    """Refuse what is to be learned from if it holds a passage of the panel (`gaincell.evaluate.panel.PanelPassages`).

    Rows are compared as text, so that it does not matter whose tokens they are; those of fewer letters than a passage
    tell nothing.

    Args:
        tokenizer: what the rows are read with; without one they are not looked at.
        text: a text that is given, looked at as a whole, whatever rows are drawn from it.
        rows: (N, T) token ids, where they are given or written by the model.

    Raises:
        InputError: which genre, and where.
    """
    if text is None and (rows is None or tokenizer is None):
        return
    passages = PanelPassages()
    if text is not None:
        _refuse("the text", passages.find(text))
    if rows is None or tokenizer is None:
        return
    for start in range(0, len(rows), _ROWS):
        read = tokenizer.batch_decode(rows[start : start + _ROWS].tolist(), skip_special_tokens=True)
        for place, row in enumerate(read, start):
            _refuse(f"row {place}", passages.find(row))


def _refuse(where: str, genre: str | None) -> None:
    if genre is not None:
        raise InputError(
            f"{where} to learn from holds a passage of the panel ({genre}), which is kept to measure on; leave it out "
            "(gaincell.evaluate.panel.drop_panel does)."
        )
