"""What is left out of the documents of a mixture, and why."""

import math
import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from typing import Any

import numpy as np

from gaincell.adapt.text.held_out import hash_windows
from gaincell.adapt.text.mixture import Filters, Source
from gaincell.evaluate.panel import GENRES, PanelPassages
from gaincell.evaluate.text import PACKAGED

#: Words of a window: some 64 characters, longer than what two texts have in common by chance.
WINDOW = 12
#: Of the windows, one in so many is kept to find near duplicates by, as its hash says.
SAMPLED = 8
#: Documents of a source, at least, before a line in many of them is taken for a menu's.
PAGES = 20

_WORD = re.compile(r"[^\W_]+")
STOP_WORDS = frozenset(
    """
    a about after all also an and any are as at be been but by can could do each for from had has have he her his how
    i if in into is it its may more most no not of on one only or other our out she should so some such than that the
    their them then there these they this to up us use used was we were what when where which who will with would you
    your
    """.split()  # noqa: SIM905
)
_LICENCE = re.compile(
    r"copyright (\(c\)|©|\d{4})|\(c\) copyright|all rights reserved|permission is hereby granted|spdx-license|"
    r"licensed under the|redistribution and use in source|without warranty of any kind|permission to copy|"
    r"under the terms of the|this work is licen[sc]ed under|project gutenberg",
    re.IGNORECASE,
)


def words_of(text: str) -> list[str]:
    """A text's words, in lower case and without punctuation: what two forms of it have in common."""
    return _WORD.findall(text.lower())


def windows(words: list[str], n: int = WINDOW) -> "np.ndarray[Any, np.dtype[np.uint64]]":
    """A 64-bit hash of every n words in a row; of a shorter text of all its words."""
    if not words:
        return np.zeros(0, np.uint64)
    numbers = np.array([[zlib.crc32(word.encode()) for word in words]], np.uint64)
    return hash_windows(numbers, min(n, len(words)))[0]


def shares_with(texts: Iterable[str]) -> Callable[[str], bool]:
    """Whether a document has any `WINDOW` words in a row in common with one of these texts."""
    hashes = np.unique(np.concatenate([np.zeros(0, np.uint64), *(windows(words_of(text)) for text in texts)]))

    def shares(document: str) -> bool:
        found = windows(words_of(document))
        places = np.searchsorted(hashes, found)
        return bool(len(hashes)) and bool((hashes[np.minimum(places, len(hashes) - 1)] == found).any())

    return shares


def evaluation_texts() -> list[str]:
    """The texts that gaincell scores on, the panel's among them, which nothing may be learned from."""
    return [text() for text in PACKAGED.values()] + [genre.text() for genre in GENRES]


@cache
def is_scored_on() -> Callable[[str], bool]:
    """Whether a document shares a passage with a text that gaincell scores on."""
    scored, passages = shares_with(evaluation_texts()), PanelPassages()
    return lambda text: scored(text) or passages.find(text) is not None


def is_english(text: str, filters: Filters) -> bool:
    """Whether a text reads as English: its characters and its most frequent words say so."""
    words = re.findall(r"[^\W\d_]+", text.lower())
    if not words:
        return False
    ascii_share = sum(character < "\x80" for character in text) / len(text)
    stops = sum(word in STOP_WORDS for word in words) / len(words)
    return ascii_share >= filters.ascii_share and stops >= filters.stop_words


def without_licence(text: str) -> str:
    """A document without the paragraphs that say whose it is and who may copy it."""
    parts = re.split(r"\n[ \t]*\n", text)
    return "\n\n".join(part for part in parts if not _LICENCE.search(part)).strip("\n")


def without_common_lines(pages: list[str], filters: Filters) -> list[str]:
    """Pages of one source without the lines that many of them have: menus, and what stands at every page's foot."""
    if len(pages) < PAGES:
        return pages
    counts = Counter(line for page in pages for line in {line.strip() for line in page.split("\n")} if line)
    most = max(2, filters.common_lines * len(pages))
    return ["\n".join(line for line in page.split("\n") if counts[line.strip()] <= most) for page in pages]


def pieces(text: str, source: Source) -> Iterator[str]:
    """A document; where it is too long its parts, cut between paragraphs; none of one that is to be dropped."""
    if len(text) <= source.longest:
        yield text
        return
    if source.longer == "drop":
        return
    # Of about the same length, so that none is a rest too short to keep.
    aim = len(text) / math.ceil(len(text) / source.longest)
    part = ""
    for paragraph in re.split(r"\n[ \t]*\n", text):
        for start in range(0, max(1, len(paragraph)), source.longest):  # a paragraph may be longer itself
            chunk = paragraph[start : start + source.longest]
            if part and (len(part) >= aim or len(part) + 2 + len(chunk) > source.longest):
                yield part
                part = ""
            part = f"{part}\n\n{chunk}" if part else chunk
    yield part


class Cleaner:
    """Lets a document through once, cleaned; of what it leaves out it counts the reasons.

    Args:
        filters: the thresholds.
        left_out: whether a document must not be learned from.
    """

    def __init__(self, filters: Filters, left_out: Callable[[str], bool]) -> None:
        self.filters, self.left_out = filters, left_out
        self._whole: set[int] = set()
        self._sampled: set[int] = set()

    def __call__(self, document: str, source: Source, counts: Counter[str]) -> str | None:
        """The document without its licence; None if it is left out, with the reason in `counts`."""
        text = without_licence(document)
        reason = self._reason(text, source)
        counts[reason or "kept"] += 1
        return text if reason is None else None

    def _reason(self, text: str, source: Source) -> str | None:
        if len(text.strip()) < source.shortest:
            return "too short"
        if len(text) > source.longest:
            return "too long"
        if source.language == "english" and not is_english(text, self.filters):
            return "other language"
        lines = [line.strip() for line in text.split("\n") if line.strip()]
        if source.language == "english" and 1 - len(set(lines)) / len(lines) > self.filters.repeated_lines:
            return "repeats itself"
        if self.left_out(text):
            return "in a text to evaluate on"
        hashes = windows(words_of(text))
        if not len(hashes):
            return "no words"
        whole = int(np.bitwise_xor.reduce(np.unique(hashes))) ^ len(hashes)
        some = {int(h) for h in hashes if int(h) % SAMPLED == 0}
        if whole in self._whole or (some and len(some & self._sampled) > self.filters.near * len(some)):
            return "duplicate"
        self._whole.add(whole)
        self._sampled |= some
        return None
