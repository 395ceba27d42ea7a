"""One cell characterised at several values of one condition."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np

from gaincell.circuit.cards import Card, Corner, Leakage
from gaincell.circuit.characterize import Characterisation, Settings, characterize
from gaincell.circuit.decks.cell import CellCircuit, Conditions
from gaincell.circuit.errors import NoData, NotConverged
from gaincell.circuit.ngspice import Ngspice
from gaincell.errors import InputError

#: What can be swept, as options of the command call it, and its unit.
UNITS = {
    "temperature": "°C",
    "vdd": "V",
    "zero": "V",
    "read-high": "V",
    "write-high": "V",
    "write-low": "V",
    "corner": "",
    "leakage": "",
}
#: Conditions whose values are names.
_NAMES: Mapping[str, tuple[str, ...]] = {"corner": get_args(Corner), "leakage": get_args(Leakage)}
#: Points that a sweep may have.
MOST = 32


@dataclass(frozen=True)
class Sweep:
    """Which condition, and its values in their order."""

    name: str
    values: tuple[float, ...] | tuple[str, ...]


@dataclass(frozen=True)
class Setup:
    """What is simulated at one value: a cell, the comparator's transistors, voltages and temperature."""

    circuit: CellCircuit
    card: Card
    conditions: Conditions


@dataclass(frozen=True)
class Point:
    """One value of a sweep.

    Attributes:
        value: the condition's.
        found: the cell there; None where there is no working one.
        failed: why not, in a sentence; empty where there is.
    """

    value: float | str
    found: Characterisation | None
    failed: str = ""

    @property
    def figures(self) -> dict[str, float | None]:
        """Figures of merit, in SI units; empty without a cell, None where a simulation did not come to the end of it.

        The law's difference from the published one, as `Characterisation.rms_difference`; tau; how long every stored
        voltage stays within half a step of eight levels; write time to within that; energies of `Energy`.
        """
        found = self.found
        if found is None or found.cell.circuit is None or found.cell.circuit.energy is None:
            return {}
        energy = found.cell.circuit.energy
        return {
            "rms_difference": found.rms_difference,
            "tau_s": found.decay.tau_s,
            "kept_s": found.decay.kept_s(found.writes.within_v),
            "settling_s": found.writes.settling_s,
            "read_mean_j": energy.read_mean_j,
            "conversion_j": energy.conversion_j,
            "write_j": energy.write_j,
        }

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        watched = None if self.found is None else self.found.decay.watched_s
        return {"value": self.value, **self.figures, "watched_s": watched, "failed": self.failed or None}


def parse_sweep(text: str) -> Sweep:
    """A sweep as it is written: NAME=VALUE,VALUE,... or NAME=FROM:TO:POINTS, evenly spaced.

    Raises:
        InputError: not written so, a condition that there is none of, or more values than `MOST`.
    """
    name, equals, rest = text.partition("=")
    if not equals or name not in UNITS:
        raise InputError(
            f"--sweep {text} cannot be read; write NAME=27,55,85 or NAME=27:85:4, NAME being one of {', '.join(UNITS)}."
        )
    values = _names(text, name, rest) if name in _NAMES else _numbers(text, rest)
    if not 2 <= len(set(values)) == len(values) <= MOST:
        raise InputError(f"--sweep {text}: give 2 to {MOST} values, each once.")
    return Sweep(name, values)


def _names(text: str, name: str, rest: str) -> tuple[str, ...]:
    given = tuple(part.strip() for part in rest.split(","))
    if not set(given) <= set(_NAMES[name]):
        raise InputError(f"--sweep {text}: {name} is one of {', '.join(_NAMES[name])}, separated by commas.")
    return given


def _numbers(text: str, rest: str) -> tuple[float, ...]:
    try:
        if ":" not in rest:
            return tuple(float(part) for part in rest.split(","))
        first, last, points = rest.split(":")
        return tuple(float(value) for value in np.linspace(float(first), float(last), min(int(points), MOST + 1)))
    except ValueError:
        raise InputError(f"--sweep {text}: '{rest}' is neither numbers such as 27,55,85 nor FROM:TO:POINTS.") from None


def characterize_each(
    sweep: Sweep,
    setup: Callable[[float | str], Setup],
    settings: Settings,
    ngspice: Ngspice | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[Point]:
    """The cell at every value. One at which there is no working cell does not end the sweep.

    Args:
        sweep: the values.
        setup: what is simulated at a value; all are asked for before anything is simulated.
        settings: how each is characterised.
        ngspice: how to run it; its default if None.
        progress: called with (values done, values).

    Raises:
        InputError: a value that `setup` refuses, or no value gives a working cell.
        CircuitError: there is no ngspice, or it was stopped.
    """
    setups = [setup(value) for value in sweep.values]
    points: list[Point] = []
    for value, at in zip(sweep.values, setups, strict=True):
        try:
            found = characterize(at.circuit, at.card, at.conditions, settings, ngspice)
            points.append(Point(value, found))
        except (InputError, NotConverged, NoData) as error:
            points.append(Point(value, None, str(error)))
        if progress is not None:
            progress(len(points), len(setups))
    if not any(point.found for point in points):
        raise InputError(f"no value of the sweep gives a working cell; the first says: {points[0].failed}")
    return points
