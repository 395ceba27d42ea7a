"""The demo on a tiny model: what it leaves, and that no step is done twice."""

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from command_tools import Run

from gaincell import InputError
from gaincell.cli import options as shared
from gaincell.cli import screen
from gaincell.models import adapter_names, save_adapter
from gaincell.models.load import load_model
from gaincell.study.demo import run_demo
from gaincell.study.demo_steps import DemoSettings, PointPlan, Workbench
from gaincell.study.models import Load
from gaincell.study.writing import PROMPTS

LITTLE = DemoSettings(
    quick=True,
    plans=(PointPlan("extended", ("statistics", "transfer")), PointPlan("leroux2025", ("statistics",))),
    rows=4,
    length=24,
    steps=1,
    evaluate_tokens=40,
    evaluate_length=24,
    sample_tokens=4,
)

PAGE = ("report.html", "report.measured.json")

STEPS = [
    "original",
    "calibration",
    "extended/naive",
    "extended/statistics",
    "extended/transfer",
    "leroux2025/naive",
    "leroux2025/statistics",
    "samples",
    "cost",
]


def original_is(tiny: Path) -> Load:
    """Loads the tiny model by the name "tiny", others as they are called."""
    return lambda name: load_model(tiny if name == "tiny" else name)


@pytest.fixture(scope="module")
def finished(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "demo"
    run_demo(LITTLE, out, "tiny", original_is(tiny))
    return out


def forbidden(name: str) -> Any:
    raise AssertionError("a finished demo must not load the model")


def test_demo_leaves_report_results_and_model(finished: Path) -> None:
    names = {path.name for path in finished.iterdir()}
    assert names == {"answers", "calibration.safetensors", "extended", "leroux2025", *PAGE, "results.json"}
    data = json.loads((finished / "results.json").read_text("utf-8"))
    assert list(data["steps"]) == STEPS
    assert all(step["seconds"] >= 0 for step in data["steps"].values())
    results = data["results"]
    stages = [(row["attention"], row["stage"]) for row in results["perplexities"]]
    assert stages == [
        ("softmax", "as it came"),
        ("extended", "mapped as it is"),
        ("extended", "scalers from statistics"),
        ("extended", "layer-wise transfer"),
        ("leroux2025", "mapped as it is"),
        ("leroux2025", "scalers from statistics"),
    ]
    assert (results["perplexities"][0]["ratio"], results["perplexities"][0]["worst"]) == (1, None)
    for row in results["perplexities"][1:]:
        # The worst kind of text is worse than the mean, which is one of all kinds.
        assert row["worst"]["ratio"] > row["ratio"]
        assert row["perplexity"] == pytest.approx(row["ratio"] * results["perplexities"][0]["perplexity"])
    assert [sample["prompt"] for sample in results["samples"]] == list(PROMPTS)
    assert "Quick figures" in results["note"]
    assert results["summary"] in (finished / "report.html").read_text("utf-8").replace("&#39;", "'")
    model, _ = load_model(finished / "extended" / "model")
    assert model.config._attn_implementation == "gaincell"


def test_demo_again_does_nothing_and_finds_the_same(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (finished / "results.json").read_bytes(), (finished / "report.html").read_bytes()
    run_demo(LITTLE, finished, "tiny", forbidden, screen)
    assert capsys.readouterr().err.count("done before") == len(STEPS)
    assert ((finished / "results.json").read_bytes(), (finished / "report.html").read_bytes()) == before


@pytest.mark.parametrize(
    "change", [{"quick": False}, {"seed": 1}, {"plans": (PointPlan("extended", ("statistics",)),)}]
)
def test_demo_with_other_settings_asks_for_another_folder(finished: Path, change: dict[str, Any]) -> None:
    before = (finished / "results.json").read_bytes()
    with pytest.raises(InputError, match=rf"other settings \({next(iter(change))}\); give another --out"):
        run_demo(dataclasses.replace(LITTLE, **change), finished, "tiny", forbidden)
    assert (finished / "results.json").read_bytes() == before


def test_demo_goes_on_after_an_interrupt(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, finished: Path
) -> None:
    out = tmp_path / "demo"
    with monkeypatch.context() as patch:

        def interrupted(*args: Any, **kwargs: Any) -> Any:
            raise KeyboardInterrupt

        patch.setattr(sys.modules["gaincell.adapt.stages.layerwise"], "transfer_layer", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run_demo(LITTLE, out, "tiny", original_is(tiny))
    halfway = json.loads((out / "results.json").read_text("utf-8"))
    assert list(halfway["steps"]) == STEPS[:4]
    assert not (out / "extended" / "model").exists()
    assert not [path for path in out.rglob("*") if ".part" in path.name]

    done: list[str] = []
    for name in ("original", "write_calibration"):
        monkeypatch.setattr(Workbench, name, lambda self, progress, name=name: done.append(name))
    results, _ = run_demo(LITTLE, out, "tiny", original_is(tiny))
    assert done == []
    data = json.loads((out / "results.json").read_text("utf-8"))
    assert {name: data["steps"][name] for name in STEPS[:4]} == halfway["steps"]
    uninterrupted = json.loads((finished / "results.json").read_text("utf-8"))["results"]
    for ours, theirs in zip(results["perplexities"], uninterrupted["perplexities"], strict=True):
        assert ours["perplexity"] == pytest.approx(theirs["perplexity"], rel=1e-4)


def test_a_step_whose_files_are_gone_is_done_again(tiny: Path, finished: Path, tmp_path: Path) -> None:
    import shutil

    out = Path(shutil.copytree(finished, tmp_path / "demo"))
    shutil.rmtree(out / "extended" / "model")
    before = json.loads((out / "results.json").read_text("utf-8"))["steps"]
    run_demo(LITTLE, out, "tiny", original_is(tiny))
    after = json.loads((out / "results.json").read_text("utf-8"))["steps"]
    assert (out / "extended" / "model" / "config.json").is_file()
    changed = {name for name in before if before[name] != after[name]}
    assert changed <= {"extended/transfer"}


def test_demo_command(tiny: Path, gaincell: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DemoSettings, "of", classmethod(lambda cls, quick, from_scratch: LITTLE))
    with monkeypatch.context() as patch:
        patch.setattr(
            shared, "load_model", lambda name, device="cpu", digital=None: load_model(tiny if name == "demo" else name)
        )
        ended = gaincell("demo", "--from-scratch", "--quick")
    assert ended.code == 0
    for words in ("Perplexity", "layer-wise transfer", PROMPTS[0], "energy, all layers", "published"):
        assert words in ended.out
    assert "[9/9]" in ended.err
    assert "not to quote" in ended.err
    again = gaincell("demo", "--from-scratch", "--quick", "--json")
    assert again.code == 0
    assert json.loads(again.out)["report"] == "runs/demo-from-scratch-quick/report.html"
    model = "runs/demo-from-scratch-quick/extended/model"
    assert model in ended.out
    generated = gaincell("generate", "The", "--max-new-tokens", 2, "--model", model)
    assert generated.code == 0
    assert model in generated.err


def test_demo_puts_adapters_on_without_learning(
    tiny: Path, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, _ = load_model(tiny)
    model, _ = load_model(finished / "extended" / "model")
    save_adapter(model, base, tmp_path / "mine.safetensors", notes="learned in a test")

    def forbidden(*args: Any, **kwargs: Any) -> Any:
        raise AssertionError("nothing is to be learned")

    monkeypatch.setattr("gaincell.adapt.adaptation.perform", forbidden)
    plan = PointPlan("extended", ("adapter",), str(tmp_path / "mine.safetensors"))
    settings = dataclasses.replace(LITTLE, plans=(plan,))
    results, _ = run_demo(settings, tmp_path / "demo", "tiny", original_is(tiny))
    assert {path.name for path in (tmp_path / "demo").iterdir()} == {"answers", *PAGE, "results.json"}
    learned = json.loads((finished / "results.json").read_text("utf-8"))["results"]
    stages = [row["stage"] for row in results["perplexities"]]
    assert stages == ["as it came", "mapped as it is", "adapter that ships"]
    # Matrices' differences are kept in bfloat16.
    assert results["perplexities"][2]["perplexity"] == pytest.approx(learned["perplexities"][3]["perplexity"], rel=0.02)
    assert results["samples"][0]["adapted"] == learned["samples"][0]["adapted"]
    assert "learned in a test" in results["about"]["adapter extended"]

    # Of another adapter under the same name, what was found is done again, and nothing else.
    model.model.layers[0].mlp.down_proj.weight.data.mul_(0.5)
    save_adapter(model, base, tmp_path / "mine.safetensors", notes="another one")
    steps = json.loads((tmp_path / "demo" / "results.json").read_text("utf-8"))["steps"]
    anew, _ = run_demo(settings, tmp_path / "demo", "tiny", original_is(tiny))
    assert anew["perplexities"][:2] == results["perplexities"][:2]
    assert anew["perplexities"][2] != results["perplexities"][2]
    again = json.loads((tmp_path / "demo" / "results.json").read_text("utf-8"))["steps"]
    assert {name for name in steps if again[name] != steps[name]} == {"extended/adapter", "samples"}


def test_settings_of_the_options() -> None:
    assert DemoSettings.of(quick=False, from_scratch=False) == DemoSettings()
    quick = DemoSettings.of(quick=True, from_scratch=False)
    assert quick.evaluate_tokens < DemoSettings.evaluate_tokens
    assert quick.quick
    assert [plan.adapter for plan in quick.plans] == ["extended", "leroux2025"]
    assert {plan.adapter for plan in DemoSettings().plans} <= {*adapter_names()}
    scratch = DemoSettings.of(quick=False, from_scratch=True)
    assert not scratch.quick
    assert [plan.stages for plan in scratch.plans] == [("statistics", "transfer")] * 2
