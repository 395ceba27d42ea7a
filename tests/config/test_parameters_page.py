"""docs/parameters.md and docs/settings.md say what the code says."""

import runpy
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"


def test_pages_are_up_to_date() -> None:
    made = runpy.run_path(str(DOCS / "generate_parameters.py"))
    for name in ("parameters", "settings"):
        page = made["page" if name == "parameters" else name]()
        assert (DOCS / f"{name}.md").read_text("utf-8") == page, "run `make docs`"
