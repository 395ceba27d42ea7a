"""The first page a reader sees: nothing empty, nothing that leads nowhere."""

import re
from pathlib import Path

from tools.pages.marks import MARKS

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")


def test_every_figure_is_filled_in() -> None:
    for mark, part in MARKS["README.md"].items():
        (content,) = re.findall(rf"<!-- {mark} -->\n(.*?)\n?<!-- /{mark} -->", README, flags=re.DOTALL)
        assert len(content.splitlines()) > 3, f"{mark} is empty; run python -m tools.pages {part}"
    assert "@" not in README


def test_every_local_link_leads_somewhere() -> None:
    links = re.findall(r"\]\((?!http)([^)#]+)", README)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []
