"""Counts what hostile netlists do: `python tests/campaign/netlists.py` (some minutes, needs ngspice).

Each spelling of `tests/circuit/spellings.py` is a whole netlist that would leave a file where a command of it runs.
Counted are those that leave it

- in ngspice as it is, to see that the spellings mean something;
- in ngspice as `gaincell.circuit.Ngspice` starts it, without any look at the netlist (the second wall alone);
- where `cell_from_netlist` lets a netlist through, in ngspice as it is (the first wall alone).
"""

import subprocess
import sys
import tempfile
from collections import Counter
from contextlib import suppress
from pathlib import Path

from gaincell.circuit import CircuitError, Deck, Ngspice
from gaincell.circuit.decks.cell import Conditions, cell_from_netlist
from gaincell.circuit.decks.read import read_deck
from gaincell.circuit.sandbox import is_confined
from gaincell.errors import InputError

sys.path.insert(0, str(Path(__file__).parents[1] / "circuit"))
from spellings import prepare, spellings, written


def _bench(path: Path) -> Deck:
    return Deck(f'* t\n.include "{path}"\nvdd vdd 0 1\nrdd vdd 0 1k\n.op\n', ("v(vdd)",))


def _left(mark: Path) -> bool:
    """Whether a file was left; it is removed."""
    left = mark.exists()
    mark.unlink(missing_ok=True)
    return left


def _bare(netlist: str, folder: Path) -> None:
    deck = folder / "deck.cir"
    deck.write_text(netlist, "latin-1")
    command = ["ngspice", "-n", "-b", "-r", "out.raw", deck.name]
    subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, timeout=30, check=False)


def main() -> int:
    """Print the counts; 1 where anything ran that should not."""
    counts: Counter[str] = Counter()
    walled = Ngspice(cache=None)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        mark, path = prepare(folder), folder / "mine.cir"
        for spelling in spellings():
            path.write_bytes(written(spelling, folder))
            counts["spellings"] += 1
            _bare(_bench(path).netlist, folder)
            counts["left a file in ngspice as it is"] += _left(mark)
            with suppress(CircuitError):
                walled.run(_bench(path))
            counts["left a file behind the second wall alone"] += _left(mark)
            try:
                cell = cell_from_netlist(path)
            except InputError:
                counts["refused by the first wall"] += 1
                continue
            _bare(read_deck(cell, Conditions(), (0.0, 0.9), (3e-9,)).netlist, folder)
            if _left(mark):
                counts["left a file behind the first wall alone"] += 1
                print("RAN:", repr(spelling))
            else:
                print("let through, ran nothing:", repr(spelling))
    print("confined by Landlock:", is_confined())
    for what, count in counts.items():
        print(f"{count:5} {what}")
    bad = ("behind the first wall alone", *(("behind the second wall alone",) if is_confined() else ()))
    return int(any(counts[f"left a file {where}"] for where in bad))


if __name__ == "__main__":
    raise SystemExit(main())
