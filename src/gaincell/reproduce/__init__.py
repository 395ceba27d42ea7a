"""The paper, figure by figure and table by table, beside what this package finds."""

import difflib

from gaincell.errors import InputError
from gaincell.reproduce import fig1, fig2, fig4c, fig4d, fig5, subtile, table1
from gaincell.reproduce.authors_data import Reference
from gaincell.reproduce.context import Context
from gaincell.reproduce.entry import Entry, Findings, Row, UnavailableError

__all__ = ["ENTRIES", "Context", "Entry", "Findings", "Reference", "Row", "UnavailableError", "choose"]

#: In the order of the paper; the longest last.
ENTRIES: tuple[Entry, ...] = (
    fig1.ENTRY,
    fig2.ENTRY,
    subtile.ENTRY,
    fig4c.ENTRY,
    fig4d.ENTRY,
    fig5.ENTRY,
    table1.ENTRY,
)


def choose(names: str) -> list[Entry]:
    """Entries by name, separated by commas; "all" for every one.

    Raises:
        InputError: an unknown name, or none.
    """
    known = {entry.name: entry for entry in ENTRIES}
    asked = [name.strip() for name in names.split(",") if name.strip()]
    for name in asked:
        if name != "all" and name not in known:
            close = difflib.get_close_matches(name, known, 1)
            what = f"did you mean '{close[0]}'?" if close else f"choose from all, {', '.join(known)}."
            raise InputError(f"unknown entry '{name}'; {what}")
    if not asked:
        raise InputError(f"name an entry; choose from all, {', '.join(known)}.")
    return [entry for entry in ENTRIES if "all" in asked or entry.name in asked]
