"""docs/parameters.md says what the code says."""

import runpy
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"


def test_page_is_up_to_date() -> None:
    page = runpy.run_path(str(DOCS / "generate_parameters.py"))["page"]()
    assert (DOCS / "parameters.md").read_text("utf-8") == page, "run `make docs`"
