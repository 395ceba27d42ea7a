"""Transistor cards: our own of the 28-nm class, and SkyWater's of its 130 nm process."""

from typing import Literal

from gaincell.circuit.cards.card import Card, Corner
from gaincell.circuit.cards.generic import generic_card
from gaincell.circuit.cards.sky130 import sky130_card

__all__ = ["Card", "Corner", "generic_card", "load_card"]


def load_card(name: Literal["generic", "sky130"], corner: Corner = "tt") -> Card:
    """A card by name, at a corner of its process.

    Raises:
        InputError: the SkyWater models have not been fetched, or are damaged.
    """
    return sky130_card(corner) if name == "sky130" else generic_card(corner)
