"""The export for hwcomponents: its numbers, counted as it counts, give the estimate back."""

import ast
import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from gaincell.config import GainCellConfig
from gaincell.hardware import (
    GPT2,
    Activity,
    Components,
    Estimate,
    HardwareParameters,
    Workload,
    estimate,
)
from gaincell.hardware.action_counts import Drive, head_actions, option_actions
from gaincell.hardware.export import write_hwcomponents

PAPER = GainCellConfig.named("leroux2025")
GROUPED = Workload.uniform(3, 8, 2, 128)
PARTS = Components()
LEAKING = Components(
    dac=PARTS.dac.model_copy(update={"static_w": 1e-9}),
    flip_flop=PARTS.flip_flop.model_copy(update={"area_m2": 1e-12}),  # which the estimate counts as the control's
)
CASES = {
    "published": estimate(GPT2, PAPER),
    "options": estimate(GPT2, GainCellConfig.named("extended")),
    "rows of an offset": estimate(
        GROUPED, PAPER.replace(query_sign="offset_binary", normaliser="ideal", storage="linearised")
    ),
    "shared arrays": estimate(GROUPED, PAPER, HardwareParameters(kv_sharing="in_turn")),
    "refresh": estimate(
        GROUPED, PAPER.replace(window=4096, token_period_s=1e-5), HardwareParameters(refresh="rewrite")
    ),
    "reload": estimate(GROUPED, PAPER, HardwareParameters(array_pairs=2, refresh="rewrite", stacked_layers=3)),
    "hops": estimate(GROUPED, PAPER, HardwareParameters(chip_area_m2=1e-7)),
    "static power": estimate(GROUPED, PAPER, HardwareParameters(components=LEAKING)),
}
cases = pytest.mark.parametrize("cost", CASES.values(), ids=CASES)


def package(cost: Estimate, folder: Path) -> tuple[dict[str, Any], ast.Module]:
    """The figures of an exported package, and its code."""
    write_hwcomponents(cost, folder)
    module = folder / "hwcomponents_gaincell"
    return json.loads((module / "figures.json").read_text()), ast.parse((module / "__init__.py").read_text())


@cases
def test_the_parts_of_the_package_make_the_energy_and_area(cost: Estimate, tmp_path: Path) -> None:
    found, _ = package(cost, tmp_path)
    parts = found["components"].values()
    energy_j = sum(part["energy_j"] * part["actions_per_token"] for part in parts) + sum(found["beside_j"].values())
    assert energy_j == pytest.approx(cost.energy_j, rel=1e-12)
    assert sum(part["area_m2"] * part["instances"] for part in parts) == pytest.approx(cost.area_m2, rel=1e-12)


@pytest.mark.parametrize(
    ("case", "beside"), [("reload", {"memory"}), ("hops", {"link"}), ("static power", {"static_power"})]
)
def test_what_belongs_to_no_component_stands_beside_them(case: str, beside: set[str], tmp_path: Path) -> None:
    found, _ = package(CASES[case], tmp_path)
    assert found["beside_j"].keys() == beside
    assert min(found["beside_j"].values()) > 0


@pytest.mark.parametrize("config", [PAPER, GainCellConfig.named("extended")], ids=lambda config: config.name)
def test_the_package_counts_the_actions_of_every_head(config: GainCellConfig, tmp_path: Path) -> None:
    cost = estimate(GPT2, config)
    found, _ = package(cost, tmp_path)
    activity = Activity.reference(config)
    drive = Drive(*(float(getattr(activity, name)[0, 0]) for name in Drive._fields))
    counts = head_actions(cost.geometry, drive, config, cost.parameters)
    counts += option_actions(cost.geometry, GPT2.layers[0].heads, config, cost.parameters)
    acts: dict[str, float] = {}
    for count in counts:
        acts[count.component] = acts.get(count.component, 0.0) + 12 * 12 * count.times
    assert {name: part["actions_per_token"] for name, part in found["components"].items()} == pytest.approx(acts)
    energy_j = sum(times * found["components"][name]["energy_j"] for name, times in acts.items())
    assert energy_j == pytest.approx(cost.energy_j)


def test_the_package_says_of_a_cell_what_its_pulse_takes_at_the_design_point(tmp_path: Path) -> None:
    found, _ = package(estimate(GPT2, PAPER.replace(pulse_max_s=10e-9)), tmp_path)
    cell, default = found["components"]["cell"], PARTS.cell
    assert cell["latency_s"] == 10e-9
    assert cell["energy_j"] == pytest.approx(default.energy_j * 10 / 15)
    assert cell["source"] == default.source


def test_the_package_has_a_class_per_part_and_does_without_gaincell(tmp_path: Path) -> None:
    found, code = package(CASES["options"], tmp_path)
    modules = [node.module for node in ast.walk(code) if isinstance(node, ast.ImportFrom)]
    modules += [name.name for node in ast.walk(code) if isinstance(node, ast.Import) for name in node.names]
    assert sorted(set(modules)) == ["hwcomponents", "json", "pathlib"]
    classes = [node for node in code.body if isinstance(node, ast.ClassDef) and not node.name.startswith("_")]
    names = [ast.literal_eval(node.value) for cls in classes for node in cls.body if isinstance(node, ast.Assign)]
    assert names == [f"gaincell_{name}" for name in found["components"]]


@pytest.mark.skipif(
    find_spec("hwcomponents") is None, reason="hwcomponents, which needs Python 3.12, is asked by 'make test-export'"
)
def test_hwcomponents_finds_the_package(tmp_path: Path) -> None:
    write_hwcomponents(CASES["published"], tmp_path / "hwcomponents")
    script = Path(__file__).with_name("check_export.py")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "hwcomponents")}
    subprocess.run([sys.executable, script], env=environment, check=True)


def test_the_package_is_of_layers_that_differ_too(tmp_path: Path) -> None:
    mixed = Workload((*Workload.uniform(2, 4, 4, 64).layers, *Workload.uniform(2, 4, 4, 64, window=64).layers))
    cost = estimate(mixed, PAPER)
    found, _ = package(cost, tmp_path)
    energy_j = sum(part["energy_j"] * part["actions_per_token"] for part in found["components"].values())
    assert energy_j == pytest.approx(cost.energy_j)


def test_a_source_of_many_lines_stays_a_comment(tmp_path: Path) -> None:
    part = PARTS.dac.model_copy(update={"source": 'mine\nimport os\r"""\u2028os.abort()', "action": "a\n- b"})
    cost = estimate(GPT2, PAPER, HardwareParameters(components=Components(dac=part)))
    _, code = package(cost, tmp_path / "package")
    _, plain = package(CASES["published"], tmp_path / "plain")
    assert ast.dump(code) == ast.dump(plain)
