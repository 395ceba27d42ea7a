"""One published result with ours beside it, as plain values."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from gaincell.errors import InputError

if TYPE_CHECKING:
    from gaincell.reproduce.context import Context

#: Where published figures stand.
PAPER = "Leroux et al., Nature Computational Science 5, 813-824 (2025)"
RELEASED = "the authors' released code and data"


class UnavailableError(InputError):
    """An entry cannot be run here: what is missing and how to get it, in one sentence."""


@dataclass(frozen=True)
class Row:
    """One quantity.

    Attributes:
        quantity: what it is.
        published: the published value; None where there is none, or none at hand.
        ours: our value; None where there is none.
        unit: of both; "" for a plain number.
        source: where the published value stands.
        note: how ours comes about.
    """

    quantity: str
    published: float | None
    ours: float | None
    unit: str = ""
    source: str = ""
    note: str = ""

    @property
    def ratio(self) -> float | None:
        """Ours over published; None where either is missing, or published is zero."""
        return None if self.ours is None or not self.published else self.ours / self.published

    def to_dict(self) -> dict[str, Any]:
        """As plain values, with the ratio."""
        return {**asdict(self), "ratio": self.ratio}


@dataclass(frozen=True)
class Findings:
    """What an entry found.

    Attributes:
        rows: the quantities.
        reach: one sentence: how far the comparison reaches.
        figure: an inline SVG; "" without matplotlib.
    """

    rows: tuple[Row, ...]
    reach: str
    figure: str = ""

    def to_dict(self) -> dict[str, Any]:
        """As plain values, without the figure."""
        return {"rows": [row.to_dict() for row in self.rows], "reach": self.reach}


@dataclass(frozen=True)
class Entry:
    """A figure or table of the paper that can be reproduced.

    Attributes:
        name: at the command line.
        title: what it shows.
        compares: one sentence: what stands beside what.
        run: finds it; raises `UnavailableError` where that cannot be done here.
        uses: attributes of the context that change what is found, where they are given.
    """

    name: str
    title: str
    compares: str
    run: "Callable[[Context], Findings]"
    uses: tuple[str, ...] = ()

    def key(self, context: "Context") -> str:
        """Name of what is found in this context: found with other means, it is another finding."""
        given = {use: context.identity(use) for use in self.uses}
        return "-".join((self.name, *(f"{use}-{which}" for use, which in given.items() if which is not None)))
