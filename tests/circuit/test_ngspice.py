"""The runner against circuits with known answers."""

import math
import os
from pathlib import Path

import numpy as np
import pytest

from gaincell.circuit import Deck, Ngspice, NoData, Plot, StoppedEarly, UnknownSignal, read_raw
from gaincell.circuit.cache import Cache

RC = Deck(
    """\
* a capacitor that a resistor discharges
V1 a 0 dc 0 ac 1
R1 a b 1k
C1 b 0 1p
.ic v(b)=0.5
.tran 10p 5n
.ac dec 10 1meg 10g
.dc V1 0 1 0.25
""",
    ("v(a)", "v(b)", "i(V1)"),
    end_s=5e-9,
)


def plot_of(plots: list[Plot], name: str) -> Plot:
    (found,) = [plot for plot in plots if name in plot.name]
    return found


def test_several_analyses_agree_with_the_equations(ngspice: Ngspice) -> None:
    plots = ngspice.run(RC)
    decay = plot_of(plots, "Transient")
    # the trapezoidal rule at steps of at most 0.1 of the time constant: relative error below 0.1^2 / 12 per tau
    assert decay["v(b)"] == pytest.approx(0.5 * np.exp(-decay.axis / 1e-9), abs=0.5 * 1e-3)
    assert decay["i(v1)"] == pytest.approx(decay["v(b)"] / 1e3, abs=1e-9)
    bode = plot_of(plots, "AC")
    assert bode["v(b)"].dtype == complex
    assert not np.iscomplexobj(bode.axis)
    assert bode["v(b)"] == pytest.approx(1 / (1 + 2j * math.pi * bode.axis * 1e-9), rel=1e-9)
    sweep = plot_of(plots, "DC")
    assert sweep.axis == pytest.approx([0, 0.25, 0.5, 0.75, 1])
    assert sweep["V(B)"] == pytest.approx(sweep.axis, rel=1e-6)


def test_a_signal_that_was_not_saved_is_named(ngspice: Ngspice) -> None:
    with pytest.raises(UnknownSignal, match=r"'v\(c\)', only .*v\(b\)"):
        _ = ngspice.run(RC)[0]["v(c)"]


def test_results_come_from_the_cache_until_anything_changes(ngspice: Ngspice, tmp_path: Path) -> None:
    part = tmp_path / "part.inc"
    nested = tmp_path / "nested.inc"
    part.write_text('.include "nested.inc"\n')
    nested.write_text("R1 a 0 1k\n")
    deck = Deck(f'* t\nV1 a 0 1\n.include "{part}"\n.op\n', ("i(v1)",))
    assert ngspice.cache is not None

    def current() -> float:
        return float(ngspice.run(deck)[0]["i(v1)"][0])

    assert current() == pytest.approx(-1e-3)
    (kept,) = ngspice.cache.glob("*.npz")
    first = kept.stat().st_ino  # a result that is written anew is another file
    assert current() == pytest.approx(-1e-3)
    assert kept.stat().st_ino == first
    nested.write_text("R1 a 0 2k\n")  # an include of an include
    assert current() == pytest.approx(-0.5e-3)
    assert len(list(ngspice.cache.glob("*.npz"))) == 2


def test_the_least_recently_used_results_make_room(tmp_path: Path) -> None:
    plots = [Plot("Transient Analysis", {"time": np.zeros(1000)})]
    cache = Cache(tmp_path, limit_bytes=30_000)  # three results of 8 kB and their headers
    for i, key in enumerate(("old", "used", "third")):
        cache.store(key, plots)
        os.utime(tmp_path / f"{key}.npz", ns=(i, i))
    assert cache.load("old") is not None  # and so it is the newest
    cache.store("new", plots)
    assert {path.stem for path in tmp_path.iterdir()} == {"old", "third", "new"}
    assert cache.size_bytes() <= 30_000
    Cache(tmp_path, limit_bytes=1).store("last", plots)  # one that is larger than the limit is kept until the next
    assert {path.stem for path in tmp_path.iterdir()} == {"last"}


def test_a_netlist_that_reads_other_files_is_never_kept(ngspice: Ngspice, tmp_path: Path) -> None:
    deck = Deck("* t\nV1 a 0 1\nR1 a 0 1k\n.op\n.control\nrun\n.endc\n", ("i(v1)",))
    ngspice.run(deck)
    assert not (tmp_path / "cache").exists()


def test_decks_run_side_by_side_and_come_back_in_order(ngspice: Ngspice) -> None:
    decks = [Deck(f"* t\nV1 a 0 1\nR1 a 0 {r}\n.op\n", ("i(v1)",)) for r in (10, 20, 30, 40, 50)]
    currents = [float(plots[0]["i(v1)"][0]) for plots in ngspice.run_all(decks)]
    assert currents == pytest.approx([-1 / 10, -1 / 20, -1 / 30, -1 / 40, -1 / 50])


HEADER = (
    "Title: t\nPlotname: Transient Analysis\nFlags: real\nNo. Variables: 2\nNo. Points: {points}\n"
    "Variables:\n\t0\ttime\ttime\n\t1\tv(a)\tvoltage\nBinary:\n"
)


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"", NoData),
        (b"not a raw file at all", NoData),
        (b"Title: t\nFlags: real\nBinary:\n", NoData),
        (HEADER.format(points="x").encode(), NoData),
        (HEADER.format(points=0).encode(), StoppedEarly),
        (HEADER.format(points=3).encode() + np.zeros(5).tobytes(), StoppedEarly),
    ],
    ids=["empty", "text", "no fields", "no number", "no points", "cut off"],
)
def test_spoiled_raw_files_are_refused(content: bytes, error: type[Exception], tmp_path: Path) -> None:
    path = tmp_path / "out.raw"
    path.write_bytes(content)
    with pytest.raises(error):
        read_raw(path)


def test_a_raw_file_is_read_back(tmp_path: Path) -> None:
    values = np.arange(6.0).reshape(3, 2)
    path = tmp_path / "out.raw"
    path.write_bytes((HEADER.format(points=3).encode() + values.tobytes()) * 2)
    plots = read_raw(path)
    assert [plot.name for plot in plots] == ["Transient Analysis"] * 2
    assert plots[1].axis.tolist() == [0, 2, 4]
    assert plots[1]["v(a)"].tolist() == [1, 3, 5]
