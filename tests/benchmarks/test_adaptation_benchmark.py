"""The benchmark of a step of adaptation runs, and its tables go where the page has room for them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from benchmarks import report
from tools.pages import speed

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_a_step_is_measured_and_reported(tmp_path: Path) -> None:
    path, names = tmp_path / "found.json", ["plain, float32", "distill, float32"]
    command = [sys.executable, "-m", "benchmarks.adaptation", "--quick", "--profile", "--json", str(path)]
    run = subprocess.run(
        [*command, "--only", *names], cwd=ROOT, capture_output=True, text=True, check=False, env=dict(os.environ)
    )
    assert run.returncode == 0, run.stderr
    record = json.loads(path.read_text("utf-8"))
    assert record["results"].keys() == report.STEP.keys()
    assert [row["name"] for row in record["results"]["step"]] == names
    assert all(0 < row["min_s"] <= row["median_s"] for row in record["results"]["step"])
    parts = {row["part"]: row["share"] for row in record["results"]["parts"]}
    assert sum(parts.values()) == pytest.approx(1.0)
    # Everything that a step consists of is told apart.
    expected = {"linear layers", "arrays' products", "between the arrays' products", "head and divergence", "optimiser"}
    assert expected | {f"teacher: {x}" for x in ("linear layers", "softmax attention")} <= parts.keys()
    assert all(row["peak_bytes"] > 1e8 for row in record["results"]["peak"])

    shown = speed.contents(str(path))
    assert list(shown) == ["adaptation"]
    assert all(shown["adaptation"].count(f"{title}:") == 1 for title, _ in report.STEP.values())
