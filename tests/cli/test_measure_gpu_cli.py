"""`gaincell measure-gpu`: refused without a GPU, and what it writes and shows of a measurement."""

import json
from pathlib import Path

import pytest
import torch
from command_tools import Run

from gaincell.hardware import measure_gpu
from gaincell.hardware.measure_gpu import MeasuredBatch, Measurement, load_measurement
from gaincell.hardware.published_gpus import BASELINE_LAYER


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """A measurement in place of the device that is not here."""

    def made(window: int, seconds: float) -> Measurement:
        return Measurement(
            shape=BASELINE_LAYER,
            window=window,
            batches=(MeasuredBatch(1, 2e-6, 5e-4, int(seconds * 5e5), 65), MeasuredBatch(64, 6.4e-5, 4e-4, 100, 2)),
            idle_power_w=70.0,
            energy_source="energy counter",
            precision="bfloat16",
            device="a GPU",
            versions={},
            date="2026-01-01T00:00:00+00:00",
            command="gaincell measure-gpu",
        )

    monkeypatch.setattr(measure_gpu, "measure_attention", made)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_a_gpu(tmp_path: Path, gaincell: Run) -> None:
    gaincell("measure-gpu", "--out", "folder/gpu.json").assert_refused("no CUDA device here", "roofline")
    assert not any(tmp_path.iterdir())


def test_a_measurement_is_shown_and_written(measured: None, gaincell: Run) -> None:
    ended = gaincell("measure-gpu", "--out", "folder/gpu.json", "--window", 512, "--seconds", 2)
    assert ended.code == 0
    assert "window 512" in ended.out
    assert "a GPU" in ended.out
    assert "idle power 70 W" in ended.out
    found = load_measurement("folder/gpu.json")
    assert (found.window, found.batches[0].steps) == (512, 1_000_000)


def test_json_is_what_the_file_holds(measured: None, gaincell: Run) -> None:
    ended = gaincell("measure-gpu", "--out", "gpu.json", "--json")
    assert json.loads(ended.out) == json.loads(Path("gpu.json").read_text("utf-8"))


@pytest.mark.parametrize(
    ("args", "word"),
    [
        ([], "'--out'"),
        (["--out", "."], "is a folder"),
        (["--out", "taken/gpu.json"], "not a folder"),
        (["--out", "gpu.json", "--window", "0"], "--window"),
        (["--out", "gpu.json", "--seconds", "0.5"], "--seconds"),
        (["--out", "gpu.json", "--seconds", "nan"], "seconds"),
    ],
    ids=" ".join,
)
def test_refused(args: list[str], word: str, gaincell: Run) -> None:
    Path("taken").write_text("mine")
    gaincell("measure-gpu", *args).assert_refused(word)
    assert [path.name for path in Path().iterdir()] == ["taken"]
