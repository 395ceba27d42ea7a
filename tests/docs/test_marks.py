"""What pages show and nobody wrote by hand is what the code, or the run that was kept, gives."""

import re
from importlib import import_module

import pytest
from blocks import ROOT, pages
from tools.pages.__main__ import main
from tools.pages.data import kept, shipped
from tools.pages.marks import MARKS, fill, filled

#: Parts that measure nothing anew.
QUICK = (
    "comparison",
    "conditions",
    "digital",
    "explore",
    "hardware",
    "panel",
    "parameters",
    "published",
    "tasks",
    "variants",
)


@pytest.mark.parametrize("part", QUICK)
def test_a_page_shows_what_its_part_makes(part: str) -> None:
    contents = import_module(f"tools.pages.{part}").contents()
    assert set(contents) == {mark for marks in MARKS.values() for mark, by in marks.items() if by == part}
    assert all(len(content.splitlines()) > 3 for content in contents.values())
    for page, text in filled(part, contents).items():
        assert page.read_text("utf-8") == text, f"run python -m tools.pages {part}"


@pytest.mark.parametrize("name", ["panel", "tasks", "variants"])
def test_what_was_measured_is_of_the_adapters_that_ship(name: str) -> None:
    record = kept(f"{name}.json")
    assert record["adapters"] == shipped(record.get("models")), f"make figures-{name}"


def test_layers_were_measured_of_the_adapter_that_ships() -> None:
    assert kept("digital.json")["adapter"] == shipped()["extended"], "see tools/pages/digital.py"


def test_every_mark_is_in_the_table_and_every_part_is_there() -> None:
    found = {}
    for path in pages():
        text = re.sub(r"^```.*?^```$", "", path.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
        opened, closed = (re.findall(rf"^<!-- {slash}([\w-]+) -->$", text, re.MULTILINE) for slash in ("", "/"))
        assert opened == closed, path
        if opened:
            found[path.relative_to(ROOT).as_posix()] = set(opened)
    assert found == {page: set(marks) for page, marks in MARKS.items()}
    for part in {part for marks in MARKS.values() for part in marks.values()}:
        assert (ROOT / "tools" / "pages" / f"{part}.py").is_file()


def test_what_stands_between_marks_is_replaced() -> None:
    page = "a\n<!-- x -->\nold\n<!-- /x -->\nb <!-- y --> <!-- /y -->\n"
    assert fill(page, "x", "new\nlines") == page.replace("old", "new\nlines")
    with pytest.raises(SystemExit, match=r"no marks <!-- z -->"):
        fill(page, "z", "new")


def test_what_has_no_place_is_refused() -> None:
    with pytest.raises(SystemExit, match="No page has nowhere of panel"):
        filled("panel", {"panel": "", "nowhere": ""})


@pytest.mark.parametrize("arguments", [[], ["nothing"], ["marks"]])
def test_a_part_that_is_none_is_told(arguments: list[str]) -> None:
    with pytest.raises(
        SystemExit, match=r"usage: .*one of comparison, conditions, curve, demo, digital, explore, families"
    ):
        main(arguments)
