"""`gaincell cost --sweep`: a number, or two of them, doubled from a value to another."""

import itertools
from collections.abc import Sequence
from pathlib import Path
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
    specs: Sequence[str],
    model: str,
    fields: Any,
    config: "GainCellConfig",
    parameters: "HardwareParameters",
    json: bool,
    out: Path | None = None,
) -> None:
    """A row for every value, or for every pair of values of two numbers; one that the model cannot have says why.

    Args:
        specs: one sweep or two, as NAME=FROM:TO.
        model: what it is called.
        fields: what `estimate` takes.
        config: the design point.
        parameters: the hardware.
        json: whether to print JSON.
        out: a folder for sweep.html, which shows what no other pair of values beats; None: no page.

    Raises:
        InputError: a sweep that cannot be read, more than two, or of which every value is refused.
    """
    from gaincell.report.numbers import number

    swept = [_values(spec, config, parameters) for spec in specs]
    names = [name for name, _ in swept]
    if len(specs) > 2 or len(set(names)) < len(names):
        raise InputError("--sweep may be given twice, of two different numbers; drop the others.")
    found = [
        (point, _estimated(dict(zip(names, point, strict=True)), fields, config, parameters))
        for point in itertools.product(*(values for _, values in swept))
    ]
    if all(isinstance(result, InputError) for _, result in found):
        raise InputError(f"--sweep {' --sweep '.join(specs)}: no value works; the first says: {found[0][1]}")
    if out is not None:
        _write_page(out, model, names, found)
    if json:
        rows = [
            {
                **dict(zip(names, point, strict=True)),
                **({"refused": str(x)} if isinstance(x, InputError) else x.to_dict()),
            }
            for point, x in found
        ]
        screen.show_json({"model": model, "sweep": names[0] if len(names) == 1 else names, "rows": rows})
        return
    table = [(*(number(value, 7) for value in point), *_cells(x)) for point, x in found]
    screen.show_table((*names, *COLUMNS), table, f"Attention of {model}", len(names))
    for point, result in found:
        if isinstance(result, InputError):
            screen.show(f"{_words(names, point)}: {result}")


def _estimated(
    here: dict[str, float], fields: Any, config: "GainCellConfig", parameters: "HardwareParameters"
) -> "Estimate | InputError":
    """The estimate with some numbers of the design point or the hardware changed, or why there is none."""
    from gaincell.hardware import estimate

    own = {name: value for name, value in here.items() if name in type(config).model_fields}
    others = {name: value for name, value in here.items() if name not in own}
    try:
        changed = type(parameters)(**{**dict(parameters), **others}) if others else parameters
        return estimate(fields, config.replace(**own), changed)
    except InputError as error:
        return error


def _write_page(
    folder: Path, model: str, names: list[str], found: "list[tuple[tuple[float, ...], Estimate | InputError]]"
) -> None:
    from gaincell.aside import written_aside
    from gaincell.report.sweep_page import Point, render_sweep

    points = [
        Point(_words(names, point), x.latency_s, x.energy_j, x.area_m2)
        for point, x in found
        if not isinstance(x, InputError)
    ]
    folder.mkdir(parents=True, exist_ok=True)
    with written_aside(folder / "sweep.html") as path:
        path.write_text(render_sweep(model, names, points, len(found) - len(points)), "utf-8")
    screen.say(f"wrote sweep.html into {folder}; open {folder / 'sweep.html'} in a browser")


def _words(names: Sequence[str], point: Sequence[float]) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in zip(names, point, strict=True))


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
