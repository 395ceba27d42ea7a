"""The page in a real browser: it opens clean, fits a phone, and its controls do what they say, by mouse and keys."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opened import Opened
from page_cases import HEADS, LAYERS, TOKENS, weight
from playwright.sync_api import expect

from gaincell.report import Report, write_report
from gaincell.report.palette import DARK, LIGHT


@pytest.fixture
def page(browser: Any, report: Report, tmp_path: Path) -> Iterator[Any]:
    write_report(report, tmp_path / "report.html")
    opened = Opened(browser, tmp_path / "report.html")
    yield opened.page
    opened.context.close()
    assert opened.complaints == []


@pytest.mark.parametrize(("width", "scheme"), [(1200, "light"), (390, "light"), (390, "dark"), (820, "dark")])
def test_it_opens_clean_and_fits(browser: Any, report: Report, tmp_path: Path, width: int, scheme: str) -> None:
    write_report(report, tmp_path / "report.html")
    opened = Opened(browser, tmp_path / "report.html", width, scheme)
    page = opened.page
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for plot in page.locator(".plot").all():
        assert plot.locator("svg").count() == 1, plot.get_attribute("id")
        assert plot.locator("svg text, svg rect, svg circle").count() > 5
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    palette = LIGHT if scheme == "light" else DARK
    assert [int(x) for x in re.findall(r"\d+", background)] == list(bytes.fromhex(palette["paper"][1:]))
    for line in page.locator("details").all():
        line.locator("summary").click()
    page.mouse.wheel(0, 20000)
    page.set_viewport_size({"width": 700, "height": 900})  # plots are drawn anew
    page.wait_for_timeout(150)
    page.wait_for_function("document.documentElement.scrollWidth <= 700")
    assert opened.complaints == []
    assert [url for url in opened.requests if not url.startswith("data:")] == [(tmp_path / "report.html").as_uri()]
    opened.context.close()


def test_a_page_of_little_opens_clean(browser: Any, report: Report, tmp_path: Path) -> None:
    write_report({**report, "tasks": None, "curves": [], "heads": {}, "maps": None}, tmp_path / "report.html")
    opened = Opened(browser, tmp_path / "report.html", 390)
    assert opened.page.locator("#plot-energy svg").count() == 1
    assert opened.complaints == []
    opened.context.close()


def drawn(page: Any, which: str) -> str:
    return page.locator(f"#map-{which} svg").inner_html()


def test_another_head_changes_the_maps(page: Any) -> None:
    page.select_option("#choose-layer", index=0)
    page.select_option("#choose-head", index=0)
    before = drawn(page, "original"), drawn(page, "analog")
    page.select_option("#choose-head", index=3)
    assert page.locator("#head-name").inner_text() == "Layer 1, head 4 at extended"
    after = drawn(page, "original"), drawn(page, "analog")
    assert before[0] != after[0]
    assert before[1] != after[1]
    page.locator('[data-step="layer 1"]').click()
    assert page.locator("#head-name").inner_text() == "Layer 2, head 4 at extended"
    page.locator('#grid [data-layer="2"][data-head="0"]').click()
    assert page.locator("#head-name").inner_text() == "Layer 3, head 1 at extended"
    assert "saturated" in page.locator("#head-facts").inner_text()
    assert page.locator("#choose-layer").input_value() == "2"


def test_another_design_point_changes_the_analog_map_alone(page: Any) -> None:
    before = drawn(page, "original"), drawn(page, "analog")
    page.locator(".choose-point").last.select_option(index=1)
    assert drawn(page, "original") == before[0]
    assert drawn(page, "analog") != before[1]
    assert page.locator("#head-name").inner_text().endswith("at leroux2025")


def test_hovering_tells_tokens_and_weights(page: Any) -> None:
    page.select_option("#choose-layer", index=1)
    page.select_option("#choose-head", index=3)
    svg = page.locator("#map-analog svg")
    svg.scroll_into_view_if_needed()
    box, query, key = svg.bounding_box(), 4, 1
    cell = (box["width"] - 84 - 4) / len(TOKENS)
    page.mouse.move(box["x"] + 84 + (key + 0.5) * cell, box["y"] + 2 + (query + 0.5) * cell)
    told = page.locator("#tip").inner_text()
    assert "“land” looks at “crew”" in told
    for model, name in enumerate(("original", "extended")):
        (found,) = re.findall(rf"{name}: ([\d.]+) %", told)
        assert float(found) == pytest.approx(100 * (weight(model, 1, 3, query, key) / 255) ** 2, rel=0.01)


def test_everything_works_by_keys_and_has_a_name(page: Any) -> None:
    page.select_option("#choose-layer", index=0)
    page.select_option("#choose-head", index=0)
    page.locator("#grid [aria-pressed=true]").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    assert page.locator("#head-name").inner_text() == "Layer 2, head 2 at extended"
    page.locator("#map-original svg").focus()
    page.keyboard.press("ArrowRight")
    assert "looks at" in page.locator("#tip").inner_text()
    page.keyboard.press("Escape")
    assert page.locator("#tip").is_hidden()
    nameless = page.evaluate(
        """[...document.querySelectorAll("button, select, input, svg[tabindex]")].filter((e) =>
        !(e.ariaLabel || e.labels?.length || e.textContent.trim())).map((e) => e.outerHTML)"""
    )
    assert nameless == []
    assert page.locator("#grid button[tabindex='0']").count() == 1  # one stop for all of the heads
    assert page.locator("#grid button").count() == LAYERS * HEADS


def test_tables_sort_and_filter(page: Any) -> None:
    column = page.locator("#quality table").first.locator("tbody tr td:nth-child(3)")
    header = page.locator("#quality table").first.locator("th:nth-child(3) button")
    header.click()
    assert column.all_inner_texts() == ["27.9", "60", "498,765", "512,346"]
    header.click()
    assert column.all_inner_texts() == ["512,346", "498,765", "60", "27.9"]
    page.fill("[data-filter]", "leak_per_token")
    assert page.locator("#fields tbody tr:visible").count() == 1
    page.locator("#head-table summary").click()
    expect(page.locator("#head-table tbody tr")).to_have_count(LAYERS * HEADS)  # filled a moment after it opens
    page.check("#only-odd")
    states = page.locator("#head-table tbody td:nth-child(3)").all_inner_texts()
    assert sorted(states) == ["dead", "saturated"]


def test_choices_change_their_plots(page: Any) -> None:
    for select, plot, index in (
        ("#choose-curve", "#plot-curve", 1),
        ("#choose-cost", "#plot-energy", 1),
        ("#choose-metric", "#grid", 2),
        ("#sort-tasks", "#plot-tasks", 1),
    ):
        before = page.locator(plot).inner_html()
        page.select_option(select, index=index)
        assert page.locator(plot).inner_html() != before, select
    first = page.locator("#plot-tasks svg > text").first.inner_html()
    assert first == "LAMBADA"  # it lost most


def test_light_and_dark_and_paper(page: Any) -> None:
    colour = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(colour)
    for wanted in ("Theme: light", "Theme: dark"):
        page.click("#theme")
        assert page.locator("#theme").inner_text() == wanted
    dark = page.evaluate(colour)
    assert dark != light
    page.emulate_media(media="print")
    assert page.evaluate(colour) == light
    assert page.locator("nav").is_hidden()
    assert page.locator(".controls").first.is_hidden()
