"""`gaincell cost --sweep`: one number doubled from a value to another."""

from typing import TYPE_CHECKING, Any

from gaincell.cli import screen
from gaincell.errors import InputError

if TYPE_CHECKING:
    from gaincell.config import GainCellConfig
    from gaincell.hardware import Estimate, HardwareParameters

#: Steps that a sweep may have.
MOST = 64
COLUMNS = ("latency", "energy", "area", "pairs", "chips", "age / tau", "refreshes")


def show_sweep(
    spec: str, model: str, fields: Any, config: "GainCellConfig", parameters: "HardwareParameters", json: bool
) -> None:
    """A row for every value; one that the model cannot have says why.

    Raises:
        InputError: a sweep that cannot be read, or of which every value is refused.
    """
    from gaincell.hardware import estimate
    from gaincell.report.numbers import number

    name, values = _values(spec, config, parameters)
    found: list[tuple[float, Estimate | InputError]] = []
    for value in values:
        try:
            here = {name: value}
            if name in type(config).model_fields:
                found.append((value, estimate(fields, config.replace(**here), parameters)))
            else:
                changed = type(parameters)(**{**dict(parameters), **here})
                found.append((value, estimate(fields, config, changed)))
        except InputError as error:
            found.append((value, error))
    if all(isinstance(result, InputError) for _, result in found):
        raise InputError(f"--sweep {spec}: no value works; the first says: {found[0][1]}")
    if json:
        rows = [
            {name: value, **({"refused": str(x)} if isinstance(x, InputError) else x.to_dict())} for value, x in found
        ]
        screen.show_json({"model": model, "sweep": name, "rows": rows})
        return
    screen.show_table((name, *COLUMNS), [(number(value, 7), *_cells(x)) for value, x in found], f"Attention of {model}")
    for value, result in found:
        if isinstance(result, InputError):
            screen.show(f"{name} {value:g}: {result}")


def _values(spec: str, config: "GainCellConfig", parameters: "HardwareParameters") -> tuple[str, list[float]]:
    name, equals, span = spec.partition("=")
    first, colon, last = span.partition(":")
    numbers = {
        field: value
        for fields in (config, parameters)
        for field, value in fields
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
    if not (equals and colon):
        raise InputError(f"--sweep '{spec}' is not NAME=FROM:TO, as in window=256:8192.")
    if name not in numbers:
        raise InputError(f"--sweep: '{name}' is no number of this design; choose one of {', '.join(sorted(numbers))}.")
    kind = type(numbers[name])
    try:
        value, end = kind(first), kind(last)
    except ValueError:
        raise InputError(f"--sweep {spec}: '{span}' is not two numbers such as 256:8192.") from None
    if not 0 < value <= end < value * 2.0**MOST:
        raise InputError(f"--sweep {spec}: go from a number above 0 to one that is not smaller, in {MOST} doublings.")
    values: list[float] = [value]
    while values[-1] * 2 <= end:
        values.append(values[-1] * 2)
    return name, values


def _cells(result: "Estimate | InputError") -> tuple[str, ...]:
    from gaincell.report.numbers import number

    if isinstance(result, InputError):
        return ("refused", *[""] * (len(COLUMNS) - 1))
    return (
        f"{number(result.latency_s * 1e6)} µs",
        f"{number(result.energy_j * 1e6)} µJ",
        f"{number(result.area_m2 * 1e6)} mm²",
        str(result.pairs_built),
        str(result.chips),
        number(result.retention_ratio, 3),
        str(result.retention.refreshes),
    )
