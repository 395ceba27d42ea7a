"""`gaincell fit`: from a CSV file to a cell that a design point takes."""

import json
import resource
import signal
from pathlib import Path

import numpy as np
import pytest
from command_tools import Run

from gaincell import GainCellConfig
from gaincell.cell import load_cell


@pytest.fixture
def data(tmp_path: Path) -> Path:
    y = np.linspace(-0.45, 0.45, 19)
    lines = ["stored [V],current [uA]", *(f"{v + 0.45:.6f},{3 * v + 9 * v**3:.9f}" for v in y)]
    path = tmp_path / "data.csv"
    path.write_text("\n".join(lines))
    return path


def test_a_cell_file_comes_out(data: Path, gaincell: Run) -> None:
    ended = gaincell("fit", data, "--tau", "5ms", "--out", "cell.yaml", "--json")
    assert ended.code == 0, ended.err
    printed = json.loads(ended.out)
    assert printed["law"]["coefficients"] == pytest.approx([0, 3e-6, 0, 9e-6], abs=1e-12)
    config = GainCellConfig(cell="cell.yaml")
    assert config.cell.retention.tau_s == pytest.approx(5e-3)
    assert config.cell.law.coefficients == tuple(printed["law"]["coefficients"])


def test_retention_from_a_file(data: Path, gaincell: Run) -> None:
    rows = [f"{t},{0.45 + 0.4 * np.exp(-t / 7):.9f}" for t in range(20)]
    Path("decay.csv").write_text("\n".join(["time [ms],stored [V]", *rows]))
    ended = gaincell("fit", data, "--retention", "decay.csv", "--json")
    assert ended.code == 0, ended.err
    assert json.loads(ended.out)["retention"]["tau"] == pytest.approx(7e-3, rel=0.01)
    assert "order" in gaincell("fit", data, "--retention", "decay.csv").out


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ((), "--tau"),
        (("--tau", "5"), "--tau 5"),
        (("--tau", "-5ms"), "--tau"),
        (("--tau", "5ms", "--retention", "decay.csv"), "one retention"),
        (("--retention", "decay.csv"), "decay.csv"),
        (("--tau", "5ms", "--order", 17), "order 17"),
        (("--tau", "5ms", "--zero", 3), "both sides"),
    ],
)
def test_unusable_input(data: Path, gaincell: Run, args: tuple[object, ...], words: str) -> None:
    gaincell("fit", data, "--out", "cell.yaml", *args).assert_refused(words)
    assert not Path("cell.yaml").exists()


def test_a_full_disk_leaves_a_whole_file_or_none(data: Path, gaincell: Run) -> None:
    """The cell file fits, its report does not."""
    assert gaincell("fit", data, "--tau", "5ms", "--report", "before.html").code == 0  # matplotlib's caches are written
    Path("before.html").unlink()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (8192, hard))
        ended = gaincell("fit", data, "--tau", "5ms", "--out", "cell.yaml")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    ended.assert_failed(1, "no space left")
    assert load_cell("cell.yaml").retention.tau == 5
    assert sorted(path.name for path in Path().iterdir()) == ["cell.yaml", "data.csv"]


def test_the_report_goes_where_it_is_asked_for(data: Path, gaincell: Run) -> None:
    assert gaincell("fit", data, "--tau", "5ms", "--report", "page.html").code == 0
    assert sorted(path.name for path in Path().iterdir()) == ["data.csv", "page.html"]
    gaincell("fit", data, "--tau", "5ms", "--out", "cell.html").assert_refused("both cell file and report")


def test_a_page_takes_the_place_of_an_older_one_and_of_nothing_else(data: Path, gaincell: Run) -> None:
    page = Path("cell.html")
    page.write_text("<p>my notes")
    command = ("fit", data, "--tau", "5ms", "--out", "cell.yaml")
    gaincell(*command).assert_refused("cell.html")
    assert page.read_text() == "<p>my notes"
    assert not Path("cell.yaml").exists()
    assert gaincell(*command, "--report", page).code == 0
    assert "my notes" not in page.read_text("utf-8")
    assert gaincell(*command).code == 0
