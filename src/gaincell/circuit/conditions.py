"""Conditions as a user gives them: what is left out follows from the rest, and what a card is not for is refused."""

from gaincell.cell import CellConditions
from gaincell.circuit.cards import Card
from gaincell.circuit.decks.cell import WRITE_LEVELS_V, CellCircuit, Conditions, Write
from gaincell.errors import InputError

_DEFAULT = Conditions()


def conditions_of(
    card: Card,
    write: Write,
    *,
    temperature_c: float | None = None,
    vdd_v: float | None = None,
    zero_v: float | None = None,
    read_high_v: float | None = None,
    write_high_v: float | None = None,
    write_low_v: float | None = None,
    write_s: float | None = None,
) -> Conditions:
    """Conditions with what is given, and the rest as the write device needs it.

    Args:
        card: transistors, whose ranges of temperature and supply hold.
        write: the write device, whose word line has the levels of `WRITE_LEVELS_V`; the high one moves with the supply.
        temperature_c: 27 by default.
        vdd_v: 0.9 by default.
        zero_v: half of the supply by default.
        read_high_v: the supply by default.
        write_high_v: by the device by default.
        write_low_v: likewise.
        write_s: 10 ns by default.

    Raises:
        InputError: as `Conditions`, or a temperature or a supply that is beyond the card's range.
    """
    vdd = _DEFAULT.vdd_v if vdd_v is None else vdd_v
    high, low = WRITE_LEVELS_V[write]
    conditions = Conditions(
        vdd_v=vdd,
        zero_v=vdd / 2 if zero_v is None else zero_v,
        read_high_v=read_high_v,
        write_high_v=high + (vdd - _DEFAULT.vdd_v) if write_high_v is None else write_high_v,
        write_low_v=low if write_low_v is None else write_low_v,
        temperature_c=_DEFAULT.temperature_c if temperature_c is None else temperature_c,
        write_s=_DEFAULT.write_s if write_s is None else write_s,
    )
    check_conditions(conditions, card)
    return conditions


def check_conditions(conditions: Conditions, card: Card) -> None:
    """Refuse what a card's models are not for.

    Raises:
        InputError: a temperature, a supply or a read word line beyond the card's range.
    """
    for name, value, unit, (least, most) in (
        ("a temperature", conditions.temperature_c, "°C", card.temperature_c),
        ("a supply", conditions.vdd_v, "V", card.supply_v),
        ("a read word line", conditions.read_v, "V", (0.0, card.supply_v[1])),
    ):
        if not least <= value <= most:
            raise InputError(
                f"{name} of {value:g} {unit} is beyond what card {card.name} is for; choose one of {least:g} to "
                f"{most:g} {unit}."
            )


def characterised_at(circuit: CellCircuit, conditions: Conditions) -> CellConditions:
    """What the cell file of a circuit says of the conditions that it was simulated under."""
    return CellConditions(
        temperature_c=conditions.temperature_c,
        vdd_v=conditions.vdd_v,
        zero_v=conditions.zero_v,
        read_high_v=conditions.read_v,
        write_high_v=conditions.write_high_v,
        write_low_v=conditions.write_low_v,
        corner=circuit.corner,
        source=f"ngspice, what it was simulated under; {circuit.source}",
    )
