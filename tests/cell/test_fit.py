"""Laws and retentions out of measured data: what comes back of a known one, and what is refused."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gaincell import GainCellConfig, InputError
from gaincell.cell import Cell, load_cell
from gaincell.cell.csv_table import read_columns
from gaincell.cell.fit import fit_law
from gaincell.cell.fit_retention import fit_retention
from gaincell.cell.rising_law import falls

#: The published law, in uA.
LAW = np.array(load_cell("leroux2025").law.coefficients) * 0.3
Write = Callable[..., Path]


@pytest.fixture
def table(tmp_path: Path) -> Write:
    def write(header: str, *columns: np.ndarray) -> Path:
        path = tmp_path / "data.csv"
        rows = [",".join(f"{value:.9g}" for value in row) for row in zip(*columns, strict=True)]
        path.write_text("\n".join(["# a bench", header, *rows, ""]))
        return path

    return write


def current(stored: np.ndarray) -> np.ndarray:
    return np.polynomial.polynomial.polyval(stored - 0.45, LAW)


STORED = np.linspace(0, 0.9, 37)


def test_a_law_without_noise_comes_back(table: Write) -> None:
    found = fit_law(table("stored [V],current [uA]", STORED, current(STORED)))
    assert np.array(found.law.coefficients) == pytest.approx(LAW * 1e-6, rel=1e-6)
    assert found.law.unit == "C/s"
    assert found.outliers == 0


@pytest.mark.parametrize("seed", range(5))
def test_noise_and_outliers_do_not_move_it(seed: int, table: Write) -> None:
    generator = np.random.default_rng(seed)
    noisy = current(STORED) * 1.0
    full = noisy.max()
    noisy += generator.normal(0, 0.01 * full, noisy.shape)
    wrong = generator.choice(len(noisy), 4, replace=False)
    noisy[wrong] += generator.choice([-1, 1], 4) * full
    found = fit_law(table("stored [V],current [uA]", STORED, noisy))
    assert np.abs(found.law(STORED - 0.45) * 1e6 - current(STORED)).max() < 0.03 * full
    assert 4 <= found.outliers <= 6
    assert len(found.law.coefficients) - 1 in (3, 4, 5)
    plain = np.polynomial.polynomial.polyfit(STORED - 0.45, noisy, 3)
    off = np.polynomial.polynomial.polyval(STORED - 0.45, plain) - current(STORED)
    assert np.abs(off).max() > 0.03 * full  # least squares does move


def nmos(stored: np.ndarray) -> np.ndarray:
    """In uA: a transistor with a threshold of 0.3 V, weakly on below it [Enz, Krummenacher and Vittoz 1995]."""
    return 8.0 * (2 * 1.25 * 0.026 * np.log1p(np.exp((stored - 0.3) / (2 * 1.25 * 0.026)))) ** 2


@pytest.mark.parametrize("noise", [0.0, 0.01])
@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("order", [None, 3])
def test_data_of_one_sign_give_a_law_of_one_sign_for_pairs(
    table: Write, sign: int, noise: float, order: int | None
) -> None:
    """An NMOS's current, or a PMOS's less its sign: the law rises, does not turn, and fits every design point."""
    true = sign * nmos(STORED if sign > 0 else 0.9 - STORED)
    measured = true + np.random.default_rng(2).normal(0, noise, true.shape)
    found = fit_law(table("stored [V],current [uA]", STORED, measured), order=order)
    assert found.polarity == "pair"
    values = found.law(np.linspace(-0.45, 0.45, 257))
    assert (np.diff(values) > 0).all()
    assert (sign * values).min() > -1e-3 * np.ptp(values)
    assert np.abs(found.law(STORED - 0.45) * 1e6 - true).max() < 0.08 * np.ptp(true)
    own = Cell(name="own", polarity="pair", law=found.law, retention=load_cell("leroux2025").retention)
    GainCellConfig.named("extended").replace(cell=own)


def test_a_polarity_that_the_data_do_not_have_is_refused(table: Write) -> None:
    one_sign = table("stored [V],current [uA]", STORED, nmos(STORED))
    assert fit_law(one_sign, polarity="reference").polarity == "reference"
    with pytest.raises(InputError, match=r"of one sign.*'push_pull'.*use 'pair' or 'reference'"):
        fit_law(one_sign, polarity="push_pull")
    both = table("stored [V],current [uA]", STORED, current(STORED))
    assert fit_law(both).polarity == "push_pull"
    with pytest.raises(InputError, match=r"both signs.*'pair'"):
        fit_law(both, polarity="pair")


def test_a_law_that_noise_lets_fall_is_held_to_rise(table: Write) -> None:
    """Flat in the middle: free fits wave there, and a design point with linearised storage refuses them."""
    y = STORED - 0.45
    noisy = 400 * y**5 + 0.05 * y + np.random.default_rng(1).normal(0, 0.05, y.shape)
    found = fit_law(table("stored [V],current [uA]", STORED, noisy), order=5)
    free = np.polynomial.polynomial.polyfit(y, noisy, 5)
    assert falls(free, -0.45, 0.45)
    assert not falls(np.array(found.law.coefficients), -0.45, 0.45)
    assert "held to rise" in found.law.source
    own = load_cell("leroux2025").model_copy(update={"law": found.law})
    GainCellConfig.named("extended").replace(cell=own)


def test_feedthrough_is_told_from_the_law(table: Write) -> None:
    stored, width = (grid.ravel() for grid in np.meshgrid(STORED, [3.0, 9.0, 15.0]))
    charge = current(stored) * width + 0.4 - 0.5 * (stored - 0.45)  # uA times ns is fC
    found = fit_law(table("stored [mV],width [ns],charge [fC]", stored * 1e3, width, charge))
    assert np.array(found.law.coefficients) == pytest.approx(LAW * 1e-6, rel=1e-5)


@pytest.mark.parametrize("order", [1, 5])
def test_the_order_follows_the_data_or_is_given(order: int, table: Write) -> None:
    y = STORED - 0.45
    true = 4 * y + (0 if order == 1 else 200) * y**5
    noise = np.random.default_rng(1).normal(0, 0.002, y.shape)
    path = table("stored [V],current [uA]", STORED, true + noise)
    assert len(fit_law(path).law.coefficients) - 1 == order
    assert len(fit_law(path, order=3).law.coefficients) == 4


@pytest.mark.parametrize(
    ("header", "columns", "words"),
    [
        ("stored [V],current [uA]", (STORED[::9], current(STORED[::9])), "5 points at 5 stored voltages"),
        ("stored [V],current [kg]", (STORED, current(STORED)), "'kg'"),
        ("stored [A],current [uA]", (STORED, current(STORED)), "'A'"),
        ("stored,current [uA]", (STORED, current(STORED)), "no unit"),
        ("stored [V]", (STORED,), "needs 'charge"),
        ("stored [V],charge [fC]", (STORED, current(STORED)), "'width"),
        ("stored [V],width [ns],charge [fC]", (STORED, 0 * STORED, current(STORED)), "not above zero"),
        ("stored [V],current [uA]", (STORED, np.abs(current(STORED))), "unsigned"),
        ("stored [V],current [uA]", (STORED, -current(STORED)), "reversed"),
        ("stored [V],current [uA]", (STORED, np.sin(12 * (STORED - 0.45))), "not always rise"),
        ("stored [V],current [uA]", (0.45 + STORED, current(STORED)), "both sides"),
        ("stored [V],stored [V],current [A]", (STORED, STORED, current(STORED)), "twice"),
        ("stored [V],current [uA]", (STORED, current(STORED) * np.nan), "no number for 'current'"),
    ],
)
def test_unusable_data_is_refused(table: Write, header: str, columns: tuple, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        fit_law(table(header, *columns))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("unit", "factor"), [("s", 1.0), ("ms", 1e-3), ("us", 1e-6), ("µs", 1e-6)])
def test_retention_comes_back(table: Write, unit: str, factor: float) -> None:
    time = np.linspace(0, 3, 30)
    stored = 0.45 + 0.3 * np.exp(-time / 1.7)
    stored[7] = 0.9  # an outlier
    assert fit_retention(table(f"time [{unit}],stored [V]", time, stored)).tau_s == pytest.approx(
        1.7 * factor, rel=0.01
    )


@pytest.mark.parametrize(
    ("stored", "words"), [(0.75 + 0 * STORED, "decay"), (0.45 + 0 * STORED, "decay"), (STORED + 0.5, "decay")]
)
def test_what_does_not_decay_is_refused(table: Write, stored: np.ndarray, words: str) -> None:
    with pytest.raises(InputError, match=words):
        fit_retention(table("time [s],stored [V]", STORED, stored))


@settings(max_examples=100)
@given(st.binary(max_size=200))
def test_no_file_is_more_than_refused(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.mktemp("data") / "data.csv"
    path.write_bytes(content)
    for read in (fit_law, fit_retention):
        with pytest.raises(InputError):
            read(path)


def test_a_decay_to_ground_ends_there(tmp_path: Path) -> None:
    time = np.linspace(0, 20e-3, 30)
    rows = "".join(f"{t},{0.9 * np.exp(-t / 5e-3)}\n" for t in time)
    (tmp_path / "decay.csv").write_text("time [s],stored [V]\n" + rows)
    found = fit_retention(tmp_path / "decay.csv", ends_v=0.0)
    assert found.tau_s == pytest.approx(5e-3, rel=0.01)
    assert found.ends_at_v == pytest.approx(-0.45)


def test_other_columns_and_separators(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_text("chip;stored (mV); current [nA]\nA;450;1.5\n\nB;900;2.5\n")
    columns = read_columns(path, {"stored": "V", "current": "A"})
    assert columns["stored"] == pytest.approx([0.45, 0.9])
    assert columns["current"] == pytest.approx([1.5e-9, 2.5e-9])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("stored [V],current [uA]\n", "a header and no data"),
        ("stored [V],charge [fC],width [s]\n0.1,1,1e-300\n0.9,1,1e-300\n", "beyond 1e9 A"),
        ("stored [V],current [uA]\n" + "9" * 200_000 + ",1\n", "is no table"),
    ],
)
def test_odd_files_are_told_in_one_sentence(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text(text)
    with pytest.raises(InputError, match=words):
        fit_law(tmp_path / "data.csv")


def test_a_byte_order_mark_is_no_part_of_a_name(tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text("\ufeffstored [V],current [uA]\n0.1,1\n", "utf-8")
    with pytest.raises(InputError, match="points"):
        fit_law(tmp_path / "data.csv")


def test_a_decay_past_zero_is_refused(tmp_path: Path) -> None:
    time = np.linspace(0, 20e-3, 30)
    rows = "".join(f"{t},{0.9 * np.exp(-t / 5e-3)}\n" for t in time)
    (tmp_path / "decay.csv").write_text("time [s],stored [V]\n" + rows)
    with pytest.raises(InputError, match="decays past"):
        fit_retention(tmp_path / "decay.csv")
