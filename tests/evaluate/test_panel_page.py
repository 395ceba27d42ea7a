"""What the page of the panel shows of the adapter that ships."""

import json

import pytest
from tools.pages.data import DATA, kept


def test_what_ships_holds_on_every_kind_of_text() -> None:
    extended = kept("panel.json")["models"]["extended"]
    assert extended["ratio"] < 1.37
    assert max(genre["ratio"] for genre in extended["genres"].values()) < 1.9


@pytest.mark.parametrize("name", ["extended", "leroux2025"])
def test_the_curve_ends_with_what_ships(name: str) -> None:
    last = json.loads((DATA / "learned.json").read_text("utf-8"))[name][-1]
    shipped = kept("panel.json")["models"][name]
    assert last["mean"] == pytest.approx(shipped["ratio"], abs=5e-4)
    assert last["worst"] == pytest.approx(max(one["ratio"] for one in shipped["genres"].values()), abs=5e-3)
