"""What leaks in the transistors of a card, one by one: figures to hold beside published ones."""

from dataclasses import dataclass

from gaincell.circuit.cards import Card
from gaincell.circuit.decks.store import HOLD_OPTIONS
from gaincell.circuit.ngspice import Deck, Ngspice

#: Length of the transistor whose gate current is told: long, so that its edges are small in it.
_LONG_M, _WIDE_M = 1e-6, 1e-6


@dataclass(frozen=True)
class Leakages:
    """Currents of one transistor at full supply between the pins that are named.

    Attributes:
        gate_a_m2: through the gate while the transistor is on, of the gate's area, in A/m2.
        drain_a_m: from drain to bulk while it is off, GIDL and junction, of the width, in A/m.
        channel_a_m: from drain to source while it is off, at the card's write shift and shortest length, of the width,
            in A/m.
    """

    gate_a_m2: float
    drain_a_m: float
    channel_a_m: float


def leakages_of(
    card: Card, ngspice: Ngspice, *, temperature_c: float = 27.0, supply_v: float = 0.9
) -> tuple[Leakages, Leakages]:
    """Leakages of the NMOS and of the PMOS.

    Raises:
        CircuitError: the simulation failed.
    """
    long, short, shift = f"w={_WIDE_M:g} l={_LONG_M:g}", f"w={_WIDE_M:g} l={card.shortest_m:g}", card.write_shift_v
    lines = [
        f"* leakage\n.options {HOLD_OPTIONS} temp={temperature_c:g}\n{card.text}",
        f"vs vdd 0 {supply_v:g}\n",
        # on, with source, drain and bulk together: all that enters its gate tunnels
        f"vgn gn vdd 0\nxgn 0 gn 0 0 gaincell_nfet {long}\nvgp gp 0 0\nxgp vdd gp vdd vdd gaincell_pfet {long}\n",
        # off, with its drain at the other rail
        f"vbn bn 0 0\nvcn cn 0 0\nxon vdd 0 cn bn gaincell_nfet {short} dvt={shift:g}\n",
        f"vbp bp vdd 0\nvcp cp vdd 0\nxop 0 vdd cp bp gaincell_pfet {short} dvt={shift:g}\n",
        f".dc vs {supply_v:g} {supply_v:g} 1\n",
    ]
    kinds = ("g", "b", "c")
    signals = tuple(f"i(v{kind}{polarity})" for polarity in "np" for kind in kinds)
    plot = ngspice.run(Deck("".join(lines), signals))[0]
    area, width = _WIDE_M * _LONG_M, _WIDE_M
    found = []
    for polarity in "np":
        gate, bulk, channel = (abs(float(plot[f"i(v{kind}{polarity})"][0])) for kind in kinds)
        found.append(Leakages(gate / area, bulk / width, channel / width))
    return found[0], found[1]
