"""`gaincell cost --sweep`: a number, or two of them, doubled from a value to another."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gaincell.cli import screen
from gaincell.errors import InputError

if TYPE_CHECKING:
    from gaincell.config import GainCellConfig
    from gaincell.hardware import Estimate, HardwareParameters
    from gaincell.hardware.named import NamedModel
    from gaincell.hardware.sweep import Choice

COLUMNS = ("latency", "energy", "area", "pairs", "chips", "age / tau", "refreshes")


def show_sweep(
    specs: Sequence[str],
    model: "NamedModel",
    config: "GainCellConfig",
    parameters: "HardwareParameters",
    json: bool,
    out: Path | None = None,
) -> None:
    """A row for every value, or for every pair of values of two numbers; one that the model cannot have says why.

    Raises:
        InputError: a sweep that cannot be read, more than two, or of which every value is refused.
    """
    from gaincell.hardware.sweep import numbers_of, sweep
    from gaincell.report.sweep_page import write_sweep

    numbers = numbers_of(config, parameters)
    swept = dict(_values(spec, numbers) for spec in specs)
    if len(specs) > 2 or len(swept) < len(specs):
        raise InputError("--sweep may be given twice, of two different numbers; drop the others.")
    found = sweep(swept, model.fields, config, parameters)
    if all(isinstance(choice.found, InputError) for choice in found):
        raise InputError(f"--sweep {' --sweep '.join(specs)}: no value works; the first says: {found[0].found}")
    if out is not None:
        write_sweep(out, model.name, list(swept), found)
        screen.say(f"wrote sweep.html into {out}; open {out / 'sweep.html'} in a browser")
    if json:
        names = list(swept)
        rows = [{**choice.values, **_told(choice)} for choice in found]
        screen.show_json({"model": model.name, "sweep": names[0] if len(names) == 1 else names, "rows": rows})
    else:
        _show(model.name, list(swept), found)


def _values(spec: str, numbers: Mapping[str, float]) -> tuple[str, list[float]]:
    """NAME=FROM:TO as a name and its values."""
    from gaincell.hardware.sweep import doublings

    name, equals, span = spec.partition("=")
    first, colon, last = span.partition(":")
    if not (equals and colon):
        raise InputError(f"--sweep '{spec}' is not NAME=FROM:TO, as in window=256:8192.")
    if name not in numbers:
        raise InputError(f"--sweep: '{name}' is no number of this design; choose one of {', '.join(sorted(numbers))}.")
    kind = type(numbers[name])
    try:
        value, end = kind(first), kind(last)
    except ValueError:
        raise InputError(f"--sweep {spec}: '{span}' is not two numbers such as 256:8192.") from None
    try:
        return name, doublings(value, end)
    except InputError as error:
        raise InputError(f"--sweep {spec}: {error}") from None


def _told(choice: "Choice") -> dict[str, object]:
    return {"refused": str(choice.found)} if isinstance(choice.found, InputError) else choice.found.to_dict()


def _show(model: str, names: list[str], found: "list[Choice]") -> None:
    from gaincell.report.numbers import number

    table = [(*(number(value, 7) for value in x.values.values()), *_cells(x.found)) for x in found]
    screen.show_table((*names, *COLUMNS), table, f"Attention of {model}", len(names))
    for choice in found:
        if isinstance(choice.found, InputError):
            screen.show(f"{choice}: {choice.found}")


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
