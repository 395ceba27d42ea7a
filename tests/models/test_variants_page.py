"""Pages that show the shipped adapters with one thing changed are of these adapters."""

from pathlib import Path

import pytest
from tools.pages import variants
from tools.pages.data import kept

from gaincell.models import adapter_names
from gaincell.models.adapter import adapter_checksum


def test_everything_is_of_the_adapters_that_ship() -> None:
    record = kept("variants.json")
    assert record["adapters"] == {name: adapter_checksum(name) for name in adapter_names()}, "measure anew"
    assert record["perplexities"].keys() == variants.variants().keys()
    assert record["cells"].keys() == set(variants.CELLS)
    assert min(record["perplexities"].values()) == record["perplexities"]["softmax"]


def test_cells_that_are_not_there_are_asked_for(tmp_path: Path) -> None:
    (tmp_path / "generic.yaml").touch()
    with pytest.raises(SystemExit, match=r"lacks sky130\.yaml; make them with gaincell characterize"):
        variants.contents(str(tmp_path))
