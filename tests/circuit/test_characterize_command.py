"""`gaincell characterize` and `gaincell circuit fetch`, from the command line to a design point."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gaincell import GainCellConfig
from gaincell.cell import load_cell
from gaincell.circuit.cards.sky130 import sky130_folder
from gaincell.cli.app import run
from gaincell.hardware import GPT2, estimate

needs_ngspice = pytest.mark.skipif(
    shutil.which("ngspice") is None, reason="ngspice is not installed (Debian, Ubuntu: apt-get install ngspice)"
)


@pytest.fixture
def no_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's cache folder with nothing in it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "cache"


@needs_ngspice
def test_our_cell_becomes_a_cell_file(no_cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["characterize", "--out", "cell.yaml", "--mismatch", "40", "--json"]) == 0
    printed: dict[str, Any] = json.loads(capsys.readouterr().out)
    cell = load_cell("cell.yaml")
    assert cell.model_dump(mode="json", exclude_none=True) == {
        name: printed[name] for name in ("name", "description", "law", "retention", "pulse", "circuit")
    }
    assert cell.law.unit == "C/s"
    assert cell.law(0.45) * 15e-9 == pytest.approx(48e-15, rel=0.1)  # 3.2 uA
    assert cell.circuit is not None
    pulse, signed = cell.circuit.charge_to_pulse, cell.circuit.signed_charge_to_pulse
    assert pulse is not None
    assert signed is not None
    assert (pulse.below_zero_s, pulse.saturated_s) == (0, pytest.approx(15e-9))
    for figures in (pulse, signed):
        assert figures.nonlinearity < 0.01
        assert figures.gain == pytest.approx(1, abs=0.01)
    # the curve goes where the line does, from no pulse to a full one
    assert cell.pulse is not None
    assert (cell.pulse.width[0], cell.pulse.width[-1]) == (0.0, pytest.approx(1.0))
    assert cell.pulse.line == (pytest.approx(pulse.gain, abs=0.01), pytest.approx(pulse.offset_s / 15e-9, abs=0.01))
    # the law is where the simulation was: what it departs by is in the file
    y, slope = (np.array(printed["simulated"][name]) for name in ("y_v", "charge_c_per_s"))
    span = cell.law(0.45) - cell.law(-0.45)
    assert cell.circuit.read is not None
    assert np.abs(cell.law(y) - slope).max() / span == pytest.approx(cell.circuit.read.law_residual)
    assert cell.circuit.read.law_residual < 0.06
    assert printed["rms_difference_from_published"] < 0.05
    # a charge at +0.45 V from 0.9 V, and what the pulse's edges add
    assert cell.circuit.energy is not None
    assert cell.circuit.energy.read_full_j == pytest.approx(0.9 * slope[-1] * 15e-9, rel=0.05)
    assert cell.circuit.mismatch is not None
    assert 0.001 < cell.circuit.mismatch.zero_crossing_v < 0.02
    config = GainCellConfig.named("leroux2025").replace(cell="cell.yaml", leak_per_token=None)
    assert config.cell.model_law(0.45) == pytest.approx(10.313)
    page = Path("cell.html").read_text("utf-8")
    assert page.count("<svg") == 9
    for words in (
        "Retention is not exponential",
        "not fitted to silicon",
        "<td>read disturb</td>",
        f"{cell.circuit.mismatch.zero_crossing_v * 1e3:.2f}",
        "mismatch of 40 cells",
        ".subckt gaincell store",
        "gmin=1e-21",
    ):
        assert words in page
    assert "http" not in page.replace("http://www.w3.org/", "")
    assert str(no_cache) not in page


#: Read and select transistors of one kind: its current has one sign.
THREE_TRANSISTORS = """\
.model n nmos level=54 version=4.5 toxe=1.5n vth0=0.38 u0=0.026 vsat=1e5
.subckt mine store wwl wbl rwl rbl vss w_rn=0.2u l_rn=0.4u dvt_rn=0
m1 d1  store vss vss n w={w_rn} l={l_rn} delvto={dvt_rn}
m2 rbl rwl   d1  vss n w=0.2u l=0.1u
m5 wbl wwl store vss n w=0.1u l=0.1u
c1 store vss 8f
.ends
"""


@needs_ngspice
def test_a_cell_of_one_sign_becomes_a_pair(no_cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("mine.cir").write_text(THREE_TRANSISTORS)
    assert run(["characterize", "mine.cir", "--polarity", "push_pull", "--out", "cell.yaml"]) == 2
    assert "charge is of one sign, so polarity 'push_pull' does not serve it" in capsys.readouterr().err
    assert not Path("cell.yaml").exists()
    assert run(["characterize", "mine.cir", "--out", "cell.yaml", "--mismatch", "20", "--json"]) == 0
    printed: dict[str, Any] = json.loads(capsys.readouterr().out)
    cell = load_cell("cell.yaml")
    assert cell.polarity == printed["polarity"] == "pair"
    simulated, fine = np.array(printed["simulated"]["charge_c_per_s"]), np.linspace(-0.45, 0.45, 257)
    assert 0 < simulated[0] < 0.01 * simulated[-1]
    assert cell.law(fine).min() >= -1e-6 * simulated[-1], "it does not turn where the circuit does not"
    assert (np.diff(cell.law(fine)) > 0).all()
    assert printed["rms_difference_from_published"] < 0.1
    # The full charge is that of values, and the converters saw both signs of it.
    values = cell.law(0.45) - cell.law(-0.45)
    assert printed["full_charge_c"] == pytest.approx(80 / 10.313 * values * 15e-9)
    for name, least in (("transfer", -1.2), ("signed_transfer", -1.2)):
        scores = [one["charge_c"] / printed["full_charge_c"] for one in printed[name]]
        assert min(scores) < least
        assert max(scores) > 1.2
    assert cell.circuit is not None
    assert cell.circuit.mismatch is not None
    assert cell.circuit.charge_to_pulse is not None
    assert cell.circuit.charge_to_pulse.below_zero_s == 0
    assert 0.001 < cell.circuit.mismatch.zero_crossing_v < 0.02
    config = GainCellConfig.named("extended").replace(
        cell="cell.yaml", leak_per_token=None, charge_to_pulse="cell", feedthrough=True, mismatch_seed=1
    )
    assert config.cell.model_law(0.45) == pytest.approx(10.313)
    assert "takes a pair of cells" in Path("cell.html").read_text("utf-8")


#: A bit cell as memory compilers write it: an NMOS writes, a PMOS gives its current to the bit line.
TWO_TRANSISTORS = """
.model wn nmos level=1 vto=0.55 kp=200u lambda=0.05 tox=2n
.model rp pmos level=1 vto=-0.30 kp=6u lambda=0.05 tox=2n
.subckt bit rbl wbl rwl wwl vdd gnd
mm0 sn wwl wbl gnd wn w=120n l=50n
mm1 rwl sn rbl vdd rp w=240n l=50n
cs sn gnd 8f
.ends
"""


@needs_ngspice
def test_a_cell_that_gives_its_charge_becomes_a_pair(no_cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("mine.cir").write_text(TWO_TRANSISTORS)
    pins = ("--pins", "store=sn,vss=gnd", "--write-high", "1.6")
    assert run(["characterize", "mine.cir", *pins, "--out", "cell.yaml", "--json"]) == 0
    printed: dict[str, Any] = json.loads(capsys.readouterr().out)
    cell, fine = load_cell("cell.yaml"), np.linspace(-0.45, 0.45, 257)
    assert cell.polarity == "pair"
    assert cell.law(fine).max() <= 1e-9 * -cell.law(-0.45)
    assert (np.diff(cell.law(fine)) > 0).all()
    assert printed["full_charge_c"] == pytest.approx(80 / 10.313 * (cell.law(0.45) - cell.law(-0.45)) * 15e-9)
    for name in ("transfer", "signed_transfer"):
        scores = [one["charge_c"] / printed["full_charge_c"] for one in printed[name]]
        assert min(scores) < -1.2
        assert max(scores) > 1.2
    # The driver of its word line gives what the cell does: at 0 V most of all.
    assert cell.circuit is not None
    assert cell.circuit.energy is not None
    assert cell.circuit.energy.read_full_j == pytest.approx(0.9 * -cell.law(-0.45) * 15e-9, rel=0.2)
    assert printed["normalised_coefficients"][1] < 0
    priced = estimate(GPT2, GainCellConfig(cell="cell.yaml", leak_per_token=None))
    assert priced.energy_j > 0


@needs_ngspice
def test_a_cell_of_one_sign_at_another_supply(no_cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its law is held where it is scaled, too; where no law of that order is near, that is told."""
    Path("mine.cir").write_text(THREE_TRANSISTORS)
    swept = ("characterize", "mine.cir", "--sweep", "vdd=0.6,0.9", "--json")
    assert run(list(swept)) == 0
    low, high = json.loads(capsys.readouterr().out)["rows"]
    assert "departs from the simulated charge by" in low["failed"]
    assert "--order" in low["failed"]
    assert high["failed"] is None
    assert run(["characterize", "--read-high", "5"]) == 2
    assert "a read word line of 5 V is beyond what card" in capsys.readouterr().err


