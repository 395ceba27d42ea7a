"""`gaincell report` on a tiny model: what it leaves, what it does not do twice, and what it refuses."""

import html
import json
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest
from command_tools import Run, save_tiny

from gaincell.cli import options as shared
from gaincell.cli.app import run as run_app
from gaincell.models.load import load_model
from gaincell.study import report_steps
from gaincell.study.demo import run_demo
from gaincell.study.demo_steps import DemoSettings, PointPlan
from gaincell.study.subject import find_subject

FAST = (
    "--set",
    "held_back=0",
    "--set",
    "length=32",
    "--set",
    "rows=4",
    "--set",
    "transfer.steps=1",
    "--set",
    "distill.tokens=64",
)
FASTER = ("--set", "distill.batch=1", "--set", "distill.length=32", "--set", "distill.validate_tokens=64")


@pytest.fixture(autouse=True)
def little(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("WATCHED", 24), ("SCORED", 600), ("LENGTH", 64), ("WRITTEN", 3)):
        monkeypatch.setattr(report_steps, name, value)


@pytest.fixture(scope="module")
def adapted(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of `gaincell adapt`, all stages."""
    out = tmp_path_factory.mktemp("runs") / "a"
    given = [
        "adapt",
        tiny,
        "--out",
        out,
        "--stages",
        "statistics,transfer,distill",
        *FAST,
        *FASTER,
    ]
    assert run_app([str(arg) for arg in given]) == 0
    return out


@pytest.fixture
def copied(adapted: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(adapted, tmp_path / "run"))


def page_data(path: Path) -> dict[str, Any]:
    text = path.read_text("utf-8")
    begin = text.index('id="data">') + len('id="data">')
    return json.loads(text[begin : text.index("</script>", begin)])


def test_a_run_becomes_one_page(copied: Path, tiny: Path, gaincell: Run) -> None:
    ended = gaincell("report", copied, "--base", tiny)
    assert ended.code == 0, ended
    assert f"report: {copied / 'report.html'}" in ended.out
    data = page_data(copied / "report.html")
    assert [line["name"] for line in data["layers"]] == ["statistics", "transfer, before", "transfer"]
    assert "loss" in data["curves"]["runs"][0]["series"]
    assert (data["heads"]["layers"], data["heads"]["heads"]) == (2, 4)
    assert data["heads"]["points"] == list(data["maps"]["points"]) == ["extended"]
    assert all(0 <= value <= 1 for value in data["heads"]["values"]["extended"]["moved"])
    assert len(data["maps"]["tokens"]) > 8
    low, high = data["perplexity"]["rows"][1]["low"], data["perplexity"]["rows"][1]["high"]
    assert low <= data["perplexity"]["rows"][1]["value"] <= high
    assert len(data["cost"]["bars"]["extended"]["layers"]) == 2
    assert data["tasks"] is None


def test_nothing_is_measured_twice_but_what_changed(
    copied: Path, tiny: Path, gaincell: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = gaincell("report", copied, "--base", tiny, "--json")
    assert first.code == 0, first
    found = json.loads(first.out)
    assert found["bytes"] == (copied / "report.html").stat().st_size
    assert set(found["heads"]) == {"extended"}
    before = (copied / "report.html").read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(shared, "load_model", lambda name, device="cpu", digital=None: pytest.fail("a model was loaded"))
        again = gaincell("report", copied, "--base", tiny)
    assert again.code == 0, again
    assert "[1/" not in again.err
    assert (copied / "report.html").read_bytes() == before
    done: list[str] = []
    monkeypatch.setattr(report_steps.Bench, "heads", lambda *_: done.append("heads"))
    other = gaincell("report", copied, "--base", tiny, "--sentence", "Short.")
    assert other.code == 0, other
    assert done == []
    assert "".join(page_data(copied / "report.html")["maps"]["tokens"]) == "Short."


def test_the_page_names_the_command_that_writes_it(
    copied: Path, tiny: Path, gaincell: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = ["report", copied, "--out", tmp_path / "a page.html", "--sentence", "It's here.", "--base", tiny]
    assert gaincell(*given).code == 0
    before = (tmp_path / "a page.html").read_bytes()
    shown = re.search(r"<code>(gaincell report .*?)</code>", before.decode("utf-8"))
    assert shown is not None
    words = shlex.split(html.unescape(shown[1]))
    assert words == ["gaincell", *map(str, given)]
    (tmp_path / "a page.html").unlink()
    assert gaincell(*words[1:]).code == 0
    assert (tmp_path / "a page.html").read_bytes() == before


def test_what_another_base_gave_is_not_taken(copied: Path, tiny: Path, gaincell: Run, tmp_path: Path) -> None:
    assert gaincell("report", copied, "--base", tiny).code == 0
    save_tiny(tmp_path / "other", layers=1)
    ended = gaincell("report", copied, "--base", tmp_path / "other")
    assert ended.code == 2
    assert "was not adapted from" in ended.err.splitlines()[-1]


def test_a_page_beside_its_original_is_not_measured_twice(
    copied: Path, tiny: Path, gaincell: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = Path(shutil.copytree(tiny, tmp_path / "base"))
    args = ("report", copied, "--base", base, "--out", base / "report.html")
    assert gaincell(*args).code == 0
    monkeypatch.setattr(
        shared, "load_model", lambda name, device="cpu", digital=None: pytest.fail("a model was loaded")
    )
    assert gaincell(*args).code == 0


def test_a_folder_called_demo_is_not_the_demo_model(
    copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("demo").mkdir()
    assert find_subject(str(copied), "demo").base == "demo"


def test_a_model_adapted_anew_is_measured_anew(copied: Path, tiny: Path, gaincell: Run) -> None:
    assert gaincell("report", copied, "--base", tiny).code == 0
    weights = copied / "model" / "model.safetensors"
    weights.write_bytes(weights.read_bytes())  # another time of writing
    again = gaincell("report", copied, "--base", tiny)
    assert again.code == 0
    assert "done before" not in again.err
    assert "perplexity of the original" in again.err


def test_an_interrupt_keeps_what_is_done_and_leaves_no_page(
    copied: Path, tiny: Path, gaincell: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*args: Any, **kwargs: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(report_steps.Bench, "maps", interrupted)
        ended = gaincell("report", copied, "--base", tiny)
    assert ended.code == 130
    assert "run the same command to resume" in ended.err
    assert not (copied / "report.html").exists()
    assert not [path for path in copied.rglob("*") if ".part" in path.name]
    monkeypatch.setattr(report_steps.Bench, "heads", lambda *_: pytest.fail("measured twice"))
    again = gaincell("report", copied, "--base", tiny)
    assert again.code == 0, again
    assert "done before" in again.err


def test_an_adapter_has_no_curves(adapted: Path, tiny: Path, gaincell: Run, tmp_path: Path) -> None:
    ended = gaincell("report", adapted / "adapter.safetensors", "--base", tiny, "--out", tmp_path / "new" / "page.html")
    assert ended.code == 0, ended
    data = page_data(tmp_path / "new" / "page.html")
    assert data["curves"] is None
    assert data["layers"] is None
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["page.html", "page.measured.json"]


def test_tasks_are_shown_where_they_lie_in_the_run(copied: Path, tiny: Path, gaincell: Run) -> None:
    score = {"accuracy": 0.5, "stderr": 0.1}
    models = {"original": score, "extended": {**score, "difference": 0.0, "interval": [-0.1, 0.1]}}
    task = {"title": "A task", "metric": "acc", "items": 9, "chance": 0.25, "models": models}
    found = {
        "version": 1,
        "items_asked": None,
        "models": list(models),
        "tasks": {"a": task},
        "average": models,
    }
    (copied / "tasks.json").write_text(json.dumps(found), "utf-8")
    assert gaincell("report", copied, "--base", tiny).code == 0
    assert page_data(copied / "report.html")["tasks"]["rows"][0]["title"] == "A task"
    (copied / "tasks.json").write_text(json.dumps({**found, "tasks": {"a": {}}}), "utf-8")
    gaincell("report", copied, "--base", tiny).assert_refused("tasks.json", "tasks.a")


# What it refuses.


def test_what_is_no_run(tiny: Path, copied: Path, gaincell: Run, tmp_path: Path) -> None:
    gaincell("report", tmp_path / "none").assert_refused(
        "none", "neither a run folder nor a shipped adapter", "extended"
    )
    (tmp_path / "empty").mkdir()
    gaincell("report", tmp_path / "empty").assert_refused("empty", "not a run folder", "--out")
    gaincell("report", tiny).assert_refused("model folder, not a run folder")
    gaincell("report", copied / "model").assert_refused("model folder", f"its run folder is {copied}")
    (tmp_path / "empty" / "config.json").write_text("{", "utf-8")
    gaincell("report", tmp_path / "empty").assert_refused("config.json")


def test_an_unfinished_run_names_what_finishes_it(copied: Path, gaincell: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.rmtree(copied / "model")
    monkeypatch.chdir(copied.parent)  # a short path, so that nothing is left out of the sentence
    name = copied.name
    gaincell("report", name).assert_refused("unfinished", f"gaincell adapt ... --config extended --out {name}")
    assert not (copied / "report.html").exists()


@pytest.mark.parametrize("change", [{"design_point": {"windw": 3}}, {"design_point": None}, {"settings": {}}])
def test_a_run_of_another_version(change: dict[str, Any], copied: Path, gaincell: Run) -> None:
    found = json.loads((copied / "config.json").read_text("utf-8"))
    if "settings" in change:
        del found["model"]
    (copied / "config.json").write_text(json.dumps({**found, **change}), "utf-8")
    gaincell("report", copied).assert_refused("config.json", "this version", "adapt again")


def test_another_original_is_refused(copied: Path, tiny: Path, gaincell: Run, tmp_path: Path) -> None:
    save_tiny(tmp_path / "other", layers=1)
    ended = gaincell("report", copied, "--base", tmp_path / "other")
    assert ended.code == 2
    assert "--base" in ended.err.splitlines()[-1]
    assert not (copied / "report.html").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--out", "page.txt"), ["page.txt", ".html"]),
        (("--out", "."), ["--out"]),
        (("--sentence", " "), ["--sentence", "empty"]),
        (("--tasks", "none.json"), ["none.json"]),
    ],
)
def test_options_that_cannot_be(options: tuple[str, ...], words: list[str], copied: Path, gaincell: Run) -> None:
    gaincell("report", copied, *options).assert_refused(*words)


def test_damaged_metrics(copied: Path, gaincell: Run) -> None:
    with (copied / "metrics.jsonl").open("a", encoding="utf-8") as file:
        file.write("{\n")
    gaincell("report", copied).assert_refused("metrics.jsonl", "damaged")


# A run of the demo.


@pytest.fixture(scope="module")
def demo(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    little = DemoSettings(
        quick=True,
        plans=(PointPlan("extended", ("statistics",)), PointPlan("leroux2025", ("statistics",))),
        rows=4,
        length=24,
        evaluate_tokens=40,
        evaluate_length=24,
        sample_tokens=2,
    )
    out = tmp_path_factory.mktemp("runs") / "demo"
    run_demo(little, out, "tiny", lambda name: load_model(tiny if name == "tiny" else name))
    return out


def test_a_demo_becomes_the_same_page(demo: Path, gaincell: Run) -> None:
    gaincell("report", demo, "--base", "elsewhere").assert_refused("names its original itself", "leave --base out")
    before = (demo / "report.html").read_bytes()
    ended = gaincell("report", demo)
    assert ended.code == 0, ended
    assert (demo / "report.html").read_bytes() == before
    data = page_data(demo / "report.html")
    assert [row["label"] for row in data["perplexity"]["rows"]][:2] == [
        "softmax: as it came",
        "extended: mapped as it is",
    ]
    assert data["heads"]["points"] == ["extended"]  # the other adapted model was not kept
    assert [line["name"] for line in data["layers"]] == ["extended: statistics", "leroux2025: statistics"]


def test_a_demos_original_is_told_from_another_in_its_folder(
    demo: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tiny.parent)
    assert find_subject(str(demo), "demo").base == report_steps.model_identity(tiny)


def test_an_unfinished_demo_names_its_command(demo: Path, gaincell: Run, tmp_path: Path) -> None:
    found = json.loads((demo / "results.json").read_text("utf-8"))
    del found["results"], found["sha256"]
    (tmp_path / "demo").mkdir()
    path = tmp_path / "demo" / "results.json"
    path.write_text(json.dumps(found), "utf-8")
    again = f"gaincell demo --quick --from-scratch --out {tmp_path / 'demo'}"
    gaincell("report", tmp_path / "demo").assert_refused("unfinished", again)
    path.write_text(json.dumps({**found, "gaincell": "0.0.1"}), "utf-8")
    gaincell("report", tmp_path / "demo").assert_refused("0.0.1", again)
    path.write_text("{}", "utf-8")
    gaincell("report", tmp_path / "demo").assert_refused("results.json", "damaged")
