"""The cell as a circuit: ngspice, decks, and what characterises a cell."""

from gaincell.circuit.errors import (
    CircuitError,
    NoData,
    NotConverged,
    NotInstalled,
    StoppedEarly,
    TimedOut,
    UnknownSignal,
)
from gaincell.circuit.ngspice import Deck, Ngspice
from gaincell.circuit.rawfile import Plot, read_raw

__all__ = [
    "CircuitError",
    "Deck",
    "Ngspice",
    "NoData",
    "NotConverged",
    "NotInstalled",
    "Plot",
    "StoppedEarly",
    "TimedOut",
    "UnknownSignal",
    "read_raw",
]
