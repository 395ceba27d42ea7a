"""The page: complete, self-contained, safe, the same every time."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from gaincell import GainCellConfig
from gaincell.hardware import GPT2, estimate, paper_table
from gaincell.report import Results, plots, write_report
from gaincell.report.page import render

NASTY = "<script>alert('x')</script> & \"quotes\""


@pytest.fixture
def results() -> Results:
    points = {name: GainCellConfig.preset(name).for_layers(12) for name in ("extended", "leroux2025")}
    found = {name: estimate(GPT2, point) for name, point in points.items()}
    stages = (
        ("softmax", "as it came", 27.9),
        ("extended", "mapped as it is", 512345.6),
        ("extended", "layer-wise transfer", 60.0),
        ("leroux2025", "mapped as it is", 498765.4),
    )
    return {
        "title": "A title",
        "summary": "One sentence.",
        "note": "",
        "model": "a-model",
        "evaluation": "Perplexity of 8192 tokens.",
        "perplexities": [
            {"attention": kind, "stage": stage, "perplexity": value, "ratio": value / 27.9, "seconds": 12.0}
            for kind, stage, value in stages
        ],
        "sampling": "Greedily.",
        "samples": [{"prompt": "Who", "original": f" {NASTY}", "adapted": " goes there?"}],
        "adapted": "extended",
        "costs": {
            "model": "a-model",
            "design_points": list(points),
            "rows": [
                {"name": "latency, all layers", "unit": "ns", "values": [960.0, 780.0]},
                {"name": "energy, all layers: normaliser division", "unit": "nJ", "values": [0.0, None]},
            ],
            "energy_parts_j": {name: e.parts for name, e in found.items()},
        },
        "published": [
            {
                "name": row.name,
                "unit": row.unit,
                "estimate": row.value,
                "published": row.published,
                "ratio": row.ratio or 0.0,
            }
            for row in paper_table()
            if row.published is not None
        ],
        "caveat": "A caveat.",
        "design_points": {name: point.model_dump(mode="json") for name, point in points.items()},
        "about": {"gaincell": "0.1.0"},
    }


class _Page(HTMLParser):
    """Checks that tags nest, and collects ids, addresses and text."""

    VOID = ("meta", "link", "br", "path", "use", "rect", "image")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.addresses: list[str] = []
        self.tags: set[str] = set()
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.handle_startendtag(tag, attrs)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            if name in ("href", "src", "xlink:href", "data", "action"):
                self.addresses.append(value or "")

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag


def test_page_needs_nothing_from_elsewhere_and_runs_nothing(results: Results) -> None:
    text = render(results)
    page = _Page(text)
    assert all(address.startswith(("#", "data:")) for address in page.addresses)
    assert not re.search(r"url\((?!#)|@import", text)
    assert "script" not in page.tags
    assert len(page.ids) == len(set(page.ids))
    inside = {address[1:] for address in page.addresses if address.startswith("#")}
    assert inside <= set(page.ids)


def test_page_has_the_content(results: Results) -> None:
    text = render(results)
    for words in ("A title", "One sentence.", "512,346", "goes there?", "A caveat.", "latency, all layers", "0.1.0"):
        assert words in text
    for name, field in GainCellConfig.model_fields.items():
        assert f"<code>{name}</code>" in text
        assert (field.description or "").split("'")[0].split("<")[0] in text
    assert text.count("<svg") == 2


def test_text_of_models_is_escaped(results: Results) -> None:
    text = render(results)
    assert NASTY not in text
    assert "&lt;script&gt;alert(&#x27;x&#x27;)&lt;/script&gt; &amp;" in text


def test_page_is_the_same_every_time(results: Results, tmp_path: Path) -> None:
    for name in ("a.html", "b.html"):
        assert write_report(results, tmp_path / "new" / name) is None
    assert (tmp_path / "new" / "a.html").read_bytes() == (tmp_path / "new" / "b.html").read_bytes()
    assert sorted(p.name for p in (tmp_path / "new").iterdir()) == ["a.html", "b.html"]


def test_plots_follow_the_page_whether_light_or_dark(results: Results) -> None:
    for svg in (plots.perplexity_plot(results["perplexities"]), plots.energy_plot(results["costs"])):
        assert "var(--ink)" in svg
        assert "var(--series-1)" in svg
        assert "#0102" not in svg
        assert "#ffffff" not in svg  # no background of its own


def test_without_matplotlib_the_page_has_tables_and_says_so(
    results: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plots, "find_spec", lambda name: None)
    note = write_report(results, tmp_path / "report.html")
    assert note is not None
    assert "pip install matplotlib" in note
    text = (tmp_path / "report.html").read_text("utf-8")
    assert "<svg" not in text
    assert "pip install matplotlib" in text
    assert "512,346" in text


def test_a_failed_write_leaves_nothing(results: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "report.html").mkdir()
    with pytest.raises(OSError, match=r"report\.html"):
        write_report(results, tmp_path / "report.html")
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]
