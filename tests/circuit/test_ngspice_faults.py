"""What can go wrong in a run: each has its type, says what ngspice said, and leaves nothing that a later run reads."""

import errno
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gaincell.circuit import (
    CircuitError,
    Deck,
    Ngspice,
    NoData,
    NotConverged,
    NotInstalled,
    StoppedEarly,
    TimedOut,
    UnknownSignal,
)

GOOD = Deck("* t\nV1 a 0 pulse(0 1 0 1n 1n 1n)\nR1 a b 1k\nC1 b 0 1p\n.tran 10p 4n\n", ("v(b)",), end_s=4e-9)
# steps through 10^9 points
ENDLESS = replace(GOOD, text=GOOD.text.replace("4n", "1 0 1n uic"), end_s=1.0)


def script(path: Path, *lines: str) -> str:
    path.write_text("\n".join(["#!/bin/sh", f"PATH='{os.environ['PATH']}'", *lines, ""]))
    path.chmod(0o755)
    return str(path)


@pytest.fixture(autouse=True)
def _temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Runs leave no folder behind, however they end."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield
    assert not list(folder.glob("gaincell-*"))


def test_not_installed(tmp_path: Path) -> None:
    with pytest.raises(NotInstalled, match="apt-get install ngspice"):
        Ngspice(program=str(tmp_path / "ngspice")).run(GOOD)


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        ("B1 a 0 v = time > 1n ? (v(a) > 0.5 ? -1000 : 1000) : 0\nR1 a 0 1\n.tran 10p 4n", NotConverged, "Timestep"),
        ("V1 a 0 1\nV2 a 0 2\n.tran 10p 4n", NotConverged, "imestep too small"),
        ("V1 a 0 1\nR1 a 0 1k", NoData, "no results"),
        ("V1 a 0 1\nX1 a 0 nosuch\n.tran 10p 4n", NoData, "unknown subckt"),
        ('V1 a 0 1\n.include "nothere.inc"\n.tran 10p 4n', NoData, "nothere.inc"),
        ("V1 b 0 1\nR1 b 0 1k\n.tran 10p 4n", UnknownSignal, "signal"),
        ("V1 a 0 1\nR1 a 0 1k\n.tran 10p 2n", StoppedEarly, "2e-09 s of 4e-09 s"),
        ("V1 a 0 1\nR1 a 0 1k\n.op", StoppedEarly, "0 s of 4e-09 s"),
    ],
)
def test_decks_that_fail(ngspice: Ngspice, text: str, error: type[CircuitError], words: str) -> None:
    with pytest.raises(error, match=words) as caught:
        ngspice.run(Deck(f"* t\n{text}\n", ("v(a)",), end_s=4e-9))
    assert "\n" not in str(caught.value)
    assert ngspice.cache is not None
    assert not ngspice.cache.exists()


def test_one_unknown_signal_among_others(ngspice: Ngspice) -> None:
    with pytest.raises(UnknownSignal, match=r"no signal v\(zz\)"):
        ngspice.run(replace(GOOD, signals=("v(b)", "v(zz)")))


def test_time_limit(ngspice: Ngspice) -> None:
    with pytest.raises(TimedOut, match=r"longer than 0.3 s"):
        replace(ngspice, limit_s=0.3).run(ENDLESS)


def test_killed_midway(ngspice: Ngspice, tmp_path: Path) -> None:
    killed = script(tmp_path / "ngspice", '[ "$1" = --version ] || (sleep 0.3; kill -9 $$) &', 'exec ngspice "$@"')
    with pytest.raises(StoppedEarly, match="SIGKILL"):
        replace(ngspice, program=killed).run(ENDLESS)
    assert not (tmp_path / "cache").exists()


def test_full_disk_while_ngspice_writes(ngspice: Ngspice, tmp_path: Path) -> None:
    full = script(tmp_path / "ngspice", '[ "$1" = --version ] || ln -s /dev/full out.raw', 'exec ngspice "$@"')
    with pytest.raises(OSError, match="No space left") as caught:  # ngspice itself exits with 0
        replace(ngspice, program=full).run(GOOD)
    assert caught.value.errno == errno.ENOSPC
    assert not (tmp_path / "cache").exists()


def test_full_disk_while_the_result_is_kept(
    ngspice: Ngspice, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*args: object, **arrays: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(np, "savez", full)
        first = ngspice.run(GOOD)
    assert "could not be kept" in caplog.text
    assert not list((tmp_path / "cache").iterdir())
    assert np.array_equal(ngspice.run(GOOD)[0]["v(b)"], first[0]["v(b)"])


@pytest.mark.parametrize("spoil", ["cut", "flipped", "text", "empty"])
def test_a_spoiled_result_is_simulated_anew(ngspice: Ngspice, spoil: str, caplog: pytest.LogCaptureFixture) -> None:
    first = ngspice.run(GOOD)[0]["v(b)"]
    assert ngspice.cache is not None
    (kept,) = ngspice.cache.glob("*.npz")
    good = kept.read_bytes()
    middle = len(good) // 2
    kept.write_bytes(
        {
            "cut": good[:middle],
            "flipped": good[:middle] + bytes([good[middle] ^ 1]) + good[middle + 1 :],
            "text": b"not an archive",
            "empty": b"",
        }[spoil]
    )
    assert np.array_equal(ngspice.run(GOOD)[0]["v(b)"], first)
    assert "simulated anew" in caplog.text
    assert len(kept.read_bytes()) == len(good)


def test_two_processes_at_once_on_one_cache(ngspice: Ngspice, tmp_path: Path) -> None:
    code = f"""
from pathlib import Path
from gaincell.circuit import Deck, Ngspice
ngspice = Ngspice(cache=Path({str(ngspice.cache)!r}))
for i in 2 * list(range(12)):
    plots = ngspice.run(Deck("* t\\nV1 a 0 1\\nR1 a 0 %d\\n.op\\n" % (i + 1), ("i(v1)",)))
    assert abs(plots[0]["i(v1)"][0] * (i + 1) + 1) < 1e-9, i
"""
    both = [subprocess.Popen([sys.executable, "-W", "error", "-c", code]) for _ in range(2)]
    assert [process.wait() for process in both] == [0, 0]
    assert ngspice.cache is not None
    assert len(list(ngspice.cache.iterdir())) == 12  # and nothing that was written aside
