"""Measured data: a CSV file whose header names quantities and units."""

import csv
import math
import re
from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np

from gaincell.cell.cell import is_file, read_text
from gaincell.errors import InputError

_PREFIXES = {"": 1.0, "f": 1e-15, "p": 1e-12, "n": 1e-9, "u": 1e-6, "µ": 1e-6, "μ": 1e-6, "m": 1e-3}
_HEADER = re.compile(r"\s*([A-Za-z][A-Za-z _]*?)\s*[\[(]\s*(\S+)\s*[\])]\s*")


def read_columns(
    path: Path, units: Mapping[str, str], labels: Collection[str] = (), *, others: bool = True
) -> dict[str, np.ndarray]:
    """Columns of a CSV file in SI units, each (N,).

    The header gives a name and a unit in brackets: `stored [V]`, `charge [fC]`. Empty lines and lines that begin with
    `#` are skipped, and so are columns of other names, unless they are refused.

    Args:
        path: the file; values separated by commas, semicolons or tabs.
        units: name of each column that may be there, and its unit without a prefix: V, s, C or A.
        labels: names of columns that may be there and hold words, without a unit; theirs are arrays of text.
        others: whether there may be columns of other names.

    Raises:
        InputError: not a table of finite numbers, a column twice, or without a unit, or with one of another kind, or
            that is not known where `others` is False.
    """
    header, *rows = _rows(path)
    if not rows:
        raise InputError(f"{path} has a header and no data.")
    columns: dict[int, tuple[str, float | None]] = {}
    for index, text in enumerate(header):
        name, factor = _column(path, text, units, labels)
        if name is None:
            if not others and text.strip():
                known = ", ".join(f"'{name}'" for name in (*units, *labels))
                raise InputError(f"{path}: column '{text.strip()}' is not known here ({known}); rename or remove it.")
            continue
        if name in (known for known, _ in columns.values()):
            raise InputError(f"{path}: column '{name}' is there twice; remove one.")
        columns[index] = (name, factor)
    values: dict[str, list[float | str]] = {name: [] for name, _ in columns.values()}
    for number, row in enumerate(rows, start=2):
        for index, (name, factor) in columns.items():
            word = row[index].strip() if index < len(row) else ""
            values[name].append(
                _label(path, number, name, word) if factor is None else _number(path, number, name, word) * factor
            )
    return {name: np.array(column) for name, column in values.items()}


def _rows(path: Path) -> list[list[str]]:
    if not is_file(path):
        raise InputError(f"data file '{path}' is not a file; check the path.")
    lines = [
        line
        for line in read_text(path).removeprefix("\ufeff").splitlines()
        if line.strip() and not line.lstrip().startswith("#")
    ]
    if not lines:
        raise InputError(f"{path} is empty; it needs a header and data.")
    separator = next((mark for mark in ("\t", ";", ",") if mark in lines[0]), ",")
    try:
        return list(csv.reader(lines, delimiter=separator))
    except csv.Error as error:
        raise InputError(f"{path} is no table: {error}.") from None


def _column(
    path: Path, text: str, units: Mapping[str, str], labels: Collection[str]
) -> tuple[str | None, float | None]:
    """Name of a header's column, None if not a known one, and what its numbers are multiplied with, None of a label."""
    found = _HEADER.fullmatch(text)
    name = (found[1] if found else text).strip().lower()
    if name in labels:
        return name, None
    if name not in units:
        return None, None
    if found is None:
        raise InputError(f"{path}: column '{text.strip()}' has no unit; write '{name} [{units[name]}]'.")
    prefix = found[2].removesuffix(units[name])
    if not found[2].endswith(units[name]) or prefix not in _PREFIXES:
        raise InputError(
            f"{path}: column '{name}' is in '{found[2]}'; give it in {units[name]}, or f, p, n, u or m of it."
        )
    return name, _PREFIXES[prefix]


def _number(path: Path, line: int, name: str, word: str) -> float:
    try:
        value = float(word)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InputError(f"{path}: data line {line} has no number for '{name}'; correct or remove the line.")
    return value


def _label(path: Path, line: int, name: str, word: str) -> str:
    if not word:
        raise InputError(f"{path}: data line {line} does not say which {name} it is of; name it or remove the line.")
    return word
