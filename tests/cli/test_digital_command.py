"""`--digital` and `gaincell adapt --sensitivity`: what stays digital, and which layers should."""

import json
from pathlib import Path
from typing import Any

import pytest
from command_tools import Run

from gaincell.cli import options
from gaincell.hardware import Activity
from gaincell.study.models import Load

FEW = ("--set", "held_back=2", "--set", "length=24")


@pytest.fixture
def adapter(tiny: Path, tmp_path: Path) -> Path:
    """What `adapt` might leave of the tiny model: other queries."""
    import torch

    from gaincell import GainCellConfig, convert_
    from gaincell.models import save_adapter
    from gaincell.models.load import load_model

    model = convert_(load_model(tiny)[0], GainCellConfig.named("extended"))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("q_proj.weight"):
                parameter.mul_(1.5)
    save_adapter(model, load_model(tiny)[0], tmp_path / "a.safetensors")
    return tmp_path / "a.safetensors"


def test_sensitivity_tells_which_layers_to_keep_and_goes_on(tiny: Path, adapter: Path, gaincell: Run) -> None:
    asked = ("adapt", tiny, "--from", adapter, "--sensitivity", "--out", "run", *FEW)
    ended = gaincell(*asked, "--digital-budget", 1)
    assert ended.code == 0
    assert "each alone back to softmax" in ended.out
    assert ended.out.splitlines()[-1] in ("digital: 0", "digital: 1")
    assert (Path("run") / "sensitivity.svg").is_file()
    again = gaincell(*asked, "--digital-budget", 2, "--json")
    assert again.code == 0, again.err
    found = json.loads(again.out)
    assert sorted(found["order"]) == [0, 1]
    assert found["chosen"][-1]["divergence"] == pytest.approx(0.0, abs=1e-6)
    assert (found["rows"], found["length"]) == (2, 24)
    heads = json.loads(gaincell(*asked, "--digital", "0.0,1.1", "--json").out)
    assert set(heads["gains"]) == {"0.0", "1.1"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "give it with --from"),
        (("--from", "A", "--quick"), "of other options"),
        (("--from", "A", "--stages", "distill"), "of other options"),
        (("--from", "A", "--set", "distill.lr=1"), "is not read by --sensitivity"),
        (("--from", "A", "--set", "held_back=0"), "nothing to measure on"),
        (("--from", "A", "--digital-budget", "9", *FEW), "9 of 2 layers or heads cannot be chosen"),
        (("--from", "A", "--digital", "7", *FEW), "digital names 7"),
        (("--from", "A", "--digital", "x"), "an entry is a layer"),
    ],
)
def test_what_it_cannot_do_is_told(
    tiny: Path, adapter: Path, gaincell: Run, options: tuple[str, ...], message: str
) -> None:
    given = [str(adapter) if option == "A" else option for option in options]
    gaincell("adapt", tiny, "--sensitivity", "--out", "run", *given).assert_refused(message)


def test_other_commands_keep_layers_digital(
    tiny: Path, adapter: Path, gaincell: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gaincell.models.load import load_model

    monkeypatch.setattr("gaincell.models.load.load_demo_model", lambda: load_model(tiny))
    scored = [
        json.loads(gaincell("evaluate", *args, "--tokens", 64, "--length", 32, "--json").out)["perplexity"]
        for args in ((adapter,), (adapter, "--digital", "0,1"), ("demo",))
    ]
    assert scored[1] == pytest.approx(scored[2], rel=1e-5)
    assert scored[0] != scored[2]
    assert gaincell("generate", "The", "--model", adapter, "--digital", "1", "--max-new-tokens", 3).code == 0
    gaincell("generate", "The", "--model", "demo", "--digital", "1").assert_refused("attends with softmax")
    gaincell("evaluate", "--digital", "1").assert_refused("models that attend in gain cells")
    priced = json.loads(gaincell("cost", tiny, "--config", "extended", "--digital", "1", "--json").out)
    assert priced["digital"] == [1]
    gaincell("cost", tiny, "--config", "extended", "--digital", "2").assert_refused("digital names 2")


def test_an_original_is_converted_with_layers_digital_and_else_left_alone(
    tiny: Path, tiny_converted: Path, text_file: Path, gaincell: Run
) -> None:
    from gaincell.models import design_point

    asked = ("--text", text_file, "--tokens", 64, "--length", 32, "--json")
    scored = {
        digital: json.loads(gaincell("evaluate", tiny, "--config", "extended", "--digital", digital, *asked).out)
        for digital in ("0", "0,1")
    }
    original = json.loads(gaincell("evaluate", tiny, *asked).out)["perplexity"]
    assert scored["0,1"]["perplexity"] == pytest.approx(original, rel=1e-5)
    assert scored["0"]["perplexity"] != original
    assert (scored["0"]["heads"], "heads" in scored["0,1"]) == (4, False)
    gaincell("evaluate", tiny, "--digital", "0", *asked).assert_refused("models that attend in gain cells")
    gaincell("evaluate", tiny, "--panel", "--digital", "0").assert_refused("models that attend in gain cells")
    load = options.loads("cpu", "0")
    points = [design_point(load(str(name))[0]) for name in (tiny, tiny_converted)]
    assert points[0] is None
    assert points[1] is not None
    assert points[1].digital == (0,)


def test_cost_watches_the_model_that_evaluate_scores(
    tiny: Path, adapter: Path, gaincell: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    from gaincell.models.load import load_model

    monkeypatch.setattr("gaincell.models.load.load_demo_model", lambda: load_model(tiny))
    original, seen = load_model(tiny)[0].state_dict(), {}

    def watch(model: Any, text: str, config: Any, load: Load, listener: Any) -> Activity:
        seen.update(load(str(adapter))[0].state_dict())
        return Activity.reference(config)

    monkeypatch.setattr("gaincell.study.watch_arrays.watch_arrays", watch)
    ended = gaincell("cost", tiny, "--config", "extended", "--digital", "1", "--activity", "speeches", "--json")
    assert ended.code == 0, ended.err
    names = [f"model.layers.{layer}.self_attn.q_proj.weight" for layer in (0, 1)]
    assert [torch.equal(seen[name], original[name]) for name in names] == [False, True]
