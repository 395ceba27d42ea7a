"""The page of the panel cannot disagree with the run that it shows."""

import json
import runpy
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"


def test_tables_are_what_the_run_found() -> None:
    made = runpy.run_path(str(DOCS / "generate_panel.py"))
    for path in made["PAGES"]:
        text = path.read_text("utf-8")
        assert made["page"](text) == text, "run docs/generate_panel.py"
        assert text.count("×") > 9


def test_what_ships_holds_on_every_kind_of_text() -> None:
    extended = json.loads((DOCS / "panel.json").read_text("utf-8"))["models"]["extended"]
    assert extended["ratio"] < 1.45
    assert max(genre["ratio"] for genre in extended["genres"].values()) < 2.1
