"""The cells of one sign that ship: what their sources say, and that a command writes them."""

import math
from importlib import resources

import numpy as np
import pytest
from tools.published_cells import CELLS, CURVE, Transistor, printed

from gaincell import GainCellConfig
from gaincell.cell import load_cell
from gaincell.cell.csv_table import read_columns
from gaincell.cell.polarity import is_one_signed

GRID = np.linspace(-0.45, 0.45, 181)


@pytest.mark.parametrize("name", CELLS)
def test_a_shipped_file_is_what_its_command_prints(name: str) -> None:
    shipped = resources.files("gaincell.cell") / "shipped" / f"{name}.yaml"
    assert shipped.read_text("utf-8") == printed(name), f"python -m tools.published_cells {name}"
    assert load_cell(name).name == name


@pytest.mark.parametrize("name", CELLS)
def test_the_law_has_one_sign_and_its_value_rises(name: str) -> None:
    cell = load_cell(name)
    assert is_one_signed(cell.law, -0.45, 0.45)
    assert np.sign(cell.law(-0.45 if name == "pmos-3t" else 0.45)) == (-1 if name == "pmos-3t" else 1)
    values = cell.model_law(GRID)
    assert (np.diff(values) > 0).all()
    assert values == pytest.approx(-values[::-1])  # a pair draws alike for both signs
    assert cell.cells_per_value == 2


@pytest.mark.parametrize("point", ["leroux2025", "extended"])
@pytest.mark.parametrize("name", CELLS)
def test_the_shipped_design_points_take_them(name: str, point: str) -> None:
    config = GainCellConfig.named(point).replace(cell=name, leak_per_token=None, token_period_s=1e-6)
    assert (config.zero_v, config.stored_max_v) == (0.45, 0.9)
    assert config.leak == pytest.approx(1e-6 / load_cell(name).retention.tau_s)


@pytest.mark.parametrize("name", CELLS)
def test_sources_say_what_is_assumed(name: str) -> None:
    cell = load_cell(name)
    for source in (cell.law.source, cell.retention.source):
        assert "Assumed:" in source
        assert source.startswith(("measured", "computed"))
    assert "doi" in cell.retention.source or "46, 1495 (2011)" in cell.retention.source


def test_the_oxide_law_is_near_what_was_measured() -> None:
    """Twice the measured current: the read transistor is twice as wide as the one that was measured."""
    measured = read_columns(CURVE, {"stored": "V", "current": "A"})
    assert len(measured["stored"]) == 37
    off = load_cell("ito-2t0c").law(measured["stored"] - 0.45) - 2 * measured["current"]
    assert np.abs(off).max() < 0.05 * 2 * measured["current"].max()


def test_the_oxide_retention_is_that_of_its_off_current() -> None:
    """By the off-current alone, 0.45 V on the read transistor's gate last as long as tau."""
    charge_c = 0.0124 * 120e-9 * 180e-9 * 0.45
    assert load_cell("ito-2t0c").retention.tau_s == pytest.approx(charge_c / (2e-18 * 0.06), rel=1e-3)
    assert load_cell("ito-2t0c").retention.ends_at_v == -0.45


def test_the_silicon_retention_is_the_measured_one() -> None:
    retention = load_cell("pmos-3t").retention
    assert (retention.tau, retention.unit, retention.ends_at_v) == (1.25, "ms", 0.45)


@pytest.fixture
def transistor() -> Transistor:
    return Transistor(1e-6, 1e-6, 0.02, 1e5, 0.01, 0.4, 1.5, 27.0)


def test_the_current_is_that_of_strong_and_of_weak_inversion(transistor: Transistor) -> None:
    """Far above threshold mu C_ox W / (2 n L) q^2 less velocity saturation; below it a decade per n U_T ln 10."""
    overdrive = 1.0
    strong = 0.02 * 0.01 / 3 * overdrive**2 / (1 + overdrive / (2 * 1e5 / 0.02 * 1e-6))
    assert transistor.saturated_a(np.array(0.4 + overdrive)) == pytest.approx(strong, rel=1e-6)
    thermal_v = 1.380649e-23 * 300.15 / 1.602176634e-19
    low, high = transistor.saturated_a(np.array([-0.2, -0.1]))
    assert math.log(high / low) == pytest.approx(0.1 / (1.5 * thermal_v), rel=1e-3)
