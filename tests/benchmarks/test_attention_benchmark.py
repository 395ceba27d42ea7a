"""The benchmark runs, and what it compares with computes the same."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from benchmarks import report
from benchmarks.contenders import eager_attention, operands
from tools.pages import speed

import gaincell
from gaincell import GainCellConfig

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("tokens", [20, 32, 75])
@pytest.mark.parametrize("fields", [{"leak_per_token": 0.0}, {"leak_per_token": 0.02}, {"gradient": "true-law"}])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 2e-6)])
def test_eager_form_is_the_operator(tokens: int, fields: dict, dtype: torch.dtype, tolerance: float) -> None:
    config = GainCellConfig.named("leroux2025").replace(
        window=32, subtile_columns=8, score_saturation=20.0, output_scale=20.0, output_levels=None, **fields
    )
    found = []
    for operator in (gaincell.attention, eager_attention):
        leaves = [x.to(dtype).requires_grad_() for x in operands(2, tokens, 16, torch.device("cpu"))]
        out = operator(*leaves, config)
        found.append([out.detach(), *torch.autograd.grad((out * out).sum(), leaves)])
    for ours, eager in zip(*found, strict=True):
        assert float((ours - eager).abs().max()) <= tolerance * float(ours.abs().max())
        assert float(ours.abs().max()) > 0


def test_every_section_is_measured_and_reported(tmp_path: Path) -> None:
    path = tmp_path / "found.json"
    command = [sys.executable, "-m", "benchmarks.attention", "--quick", "--device", "cpu", "--threads", "1"]
    command += ["--json", str(path)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env=dict(os.environ))
    assert run.returncode == 0, run.stderr
    record = json.loads(path.read_text("utf-8"))
    assert record.keys() == {"date", "command", "machine", "versions", "settings", "results"}
    assert record["machine"]["cores"]
    assert {"python", "gaincell", "torch", "triton"} <= record["versions"].keys()
    assert record["results"].keys() == report.SECTIONS.keys()
    for name in ("forward", "backward", "decode", "rates", "generate"):
        for row in record["results"][name]:
            assert 0 < row["min_ms"] <= row["median_ms"]
            assert row["ratio_median"] > 0
            assert len(row["samples_ms"]) > 0
    forms = {row["name"] for row in record["results"]["forward"]}
    assert {"SDPA, causal", "no leak", "leak", "leak, factored", "extended", "leak, eager"} <= forms

    shown = speed.contents(str(path))
    assert list(shown) == ["attention"]
    assert all(shown["attention"].count(f"{title}:") == 1 for title, _ in report.SECTIONS.values())
