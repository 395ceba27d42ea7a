"""Reader of ngspice's binary raw file: a header of text lines, then numbers, once per analysis."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gaincell.circuit.errors import NoData, StoppedEarly, UnknownSignal

_BINARY = b"Binary:\n"


@dataclass(frozen=True)
class Plot:
    """What one analysis gave.

    Attributes:
        name: ngspice's name of the analysis, such as "Transient Analysis".
        signals: name to samples (points,), real or complex, in V, A or s; the first is what was swept.
    """

    name: str
    signals: Mapping[str, np.ndarray]

    @property
    def axis(self) -> np.ndarray:
        """What was swept (points,): time in s, frequency in Hz, or a source's value."""
        return next(iter(self.signals.values()))

    def __getitem__(self, name: str) -> np.ndarray:
        """Samples (points,) of a signal, such as "v(out)" or "i(v1)".

        Raises:
            UnknownSignal: the analysis did not save it.
        """
        try:
            return self.signals[name.lower()]
        except KeyError:
            raise UnknownSignal(f"the simulation gave no signal '{name}', only {', '.join(self.signals)}.") from None


def read_raw(path: Path) -> list[Plot]:
    """The plots of a binary raw file, in the file's order.

    Raises:
        NoData: no such file, an empty one, or one that is not a binary raw file.
        StoppedEarly: the file ends before the number of points that its header announces, or it announces none.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise NoData("ngspice wrote no results.") from None
    plots, at = [], 0
    while at < len(content):
        end = content.find(_BINARY, at)
        if end < 0:
            raise NoData("ngspice's results are not a binary raw file.")
        plot, at = _read_plot(content[at:end].decode("latin-1"), content, end + len(_BINARY))
        plots.append(plot)
    if not plots:
        raise NoData("ngspice wrote no results.")
    return plots


def _read_plot(header: str, content: bytes, at: int) -> tuple[Plot, int]:
    """One plot whose numbers begin at byte `at`, and the byte after them."""
    fields, _, table = header.partition("Variables:\n")
    info = dict(line.split(":", 1) for line in fields.splitlines() if ":" in line)
    try:
        kind = np.dtype("<c16" if "complex" in info["Flags"] else "<f8")
        width, points = int(info["No. Variables"]), int(info["No. Points"])
        names = [line.split()[1].lower() for line in table.splitlines()]
        name = info["Plotname"].strip()
    except (KeyError, ValueError, IndexError):
        raise NoData("ngspice's results have a header that cannot be read.") from None
    if len(names) != width:
        raise NoData("ngspice's results have a header that cannot be read.")
    end = at + width * points * kind.itemsize
    if points == 0 or end > len(content):
        raise StoppedEarly(f"ngspice's results of the {name} end early.")
    values = np.frombuffer(content, kind, width * points, at).reshape(points, width)
    axis = np.real(values[:, 0])  # a frequency is stored as complex, too
    columns = {names[0]: axis} | {n: np.ascontiguousarray(values[:, i]) for i, n in enumerate(names) if i}
    return Plot(name, columns), end
