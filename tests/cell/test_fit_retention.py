"""Retention out of measured decays: time constants with their errors, levels, dies and cells, or a table."""

import math
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gaincell import GainCellConfig, InputError
from gaincell.cell import Cell, Retention, load_cell
from gaincell.cell.cell import save_cell
from gaincell.cell.decays import HALF_STEP_V, MeasuredDecay, read_decays
from gaincell.cell.fit_retention import fit_retention, retention_of

TIME = np.linspace(0, 12e-3, 25)
Law = Callable[[np.ndarray], np.ndarray]


def decay(written: float, left: np.ndarray, die: str = "", cell: str = "") -> MeasuredDecay:
    return MeasuredDecay(die, cell, written, TIME, written * left)


def exponentials(taus: Iterable[float], levels: Iterable[float] = (0.45, -0.45)) -> list[MeasuredDecay]:
    return [decay(y, np.exp(-TIME / tau), "A", str(n)) for n, tau in enumerate(taus) for y in levels]


def write(path: Path, header: str, rows: Iterable[tuple]) -> Path:
    path.write_text("\n".join([header, *(",".join(map(str, row)) for row in rows), ""]))
    return path


def test_an_exponential_is_one_and_each_level_is_kept_as_long_as_it_says() -> None:
    found = retention_of(exponentials([5e-3], (0.45, 0.3, -0.45)), "a test")
    assert found.tau_s == pytest.approx(5e-3, rel=1e-3)
    assert found.table is None
    assert found.exponential
    assert found.misfit == pytest.approx(0, abs=1e-3)
    assert [level.written for level in found.levels] == [-0.45, 0.3, 0.45]
    for level in found.levels:
        assert level.tau == pytest.approx(5e-3, rel=1e-3)
        # linear between points that are 0.5 ms apart
        assert level.kept == pytest.approx(-5e-3 * math.log(1 - HALF_STEP_V / abs(level.written)), abs=2e-5)
    assert found.kept_s == min(level.kept or math.inf for level in found.levels)
    assert found.spread is None


def test_the_worst_level_counts_and_one_that_nothing_happens_to_is_kept() -> None:
    found = retention_of([*exponentials([5e-3]), decay(0.2, np.ones(len(TIME)))], "a test")
    still = next(level for level in found.levels if level.written == 0.2)
    assert (still.kept, still.tau, still.misfit) == (None, None, None)
    assert found.kept_s == pytest.approx(-5e-3 * math.log(1 - HALF_STEP_V / 0.45), abs=2e-5)
    assert found.table is not None, "levels that decay apart are no one exponential"
    assert (found.misfit or 0) > 0.3


def test_cells_that_end_at_ground_are_fitted_towards_it() -> None:
    def towards(written: float) -> MeasuredDecay:
        return MeasuredDecay("", "", written, TIME, -0.45 + (written + 0.45) * np.exp(-TIME / 5e-3), -0.45)

    found = retention_of([towards(y) for y in (0.45, 0.0, -0.45)], "a test")
    assert found.tau_s == pytest.approx(5e-3, rel=1e-3)
    assert found.exponential
    assert found.ends_at_v == -0.45
    assert found.levels[0].kept is None
    assert found.levels[1].kept == pytest.approx(-5e-3 * math.log(1 - HALF_STEP_V / 0.45), abs=2e-5)
    assert found.kept_s == pytest.approx(-5e-3 * math.log(1 - HALF_STEP_V / 0.9), abs=2e-5)


