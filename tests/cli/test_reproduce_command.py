"""`gaincell reproduce`: what it prints and leaves, how it goes on after a kill, and what it refuses."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_tools import Run

from gaincell.adapt.sources import load_tokens
from gaincell.models.load import load_model
from gaincell.reproduce import table1
from gaincell.reproduce.full import FullScale, write_tokens

COMMAND = [sys.executable, "-m", "gaincell.cli", "reproduce"]
AMOUNTS = ("distill_batch=2", "distill_length=32", "distill_tokens=576", "statistics_sequences=2", "sequences=4")


def fake_tasks(models: Mapping[str, str], items: int, out: Path, progress: Any) -> dict[str, Any]:
    """Results as of tasks, of models that can be loaded."""
    one: dict[str, Any] = {}
    for label, name in models.items():
        load_model(name)
        one[label] = {"accuracy": 0.5, "stderr": 0.1}
    return {
        "items_asked": items,
        "models": list(models),
        "tasks": {"piqa": {"title": "PIQA", "metric": "acc", "items": items, "chance": 0.5, "models": one}},
        "average": one,
    }


@pytest.fixture(scope="module")
def tiny_gpt2(tiny: Path) -> Path:
    """A folder with a tiny random GPT-2 and the byte tokenizer."""
    import torch
    from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel

    folder = tiny.with_name("tiny-gpt2")
    tokenizer = AutoTokenizer.from_pretrained(tiny)
    torch.manual_seed(0)
    sizes = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 1024, "vocab_size": len(tokenizer)}
    GPT2LMHeadModel(GPT2Config(**sizes, bos_token_id=0, eos_token_id=1)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def test_json_has_every_row_and_leaves_the_figure(gaincell: Run) -> None:
    ended = gaincell("reproduce", "fig5", "--out", "run", "--json")
    assert ended.code == 0
    found = json.loads(ended.out)
    (entry,) = found["entries"]
    assert entry["name"] == "fig5"
    assert Path(entry["figure"]).read_text("utf-8").startswith("<svg")
    latency = next(row for row in entry["rows"] if row["quantity"] == "latency, one layer")
    assert (latency["published"], latency["unit"]) == (65, "ns")
    assert latency["ratio"] == pytest.approx(latency["ours"] / 65)
    assert json.loads(Path("run/results.json").read_text("utf-8"))["steps"]["fig5"]["result"]["rows"] == entry["rows"]
    shown = gaincell("reproduce", "fig5", "--out", "run")
    assert "done before" in shown.err
    assert "ours / published" in shown.out
    assert entry["reach"] in shown.out


def test_an_entry_whose_figure_is_gone_is_run_again(gaincell: Run) -> None:
    assert gaincell("reproduce", "fig5", "--out", "run").code == 0
    Path("run/fig5.svg").unlink()
    assert "done before" not in gaincell("reproduce", "fig5", "--out", "run").err
    assert Path("run/fig5.svg").exists()


def test_what_cannot_be_run_here_is_left_out(gaincell: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    ended = gaincell("reproduce", "fig2,fig5", "--out", "run", "--json")
    assert ended.code == 0
    found = json.loads(ended.out)
    assert [entry["name"] for entry in found["entries"]] == ["fig5"]
    assert [left["name"] for left in found["left_out"]] == ["fig2"]
    assert "note: left out: the charge-to-pulse circuit" in ended.err
    alone = gaincell("reproduce", "fig2", "--out", "run")
    assert alone.code == 2
    assert alone.err.splitlines()[-1].startswith("error: the charge-to-pulse circuit")


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_run_that_was_stopped_goes_on(how: signal.Signals, tmp_path: Path) -> None:
    # A task that never ends stands for the long one: fig5 is done by then, table1 is not.
    stuck = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a background job of a shell ignores Ctrl-C
        "from gaincell.reproduce import table1\n"
        "table1.evaluate = lambda *args: (print('stuck', flush=True), time.sleep(600))\n"
        "from gaincell.cli import main\n"
        "sys.argv = ['gaincell', 'reproduce', 'fig5,table1', '--out', 'run']\n"
        "main()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", stuck], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "stuck\n"
    process.send_signal(how)
    _, err = process.communicate(timeout=60)
    if how == signal.SIGINT:
        assert process.returncode == 130
        assert err.endswith("interrupted; run the same command to resume\n")
    halfway = json.loads((tmp_path / "run" / "results.json").read_text("utf-8"))
    assert list(halfway["steps"]) == ["fig5"]
    assert not [path for path in (tmp_path / "run").iterdir() if ".part" in path.name]
    again = subprocess.run([*COMMAND, "fig5", "--out", "run"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "[1/1] fig5: latency, energy and area: done before" in again.stderr


def test_unusable_input_is_refused_in_one_sentence(gaincell: Run, tmp_path: Path) -> None:
    gaincell("reproduce", "fig55").assert_refused("unknown entry 'fig55'", "did you mean 'fig5'?")
    gaincell("reproduce", "all", "--reference", "nowhere").assert_refused("nowhere holds no subtile_64x64")
    gaincell("reproduce", "fig5", "--compare", "nowhere.json").assert_refused("nowhere.json")
    gaincell("reproduce", "fig5", "--model", "x").assert_refused("--model goes with --full")
    gaincell("reproduce", "fig5", "--full").assert_refused("--full is of table1 alone")
    for option in ("--reference", "--compare"):
        gaincell("reproduce", "table1", "--full", option, "x").assert_refused(f"{option} has nothing", "leave it out")
    assert gaincell("reproduce", "fig5", "--out", "run").code == 0
    assert "done before" in gaincell("reproduce", "fig5", "--out", "run", "--items", 5).err  # it uses no items
    path = Path("run/results.json")
    found = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps(found | {"gaincell": "0.0.2"}), "utf-8")
    gaincell("reproduce", "fig5", "--out", "run").assert_refused("is damaged", "hash")
    del found["sha256"]
    path.write_text(json.dumps(found | {"gaincell": "0.0.1+"}), "utf-8")
    gaincell("reproduce", "fig5", "--out", "run").assert_refused("was written by gaincell 0.0.1+", "give another --out")
    path.write_text("[", "utf-8")
    gaincell("reproduce", "fig5", "--out", "run").assert_refused("is damaged")


def test_full_scale_is_told_and_not_run(gaincell: Run) -> None:
    ended = gaincell("reproduce", "table1", "--full", "--json", "--out", "run")
    assert ended.code == 0
    assert not Path("run").exists()
    found = json.loads(ended.out)
    amounts = {row["what"]: row["amount"] for row in found["scale"]}
    assert amounts["iterations of the linear model"] == "2,900"
    assert amounts["iterations of the nonlinear model"] == "5,900"
    assert amounts["tokens in all"] == f"{8800 * 1_966_080:,}"
    settings = found["settings"]
    assert settings["distill_batch"] * settings["distill_length"] == 1_966_080  # an iteration as published
    assert settings["distill_accumulation"] * 8 * 16 == settings["distill_batch"]
    costs = {row["what"]: row["amount"] for row in found["cost"]}
    assert costs["GPU hours, H100"] == "530"  # 768 hours for 25.07e9 tokens, by the authors' README; here 17.3e9
    assert "accelerate.commands.launch" in found["command"]
    assert "Nothing was run" in gaincell("reproduce", "table1", "--full").out
    refused = ("reproduce", "table1", "--full", "--processes", 7)
    gaincell(*refused).assert_refused("7 processes cannot share evenly")
    gaincell("reproduce", "table1", "--full", "--set", "distill_tockens=1").assert_refused("distill_tockens")


def test_tokens_are_rows_of_all_documents(tmp_path: Path, tiny: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny)
    documents = [f"Document {n} of many. " * (n % 3) for n in range(400)]
    path = tmp_path / "tokens.npy"
    rows = write_tokens(iter(documents), tokenizer, path, 16, 10**6)
    expected = [token for text in documents for token in [*tokenizer(text)["input_ids"], tokenizer.eos_token_id]]
    found = load_tokens(path)
    assert tuple(found.shape) == (rows, 16)
    assert found.flatten().tolist() == expected[: rows * 16]
    assert len(expected) - rows * 16 < 16
    assert write_tokens(iter(documents), tokenizer, path, 16, 3) == 3
    assert load_tokens(path).flatten().tolist() == expected[:48]


@pytest.mark.parametrize("array", [np.ones(4, np.int32), np.ones((2, 2)), None])
def test_adapt_refuses_tokens_that_are_none(array: Any, gaincell: Run, tiny: Path, text_file: Path) -> None:
    path = Path("tokens.npy")
    if array is None:
        path.write_bytes(b"nothing")
    else:
        np.save(path, array)
    gaincell("adapt", tiny, "--out", "run", "--tokens", path).assert_refused("token file tokens.npy")
    both = ("--tokens", path, "--text", text_file)
    gaincell("adapt", tiny, "--out", "run", *both).assert_refused("--text and --tokens")


@pytest.mark.slow
def test_full_runs_on_another_model_and_text(
    gaincell: Run, tiny_gpt2: Path, text_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table1, "evaluate", fake_tasks)
    args = ["reproduce", "table1", "--full", "--run", "--model", tiny_gpt2, "--text", text_file, "--processes", 1]
    args += [part for amount in AMOUNTS for part in ("--set", amount)]
    args += ["--set", "distill_precision=no", "--out", "out", "--items", 3]
    ended = gaincell(*args, "--json")
    assert ended.code == 0, ended.err
    found = json.loads(ended.out)
    assert "mean accuracy, adapted" in [row["quantity"] for row in found["rows"]]
    metrics = [json.loads(line) for line in Path("out/full/run/metrics.jsonl").read_text("utf-8").splitlines()]
    steps = {stage: [m["step"] for m in metrics if m["stage"] == stage] for stage in ("linear", "cubic")}
    assert steps == {"linear": [1, 2, 3], "cubic": [1, 2, 3, 4, 5, 6]}  # 9 steps of 2 x 32, as 2,900 : 5,900
    doctor = gaincell("doctor", "--model", "out/full/run/model")
    assert "attends in gain cells at 'leroux2025'" in doctor.out
    again = gaincell(*args)
    assert again.code == 0
    assert again.err.count("done before") == 3
    assert "mean accuracy, adapted" in again.out
    gaincell(*args, "--set", "distill_lr=1e-3").assert_refused("other settings (distill_lr)")


def test_full_tells_a_model_that_cannot_be_fetched(gaincell: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*args: Any, **kwargs: Any) -> str:
        raise OSError("no network")

    monkeypatch.setattr("gaincell.models.load.snapshot_download", offline)
    ended = gaincell("reproduce", "table1", "--full", "--run", "--out", "out")
    assert ended.code == 2
    assert "the hub gives none of that name (no network)" in ended.err.splitlines()[-1]


def test_the_command_learns_in_several_processes(tmp_path: Path) -> None:
    command = FullScale(processes=4).command(tmp_path)
    assert command[:5] == [sys.executable, "-m", "accelerate.commands.launch", "--num_processes", "4"]
    assert command[command.index("--tokens") + 1] == os.fspath(tmp_path / "tokens.npy")
