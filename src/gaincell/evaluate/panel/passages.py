"""What is in the panel is not to be learned from: its passages, and how to find them in another text."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from gaincell.evaluate.panel.texts import GENRES

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Letters and digits of a passage, some twenty words: what two texts have in common by chance is shorter.
WINDOW = 96
#: A window of fewer different characters (rules, rows of zeros) tells nothing of where it comes from.
_DIFFERENT = 10
#: Letters that are hashed at once, few enough for a cache.
_AT_ONCE = 1 << 16
#: First bits of a hash that are looked up before the others.
_BITS = 23

#: Odd constants of splitmix64, which spreads neighbouring characters over all 64 bits.
_STEP, _MIX1, _MIX2 = (np.uint64(c) for c in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))
_INVERSE = np.uint64(pow(int(_STEP), -1, 2**64))


class PanelPassages:
    """The panel's passages, to look for in other texts.

    A passage is any `WINDOW` letters and digits in a row, in lower case; blanks, signs and line breaks do not count, so
    that neither the way a text is laid out nor a tokenizer hides it. Compared by 64-bit hashes.
    """

    def __init__(self) -> None:
        hashes, genres = [], []
        for number, genre in enumerate(GENRES):
            letters = _letters(genre.text())
            found = _hashes(letters)[_telling(letters)]
            hashes.append(found)
            genres.append(np.full(len(found), number))
        self._hashes, first = np.unique(np.concatenate(hashes), return_index=True)
        self._genres = np.concatenate(genres)[first]
        # Nearly all that is asked for is not there, and of that a table of first bits tells nearly all at once.
        self._begins = np.zeros(1 << _BITS, bool)
        self._begins[self._hashes >> np.uint64(64 - _BITS)] = True

    def find(self, text: str) -> str | None:
        """The name of the genre of which a text holds a passage, the first it comes to; None where it holds none."""
        letters = _letters(text)
        for start in range(0, len(letters), _AT_ONCE):
            asked = _hashes(letters[start : start + _AT_ONCE + WINDOW - 1])
            asked = asked[self._begins[asked >> np.uint64(64 - _BITS)]]
            places = np.searchsorted(self._hashes, asked).clip(max=len(self._hashes) - 1)
            hits = np.flatnonzero(self._hashes[places] == asked)
            if len(hits):
                return GENRES[self._genres[places[hits[0]]]].name
        return None


def drop_panel(documents: Iterable[str]) -> Iterator[str]:
    """The documents that hold no passage of the panel, in their order; what is left out is not told."""
    passages = PanelPassages()
    return (document for document in documents if passages.find(document) is None)


def _letters(text: str) -> "NDArray[np.uint32]":
    """Letters and digits of a text in lower case, as code points."""
    points = np.frombuffer(text.lower().encode("utf-32-le", "surrogatepass"), np.uint32)
    digits, latin = (points >= 48) & (points <= 57), (points >= 97) & (points <= 122)
    others = (points >= 0xC0) & ~((points >= 0x2000) & (points < 0x2C00))  # these are signs
    return points[digits | latin | others]


def _hashes(letters: "NDArray[np.uint32]") -> "NDArray[np.uint64]":
    """A hash of every window: N letters give N - WINDOW + 1, none where there are fewer.

    Polynomials in an odd base modulo 2^64, by differences of running sums.
    """
    if len(letters) < WINDOW:
        return np.zeros(0, np.uint64)
    x = (letters.astype(np.uint64) + np.uint64(1)) * _STEP  # arrays wrap around silently
    x = (x ^ (x >> np.uint64(30))) * _MIX1
    x = (x ^ (x >> np.uint64(27))) * _MIX2
    x ^= x >> np.uint64(31)
    sums = np.zeros(len(x) + 1, np.uint64)
    np.cumsum(x * _powers(_STEP, len(x)), out=sums[1:])
    return (sums[WINDOW:] - sums[:-WINDOW]) * _powers(_INVERSE, len(x) - WINDOW + 1)


def _powers(base: np.uint64, count: int) -> "NDArray[np.uint64]":
    factors = np.full(count, base, np.uint64)
    factors[:1] = 1
    return np.cumprod(factors)


def _telling(letters: "NDArray[np.uint32]") -> "NDArray[np.bool_]":
    """Which windows have enough different characters, as the first of every sixteen neighbours has."""
    if len(letters) < WINDOW:
        return np.zeros(0, bool)
    windows = np.lib.stride_tricks.sliding_window_view(letters, WINDOW)
    different = (np.diff(np.sort(windows[::16], 1), axis=1) != 0).sum(1) + 1
    return np.repeat(different >= _DIFFERENT, 16)[: len(windows)]
