"""Transistor cards: our own of the 28-nm class, and SkyWater's of its 130 nm process."""

from typing import Literal

from gaincell.circuit.cards.card import Card, Corner, Leakage
from gaincell.circuit.cards.generic import generic_card
from gaincell.circuit.cards.sky130 import sky130_card
from gaincell.errors import InputError

__all__ = ["Card", "Corner", "Leakage", "generic_card", "load_card"]


def load_card(name: Literal["generic", "sky130"], corner: Corner = "tt", leakage: Leakage = "off") -> Card:
    """A card by name, at a corner of its process.

    Raises:
        InputError: the SkyWater models have not been fetched, or are damaged, or another leakage than theirs is asked
            for.
    """
    if name == "generic":
        return generic_card(corner, leakage)
    if leakage != "off":
        raise InputError(
            f"leakage '{leakage}' is of the generic card; the SkyWater models have that of their silicon, so leave it "
            "out."
        )
    return sky130_card(corner)
