"""A cell file: law and retention with units and sources."""

import json
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)

from gaincell.atomic import written_aside
from gaincell.cell.figures import CellConditions, CircuitFigures
from gaincell.cell.law import REFERENCE_VOLTAGE_V, PolynomialLaw
from gaincell.cell.polarity import Polarity, is_one_signed, value_law
from gaincell.cell.pulse import PulseLaw
from gaincell.cell.retention import Retention
from gaincell.errors import InputError, one_sentence

_SHIPPED = resources.files("gaincell.cell") / "shipped"


class Cell(BaseModel):
    """One gain cell, as a cell file (YAML) describes it.

    Attributes:
        name: what the cell is called in reports.
        description: one sentence.
        polarity: how such cells store a value of either sign; see `gaincell.cell.polarity.Polarity`.
        law: charge law of one cell, of either sign where it is push-pull, of one sign elsewhere.
        retention: decay of the stored voltage.
        pulse: how long a pulse the charge of a column starts, where that is known; design points with `pulse_law`
            "cell" use it, others HardSigmoid.
        circuit: what else was found of its circuit; design points say which of it counts.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1)
    description: str = ""
    polarity: Polarity = "push_pull"
    law: PolynomialLaw
    retention: Retention
    pulse: PulseLaw | None = None
    circuit: CircuitFigures | None = None

    @model_serializer(mode="wrap")
    def _without_absent(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        fields = handler(self)
        absent = [name for name in ("pulse", "circuit") if getattr(self, name) is None]
        if self.polarity == "push_pull":  # as files that were written before there was a choice
            absent.append("polarity")
        return {name: value for name, value in fields.items() if name not in absent}

    @model_validator(mode="after")
    def _scalable(self) -> Self:
        whole = value_law(self.law, self.polarity)
        if not any(whole.coefficients[1:]):
            raise ValueError(f"polarity '{self.polarity}' leaves nothing of this law: it must differ about its zero")
        if self.polarity != "push_pull" and not is_one_signed(self.law, -REFERENCE_VOLTAGE_V, REFERENCE_VOLTAGE_V):
            raise ValueError(
                f"polarity '{self.polarity}' is for a law of one sign, but this one turns between "
                f"{REFERENCE_VOLTAGE_V} V below its zero and {REFERENCE_VOLTAGE_V} V above; use push_pull"
            )
        whole.in_model_scale()
        return self

    def model_copy(self, **options: Any) -> Self:
        """As pydantic's, but laws that were derived from the former fields do not go along."""
        copy = super().model_copy(**options)
        for derived in ("model_law", "model_cell_law"):
            vars(copy).pop(derived, None)
        return copy

    @cached_property
    def model_law(self) -> PolynomialLaw:
        """f(y), the law of a stored value as it is written, on the paper's scale (S saturates at 80).

        See `gaincell.cell.polarity.value_law` and `PolynomialLaw.in_model_scale`: the value's charge, not the single
        cell's, is what the scale is set by.
        """
        return value_law(self.law, self.polarity).in_model_scale()[0]

    @cached_property
    def model_cell_law(self) -> PolynomialLaw:
        """g, the law of one cell on the same scale; `model_law` itself where a cell is a value."""
        if self.polarity == "push_pull":
            return self.model_law
        scale = self.coulomb_per_second or 1.0
        coefficients = tuple(c / scale for c in self.law.coefficients)
        return self.law.model_copy(update={"coefficients": coefficients, "unit": "model"})

    @property
    def cells_per_value(self) -> int:
        """Cells that are written to store one value."""
        return 2 if self.polarity == "pair" else 1

    @property
    def coulomb_per_second(self) -> float | None:
        """Coulomb per second of pulse of one model unit, for energies; None if the law came without a charge."""
        return None if self.law.unit == "model" else value_law(self.law, self.polarity).in_model_scale()[1]

    @property
    def conditions(self) -> CellConditions | None:
        """Under what it was characterised; None where that is not known."""
        return self.circuit.conditions if self.circuit else None

    def model_feedthrough(self, pulse_max_s: float) -> tuple[float, ...] | None:
        """Coefficients of F(y) in model charge per V^i, 1 being a full pulse's at f = 1; None where it is not known."""
        read, scale = self.circuit and self.circuit.read, self.coulomb_per_second
        return None if not read or scale is None else tuple(c / (scale * pulse_max_s) for c in read.feedthrough)


def save_cell(cell: Cell, path: Path) -> None:
    """Write a cell file that `load_cell` reads back; it is there whole or not at all."""
    with written_aside(path) as aside:
        aside.write_text(yaml.safe_dump(cell.model_dump(mode="json", exclude_none=True), sort_keys=False), "utf-8")


def cell_names() -> list[str]:
    """Names of the cells that ship with the package."""
    return sorted(p.name.removesuffix(".yaml") for p in _SHIPPED.iterdir() if p.name.endswith(".yaml"))


def load_cell(name_or_path: str | Path) -> Cell:
    """Read a shipped cell by name, or a cell file by path (safe YAML; units and sources required).

    Raises:
        InputError: no such cell or file, not YAML, or a field that is missing, unknown or out of range.
    """
    text = str(name_or_path)
    if text in cell_names():
        return _parse((_SHIPPED / f"{text}.yaml").read_text("utf-8"), text)
    path = Path(name_or_path)
    if not is_file(path):
        names = ", ".join(cell_names())
        raise InputError(f"cell '{text}' is no file and no shipped cell ({names}); check its name.")
    return _parse(read_text(path), text)


def is_file(path: Path) -> bool:
    """Whether there is such a file; False too where the name cannot be one, such as one too long for the system."""
    try:
        return path.is_file()
    except OSError:
        return False


def read_text(path: Path) -> str:
    """A UTF-8 text file, or an InputError that says why not."""
    try:
        return path.read_text("utf-8")
    except UnicodeDecodeError:
        raise InputError(f"{path} is not UTF-8 text; convert it first.") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from None


def read_yaml(text: str, where: str) -> dict[str, Any]:
    """A YAML mapping, read safely (no tags that build objects)."""
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
        place = "" if mark is None else f" (line {mark.line + 1}, column {mark.column + 1})"
        raise InputError(f"{where} is not valid YAML: {problem or str(error).splitlines()[0]}{place}.") from None
    except (ValueError, LookupError, AttributeError, TypeError, RecursionError):  # PyYAML, of a bad date, !!bool, ...
        raise InputError(f"{where} is not valid YAML: a value is malformed or nested too deeply.") from None
    return fields_of(data, where)


def read_json(path: Path) -> dict[str, Any]:
    """The mapping in a JSON file, or an InputError that says why there is none."""
    text = read_text(path)
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not valid JSON: {error}.") from None
    return fields_of(data, str(path))


def fields_of(data: Any, where: str) -> dict[str, Any]:
    """What a YAML or JSON file held, if it is a mapping of field names to values."""
    if not isinstance(data, dict):
        raise InputError(f"{where} must hold a mapping of fields to values, but holds {type(data).__name__}.")
    for name in data:
        if not isinstance(name, str):
            raise InputError(f"{where}: unknown field {name}; remove it or correct its name.")
    return data


def _parse(text: str, where: str) -> Cell:
    try:
        return Cell(**read_yaml(text, where))
    except ValidationError as error:
        raise one_sentence(error, f"cell file {where}") from None
