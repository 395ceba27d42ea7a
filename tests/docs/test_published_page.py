"""The page on published cells: what it shows is of the adapter and the cells that ship."""

import pytest
from tools.pages import published
from tools.pages.data import kept, shipped

from gaincell.cell import load_cell


def test_everything_is_of_the_adapter_and_of_the_cells_that_ship() -> None:
    record = kept("published.json")
    assert record["adapters"] == shipped([published.ADAPTER]), "python -m tools.pages published measure"
    assert record["cells"] == {case.cell: published.content(load_cell(case.cell)) for case in published.CASES}
    assert list(record["perplexities"]) == [case.name for case in published.CASES]


def test_cells_are_matched_where_the_adapter_learned_with_another() -> None:
    for case in published.CASES:
        found = kept("published.json")["perplexities"][case.name]
        assert ("matched" in found) == (case.cell != published.LEARNED_WITH)


def test_a_checksum_is_of_the_figures_and_not_of_their_sources() -> None:
    cell = load_cell("pmos-3t")
    renamed = cell.model_copy(update={"law": cell.law.model_copy(update={"source": "elsewhere"}), "name": "other"})
    leaking = cell.model_copy(update={"retention": cell.retention.model_copy(update={"tau": 1.0})})
    assert published.content(renamed) == published.content(cell) != published.content(leaking)


def test_the_measured_curve_is_whole_on_the_page() -> None:
    page = (published.DATA.parent / "published-cells.md").read_text("utf-8")
    assert published.CURVE.read_text("utf-8") in page


def test_another_word_is_refused() -> None:
    with pytest.raises(SystemExit, match="no word but 'measure'"):
        published.contents("all")
