"""The page of a sweep: which choices no other beats, and that it opens clean."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opened import Opened

from gaincell.report.sweep_page import Point, page_data, pareto, render_sweep

figure = st.integers(1, 4).map(float)
points = st.lists(st.tuples(figure, figure, figure), min_size=1, max_size=12).map(
    lambda found: [Point(f"choice {n}", *each) for n, each in enumerate(found)]
)


@given(points)
def test_what_is_left_is_beaten_by_none_and_beats_all_others(found: list[Point]) -> None:
    best = pareto(found)
    assert best

    def beats(a: Point, b: Point) -> bool:
        return a.figures != b.figures and all(x <= y for x, y in zip(a.figures, b.figures, strict=True))

    assert not any(beats(a, b) for a in found for b in best)
    assert all(any(beats(a, b) for a in best) for b in found if b not in best)
    assert [each["best"] for each in page_data(found)["points"]] == [point in best for point in found]


@pytest.mark.parametrize("width", [1200, 390])
def test_it_opens_clean_and_fits(browser: Any, tmp_path: Path, width: int) -> None:
    found = [
        Point("window 64", 1e-6, 2e-6, 3e-6),
        Point("window 128", 2e-6, 1e-6, 3e-6),
        Point("<b>", 3e-6, 3e-6, 3e-6),
    ]
    path = tmp_path / "sweep.html"
    path.write_text(render_sweep("gpt2", ["window"], found, 1), "utf-8")
    assert "<td><b></td>" not in path.read_text("utf-8")
    opened = Opened(browser, path, width)
    page = opened.page
    assert page.locator(".plot svg").count() == 2
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.locator("#plot-energy svg").focus()
    page.keyboard.press("ArrowRight")
    assert "window 64" in (page.locator("#tip").text_content() or "")
    opened.context.close()
    assert opened.complaints == []
