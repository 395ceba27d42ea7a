"""The first page a reader sees: nothing empty, nothing that leads nowhere."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")


def test_every_figure_is_filled_in() -> None:
    blocks = re.findall(r"<!-- (\w+) -->\n(.*?)\n?<!-- /\1 -->", README, flags=re.DOTALL)
    scripts = {"perplexities": "results", "accuracy": "tasks", "samples": "results", "reproduction": "reproduction"}
    assert [name for name, _ in blocks] == list(scripts)
    for name, content in blocks:
        assert len(content.splitlines()) > 3, f"{name} is empty; run docs/generate_{scripts[name]}.py"
    assert "@" not in README


def test_every_local_link_leads_somewhere() -> None:
    links = re.findall(r"\]\((?!http)([^)#]+)", README)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []
