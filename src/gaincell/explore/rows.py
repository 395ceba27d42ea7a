"""The rows that quality and activity are measured on, and those that matching and training learn on."""

import hashlib
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from gaincell.errors import InputError
from gaincell.progress import Progress

if TYPE_CHECKING:
    from torch import Tensor

#: Characters that are read for a token that is wanted: a token of any tokenizer has fewer on average.
_CHARACTERS = 12
#: Texts that come with the package, or that it names itself.
PACKAGED = ("library", "packaged", "mixture")
_MIXTURES = (".yaml", ".yml")


@dataclass(frozen=True)
class RowsAsked:
    """Which rows, and how many.

    Attributes:
        text: a text file, or "library" (packaged prose that may be learned from, see `gaincell.adapt.load_source`); or
            "mixture", or a mixture file (.yaml), for rows of every kind that the panel has.
        rows: how many to measure on.
        length: tokens of each.
        seed: of their choice.
        learned: how many more to match or train on.

    Raises:
        InputError: less than one row, or rows of fewer than 16 tokens.
    """

    text: str = "library"
    rows: int = 4
    length: int = 512
    seed: int = 0
    learned: int = 2

    def __post_init__(self) -> None:
        if self.rows < 1 or self.learned < 1 or self.length < 16:
            raise InputError("rows to measure on: give one at least, of 16 tokens or more.")

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        return asdict(self)


def read(asked: RowsAsked, tokenizer: Any, progress: Progress | None = None) -> "tuple[Tensor, Tensor]":
    """Rows to measure on, and others to learn on: (rows, length) and (learned, length) token ids.

    The same arguments give the same rows. No text that gaincell measures on otherwise is among them.

    Raises:
        InputError: a text that cannot be read or is too short, or that holds a passage of the panel.
    """
    from gaincell.adapt.text.panel_refused import check_panel

    count = asked.rows + asked.learned
    if asked.text == "mixture" or asked.text.endswith(_MIXTURES):
        from gaincell.adapt.text import mixture_rows

        ids = mixture_rows(tokenizer, asked.text, count * asked.length, asked.length, asked.seed, progress).long()
    else:
        ids = _spread(asked, tokenizer, count)
    check_panel(tokenizer, None, ids)
    return ids[: asked.rows], ids[asked.rows : count]


def _spread(asked: RowsAsked, tokenizer: Any, count: int) -> "Tensor":
    """Rows from places spread evenly over a text, in an order drawn from the seed; each begins with a paragraph."""
    import torch

    from gaincell.adapt.text.sources import load_source
    from gaincell.evaluate.perplexity import encode
    from gaincell.evaluate.text_prefix import prefix_of

    text, prefix = load_source(asked.text), prefix_of(tokenizer)
    own, share = asked.length - len(prefix), len(text) // count
    rows = []
    for place in range(count):
        piece = text[place * share : (place + 1) * share]
        start = piece.find("\n\n") + 2 if place else 0
        ids = encode(tokenizer, piece[start : start + _CHARACTERS * own])[:own]
        if len(ids) < own:
            raise InputError(
                f"the text '{asked.text}' is too short for {count} rows of {asked.length} tokens; give a longer one, "
                "or ask for fewer (--rows, --length)."
            )
        rows.append([*prefix, *ids])
    order = torch.randperm(count, generator=torch.Generator().manual_seed(asked.seed))
    return torch.tensor(rows)[order]


def fingerprint(ids: "Tensor") -> str:
    """A short checksum of token ids."""
    return hashlib.sha256(repr(ids.tolist()).encode()).hexdigest()[:16]
