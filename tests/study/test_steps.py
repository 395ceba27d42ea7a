"""Steps of a long piece of work: what is done is not done again, and whoever listens is told."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from gaincell import InputError
from gaincell.progress import Progress, of_stage
from gaincell.study.models import labels, original_first
from gaincell.study.steps import Record, Step, run_steps


class Ears:
    """A listener that remembers."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.told: list[tuple[str, int, int]] = []

    def say(self, line: str) -> None:
        self.lines.append(line)

    @contextmanager
    def stages(self) -> Iterator[Progress]:
        yield lambda *step: self.told.append(step)


def counted(progress: Progress) -> dict[str, Any]:
    for done in range(1, 3):
        of_stage(progress, "counting")(done, 2)
    return {"counted": 2}


def test_steps_run_once_and_tell_how_far_they_are(tmp_path: Path) -> None:
    steps, first, again = [Step("one", "count to two", counted)], Ears(), Ears()
    run_steps(steps, Record(tmp_path / "results.json", {"seed": 1}), first)
    assert first.lines == ["[1/1] count to two"]
    assert first.told == [("counting", 1, 2), ("counting", 2, 2)]
    record = Record(tmp_path / "results.json", {"seed": 1})
    run_steps(steps, record, again)
    assert (again.lines, again.told) == (["[1/1] count to two: done before"], [])
    assert record.result("one") == {"counted": 2}
    assert [step for step in (Step("one", "", counted, key="other"),) if record.is_done(step)] == []


def test_a_step_that_cannot_be_done_here_is_left_out(tmp_path: Path) -> None:
    def absent(progress: Progress) -> dict[str, Any]:
        raise FileNotFoundError("no ngspice")

    ears, record = Ears(), Record(tmp_path / "results.json", {})
    steps = [Step("absent", "simulate", absent), Step("one", "count", counted)]
    skipped = run_steps(steps, record, ears, (FileNotFoundError,))
    assert list(skipped) == ["absent"]
    assert "note: left out: no ngspice" in ears.lines
    assert [record.is_done(step) for step in steps] == [False, True]


def test_nobody_has_to_listen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_steps([Step("one", "count", counted)], Record(tmp_path / "results.json", {}))
    assert capsys.readouterr() == ("", "")
    of_stage(None, "counting")(1, 2)


def test_a_record_of_other_settings_is_refused(tmp_path: Path) -> None:
    run_steps([Step("one", "count", counted)], Record(tmp_path / "results.json", {"seed": 1}))
    with pytest.raises(InputError, match=r"other settings \(seed\); give another --out"):
        Record(tmp_path / "results.json", {"seed": 2})


def test_an_adapter_has_its_original_before_it() -> None:
    names = labels(["extended"])
    assert names == {"original": "demo", "extended": "extended"}
    loaded: list[str] = []
    assert list(original_first({"extended": "extended", "original": "demo"}, loaded.append)) == ["original", "extended"]
    assert loaded == [], "a model was loaded only to be named"
