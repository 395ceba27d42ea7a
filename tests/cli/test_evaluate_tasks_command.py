"""`gaincell evaluate --tasks`: what it shows and what it refuses."""

import json
import shutil
from pathlib import Path

import pytest
from command_tools import Run


def test_models_are_shown_beside_one_another(tiny: Path, tiny_converted: Path, gaincell: Run) -> None:
    ended = gaincell(
        *("evaluate", tiny, "--also", tiny_converted, "--tasks", "piqa,lambada", "--limit", 4, "--out", "run")
    )
    assert ended.code == 0, ended.err
    found = json.loads(Path("run/tasks.json").read_text("utf-8"))
    assert found["models"] == ["tiny", "converted"]
    lines = ended.out.splitlines()
    for title in ("PIQA", "LAMBADA", "average"):
        assert any(line.strip().startswith(title) and line.count("±") == 2 for line in lines), ended.out
    assert any(line.startswith("converted: ") and "95 % interval" in line for line in lines)
    assert "McNemar" in ended.out


def test_an_adapter_is_scored_beside_its_original(tiny: Path, gaincell: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from gaincell.models.load import load_model

    run = gaincell("adapt", tiny, "--out", "run", "--quick", "--stages", "statistics", "--json")
    adapter = json.loads(run.out)["adapter"]
    monkeypatch.setattr("gaincell.models.load.load_demo_model", lambda: load_model(tiny))
    ended = gaincell("evaluate", adapter, "--tasks", "winogrande", "--limit", 3, "--json")
    assert json.loads(ended.out)["models"] == ["original", Path(adapter).stem]
    assert "nothing is kept" in ended.err


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("tiny", "--tasks", "hellaswog"), ("no task 'hellaswog'", "did you mean hellaswag")),
        (("tiny", "--tasks", ""), ("no task is named",)),
        (("tiny", "--tasks", "piqa", "--config", "extended"), ("leave --config out",)),
        (("tiny", "--tasks", "piqa", "--mismatch-seed", "1"), ("leave --mismatch-seed out",)),
        (("nobody/nothing", "--tasks", "piqa", "--out", "run"), ("nobody/nothing", "check the path, or the network")),
        (("tiny", "--tasks", "piqa", "--limit", "0"), ("--limit",)),
        (("tiny", "--limit", "3"), ("--limit goes with --tasks",)),
        (("tiny", "--out", "run"), ("--out goes with --tasks",)),
        (("tiny", "--batch", "2"), ("--batch goes with --tasks",)),
        (("tiny", "--tasks", "piqa", "--text", "novel"), ("--text is of perplexity", "leave it out")),
        (("tiny", "--tasks", "piqa", "--length", "512"), ("--length is of perplexity",)),
        (("tiny", "--tasks", "piqa", "--stride", "64"), ("--stride is of perplexity",)),
        (("tiny", "--tasks", "piqa", "--tokens", "100"), ("--tokens is of perplexity",)),
        (("tiny", "--also", "nowhere", "--tasks", "piqa"), ("'nowhere' is neither",)),
    ],
)
def test_bad_input_is_refused_in_one_sentence(
    args: tuple[str, ...], words: tuple[str, ...], tiny: Path, gaincell: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    gaincell("evaluate", *(str(tiny) if arg == "tiny" else arg for arg in args)).assert_refused(*words)
    assert not Path("run/tasks.json").exists()


def test_every_model_is_looked_at_before_one_is_scored(
    tiny: Path, gaincell: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    hub = {"owner/good": tiny, "owner/pickled": tmp_path / "pickled"}
    hub["owner/pickled"].mkdir()
    shutil.copy(tiny / "config.json", hub["owner/pickled"])
    hub["owner/mute"] = Path(shutil.copytree(tiny, tmp_path / "mute", ignore=shutil.ignore_patterns("tokenizer*")))
    monkeypatch.setattr("gaincell.models.load.snapshot_download", lambda name, **_: str(hub[name]))
    ended = gaincell("evaluate", tiny, "--also", "owner/good", "--tasks", "winogrande", "--limit", 2, "--json")
    assert json.loads(ended.out)["models"] == ["tiny", "good"]
    monkeypatch.setattr("gaincell.models.load.load_model", lambda name: pytest.fail("a model was loaded"))
    args = ("evaluate", tiny, "--tasks", "winogrande", "--also")
    gaincell(*args, "owner/absent").assert_refused("'owner/absent'", "check the path, or the network")
    gaincell(*args, "owner/pickled").assert_refused("no safetensors weights")
    gaincell(*args, "owner/mute").assert_refused("mute has no usable tokenizer", "save one there")


def test_an_out_folder_of_another_model_is_refused(tiny: Path, tiny_converted_copy: Path, gaincell: Run) -> None:
    args = ("--tasks", "winogrande", "--limit", 2, "--out", "run")
    assert gaincell("evaluate", tiny, *args).code == 0
    renamed = tiny_converted_copy.rename(tiny_converted_copy.with_name("tiny"))
    ended = gaincell("evaluate", renamed, *args)
    assert ended.code == 2
    assert "answers of another model" in ended.err


def test_without_the_harness_it_says_what_to_install(
    tiny: Path, gaincell: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gaincell.evaluate.tasks.names.find_spec", lambda name: None)
    gaincell("evaluate", tiny, "--tasks", "piqa").assert_refused("pip install 'gaincell[tasks]'")


def test_models_of_one_name_are_told_apart_or_refused(tiny: Path, gaincell: Run, tmp_path: Path) -> None:
    for run in ("runs/a", "runs/b", "one", "two"):
        shutil.copytree(tiny, tmp_path / run / ("model" if run.startswith("runs") else "Llama-3.2-1B"))
    args = ("--tasks", "winogrande", "--limit", 2, "--json")
    ended = gaincell("evaluate", "runs/a/model", "--also", "runs/b/model", "--also", "one/Llama-3.2-1B", *args)
    assert json.loads(ended.out)["models"] == ["a-model", "b-model", "Llama-3.2-1B"]
    ended = gaincell("evaluate", "one/Llama-3.2-1B", "--also", "two/Llama-3.2-1B", *args)
    ended.assert_refused("would both be called 'Llama-3.2-1B'")
