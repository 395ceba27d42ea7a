"""What is varied: fields of the design point and of the hardware, and the design points that they make."""

import difflib
import itertools
import math
import random
import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import TypeAdapter, ValidationError

from gaincell.cell import Cell, load_cell
from gaincell.config import GainCellConfig
from gaincell.errors import InputError
from gaincell.hardware.parameters import HardwareParameters
from gaincell.hardware.sweep import doublings

#: Values of one field: a scalar each. A cell goes by the name or path that it was given by.
Value = str | int | float | bool | None

_WORDS: dict[str, Value] = {"null": None, "none": None, "true": True, "false": False}


@dataclass(frozen=True)
class Axis:
    """One field that is varied.

    Attributes:
        name: the field.
        home: whose field it is.
        values: in the order in which they were given; empty where any number of a span may be taken.
        span: lowest and highest, drawn evenly in their logarithm; None where there are values.
    """

    name: str
    home: Literal["design", "hardware"]
    values: tuple[Value, ...] = ()
    span: tuple[float, float] | None = None

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        return {"name": self.name, "home": self.home, "values": list(self.values), "span": self.span and [*self.span]}


@dataclass(frozen=True)
class Space:
    """The fields that are varied, and what they are put into.

    Attributes:
        axes: the fields.
        base: the design point, for all other fields.
        parameters: the hardware likewise.
        cells: what the names and paths of an axis 'cell' stand for, so that a study needs their files no more.
    """

    axes: tuple[Axis, ...]
    base: GainCellConfig
    parameters: HardwareParameters
    cells: Mapping[str, dict[str, Any]] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        vary: Mapping[str, str | Sequence[Value]],
        base: GainCellConfig,
        parameters: HardwareParameters | None = None,
    ) -> "Space":
        """The space that a user names.

        Args:
            vary: by field "A,B,C", or the values themselves; "A:B" of a whole number is A, doubled up to B, and of
                any other number every one between, drawn evenly in its logarithm.
            base: the design point, for all other fields.
            parameters: the hardware, by default as `HardwareParameters` has it.

        Raises:
            InputError: nothing to vary, an unknown field (with the nearest name), one that holds no single value, an
                empty range, or a cell that cannot be read.
        """
        if not vary:
            raise InputError("nothing is varied; name a field and its values, as in --vary output_levels=16,32,64.")
        parameters = parameters or HardwareParameters()
        axes = tuple(_axis(name, given) for name, given in vary.items())
        cells = {str(x): _content(x) for axis in axes if axis.name == "cell" for x in axis.values}
        return cls(axes, base, parameters, cells)

    @property
    def size(self) -> int | None:
        """How many choices of values there are; None where a span has no end of them."""
        return None if any(axis.span for axis in self.axes) else math.prod(len(axis.values) for axis in self.axes)

    def every(self) -> Iterator[dict[str, Value]]:
        """Every choice of values, the last field changing fastest; of a span its two ends."""
        each = [axis.values or axis.span or () for axis in self.axes]
        return (dict(zip(self.names, chosen, strict=True)) for chosen in itertools.product(*each))

    @property
    def names(self) -> tuple[str, ...]:
        """The fields."""
        return tuple(axis.name for axis in self.axes)

    @property
    def notes(self) -> list[str]:
        """What is taken for a field that is not varied, in sentences.

        Cells are compared each with its own leak: `leak_per_token` of the base is the leak of the base's cell.
        """
        if "cell" not in self.names or "leak_per_token" in self.names or self.base.leak_per_token is None:
            return []
        return [
            "each cell leaks as its own retention has it: leak_per_token is null, in place of the "
            f"{self.base.leak_per_token:g} of '{self.base.name}'; for one leak of all cells, vary leak_per_token, too."
        ]

    def design(self, values: Mapping[str, Value]) -> tuple[GainCellConfig, HardwareParameters]:
        """The design point and the hardware that a choice of values makes; see `notes` for the leak of its cell.

        Raises:
            InputError: the values do not fit each other.
        """
        homes = {axis.name: axis.home for axis in self.axes}
        own = {name: value for name, value in values.items() if homes[name] == "design"}
        others = {name: value for name, value in values.items() if homes[name] == "hardware"}
        if "cell" in own:
            own["cell"] = Cell(**self.cells[str(own["cell"])])  # pyright: ignore[reportArgumentType]
            own.setdefault("leak_per_token", None)
        parameters = self.parameters
        if others:
            parameters = type(parameters)(**{**dict(parameters), **others})
        return self.base.replace(**own), parameters

    def check(self, most: int = 4096) -> None:
        """Refuse a space in which no design point is valid, as far as so many choices tell: all, or spread over it.

        Raises:
            InputError: with what the first one says.
        """
        whole = self.size is not None and self.size <= most
        first: InputError | None = None
        for values in self.every() if whole else self._spread(most):
            try:
                self.design(values)
                return
            except InputError as error:
                first = first or error
        none = "no design point of this space" if whole else f"none of the {most:,} design points that were tried"
        raise InputError(f"{none} is valid; the first says: {first}")

    def _spread(self, count: int) -> Iterator[dict[str, Value]]:
        """Choices drawn from the whole space, always the same ones: of a list any value, of a span any number of it."""
        draw = random.Random(0)
        for _ in range(count):
            yield {
                axis.name: draw.choice(axis.values)
                if axis.span is None
                else axis.span[0] * (axis.span[1] / axis.span[0]) ** draw.random()
                for axis in self.axes
            }

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for JSON: what `from_dict` reads."""
        return {
            "axes": [axis.to_dict() for axis in self.axes],
            "base": self.base.model_dump(mode="json"),
            "parameters": self.parameters.model_dump(mode="json"),
            "cells": dict(self.cells),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Space":
        """What `to_dict` gave.

        Raises:
            InputError: a design point or hardware that this version does not know.
        """
        axes = [
            Axis(x["name"], x["home"], tuple(x["values"]), x["span"] and (x["span"][0], x["span"][1]))
            for x in data["axes"]
        ]
        parameters = HardwareParameters(**data["parameters"])
        return cls(tuple(axes), GainCellConfig(**data["base"]), parameters, dict(data["cells"]))


def fields_of() -> dict[str, Literal["design", "hardware"]]:
    """Every field that can be varied, and whose it is."""
    found: dict[str, Literal["design", "hardware"]] = {
        name: "hardware" for name, x in HardwareParameters.model_fields.items() if _is_single(x.annotation)
    }
    for name, x in GainCellConfig.model_fields.items():
        found.pop(name, None)
        if name == "cell" or (name != "name" and _is_single(x.annotation)):
            found[name] = "design"
    return found


def _axis(name: str, given: str | Sequence[Value]) -> Axis:
    known = fields_of()
    if name not in known:
        close = difflib.get_close_matches(name, known, 1)
        advice = f"did you mean '{close[0]}'?" if close else f"choose one of {', '.join(sorted(known))}."
        raise InputError(f"--vary: no field '{name}' of a design point or of the hardware can be varied; {advice}")
    home = known[name]
    if not isinstance(given, str):
        values = tuple(given)
    elif ":" in given and name != "cell":
        return _ranged(name, home, given)
    else:
        values = tuple(word if name == "cell" else _value(word) for word in map(str.strip, given.split(",")) if word)
    if not values:
        raise InputError(f"--vary {name}: there are no values in '{given}'; write them as in {name}=A,B,C.")
    values = tuple(_as_held(name, home, value) for value in values)
    if len(set(values)) < len(values):  # 1, 1.0 and true are one
        raise InputError(f"--vary {name}: a value is given twice; leave it out once.")
    return Axis(name, home, values)


def _as_held(name: str, home: Literal["design", "hardware"], value: Value) -> Value:
    """A value as its field holds it, so that 16.0 of a whole number is 16; what no such field holds, as it was given.

    Whether it fits is told by the design points that it makes.
    """
    annotation: Any = (GainCellConfig if home == "design" else HardwareParameters).model_fields[name].annotation
    try:
        return value if name == "cell" else TypeAdapter(annotation).validate_python(value)
    except ValidationError:
        return value


def _ranged(name: str, home: Literal["design", "hardware"], given: str) -> Axis:
    """A:B: of a whole number its doublings, of any other one a span."""
    ends = [_value(word) for word in given.split(":")]
    if len(ends) != 2 or any(isinstance(end, bool) or not isinstance(end, int | float) for end in ends):
        raise InputError(f"--vary {name}={given}: a range is two numbers, as in 64:1024.")
    low, high = (float(end) for end in ends)  # pyright: ignore[reportArgumentType]
    if not 0 < low < high < math.inf:
        raise InputError(f"--vary {name}={given}: the range is empty; go from a number above 0 to a larger one.")
    holder = GainCellConfig if home == "design" else HardwareParameters
    if float not in _kinds(holder.model_fields[name].annotation):
        if not (low.is_integer() and high.is_integer()):
            raise InputError(f"--vary {name}={given}: {name} is a whole number; give whole ones.")
        try:
            return Axis(name, home, tuple(doublings(int(low), int(high))))
        except InputError as error:
            raise InputError(f"--vary {name}={given}: {error}") from None
    return Axis(name, home, span=(low, high))


def _value(word: str) -> Value:
    """A word as what it says: null, true, false, a number, or itself."""
    if word.lower() in _WORDS:
        return _WORDS[word.lower()]
    for kind in (int, float):
        try:
            return kind(word)
        except ValueError:
            continue
    return word


def _content(cell: Value) -> dict[str, Any]:
    return load_cell(str(cell)).model_dump(mode="json")


def _kinds(annotation: Any) -> set[Any]:
    """The types that a field may have: of 'float | None' both."""
    return set(get_args(annotation)) if get_origin(annotation) in (Union, types.UnionType) else {annotation}


def _is_single(annotation: Any) -> bool:
    """Whether a field holds one number, word or truth."""
    return all(
        kind in (int, float, str, bool, type(None)) or get_origin(kind) is Literal for kind in _kinds(annotation)
    )