def test_a_constant_current_gets_a_table_that_a_design_point_reads() -> None:
    line = np.maximum(1 - TIME / 20e-3, 0)
    found = retention_of([decay(y, line) for y in (0.45, 0.2, -0.45)], "a test")
    assert not found.exponential
    assert (found.misfit or 0) > 0.02
    assert all(level.tau is None and (level.misfit or 0) > 0.02 for level in found.levels)
    assert found.table is not None
    for row in found.table.stored:
        assert row == pytest.approx(row[0] * np.interp(found.table.time, TIME, line), abs=1e-9)
    cell = Cell.model_validate({**load_cell("leroux2025").model_dump(), "retention": found})
    GainCellConfig(cell=cell, retention="table", token_period_s=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_noise_is_no_departure_and_the_error_tells_how_far_tau_is_off(seed: int) -> None:
    generator = np.random.default_rng(seed)
    errors = []
    for _ in range(20):
        noisy = np.exp(-TIME / 5e-3) + generator.normal(0, 0.03, len(TIME))
        found = retention_of([decay(0.45, noisy)], "a test")
        assert found.exponential
        assert found.tau_error is not None
        errors.append((found.tau_s - 5e-3) / found.tau_error)
    assert 0.4 < float(np.sqrt(np.mean(np.square(errors)))) < 2.5


def test_the_spread_over_cells_comes_back_and_a_shift_of_dies_is_not_in_it() -> None:
    generator = np.random.default_rng(4)
    decays = []
    for die, factor in (("A", 1.0), ("B", 2.0), ("C", 0.5)):
        for cell in range(60):
            tau = 5e-3 * factor * math.exp(0.3 * generator.normal())
            decays += [decay(y, np.exp(-TIME / tau), die, str(cell)) for y in (0.45, -0.45)]
    found = retention_of(decays, "a test").spread
    assert found is not None
    assert found.sigma == pytest.approx(0.3, rel=6 / math.sqrt(2 * 180))
    assert found.cells == 180
    one_a_die = [x for x in decays if x.cell == "0"]
    spread = retention_of(one_a_die, "a test").spread
    assert spread is not None
    assert spread.cells == 3
    assert "dies differ" in spread.source


def test_cells_of_a_decay_that_is_no_exponential_are_compared_by_what_they_lost() -> None:
    paces = np.exp(0.4 * np.random.default_rng(2).normal(size=80))
    decays = [decay(0.45, np.maximum(1 - pace * TIME / 40e-3, 0), cell=str(n)) for n, pace in enumerate(paces)]
    found = retention_of(decays, "a test").spread
    assert found is not None
    assert found.sigma == pytest.approx(float(np.std(np.log(paces), ddof=1)), rel=0.05)


@settings(max_examples=20)
@given(st.floats(1e-6, 10), st.floats(0.2, 5), st.sampled_from(["die", "cell"]))
def test_a_file_in_other_units_gives_the_same_retention(scale: float, ratio: float, label: str) -> None:
    """Everything goes with the time's scale, and cells named either way are the same cells."""
    found = []
    for factor in (1.0, scale):
        decays = []
        for n, tau in enumerate((5e-3, 5e-3 * ratio)):
            die, cell = (str(n), "") if label == "die" else ("", str(n))
            decays.append(MeasuredDecay(die, cell, 0.45, TIME * factor, 0.45 * np.exp(-TIME / tau)))
        found.append(retention_of(decays, "a test"))
    one, other = found
    assert other.tau_s / scale == pytest.approx(one.tau_s, rel=1e-3)
    assert (one.spread is None) == (other.spread is None)
    if one.spread and other.spread:
        assert other.spread.sigma == pytest.approx(one.spread.sigma, rel=1e-3, abs=1e-3)


def test_columns_of_dies_cells_and_written_voltages_are_read_and_kept_apart(tmp_path: Path) -> None:
    taus = {("A", "1"): 4.0, ("A", "2"): 5.0, ("B", "1"): 6.0}
    rows = [
        (t, 0.45 + (written - 0.45) * math.exp(-t / tau), written, die, cell)
        for (die, cell), tau in taus.items()
        for written in (0.9, 0.0)
        for t in range(12)
    ]
    path = write(tmp_path / "decays.csv", "time [ms],stored [V],written [V],die,cell", rows)
    decays = read_decays(path)
    assert {(x.die, x.cell, round(x.written_v, 9)): round(1e3 * (x.tau_s or 0), 2) for x in decays} == {
        (die, cell, y): tau for (die, cell), tau in taus.items() for y in (0.45, -0.45)
    }
    found = fit_retention(path)
    assert "3 cell(s) on 2 die(s)" in found.source
    assert found.tau_error is not None
    shuffled = write(tmp_path / "shuffled.csv", "time [ms],stored [V],written [V],die,cell", rows[::-1])
    assert fit_retention(shuffled).tau == pytest.approx(found.tau)


def falling(die: str, count: int = 8, start: float = 0.9) -> list[tuple]:
    return [(t, 0.45 + (start - 0.45) * math.exp(-t / 5), die) for t in range(count)]


@pytest.mark.parametrize(
    ("header", "rows", "words"),
    [
        ("time [ms],stored [V]", [row[:2] for row in falling("") + falling("", start=0.0)], "'written [V]'"),
        ("time [ms],stored [V],die", falling("A") + falling("B", start=0.1), "'written [V]'"),
        ("time [ms],stored [V],die", falling("A") + falling("B", 1), "has 1 point of die 'B'"),
        ("time [ms],stored [V],chip", falling("A"), "column 'chip' is not known"),
        ("time [ms],stored [V],die", [(t, 0.6 + 0.02 * t, "A") for t in range(9)], "of die 'A' moves away"),
        ("time [ms],stored [V],die", [(5, y, "A") for _, y, _ in falling("A")], "at one time"),
        ("time [ms],stored [V],die", [(t, y, "") for t, y, _ in falling("A")], "which die"),
        ("time [ms],written [V],die", falling("A"), "no column 'stored'"),
        ("time [ms],stored [V],die,die", [(*row, "A") for row in falling("A")], "twice"),
    ],
)
def test_unusable_files_are_refused_in_one_sentence(tmp_path: Path, header: str, rows: list[tuple], words: str) -> None:
    with pytest.raises(InputError) as caught:
        fit_retention(write(tmp_path / "decays.csv", header, rows))
    assert words in str(caught.value).replace("\\", "")
    assert "\n" not in str(caught.value)


def test_a_cell_file_keeps_all_of_it_and_nothing_that_is_not_there(tmp_path: Path) -> None:
    holds = retention_of(exponentials([4e-3, 5e-3, 7e-3]), "a test")
    cell = Cell.model_validate({**load_cell("leroux2025").model_dump(), "retention": holds})
    save_cell(cell, tmp_path / "cell.yaml")
    assert load_cell(tmp_path / "cell.yaml") == cell
    plain = Retention(tau=5, unit="ms", source="a test")
    assert set(plain.model_dump()) == {"tau", "unit", "source"}
    with pytest.raises(ValueError, match="within_v"):
        Retention.model_validate({**plain.model_dump(), "levels": [{"written": 0.4, "kept": 1.0}]})


def test_cells_that_have_no_level_in_common_are_not_compared() -> None:
    decays = [decay(0.45, np.exp(-TIME / 5e-3), cell="a"), decay(-0.45, np.exp(-TIME / 15e-3), cell="b")]
    found = retention_of(decays, "a test")
    assert found.spread is None
    assert found.tau == pytest.approx(math.sqrt(5e-3 * 15e-3), rel=1e-3)
    assert found.tau_error == pytest.approx(found.tau * math.log(3) / 2, rel=1e-3)


@pytest.mark.parametrize("taus", [(5e-3, 8e-3), (5e-3, 5e-3, 15e-3, 15e-3)])
def test_exponential_cells_that_differ_need_no_table(taus: tuple[float, ...]) -> None:
    found = retention_of([decay(0.45, np.exp(-TIME / tau), cell=str(n)) for n, tau in enumerate(taus)], "a test")
    assert found.tau == pytest.approx(math.prod(taus) ** (1 / len(taus)), rel=1e-3)
    assert found.table is None
