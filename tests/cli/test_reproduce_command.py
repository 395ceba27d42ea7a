"""`gaincell reproduce`: what it prints and leaves, how it goes on after a kill, and what it refuses."""

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_tools import Run

COMMAND = [sys.executable, "-m", "gaincell.cli", "reproduce"]


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
