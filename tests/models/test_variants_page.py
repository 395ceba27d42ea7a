"""Pages that show the shipped adapters with one thing changed agree with what was measured, and of these adapters."""

import json
import runpy
from pathlib import Path
from typing import Any

import pytest

from gaincell.models import adapter_names
from gaincell.models.adapter import adapter_checksum

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.syspath_prepend(str(DOCS))
    return runpy.run_path(str(DOCS / "generate_variants.py"))


def test_tables_are_what_was_measured(made: dict[str, Any]) -> None:
    pages = made["pages"]()
    assert {page.name for page in pages} == {"adaptation.md", "circuit.md", "hardware.md"}
    for page, text in pages.items():
        assert page.read_text("utf-8") == text, "run docs/generate_variants.py runs/cells"


def test_everything_is_of_the_adapters_that_ship(made: dict[str, Any]) -> None:
    record = json.loads(made["RECORD"].read_text("utf-8"))
    assert record["adapters"] == {name: adapter_checksum(name) for name in adapter_names()}, "measure anew"
    assert record["perplexities"].keys() == made["variants"]().keys()
    assert record["cells"].keys() == set(made["CELLS"])
    softmax = record["perplexities"]["softmax"]
    assert min(record["perplexities"].values()) == softmax


@pytest.mark.parametrize("arguments", [[], ["nowhere"]])
def test_cells_that_are_not_there_are_asked_for(made: dict[str, Any], arguments: list[str]) -> None:
    with pytest.raises(SystemExit, match="gaincell characterize"):
        made["main"](arguments)
