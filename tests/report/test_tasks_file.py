"""tasks.json: what is read, and what is refused in one sentence."""

import json
from pathlib import Path
from typing import Any

import pytest

from gaincell import InputError
from gaincell.report import Report
from gaincell.report.run_page import render
from gaincell.report.tasks import Perplexity, Tasks, Texts, page_data, read_tasks


def test_what_is_written_is_read_again(tasks: Tasks, tmp_path: Path) -> None:
    path = tmp_path / "tasks.json"
    path.write_text(tasks.model_dump_json(), "utf-8")
    assert read_tasks(path) == tasks


def test_rows_carry_intervals_and_the_average_last(tasks: Tasks) -> None:
    rows = page_data(tasks)["rows"]
    assert [row["title"] for row in rows] == ["HellaSwag", "LAMBADA", "Average"]
    original, adapted = rows[0]["marks"]
    assert (original["low"], original["high"]) == pytest.approx((0.41 - 1.96 * 0.02, 0.41 + 1.96 * 0.02))
    assert adapted["at"] == pytest.approx(0.40)
    (difference,) = rows[1]["differences"]
    assert (difference["low"], difference["high"]) == pytest.approx((-0.11, -0.07))
    assert rows[1]["chance"] is None


def test_perplexities_are_read_and_shown_with_or_without_accuracies(tasks: Tasks, report: Report) -> None:
    texts = Texts(
        title="WikiText-2",
        items=62,
        models={
            "original": Perplexity(word_perplexity=26.31),
            "extended": Perplexity(word_perplexity=31.57, ratio=1.2, interval=(1.17, 1.23)),
        },
    )
    both = tasks.model_copy(update={"perplexities": {"wikitext": texts}})
    alone = Tasks(version=1, models=tasks.models, tasks={}, perplexities={"wikitext": texts})
    assert page_data(alone) is None
    for found in (both, alone):
        page = render({**report, "tasks": found})
        shown = "WikiText-2, 62 articles: original 26.31, extended 31.57 (1.2 times the original; 95 %: 1.17 to 1.23)."
        assert shown in page
    with pytest.raises(ValueError, match="there are no tasks in it"):
        Tasks(version=1, models=tasks.models, tasks={})


def spoil(found: dict[str, Any], *path: str, value: Any) -> None:
    for key in path[:-1]:
        found = found[key]
    found[path[-1]] = value


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (("version",), 2, "version 2"),
        (("tasks", "hellaswag", "models", "original", "accuracy"), 1.7, "hellaswag.models.original.accuracy"),
        (("tasks", "hellaswag", "items"), "many", "hellaswag.items"),
        (("tasks", "hellaswag", "models"), {}, "hellaswag has no 'original'"),
        (("tasks",), {}, "tasks"),
        (("models",), None, "models"),
    ],
)
def test_damage_is_told_in_one_sentence(
    tasks: Tasks, tmp_path: Path, path: tuple[str, ...], value: Any, words: str
) -> None:
    found = json.loads(tasks.model_dump_json())
    spoil(found, *path, value=value)
    file = tmp_path / "tasks.json"
    file.write_text(json.dumps(found), "utf-8")
    with pytest.raises(InputError, match=r"tasks\.json") as told:
        read_tasks(file)
    assert words in str(told.value)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("text", ['{"version": 1, "mod', "[]", "null", ""])
def test_what_is_no_file_of_tasks(text: str, tmp_path: Path) -> None:
    (tmp_path / "tasks.json").write_text(text, "utf-8")
    with pytest.raises(InputError, match=r"tasks\.json"):
        read_tasks(tmp_path / "tasks.json")
    with pytest.raises(InputError, match="cannot be read"):
        read_tasks(tmp_path / "none.json")
