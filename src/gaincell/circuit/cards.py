"""Transistor cards: the models that a deck's transistors are, and the sizes that our cell has with them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

#: BSIM4 parameters of a 28-nm-class pair. Round numbers of that class, **not fitted to silicon**.
_GENERIC = """\
.model gaincell_n nmos level=54 version=4.5 toxe=1.5n vth0=0.40 u0=0.026 vsat=1e5 k1=0.35 k2=-0.0186
+ nfactor=1.2 eta0=0.02
.model gaincell_p pmos level=54 version=4.5 toxe=1.6n vth0=-0.40 u0=0.0095 vsat=0.8e5 k1=0.35 k2=-0.0186
+ nfactor=1.2 eta0=0.02
.subckt gaincell_nfet d g s b w=0.1u l=0.03u dvt=0
m1 d g s b gaincell_n w={w} l={l} delvto={dvt}
.ends
.subckt gaincell_pfet d g s b w=0.1u l=0.03u dvt=0
m1 d g s b gaincell_p w={w} l={l} delvto={-dvt}
.ends
"""


@dataclass(frozen=True)
class Card:
    """A pair of transistors.

    Attributes:
        name: what it is called in cell files.
        source: where the models come from, and what they are worth.
        text: netlist that defines the subcircuits `gaincell_nfet` and `gaincell_pfet` with pins d g s b and parameters
            w and l in m, and dvt in V, which is added to the magnitude of the threshold voltage.
        sizes: parameters of our gain cell where they differ from its defaults (widths and lengths in m).
        shortest_m: channel length of logic and write transistors, in m.
        narrowest_m: their width, in m.
        pelgrom_v_m: A_vt of the NMOS and the PMOS: deviation of the threshold times the root of width times length,
            in V m (Pelgrom et al., IEEE J. Solid-State Circuits 24, 1433 (1989)).
        comparator_v: supply of the comparator, in V.
        write_shift_v: threshold shift that our cell's write transistors get unless another is asked for, in V.
    """

    name: str
    source: str
    text: str
    shortest_m: float
    narrowest_m: float
    pelgrom_v_m: tuple[float, float]
    comparator_v: float
    write_shift_v: float = 0.0
    sizes: Mapping[str, float] = field(default_factory=dict)


def generic_card() -> Card:
    """Our own 28-nm-class pair; not fitted to silicon. A_vt = 1.5 mV um is an assumption for such a node."""
    return Card(
        name="generic-28nm",
        source="generic 28-nm-class BSIM4 card, not fitted to silicon",
        text=_GENERIC,
        shortest_m=30e-9,
        narrowest_m=100e-9,
        pelgrom_v_m=(1.5e-9, 1.5e-9),
        comparator_v=0.9,
        write_shift_v=0.1,
    )


def load_card(name: Literal["generic", "sky130"]) -> Card:
    """A card by name.

    Raises:
        InputError: the SkyWater models have not been fetched, or are damaged.
    """
    from gaincell.circuit.sky130 import sky130_card  # it needs `Card`

    return sky130_card() if name == "sky130" else generic_card()