@needs_ngspice
def test_a_cell_of_both_signs_is_no_pair(no_cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["characterize", "--polarity", "pair"]) == 2
    assert "both signs, so polarity 'pair' does not serve it" in capsys.readouterr().err


@needs_ngspice
@pytest.mark.parametrize("order", [3, 5, 7])
def test_a_law_of_any_order_rises_where_the_cell_does(order: int, tmp_path: Path) -> None:
    """The nearest polynomial of order 5 falls near the zero level, where the cell's charge is flat but rises."""
    from gaincell.circuit import Ngspice
    from gaincell.circuit.cards import load_card
    from gaincell.circuit.characterize import HELD, Settings, _law, _read, _Work
    from gaincell.circuit.decks.cell import Conditions, gain_cell

    card = load_card("generic")
    work = _Work(gain_cell(card), card, Conditions(), Settings(order=order), Ngspice(cache=tmp_path))
    law, polarity, figures = _law(work, _read(work))
    assert polarity == "push_pull"
    assert (HELD in law.source) == (order == 5)
    assert figures.law_residual < {3: 0.06, 5: 0.03, 7: 0.01}[order]
    cell = load_cell("leroux2025").model_copy(update={"law": law})
    GainCellConfig.named("extended").replace(cell=cell)  # refuses a law that falls


