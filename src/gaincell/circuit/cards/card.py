"""A transistor card: the models that a deck's transistors are, and the sizes that our cell has with them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Corner = Literal["tt", "ss", "ff", "sf", "fs"]
Leakage = Literal["off", "high-k", "oxide"]


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
        corner: of the process: typical (tt), or the NMOS, then the PMOS, slow (s) or fast (f).
        temperature_c: lowest and highest temperature that the models are for, in degrees Celsius.
        supply_v: lowest and highest supply of a cell that they are for, in V.
        write_shift_v: threshold shift that our cell's write transistors get unless another is asked for, in V.
    """

    name: str
    source: str
    text: str
    shortest_m: float
    narrowest_m: float
    pelgrom_v_m: tuple[float, float]
    comparator_v: float
    temperature_c: tuple[float, float]
    supply_v: tuple[float, float]
    corner: Corner = "tt"
    write_shift_v: float = 0.0
    sizes: Mapping[str, float] = field(default_factory=dict)
