"""The page's text: complete, self-contained, safe, the same every time, and without what there is nothing of."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from gaincell import GainCellConfig
from gaincell.report import Report, Results, write_report
from gaincell.report.palette import DARK, LIGHT, variables
from gaincell.report.run_page import headline, render


class _Page(HTMLParser):
    """Checks that tags nest, and collects ids, addresses, tags and the text of scripts."""

    VOID = ("meta", "link", "br", "input")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.addresses: list[str] = []
        self.tags: list[str] = []
        self.scripts: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            assert not name.startswith("on"), f"{tag} has a handler of its own: {name}"
            if name == "id":
                self.ids.append(value or "")
            if name in ("href", "src", "data", "action"):
                self.addresses.append(value or "")
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            self.scripts.append(data)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag


def test_page_needs_nothing_from_elsewhere(report: Report) -> None:
    text = render(report)
    page = _Page(text)
    assert page.addresses
    assert all(address.startswith("#") or address == "data:," for address in page.addresses)
    assert not re.search(r"url\(|@import|\bfetch\(|\bimport\b|XMLHttpRequest", text)
    assert "default-src 'none'" in text
    assert len(page.ids) == len(set(page.ids))
    assert {address[1:] for address in page.addresses if address.startswith("#")} <= set(page.ids)


def test_page_has_the_content(report: Report) -> None:
    text = render(report)
    for words in ("A title", "One sentence.", "512,346", "goes there?", "A caveat.", "latency, all layers", "0.1.0"):
        assert words in text
    for words in ("HellaSwag", "-9.0", "-11.0 to -7.0", "gaincell report here"):
        assert words in text
    for name, field in GainCellConfig.model_fields.items():
        assert f"<code>{name}</code>" in text
        assert (field.description or "").split("'")[0].split("<")[0] in text


def test_text_of_models_is_data_and_never_markup(report: Report) -> None:
    text = render(report)
    assert "<script>alert" not in text
    assert "&lt;/script&gt;&lt;script&gt;alert(&#39;x&#39;)" in text
    data, script = _Page(text).scripts
    assert json.loads(data)["maps"]["tokens"][3] == " <b>"
    assert "alert" not in script


def test_what_is_absent_has_no_section(report: Report) -> None:
    bare: Report = {**report, "tasks": None, "curves": [], "heads": {}, "maps": None}
    whole, text = _Page(render(report)).ids, render(bare)
    left = _Page(text).ids
    assert set(whole) - set(left) >= {
        "adaptation",
        "heads",
        "attention",
        "plot-tasks",
        "plot-curve",
        "plot-layers",
        "grid",
    }
    assert {"quality", "cost", "samples", "design", "about"} <= set(left)
    assert 'href="#heads"' not in text


def test_page_is_the_same_every_time(report: Report, tmp_path: Path) -> None:
    for name in ("a.html", "b.html"):
        size = write_report(report, tmp_path / "new" / name)
        assert size == (tmp_path / "new" / name).stat().st_size < 5e6
    assert (tmp_path / "new" / "a.html").read_bytes() == (tmp_path / "new" / "b.html").read_bytes()
    assert sorted(p.name for p in (tmp_path / "new").iterdir()) == ["a.html", "b.html"]


def test_a_failed_write_leaves_nothing(report: Report, tmp_path: Path) -> None:
    (tmp_path / "report.html").mkdir()
    with pytest.raises(OSError, match=r"report\.html"):
        write_report(report, tmp_path / "report.html")
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]


def test_intervals_are_shown_where_they_are_known(report: Report, results: Results) -> None:
    assert '95 % interval</th><th class="number">seconds' not in render(report)
    results["perplexities"][2]["interval"] = [2.05, 2.25]
    text = render({**report, "results": results})
    assert "2.05 to 2.25" in text
    rows = json.loads(_Page(text).scripts[0])["perplexity"]["rows"]
    assert (rows[2]["low"], rows[2]["high"]) == pytest.approx((2.05 * 27.9, 2.25 * 27.9))
    assert rows[0]["low"] is None


def _luminance(colour: str) -> float:
    """Relative luminance, WCAG 2."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("palette", [LIGHT, DARK], ids=["light", "dark"])
def test_text_stands_out_and_magnitudes_differ_in_lightness(palette: dict[str, str]) -> None:
    def contrast(one: str, other: str) -> float:
        high, low = sorted((_luminance(palette[one]), _luminance(palette[other])), reverse=True)
        return (high + 0.05) / (low + 0.05)

    assert contrast("ink", "paper") > 12
    assert contrast("faint", "paper") > 4.5
    assert contrast("heat-high", "heat-low") > 7
    for i in range(1, 8):
        assert contrast(f"series-{i}", "paper") > 1.9
    assert palette.keys() == LIGHT.keys()


def test_the_choice_of_light_or_dark_overrules_the_system() -> None:
    assert "data-theme" not in variables()
    assert variables(toggled=True).count(f"--ink:{DARK['ink']}") == 2


def test_digital_heads_are_neither_dead_nor_silent(report: Report) -> None:
    def figures(found: Report) -> dict[str, dict[str, str]]:
        return {item["label"]: item for item in headline(found)}

    point = report["results"]["adapted"]
    state = json.loads(json.dumps(report["heads"][point]))
    state["activity"]["digital"] = [[1, 2]]
    before, after = figures(report), figures({**report, "heads": {**report["heads"], point: state}})
    count = int(before["Dead heads"]["unit"].removeprefix("of "))
    assert (before["Dead heads"]["value"], after["Dead heads"]["value"]) == ("1", "0")
    assert after["Dead heads"]["unit"] == f"of {count - 1}"
    assert after["Dead heads"]["about"].endswith("digital: 1")
    assert float(after["Silent pulses"]["value"]) < float(before["Silent pulses"]["value"])
