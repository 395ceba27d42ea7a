"""The page on cost cannot disagree with the code."""

import runpy
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"


def test_tables_are_what_the_code_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(DOCS))
    made = runpy.run_path(str(DOCS / "generate_hardware.py"))
    text = (DOCS / "hardware.md").read_text("utf-8")
    assert made["page"](text) == text, "run `make docs`"
