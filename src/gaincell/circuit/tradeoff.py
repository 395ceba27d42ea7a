"""Retention against write time: what a write device, its threshold and the capacitor buy, and what they cost."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from gaincell.circuit.cards import Card
from gaincell.circuit.decay import Decay, decay_of
from gaincell.circuit.decks.cell import WRITE_LEVELS_V, Conditions, Write, gain_cell
from gaincell.circuit.ngspice import Ngspice
from gaincell.circuit.writes import Writes, writes_of


@dataclass(frozen=True)
class TradeOff:
    """One cell.

    Attributes:
        write: its write device.
        write_shift_v: threshold shift of that, in V.
        capacitor_f: on the storage node, in F.
        decay: what it forgets.
        writes: how it is written.
    """

    write: Write
    write_shift_v: float
    capacitor_f: float
    decay: Decay
    writes: Writes

    @property
    def kept_s(self) -> float | None:
        """How long every stored voltage stays within half a step of eight levels, in s; None if as long as watched."""
        return self.decay.kept_s(self.writes.within_v)

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        return {
            "write": self.write,
            "write_shift_v": self.write_shift_v,
            "capacitor_f": self.capacitor_f,
            "tau_s": self.decay.tau_s,
            "watched_s": self.decay.watched_s,
            "decayed": len(self.decay.rows),
            "departure": self.decay.departure,
            "kept_s": self.kept_s,
            "settling_s": self.writes.settling_s,
            "error_v": self.writes.error_v,
        }


def trade_offs(
    card: Card,
    writes: Sequence[Write],
    shifts_v: Sequence[float],
    capacitors_f: Sequence[float],
    ngspice: Ngspice,
    progress: Callable[[int, int], None] | None = None,
) -> list[TradeOff]:
    """Our cell with every combination of write device, threshold shift and capacitor, at the device's word line levels.

    Args:
        card: its transistors.
        writes: write devices.
        shifts_v: threshold shifts of the write device, in V.
        capacitors_f: capacitors, in F.
        ngspice: how to run it.
        progress: called with (cells done, cells).

    Raises:
        InputError: a cell that does not hold at all.
        CircuitError: a simulation failed.
    """
    points = list(itertools.product(writes, capacitors_f, shifts_v))
    found = []
    for done, (write, capacitor, shift) in enumerate(points, start=1):
        high, low = WRITE_LEVELS_V[write]
        conditions = Conditions(write_high_v=high, write_low_v=low)
        circuit = gain_cell(card, write, shift, capacitor)
        decay, written = decay_of(circuit, conditions, ngspice), writes_of(circuit, conditions, ngspice)
        found.append(TradeOff(write, shift, capacitor, decay, written))
        if progress is not None:
            progress(done, len(points))
    return found
