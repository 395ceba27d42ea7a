"""`gaincell characterize --sweep`: what is read, what is refused, and what a sweep shows."""

import json
from pathlib import Path

import pytest

from gaincell import InputError
from gaincell.circuit import Ngspice
from gaincell.circuit.cards import generic_card
from gaincell.circuit.characterize import Settings
from gaincell.circuit.condition_sweep import MOST, Point, Setup, Sweep, characterize_each, parse_sweep
from gaincell.circuit.conditions import conditions_of
from gaincell.circuit.decks.cell import gain_cell
from gaincell.cli.app import run
from gaincell.report.swept import sweep_page, sweep_table


@pytest.mark.parametrize(
    ("text", "sweep"),
    [
        ("temperature=27:85:3", Sweep("temperature", (27.0, 56.0, 85.0))),
        ("vdd=0.8,0.9", Sweep("vdd", (0.8, 0.9))),
        ("corner=tt, ss", Sweep("corner", ("tt", "ss"))),
        ("leakage=off,high-k", Sweep("leakage", ("off", "high-k"))),
    ],
)
def test_a_sweep_is_a_list_or_a_range(text: str, sweep: Sweep) -> None:
    assert parse_sweep(text) == sweep


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("heat=27,85", "NAME being one of temperature, vdd"),
        ("temperature", "cannot be read"),
        ("temperature=27:85", "neither numbers"),
        ("temperature=27:85:x", "neither numbers"),
        ("temperature=27:85:-1", "neither numbers"),
        (f"temperature=27:85:{MOST + 1}", f"2 to {MOST} values"),
        ("temperature=27:85:1000000000", f"2 to {MOST} values"),
        ("temperature=27", "each once"),
        ("temperature=27,27", "each once"),
        ("corner=tt,xx", "corner is one of tt, ss"),
        ("leakage=on,off", "leakage is one of off, high-k, oxide"),
    ],
)
def test_what_is_no_sweep_is_refused(text: str, words: str) -> None:
    with pytest.raises(InputError) as refused:
        parse_sweep(text)
    assert words in str(refused.value)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--sweep", "temperature=27,300"], "a temperature of 300 °C is beyond"),
        (["--sweep", "vdd=0.8,0.9", "--vdd", "0.9"], "--vdd is what is swept"),
        (["--sweep", "vdd=0.8,0.9", "--out", "cell.yaml"], "--out is of one cell"),
        (["--sweep", "vdd=0.8,0.9", "--mismatch", "40"], "--mismatch is of one cell"),
        (["mine.cir", "--sweep", "corner=tt,ss"], "--corner is for our cell"),
        (["mine.cir", "--sweep", "leakage=off,oxide"], "--leakage is for our cell"),
    ],
)
def test_unusable_input_is_told_before_anything_is_simulated(
    args: list[str], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "")
    Path("mine.cir").write_text(".subckt mine store wwl wbl rwl rbl\n.ends\n")
    assert run(["characterize", *args]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert words in captured.err.splitlines()[-1]


def test_a_sweep_shows_every_value_and_goes_on_past_one_that_does_not_work(ngspice: Ngspice) -> None:
    """One whose read word line stays off draws nothing."""
    card = generic_card()
    sweep = Sweep("read-high", (0.9, 0.0))

    def setup(value: float | str) -> Setup:
        return Setup(gain_cell(card), card, conditions_of(card, "transmission", read_high_v=float(value)))

    told = []
    points = characterize_each(sweep, setup, Settings(column=16), ngspice, lambda *done: told.append(done))
    assert told == [(1, 2), (2, 2)]
    works, fails = points
    assert works.figures["tau_s"] == pytest.approx(5e-3, rel=0.1)
    assert (works.to_dict()["value"], works.to_dict()["failed"]) == (0.9, None)
    assert "no multiplier" in fails.failed
    columns, rows, title, *_ = sweep_table(sweep, points)
    assert columns[0] == "read-high (V)"
    assert title == "generic-28nm-transmission, by read-high"
    assert "5.19 ms" in rows[0]
    assert rows[1][1:] == ("–",) * 7
    page = sweep_page(sweep, points)
    assert [panel.title for panel in page.panels] == ["Retention", "Write", "Energy", "Law"]
    assert page.warnings == [f"0: {fails.failed}"]
    assert json.dumps([point.to_dict() for point in points])


def test_a_sweep_without_a_working_cell_says_why(ngspice: Ngspice) -> None:
    card = generic_card()

    def setup(value: float | str) -> Setup:
        return Setup(gain_cell(card), card, conditions_of(card, "transmission", read_high_v=float(value)))

    with pytest.raises(InputError, match=r"no value of the sweep gives a working cell; the first says: .*multiplier"):
        characterize_each(Sweep("read-high", (0.0, 0.05)), setup, Settings(), ngspice)


def test_a_point_without_a_cell_has_no_figures() -> None:
    assert Point(0.9, None, "does not hold").to_dict() == {"value": 0.9, "watched_s": None, "failed": "does not hold"}
