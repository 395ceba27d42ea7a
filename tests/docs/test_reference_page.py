"""The page of public names has all of them, and every name that a page or an example tells the reader to use."""

import importlib
import re

import nbformat
import pytest
from blocks import ROOT, pages

import gaincell

NAMED = re.findall(r"^::: (\S+)$", (ROOT / "docs" / "reference.md").read_text("utf-8"), re.MULTILINE)


def told() -> list[str]:
    """Full names of what pages and examples import from gaincell's packages."""
    texts = [path.read_text("utf-8") for path in (*pages(), *sorted((ROOT / "examples").glob("*.py")))]
    for path in sorted((ROOT / "examples").glob("*.ipynb")):
        texts.append("\n".join(cell.source for cell in nbformat.read(path, as_version=4).cells))
    found = {
        f"{package}.{name.strip()}"
        for text in texts
        for package, names in re.findall(r"^from (gaincell[\w.]*) import ([\w, ]+)$", text, re.MULTILINE)
        for name in names.split(",")
    }
    return sorted(found)


def resolve(name: str) -> object:
    package, _, last = name.rpartition(".")
    return getattr(importlib.import_module(package), last)


def test_every_public_name_is_on_the_page() -> None:
    missing = set(gaincell.__all__) - {"__version__"} - {name.rpartition(".")[2] for name in NAMED}
    assert not missing


@pytest.mark.parametrize("name", told())
def test_a_name_to_use_is_on_the_page(name: str) -> None:
    assert any(resolve(name) is resolve(other) for other in NAMED)
