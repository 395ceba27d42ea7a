"""Workers share a storage and may be killed: the points are those of one worker, each once, and none stays begun."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from worker import MadeUp, study

from gaincell import GainCellConfig
from gaincell.explore.measured import Measured
from gaincell.explore.storage import Storage, quiet

SCRIPT = Path(__file__).with_name("worker.py")


def started(place: str, seconds: float) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, str(SCRIPT), place, str(seconds)], stderr=subprocess.PIPE)


def trials(place: str) -> list[Any]:
    with quiet():
        storage = Storage(place)
        names = optuna.get_all_study_names(storage.optuna)
        return optuna.load_study(study_name=names[0], storage=storage.optuna).trials if names else []


def wait_for(what: Callable[[], bool]) -> None:
    for _ in range(300):
        if what():
            return
        time.sleep(0.1)
    raise AssertionError("waited for half a minute")


def killed_amid(place: str) -> None:
    """A worker, killed while it is at a point and after another."""
    worker = started(place, 0.4)

    def amid() -> bool:
        states = Counter(trial.state.name for trial in trials(place))
        return states["COMPLETE"] >= 1 and states["RUNNING"] >= 1

    wait_for(amid)
    os.kill(worker.pid, signal.SIGKILL)
    worker.communicate()


def finished(workers: "list[subprocess.Popen[bytes]]") -> None:
    for worker in workers:
        _, told = worker.communicate(timeout=120)
        assert worker.returncode == 0, told.decode()


def check_same_as_one(place: str, tmp_path: Path) -> None:
    alone = study(Storage(tmp_path / "alone.log"))
    alone.run()
    together = study(Storage(place))
    figures = lambda found: sorted((str(point), point.figures) for point in found.points)  # noqa: E731
    assert figures(together) == figures(alone)
    assert len(together.measured) == len(alone.measured) == 8
    states = Counter(trial.state.name for trial in trials(place))
    assert states["RUNNING"] == states["WAITING"] == 0
    assert states["COMPLETE"] == 8  # none was measured to the end twice


@pytest.mark.parametrize("levels", ["8,16,32,64", "8,16"])
@pytest.mark.parametrize("seed", range(2))
def test_workers_that_start_together_measure_each_point_once(levels: str, seed: int, tmp_path: Path) -> None:
    """Of a space that is larger than asked for. Each is at its first point while the next begins, in one thread."""

    class Amid(MadeUp):
        def __init__(self, then: Callable[[], object]) -> None:
            super().__init__()
            self.then = then

        def measure(self, point: GainCellConfig, fidelity: str) -> Measured:
            found = super().measure(point, fidelity)
            then, self.then = self.then, lambda: None
            then()
            return found

    vary = {"output_levels": levels, "subtile_columns": "128,256,512,1024", "stored_levels": "4,8,16,32"}
    benches: list[MadeUp] = []

    def begin(more: int) -> None:
        benches.append(Amid(lambda: begin(more - 1)) if more else MadeUp())
        own = study(Storage(tmp_path / "journal.log"), benches[-1], vary=vary, how={"seed": seed})
        if more == 2:
            own.run(14)
            return
        own.open()
        with own.storage.alive(), quiet():
            own._study.sampler = own._sampler(own._ordinal(14))
            for _ in range(4):
                own._one(14)  # and no more, as those before wait for it

    begin(2)
    asked = [str(point) for bench in benches for point in bench.asked]
    assert len(asked) == len(set(asked)) == 14
    assert all(bench.asked for bench in benches)


def test_workers_of_a_journal(tmp_path: Path) -> None:
    place = str(tmp_path / "journal.log")
    killed_amid(place)
    finished([started(place, 0.05) for _ in range(2)])
    check_same_as_one(place, tmp_path)


def test_workers_of_postgresql(postgres: str, tmp_path: Path) -> None:
    pytest.importorskip("psycopg")
    killed_amid(postgres)
    with quiet(), pytest.warns(UserWarning, match="Heartbeat"):
        study(Storage(postgres))._study.ask()  # as of one that was killed before it gave any sign of life
    finished([started(postgres, 0.05) for _ in range(3)])
    check_same_as_one(postgres, tmp_path)
