"""Retention against write time: figures that are the circuit's, not the simulator's, and what the command prints."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gaincell.circuit import Ngspice
from gaincell.circuit.cards import generic_card
from gaincell.circuit.decay import Decay, decay_of
from gaincell.circuit.decks import store
from gaincell.circuit.decks.cell import WRITE_LEVELS_V, Conditions, Write, gain_cell
from gaincell.circuit.leak_spread import leak_spread
from gaincell.circuit.tradeoff import trade_offs
from gaincell.cli.app import run

needs_ngspice = pytest.mark.skipif(
    shutil.which("ngspice") is None, reason="ngspice is not installed (Debian, Ubuntu: apt-get install ngspice)"
)


@pytest.mark.parametrize("write", ["transmission", "oxide"])
def test_no_retention_is_the_simulators_own_conductance(
    ngspice: Ngspice, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The longest retentions that are told (seconds, and minutes), with half, a tenth and ten times gmin."""
    high, low = WRITE_LEVELS_V[write]
    conditions = Conditions(write_high_v=high, write_low_v=low)
    circuit = gain_cell(generic_card(), write, 0.25 if write == "transmission" else 0.0)
    options = store.HOLD_OPTIONS
    assert "gmin=1e-21" in options
    found = decay_of(circuit, conditions, ngspice).tau_s
    assert found is not None
    for fewer in (
        options.replace("gmin=1e-21", "gmin=5e-22"),
        options.replace("gmin=1e-21", "gmin=1e-22"),
        options.replace("gmin=1e-21", "gmin=1e-20"),
    ):
        monkeypatch.setattr(store, "HOLD_OPTIONS", fewer)
        assert decay_of(circuit, conditions, ngspice).tau_s == pytest.approx(found, rel=0.02), fewer


def test_a_threshold_and_a_capacitor_buy_retention_with_write_time(ngspice: Ngspice) -> None:
    by_shift = trade_offs(generic_card(), ["transmission"], [0.05, 0.15], [8e-15], ngspice)
    by_capacitor = trade_offs(generic_card(), ["transmission"], [0.1], [4e-15, 16e-15], ngspice)
    for less, more in (by_shift, by_capacitor):
        assert less.kept_s is not None
        assert more.kept_s is not None
        assert less.kept_s < more.kept_s
        assert less.decay.tau_s is not None
        assert more.decay.tau_s is not None
        assert less.decay.tau_s < more.decay.tau_s
        assert less.writes.settling_s is not None
        assert more.writes.settling_s is not None
        assert less.writes.settling_s < more.writes.settling_s


def test_what_is_kept_is_when_the_first_voltage_is_off() -> None:
    time = np.linspace(0, 10, 11)
    decay = Decay(time, np.array([0.4 - 0.01 * time, 0.2 - 0.02 * time]), {}, 10.0, "a test")
    assert decay.kept_s(0.05) == pytest.approx(2.5)
    assert decay.kept_s(0.3) is None


def test_each_voltage_is_told_by_itself() -> None:
    time = np.linspace(0, 10, 1001)
    rows = np.array([0.4 * np.exp(-time / 2), 0.4 * np.maximum(1 - time / 5, 0), 0.3 + 0 * time])
    until = {k: int(np.argmax(row < row[0] / np.e)) for k, row in enumerate(rows[:2])}
    decay = Decay(time, rows, until, 10.0, "a test")
    exponential, line, still = decay.levels(0.05)
    assert exponential.kept == pytest.approx(-2 * np.log(1 - 0.05 / 0.4), rel=1e-3)
    assert exponential.tau == pytest.approx(2, rel=1e-3)
    assert line.kept == pytest.approx(0.625, rel=1e-3)
    assert line.tau is None
    assert (line.misfit or 0) > 0.02
    assert (still.kept, still.tau, still.misfit) == (None, None, None)
    holds = decay.retention(0.05)
    assert holds.kept_s == decay.kept_s(0.05) == pytest.approx(exponential.kept)
    assert (holds.misfit or 0) > 0.6  # of the one that holds


@needs_ngspice
def test_the_spread_goes_with_the_write_transistors_threshold(ngspice: Ngspice) -> None:
    """A leak below threshold: ln t moves by a deviation over n kT/q, n between 1 and 1.7; and by nothing else here."""
    circuit, conditions = gain_cell(generic_card(), "transmission"), Conditions()
    decay = decay_of(circuit, conditions, ngspice)
    value, sigma_v = circuit.write_shift_v or (0.0, 0.0)
    found = []
    for part in (1.0, 0.5):
        half = replace(circuit, write_shift_v=(value, part * sigma_v))
        spread = leak_spread(half, conditions, ngspice, decay, 0.064, 12, 3)
        assert spread is not None
        found.append(spread.sigma)
    assert found[0] / found[1] == pytest.approx(2, rel=0.05)
    drawn = np.random.default_rng([3, 1])
    drawn.standard_normal((12, len(circuit.mismatch_v)))
    shift = float(drawn.standard_normal(12).std(ddof=1)) * sigma_v / 0.02585
    assert shift / 1.7 < found[0] < 1.02 * shift
    alone = replace(circuit, write_shift_v=None)
    assert leak_spread(alone, conditions, ngspice, decay, 0.064, 4, 3) is None


def test_a_table_shows_voltages_whose_rates_are_decades_apart() -> None:
    fine, coarse = np.linspace(0, 20e-6, 101), np.linspace(0, 10e-3, 101)

    def decayed(time: np.ndarray) -> np.ndarray:
        return np.array([-0.45 * np.exp(-time / 2e-6), 0.45 * np.exp(-time / 6e-3)])

    decay = Decay(coarse, decayed(coarse), {1: 101}, 10e-3, "a test", ((fine, decayed(fine)),))
    table = decay.retention().table
    assert table is not None
    read = (
        np.interp([1e-6, 2e-6, 6e-3], table.time, table.stored[0]),
        np.interp([2e-6, 6e-3], table.time, table.stored[1]),
    )
    assert read[0] == pytest.approx([-0.45 * np.exp(-0.5), -0.45 * np.exp(-1), 0], abs=0.05 * 0.45)
    assert read[1] == pytest.approx([0.45, 0.45 * np.exp(-1)], abs=0.01 * 0.45)


@needs_ngspice
def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    args = ["circuit", "retention", "--writes", "transmission", "--shifts", "0.05,0.1", "--plot", "trade.svg"]
    assert run(args) == 0
    table = capsys.readouterr().out
    assert "0.05 V" in table
    assert run([*args, "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    first, second = printed["rows"]
    assert 4 < second["tau_s"] / first["tau_s"] < 10
    assert first["decayed"] == 4
    plot = Path("trade.svg").read_text("utf-8")
    assert plot.startswith("<svg")
    assert "transmission, 8 fF" in plot


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--writes", "flash"], "'flash' is no write device"),
        (["--shifts", "a"], "--shifts a"),
        (["--shifts", "nan"], "--shifts nan"),
        (["--capacitors", "-4"], "negative"),
        (["--plot", "."], "--plot"),
    ],
)
def test_unusable_input(args: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["circuit", "retention", *args]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert words in captured.err.splitlines()[-1]
