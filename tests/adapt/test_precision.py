"""Which precision a run computes in: asked for, kept, or the faster; and that bfloat16 learns as float32 does."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from gaincell import GainCellConfig
from gaincell.adapt import AdaptResult, AdaptSettings, adapt, precision
from gaincell.adapt.settings import named

ROWS = torch.randint(0, 97, (8, 48), generator=torch.Generator().manual_seed(1))


def adapted(model: Path, design: GainCellConfig, out: Path, stages: tuple[str, ...], **settings: Any) -> AdaptResult:
    fields: dict[str, Any] = {
        "transfer.steps": 8,
        "transfer.batch": 4,
        "distill.tokens": 4 * 4 * 48,
        "distill.batch": 4,
        "distill.lr": 3e-3,
        "distill.positions": 16,
    }
    return adapt(
        AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32),
        design,
        tokenizer=None,
        out=out,
        calibration=ROWS,
        stages=stages,
        settings=AdaptSettings(**fields | named(settings)),
    )


def begun(out: Path) -> str:
    return json.loads((out / "distill" / "config.json").read_text())["settings"]["precision"]


def notes(caplog: pytest.LogCaptureFixture) -> list[str]:
    found = [line.getMessage() for line in caplog.records if line.getMessage().startswith("computing in")]
    caplog.clear()
    return found


@pytest.fixture(autouse=True)
def heard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.getLogger("gaincell"), "propagate", True)  # a command that ran before took them over


def test_a_run_stays_in_the_precision_it_began_with(
    small_llama: Path, small_design: GainCellConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    stages = ("statistics", "distill")
    for gain, here in ((4.0, "bf16"), (0.25, "no")):
        out, name = tmp_path / here, {"bf16": "bfloat16", "no": "float32"}[here]
        monkeypatch.setattr(precision, "gain_of_bfloat16", lambda device, gain=gain: gain)
        first = adapted(small_llama, small_design, out, stages)
        assert notes(caplog) == [f"computing in {name}: {name} is 4.0 times as fast here"]
        assert begun(out) == here
        # The same folder on a machine where the other one is faster.
        monkeypatch.setattr(precision, "gain_of_bfloat16", lambda device, gain=gain: 1 / gain)
        again = adapted(small_llama, small_design, out, stages)
        (note,) = notes(caplog)
        assert note.startswith(f"computing in {name}, as this run began, although ")
        assert again.metrics == first.metrics


def test_stages_in_calls_of_their_own_compute_in_what_the_first_was_settled_on(
    small_llama: Path, small_design: GainCellConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    monkeypatch.setattr(precision, "gain_of_bfloat16", lambda device: 4.0)
    whole = adapted(small_llama, small_design, tmp_path / "whole", ("statistics", "transfer"))
    notes(caplog)
    adapted(small_llama, small_design, tmp_path / "parts", ("statistics",))
    assert notes(caplog) == []  # it computes in float32 either way
    parts = adapted(small_llama, small_design, tmp_path / "parts", ("transfer",))
    assert notes(caplog) == ["computing in bfloat16: bfloat16 is 4.0 times as fast here"]
    for a, b in zip(whole.model.parameters(), parts.model.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("name", ["no", "bf16"])
def test_a_cached_teacher_is_read_in_either_precision(
    small_llama: Path, small_design: GainCellConfig, tmp_path: Path, name: str
) -> None:
    fields = {"precision": name, "distill.cached_tokens": 97}
    losses = [
        [line["loss"] for line in result.metrics if line["stage"] == "distill"]
        for teacher in ("model", "cached")
        for result in [
            adapted(
                *(small_llama, small_design, tmp_path / teacher, ("statistics", "distill")),
                **fields,
                distill={"teacher": teacher},
            )
        ]
    ]
    assert losses[0][0] == pytest.approx(losses[1][0], rel=2e-3)


def test_a_run_from_before_goes_on_in_float32(
    small_llama: Path, small_design: GainCellConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "gain_of_bfloat16", lambda device: 4.0)
    stages = ("statistics", "distill")
    first = adapted(small_llama, small_design, tmp_path, stages, distill_precision="no")  # by its older name
    (tmp_path / "precision.json").unlink(missing_ok=True)
    assert adapted(small_llama, small_design, tmp_path, stages).metrics == first.metrics
    assert begun(tmp_path) == "no"


def test_bfloat16_asked_for_where_it_is_slower_is_told_and_learns(
    small_llama: Path, small_design: GainCellConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    monkeypatch.setattr(precision, "gain_of_bfloat16", lambda device: 0.5)
    found = {}
    for name in ("no", "bf16"):
        found[name] = adapted(small_llama, small_design, tmp_path / name, ("statistics", "transfer"), precision=name)
        told = notes(caplog)
    assert told == ["computing in bfloat16, as asked for, although float32 is 2.0 times as fast here"]
    assert {p.dtype for p in found["bf16"].model.parameters()} == {torch.float32}
    for exact, rounded in zip(found["no"].metrics, found["bf16"].metrics, strict=True):
        assert rounded["relative_error"] == pytest.approx(exact["relative_error"], rel=0.1)
        if exact["stage"] == "transfer":
            assert rounded["relative_error"] != exact["relative_error"]
            assert rounded["relative_error"] < 0.9 * rounded["relative_error_before"]


def test_the_probe_measures_this_machine() -> None:
    assert 1e-3 < precision.gain_of_bfloat16("cpu") < 1e3
