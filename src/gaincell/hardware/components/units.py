"""Figures with units: '0.6 pJ' for a field of joules."""

from typing import Any

from pydantic import ValidationInfo

#: Unit of a field by the end of its name, longest first, as pint names it.
_UNITS = {
    "_j_per_bit": "joule",
    "area_m2": "meter ** 2",
    "_hz": "hertz",
    "_j": "joule",
    "_w": "watt",
    "_s": "second",
    "_m": "meter",
    "_v": "volt",
    "_f": "farad",
}


def in_si(value: Any, info: ValidationInfo) -> Any:
    """A field's text, such as '0.6 pJ', in the SI unit that its name ends with; anything else as it is.

    Raises:
        ValueError: a unit of another kind.
    """
    unit = next((unit for end, unit in _UNITS.items() if str(info.field_name).endswith(end)), None)
    if unit is None or not isinstance(value, str):
        return value
    try:
        return float(value)
    except ValueError:
        pass
    import pint

    try:
        return float(pint.get_application_registry().Quantity(value.replace("m2", "m**2")).m_as(unit))
    except (pint.PintError, ValueError, TypeError, AttributeError, AssertionError, ArithmeticError):
        raise ValueError(f"Write a figure in {unit.replace(' ** 2', '2')}, or in a unit of that kind.") from None
