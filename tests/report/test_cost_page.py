"""The page of an estimate: what it draws is the estimate, it needs nothing else, and it opens clean."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from opened import Opened

from gaincell.config import GainCellConfig
from gaincell.hardware import GPT2, HardwareParameters, estimate
from gaincell.hardware.opponents import OURS, opponents
from gaincell.hardware.pricing import Priced
from gaincell.report.cost_page import page_data, render_cost

COST = estimate(GPT2, GainCellConfig.named("leroux2025").replace(window=8192), HardwareParameters(refresh="rewrite"))
RIVALS = opponents(COST)


def rendered(name: str = "gpt2") -> str:
    return render_cost(name, Priced(COST, COST.table(), ["a note"], RIVALS))


def test_what_is_drawn_adds_up_to_the_estimate() -> None:
    data = json.loads(json.dumps(page_data(COST, RIVALS), allow_nan=False))
    assert sum(sum(layer.values()) for layer in data["layers"]) == pytest.approx(1e9 * COST.energy_j, rel=1e-3)
    assert sum(row["value"] for row in data["energy"]) == pytest.approx(1e9 * COST.energy_j)
    assert sum(row["value"] for row in data["area"]) == pytest.approx(1e6 * COST.area_m2)
    assert {part for layer in data["layers"] for part in layer} == set(data["parts"])
    assert max(phase["end"] for phase in data["phases"]) == pytest.approx(1e9 * COST.timeline.latency_s)
    first, *others = data["elsewhere"]["energy"]
    assert (first["name"], first["low"], first["high"]) == (OURS, 1e6 * COST.energy_j, 1e6 * COST.energy_j)
    assert [(each["low"], each["high"]) for each in others] == [
        tuple(pytest.approx(1e6 * end) for end in each.energy_j) for each in RIVALS
    ]


def test_it_needs_nothing_from_elsewhere_and_escapes_names() -> None:
    page = rendered("<script>alert(1)</script>")
    assert "<script>alert(1)" not in page
    assert not re.search(r"""(?:src|href)=["'](?!#|data:)""", page)
    data = json.loads(re.search(r'id="data">(.*?)</script>', page, re.DOTALL)[1])  # pyright: ignore[reportOptionalSubscript]
    assert data["parts"] == page_data(COST, RIVALS)["parts"]
    assert "a note" in page
    assert "TPU v4" in page
    assert "line drivers" in page


@pytest.mark.parametrize("width", [1200, 390])
def test_it_opens_clean_and_fits(browser: Any, tmp_path: Path, width: int) -> None:
    path = tmp_path / "cost.html"
    path.write_text(rendered(), "utf-8")
    opened = Opened(browser, path, width)
    page = opened.page
    for plot in page.locator(".plot").all():
        assert plot.locator("svg").count() == 1
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.locator("#plot-energy svg").focus()
    page.keyboard.press("ArrowRight")
    assert "layer 1" in (page.locator("#tip").text_content() or "")
    opened.context.close()
    assert opened.complaints == []
