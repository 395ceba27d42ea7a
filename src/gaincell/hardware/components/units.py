"""Figures with units: '0.6 pJ' for a field of joules."""

import re
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

#: A number and a unit with at most a power of its own: nothing that would have to be worked out.
_FIGURE = re.compile(r"([-+]?[\d.]+(?:[eE][-+]?\d+)?)\s*([^\W\d]*(?:(?:\*\*|\^)?2)?)")


def in_si(value: Any, info: ValidationInfo) -> Any:
    """A field's text, such as '0.6 pJ', in the SI unit that its name ends with; anything else as it is.

    Raises:
        ValueError: a unit of another kind.
    """
    unit = next((unit for end, unit in _UNITS.items() if str(info.field_name).endswith(end)), None)
    if unit is None or not isinstance(value, str | bool):
        return value
    found = _FIGURE.fullmatch(str(value).strip())
    if found is None:
        raise ValueError(f"Write a figure in {unit.replace(' ** 2', '2')}, or in a unit of that kind.")
    figure, given = float(found[1]), found[2]
    if not given:
        return figure
    import pint

    try:
        return float(pint.get_application_registry().Quantity(figure, given.replace("m2", "m**2")).m_as(unit))
    except (pint.PintError, ValueError, TypeError, AttributeError, AssertionError, ArithmeticError):
        raise ValueError(f"Write a figure in {unit.replace(' ** 2', '2')}, or in a unit of that kind.") from None
