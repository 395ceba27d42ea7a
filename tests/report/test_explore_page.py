"""The page of a study: it opens clean, fits, and keeps the range that is dragged out."""

from pathlib import Path
from typing import Any

import pytest
from opened import Opened

pytest.importorskip("optuna")

from gaincell.explore import Study, begin
from gaincell.report.explore_files import write_explore


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    vary = {"output_levels": "16,64", "subtile_columns": "64:256", "window": "1000,1024"}
    study = begin("gpt2", vary, tmp_path_factory.mktemp("study") / "journal.log")
    study.run()
    return study


@pytest.mark.parametrize("width", [1200, 390])
def test_it_opens_clean_fits_and_keeps_a_range(browser: Any, study: Study, tmp_path: Path, width: int) -> None:
    write_explore(tmp_path, study)
    opened = Opened(browser, tmp_path / "report.html", width)
    page = opened.page
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator("#plot-front circle").count() == 6
    assert page.locator("#points tbody tr").count() == 12
    page.evaluate("document.querySelector('#plot-front').scrollIntoView({block: 'center'})")
    box = page.locator("#plot-front svg").bounding_box()
    page.mouse.move(box["x"] + 60, box["y"] + 200)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] - 20, box["y"] + 345)
    page.mouse.up()
    kept = page.locator("#points tbody tr:visible").count()
    assert 6 < kept < 12  # those that were refused stay
    page.locator("#choose-colour").select_option("0")
    assert page.locator("#legend li").count() == 1
    page.locator("#show-all").click()
    assert page.locator("#points tbody tr:visible").count() == 12
    page.locator("#plot-front svg").focus()
    page.keyboard.press("ArrowRight")
    assert "subtile_columns" in page.locator("#tip").inner_text()
    assert opened.complaints == []
    opened.context.close()


def test_what_a_user_names_cannot_break_the_page(study: Study, tmp_path: Path) -> None:
    from dataclasses import replace

    named = replace(study.asked, model="</script><script>alert('x')</script>")
    study.asked, before = named, study.asked
    try:
        write_explore(tmp_path, study)
    finally:
        study.asked = before
    assert "<script>alert" not in (tmp_path / "report.html").read_text("utf-8")
