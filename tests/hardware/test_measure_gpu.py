"""Measuring a GPU: what can be told without one (arithmetic, files, faults), and a measurement where there is one."""

import json
import math
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gaincell.errors import InputError
from gaincell.hardware.measure_gpu import (
    MeasuredBatch,
    Measurement,
    attend,
    compare,
    load_measurement,
    measure_attention,
    measure_batch,
)
from gaincell.hardware.nvml import PowerSum, board_energy
from gaincell.hardware.published_gpus import BASELINE_LAYER
from gaincell.hardware.workload import Workload

MEASURED = Measurement(
    shape=BASELINE_LAYER,
    window=1024,
    batches=(MeasuredBatch(1, 2e-6, 5e-4, 1000, 65), MeasuredBatch(64, 6.4e-5, 4e-4, 100, 2)),
    idle_power_w=70.0,
    energy_source="energy counter",
    precision="bfloat16",
    device="a GPU",
    versions={"torch": "2.13"},
    date="2026-01-01T00:00:00+00:00",
    command="gaincell measure-gpu",
)

no_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")


# What is measured


@pytest.mark.parametrize(("heads", "kv_heads"), [(6, 6), (6, 2), (4, 1)])
def test_every_token_of_the_cache_is_attended_to(heads: int, kv_heads: int) -> None:
    torch.manual_seed(0)
    q = torch.randn(3, heads, 1, 16, dtype=torch.float64)
    k, v = torch.randn(2, 3, kv_heads, 40, 16, dtype=torch.float64)
    wide_k, wide_v = (x.repeat_interleave(heads // kv_heads, dim=1) for x in (k, v))
    weights = (q @ wide_k.transpose(-1, -2) / 4).softmax(-1)
    torch.testing.assert_close(attend(q, k, v), weights @ wide_v)


class SimulatedGpu:
    """Steps of a known length at a known power."""

    def __init__(self, step_s: float, power_w: float) -> None:
        self.step_s, self.power_w, self.time_s = step_s, power_w, 0.0

    def run(self, times: int) -> float:
        self.time_s += times * self.step_s
        return times * self.step_s

    def energy_j(self) -> float:
        return self.power_w * self.time_s


@given(st.floats(1e-6, 3.0), st.floats(1, 1000), st.integers(1, 256), st.floats(1, 30), st.integers(1, 100))
def test_time_is_per_step_and_energy_per_token(
    run_s: float, power_w: float, batch: int, seconds: float, steps_per_run: int
) -> None:
    simulated = SimulatedGpu(run_s, power_w)
    found = measure_batch(simulated.run, simulated.energy_j, batch, seconds, steps_per_run=steps_per_run)
    assert found.latency_s == pytest.approx(run_s / steps_per_run)
    assert found.energy_j * batch == pytest.approx(power_w * found.latency_s)
    assert found.latency_s * found.steps >= seconds * (1 - 1e-9)


def test_a_meter_that_stands_still_is_told() -> None:
    with pytest.raises(InputError, match="no energy"):
        measure_batch(SimulatedGpu(0.1, 1).run, lambda: 5.0, batch=1, seconds=1)


# Meters


def test_power_samples_sum_to_energy() -> None:
    times = iter([0.0, 1.0, 1.5, 4.0])
    power = iter([10.0, 20.0, 20.0, 0.0])
    meter = PowerSum(lambda: next(power), lambda: next(times))
    assert [meter.energy_j() for _ in range(3)] == [15.0, 25.0, 50.0]


def test_power_is_sampled_until_the_block_ends() -> None:
    taken: list[float] = []
    meter = PowerSum(lambda: taken.append(1.0) or 1.0)
    threads = threading.active_count()
    with meter.running():
        while len(taken) < 3:
            time.sleep(0.01)
    assert threading.active_count() == threads


class NvmlError(Exception):
    pass


class NotSupportedError(NvmlError):
    pass


def fake_nvml(monkeypatch: pytest.MonkeyPatch, **functions: Callable[..., Any]) -> None:
    """A binding that knows one GPU, with some functions replaced."""
    module = ModuleType("pynvml")
    whole: dict[str, Any] = {
        "NVMLError": NvmlError,
        "NVMLError_NotSupported": NotSupportedError,
        "nvmlInit": lambda: None,
        "nvmlShutdown": lambda: None,
        "nvmlDeviceGetHandleByUUID": {"GPU-1": "handle"}.__getitem__,
        "nvmlSystemGetDriverVersion": lambda: "600.1",
        "nvmlDeviceGetTotalEnergyConsumption": lambda handle: 7_000,
        "nvmlDeviceGetPowerUsage": lambda handle: 50_000,
        **functions,
    }
    for name, value in whole.items():
        setattr(module, name, value)
    monkeypatch.setitem(sys.modules, "pynvml", module)


def failing(error: Exception) -> Callable[..., Any]:
    def fail(*_: object) -> Any:
        raise error

    return fail


def test_the_counter_is_taken_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_nvml(monkeypatch)
    with board_energy("1") as board:
        assert (board.source, board.driver, board.energy_j()) == ("energy counter", "600.1", 7.0)


def test_an_older_gpu_has_its_power_sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_nvml(monkeypatch, nvmlDeviceGetTotalEnergyConsumption=failing(NotSupportedError("Not Supported")))
    with board_energy("1") as board:
        assert board.source == "power samples"
        assert 0 < board.energy_j() < board.energy_j()


@pytest.mark.parametrize(
    ("broken", "closed"),
    [
        ({"nvmlInit": failing(NvmlError("Driver Not Loaded"))}, 0),
        ({"nvmlDeviceGetHandleByUUID": failing(NvmlError("Not Found"))}, 1),
        (
            {
                n: failing(NotSupportedError("x"))
                for n in ("nvmlDeviceGetTotalEnergyConsumption", "nvmlDeviceGetPowerUsage")
            },
            1,
        ),
    ],
    ids=["no driver", "no such GPU", "no meter"],
)
def test_a_gpu_without_a_meter_is_refused(
    broken: dict[str, Callable[..., Any]], closed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutdowns: list[int] = []
    fake_nvml(monkeypatch, nvmlShutdown=lambda: shutdowns.append(1), **broken)
    with pytest.raises(InputError, match="energy cannot be read"), board_energy("1"):
        pass
    assert len(shutdowns) == closed


def test_a_missing_binding_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    with pytest.raises(InputError, match=r"pip install 'gaincell\[gpu\]'"), board_energy("1"):
        pass


# Files


def test_a_file_reads_back_equal(tmp_path: Path) -> None:
    path = tmp_path / "gpu.json"
    path.write_text(MEASURED.to_json(), "utf-8")
    assert load_measurement(path) == MEASURED


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"window": None}, ["window"]),
        ({"window": 0}, ["window"]),
        ({"batches": []}, ["batches"]),
        ({"batches": [{"batch": 1}]}, ["batches.0.latency_s", "missing"]),
        ({"idle_power_w": math.nan}, ["idle_power_w"]),
        ({"energy_source": "guess"}, ["energy_source"]),
        ({"shape": {"layers": [{**asdict(BASELINE_LAYER.layers[0]), "kv_heads": 5}]}}, ["kv_heads=5", "multiple"]),
        ({"shape": {"layers": [{"kind": "attention", "head_dim": 64}]}}, ["shape.layers.0.head_dim"]),
        ({"shape": {"layers": []}}, ["none of its layers attends"]),
        ({"format": 1}, ["format"]),
        ({"more": 1}, ["'more'", "unexpected"]),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_damaged_file_is_refused(changes: dict[str, Any], words: list[str], tmp_path: Path) -> None:
    path = tmp_path / "gpu.json"
    path.write_text(json.dumps({**json.loads(MEASURED.to_json()), **changes}), "utf-8")
    with pytest.raises(InputError) as refused:
        load_measurement(path)
    for word in words:
        assert word in str(refused.value)


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff", b"[" * 100_000])
def test_a_file_of_something_else_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "gpu.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"gpu\.json"):
        load_measurement(path)


def test_an_absent_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="absent"):
        load_measurement(tmp_path / "absent.json")


def test_ratios_are_per_token() -> None:
    one, many = compare(1e-7, 1e-6, MEASURED)
    assert (one.name, many.name) == ("a GPU, batch 1", "a GPU, batch 64")
    assert (one.latency, one.energy) == (pytest.approx(20), pytest.approx(500))
    assert (many.latency, many.energy) == (pytest.approx(10), pytest.approx(400))
    with pytest.raises(InputError, match="above 0"):
        compare(0.0, 1e-6, MEASURED)


# Devices


@no_gpu
def test_without_a_gpu_the_roofline_is_named() -> None:
    with pytest.raises(InputError, match=r"no CUDA device here; a roofline .*attention_roofline"):
        measure_attention()


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ({"window": 0}, "window"),
        ({"batches": ()}, "batch"),
        ({"batches": (1, 0)}, "batch"),
        ({"seconds": 0.1}, "seconds"),
        ({"seconds": math.nan}, "seconds"),
    ],
    ids=str,
)
def test_numbers_out_of_range_are_refused_first(arguments: dict[str, Any], word: str) -> None:
    with pytest.raises(InputError, match=word):
        measure_attention(**arguments)


@pytest.mark.skipif(not torch.cuda.is_available() or find_spec("pynvml") is None, reason="no CUDA device, or no NVML")
def test_a_measurement_on_a_gpu() -> None:
    grouped = Workload.uniform(layers=2, heads=8, kv_heads=2, head_dim=64)
    found = measure_attention(grouped, window=512, batches=(1, 64), seconds=1.0)
    one, many = found.batches
    assert one.latency_s < many.latency_s < 64 * one.latency_s
    assert many.energy_j < one.energy_j
    assert many.energy_j * 64 / many.latency_s > found.idle_power_w / 2
