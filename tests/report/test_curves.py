"""metrics.jsonl as curves: tokens run on from stage to stage, long curves are thinned, damage is told."""

import json
from pathlib import Path
from typing import Any

import pytest

from gaincell import InputError
from gaincell.report.curves import POINTS, layer_data, page_data, read_curve


def write(folder: Path, *lines: dict[str, Any]) -> Path:
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    return folder


def test_layers_and_steps_are_told_apart(tmp_path: Path) -> None:
    folder = write(
        tmp_path,
        {"stage": "statistics", "layer": 0, "relative_error": 0.5},
        {"stage": "transfer", "layer": 0, "relative_error_before": 0.4, "relative_error": 0.1},
        {"stage": "linear", "step": 0, "tokens": 0, "perplexity": 90.0},
        {"stage": "linear", "step": 1, "tokens": 1000, "loss": 2.0},
        {"stage": "cubic", "step": 1, "tokens": 500, "loss": 1.5, "perplexity": 40.0},
    )
    curve = read_curve(folder, "a")
    assert curve.layers == {"statistics": [(1, 0.5)], "transfer, before": [(1, 0.4)], "transfer": [(1, 0.1)]}
    assert curve.steps["loss"] == [(1.0, 2.0), (1.5, 1.5)]
    assert curve.steps["perplexity"] == [(0.0, 90.0), (1.5, 40.0)]
    data = page_data([curve])
    assert data is not None
    assert [kind["key"] for kind in data["kinds"]] == ["perplexity", "loss"]
    assert [line["name"] for line in layer_data([curve])] == ["statistics", "transfer, before", "transfer"]


def test_a_long_curve_is_thinned_and_keeps_its_mean_and_end(tmp_path: Path) -> None:
    count = 5 * POINTS
    lines = [{"stage": "distill", "step": i, "tokens": 1000 * i, "loss": float(i % 2)} for i in range(1, count + 1)]
    data = page_data([read_curve(write(tmp_path, *lines), "a")])
    assert data is not None
    points = data["runs"][0]["series"]["loss"]
    assert len(points) == POINTS
    assert points[-1][0] == count
    assert sum(y for _, y in points) / POINTS == pytest.approx(0.5, abs=0.01)
    assert all(abs(y - 0.5) < 0.1 for _, y in data["runs"][0]["means"]["loss"])


def test_a_run_without_metrics_has_no_curves(tmp_path: Path) -> None:
    curve = read_curve(tmp_path, "a")
    assert page_data([curve]) is None
    assert layer_data([curve]) == []


@pytest.mark.parametrize("line", ["{", '{"stage": "distill", "tokens": "x", "loss": 1}', '{"layer": 1}', "[1]"])
def test_a_damaged_line_is_named(line: str, tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text(
        f'{{"stage": "distill", "step": 0, "tokens": 0, "loss": 1}}\n{line}\n', "utf-8"
    )
    with pytest.raises(InputError, match=r"metrics\.jsonl, line 2, is damaged"):
        read_curve(tmp_path, "a")