@needs_ngspice
@pytest.mark.skipif(
    not (sky130_folder() / "lvt_tt.spice").is_file(), reason="no SkyWater models; run 'gaincell circuit fetch'"
)
def test_the_published_law_comes_out_of_silicon_models(tmp_path: Path) -> None:
    """The cell's law with SkyWater's transistors, whose sizes were not searched for, beside the published one."""
    from gaincell.cell import PolynomialLaw
    from gaincell.circuit import Ngspice
    from gaincell.circuit.cards.sky130 import sky130_card
    from gaincell.circuit.characterize import rms_difference
    from gaincell.circuit.decks.cell import Conditions, gain_cell
    from gaincell.circuit.decks.read import read_deck, read_results

    stored, widths = np.linspace(0, 0.9, 19), (3e-9, 15e-9)
    deck = read_deck(gain_cell(sky130_card()), Conditions(), stored.tolist(), widths)
    charge = read_results(Ngspice(cache=tmp_path).run(deck)[0], (19, 2)).charge_c
    slope = (charge[:, 1] - charge[:, 0]) / (widths[1] - widths[0])
    coefficients = np.polynomial.polynomial.polyfit(stored - 0.45, slope, 3)
    law = PolynomialLaw(coefficients=tuple(map(float, coefficients)), unit="C/s", source="a test")
    assert rms_difference(law, stored - 0.45) < 0.02


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["no_such.cir"], "no_such.cir"),
        (["--order", "12"], "order 12"),
        (["--pins", "store"], "--pins"),
        (["--card", "bsim"], "bsim"),
        (["--corner", "xx"], "xx"),
        (["--card", "sky130", "--corner", "ss"], "models of corner ss are not here"),
        (["mine.cir", "--corner", "ss"], "--corner is for our cell"),
        (["--out", "."], "--out"),
        (["--report", "."], "--report"),
        (["--out", "cell.html"], "both cell file and report"),
        (["--card", "sky130"], "gaincell circuit fetch"),
        (["mine.cir", "--mismatch", "200"], "dvt_NAME"),
    ],
)
def test_unusable_input(args: list[str], words: str, no_cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("mine.cir").write_text(".subckt mine store wwl wbl rwl rbl\n.ends\n")
    pins = [] if args[0] != "--pins" else ["mine.cir"]
    assert run(["characterize", *args, *pins]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert words in captured.err.splitlines()[-1]


def test_without_ngspice_it_says_how_to_install_it(
    no_cache: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(no_cache))
    assert run(["characterize", "--out", "cell.yaml"]) == 1
    captured = capsys.readouterr()
    assert "apt-get install ngspice" in captured.err.splitlines()[-1]
    assert not Path("cell.yaml").exists()


@needs_ngspice
def test_ngspice_killed_midway_leaves_no_cell_and_no_report(
    no_cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reads that the law is taken from come through; the columns after them do not."""
    real = shutil.which("ngspice")
    assert real is not None
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "ngspice"
    killed = "grep -qs charge-to-pulse deck.cir && kill -9 $$"
    program.write_text(f"#!/bin/sh\nPATH='{os.environ['PATH']}'\n{killed}\nexec {real} \"$@\"\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    assert run(["characterize", "--out", "cell.yaml"]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "SIGKILL" in captured.err.splitlines()[-1]
    assert not list(Path().glob("cell.*"))


@needs_ngspice
def test_a_cell_that_is_no_multiplier_is_refused(no_cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("mine.cir").write_text(
        ".subckt mine store wwl wbl rwl rbl\nc1 store 0 8f\nr1 store wbl 1e15\nr2 rbl rwl 1e9\nr3 wwl 0 1e9\n.ends\n"
    )
    assert run(["characterize", "mine.cir", "--out", "cell.yaml"]) == 2
    assert "multiplier" in capsys.readouterr().err
    assert not Path("cell.yaml").exists()


def test_a_damaged_model_file_is_not_used(no_cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    models = no_cache / "gaincell" / "sky130" / "lvt_tt.spice"
    models.parent.mkdir(parents=True)
    models.write_text("* nothing\n")
    assert run(["characterize", "--card", "sky130"]) == 2
    assert "circuit fetch" in capsys.readouterr().err


def test_a_fetch_that_fails_leaves_nothing(
    no_cache: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", os.devnull)
    assert run(["circuit", "fetch"]) == 2
    assert "could not fetch" in capsys.readouterr().err
    assert not list(no_cache.rglob("*.spice"))
