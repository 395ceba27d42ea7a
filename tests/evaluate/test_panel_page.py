"""What the page of the panel shows of the adapter that ships."""

from tools.pages.data import kept


def test_what_ships_holds_on_every_kind_of_text() -> None:
    extended = kept("panel.json")["models"]["extended"]
    assert extended["ratio"] < 1.37
    assert max(genre["ratio"] for genre in extended["genres"].values()) < 1.9
