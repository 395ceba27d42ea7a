"""Which points a study measures, how often, and what its storage makes of what was cut short."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from worker import VARY, MadeUp, shape, study

from gaincell import GainCellConfig, InputError
from gaincell.explore import front
from gaincell.explore.measured import Measured
from gaincell.explore.point import check_objectives, read_limits
from gaincell.explore.storage import _WORKER, Storage, _WriteLock
from gaincell.explore.study import check_fidelities, read_asked
from gaincell.hardware import HardwareParameters


def test_a_small_space_is_measured_whole_and_once(tmp_path: Path) -> None:
    bench, place = MadeUp(), tmp_path / "journal.log"
    found = study(Storage(place), bench).run()
    assert len(found) == len(bench.asked) == 8
    assert len({str(point) for point in found}) == 8
    again = MadeUp()
    assert study(Storage(place), again).run() == found
    assert again.asked == []


@pytest.mark.parametrize("sampler", ["tpe", "nsga2"])
def test_of_a_larger_space_as_many_as_were_asked_for(sampler: str, tmp_path: Path) -> None:
    """All different, from a list and from a range, and more of them later."""
    vary = {"output_levels": "8,16,32", "subtile_columns": "64,1024", "stored_levels": "4,8"}
    some = study(Storage(tmp_path / "a.log"), vary=vary, how={"sampler": sampler})
    assert len(some.run(7)) == 7
    assert len(some.run(9)) == 9
    assert len({str(point) for point in some.points}) == 9
    ranged = study(
        Storage(tmp_path / "b.log"), shape(), vary={"clock_hz": "8e8:2e9"}, objectives=("energy_j", "latency_s")
    )
    clocks = [point.values["clock_hz"] for point in ranged.run(5)]
    assert len(set(clocks)) == 5
    assert all(8e8 <= clock <= 2e9 for clock in clocks)


def test_who_joins_goes_by_the_number_of_points(tmp_path: Path) -> None:
    study(Storage(tmp_path / "journal.log")).run(3)
    joined = study(Storage(tmp_path / "journal.log"), how={"joins": True})
    assert len(joined.run()) == 3
    assert len(joined.run(4)) == 4
    assert len(study(Storage(tmp_path / "journal.log")).run()) == 8
    assert len(joined.run()) == 8


def test_what_cannot_be_is_kept_with_its_sentence(tmp_path: Path) -> None:
    bench = MadeUp()
    found = study(Storage(tmp_path / "journal.log"), bench, vary={"window": "1024,1000", "output_levels": "8,16"}).run()
    refused = [point for point in found if point.refused is not None]
    assert len(found) == 4
    assert len(bench.asked) == len(refused) == 2
    assert all("multiple" in str(point.refused) for point in refused)


@pytest.mark.parametrize("error", [ValueError("bad\nworse"), StopIteration()])
def test_a_point_that_fails_is_kept_and_the_others_are_measured(error: Exception, tmp_path: Path) -> None:
    class Failing(MadeUp):
        def measure(self, point: GainCellConfig, fidelity: str) -> Measured:
            found = super().measure(point, fidelity)
            if point.output_levels == 16:
                raise error
            if point.output_levels == 32:
                return replace(found, kl=float("nan"))
            return found

    bench, place = Failing(), tmp_path / "journal.log"
    found = study(Storage(place), bench).run()
    assert len(found) == len(bench.asked) == 8
    told = [str(point.refused) for point in found if point.values["output_levels"] == 16]
    assert len(told) == 2
    assert all(x.startswith(f"failed: {type(error).__name__}") and "test_study.py" in x for x in told)
    assert {x.refused for x in found if x.values["output_levels"] == 32} == {"kl of this design point is no number."}
    again = MadeUp()
    assert study(Storage(place), again).run() == found
    assert again.asked == []


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
def test_a_point_that_was_cut_short_is_measured_by_the_next_run(error: BaseException, tmp_path: Path) -> None:
    class Ended(MadeUp):
        def measure(self, point: GainCellConfig, fidelity: str) -> Measured:
            raise error

    place = tmp_path / "journal.log"
    with pytest.raises(type(error)):
        study(Storage(place), Ended()).run()
    assert not any(path.suffix == "" for path in (tmp_path / "journal.log.workers").iterdir())
    found = study(Storage(place)).run()
    assert len(found) == 8
    assert not any(point.refused for point in found)


def test_limits_hold_for_the_front_alone(tmp_path: Path) -> None:
    free = study(Storage(tmp_path / "a.log"))
    free.run()
    most = sorted(point.figures["energy_j"] for point in free.points)[3]
    held = study(Storage(tmp_path / "b.log"), limits={"energy_j": most})
    held.run()
    assert [point.feasible for point in held.points].count(True) == 4
    assert held.front == [p for p in front(held.points, ("kl", "energy_j")) if p.figures["energy_j"] <= most]


def test_what_no_other_beats_goes_on(tmp_path: Path) -> None:
    bench = MadeUp()
    own = study(Storage(tmp_path / "journal.log"), bench, fidelities=("as_is", "matched", "distilled"))
    own.run()
    by = {f: [p for p in own.measured if p.fidelity == f] for f in ("as_is", "matched", "distilled")}
    assert len(by["as_is"]) == 8
    for before, after in (("as_is", "matched"), ("matched", "distilled")):
        best = {str(point) for point in front(by[before], own.objectives)}
        assert {str(point) for point in by[after]} == best
    assert len(own.points) == 8
    assert len(bench.asked) == sum(map(len, by.values()))
    assert all(point.fidelity == "distilled" for point in own.front)


def test_a_limit_on_quality_stops_no_point_before_the_last_fidelity(tmp_path: Path) -> None:
    """Matching halves the made-up divergence: what exceeds a limit as it is may keep it then; a limit on cost holds."""
    free = study(Storage(tmp_path / "a.log"), fidelities=("as_is", "matched"))
    free.run()
    best = min(point.figures["kl"] for point in free.measured if point.fidelity == "as_is")
    limited = study(Storage(tmp_path / "b.log"), fidelities=("as_is", "matched"), limits={"kl": 0.75 * best})
    limited.run()
    reached = lambda own: {str(point) for point in own.measured if point.fidelity == "matched"}  # noqa: E731
    assert reached(limited) == reached(free)
    assert limited.front
    assert all(point.figures["kl"] <= 0.75 * best for point in limited.front)
    most = min(point.figures["energy_j"] for point in free.points)
    costly = study(Storage(tmp_path / "c.log"), fidelities=("as_is", "matched"), limits={"energy_j": most})
    costly.run()
    assert all(point.figures["energy_j"] <= most for point in costly.measured if point.fidelity == "matched")


def test_importances_know_what_decides(tmp_path: Path) -> None:
    own = study(Storage(tmp_path / "journal.log"), vary={"output_levels": "8,16,32,64", "query_levels": "8,16"})
    assert own.importances == {}
    own.run()
    assert own.importances["kl"]["output_levels"] == pytest.approx(1.0, abs=0.01)


def test_what_one_that_died_had_begun_is_done_again_once(tmp_path: Path) -> None:
    """Killed before its worker was written down; amid a point; and after the new trial, before the old one ended."""
    place = tmp_path / "journal.log"
    own = study(Storage(place))
    own.open()
    own._fill(8)
    own._study.ask()
    amid = own._study.ask()
    own.storage.claim(amid)
    amid.set_user_attr("worker", "of long ago")
    own.run()
    states = [trial.state for trial in own._study.trials]
    assert states.count(optuna.trial.TrialState.FAIL) == 2
    assert states.count(optuna.trial.TrialState.COMPLETE) == 8
    assert len(states) == 10
    own.storage.take_back(own._study)
    assert len(own._study.trials) == 10


def test_a_name_of_a_worker_reaches_no_other_file(tmp_path: Path) -> None:
    """A journal may come from anyone: what it calls a worker is no path, and what lies there stays as it is."""
    victim = tmp_path / "victim"
    victim.write_text("precious")
    own = study(Storage(tmp_path / "journal.log"))
    own.open()
    (tmp_path / "journal.log.workers").mkdir()
    link = "host 1 0123456789ab"
    (tmp_path / "journal.log.workers" / link).symlink_to(victim)
    own._fill(8)
    names: tuple[Any, ...] = (str(victim), "../victim", "..", "", 7, None, link)
    for name in names:
        trial = own._study.ask()
        trial.set_user_attr("claimed", trial.number)
        trial.set_user_attr("worker", name)
    own.storage.take_back(own._study)
    assert [trial.state.name for trial in own._study.trials].count("FAIL") == len(names)
    assert victim.read_text() == "precious"
    with own.storage.alive():
        (path,) = (x for x in (tmp_path / "journal.log.workers").iterdir() if not x.is_symlink())
        assert _WORKER.fullmatch(path.name)


def test_a_worker_that_is_slow_is_left_in_peace(tmp_path: Path) -> None:
    slow, other = (study(Storage(tmp_path / "journal.log")) for _ in range(2))
    slow.open()
    other.open()
    slow._fill(8)
    with slow.storage.alive():
        slow.storage.claim(slow._study.ask())
        other.storage.take_back(other._study)
        assert other._study.trials[0].state == optuna.trial.TrialState.RUNNING
    other.storage.take_back(other._study)
    assert other._study.trials[0].state == optuna.trial.TrialState.FAIL


def test_half_a_line_of_a_journal_is_taken_off(tmp_path: Path) -> None:
    place = tmp_path / "journal.log"
    study(Storage(place)).open()
    with place.open("ab") as file:
        file.write(b'{"op_code": 4, "worker_id"')
    assert len(study(Storage(place)).run()) == 8
    assert len(study(Storage(place)).points) == 8


@pytest.mark.parametrize(
    "content", [b"precious", b'{"op_code":0,"worker', b'"op_code"\n', b"[]\n", b"a\n" * 70000 + b"b"]
)
def test_a_file_that_is_no_journal_stays_as_it_is(content: bytes, tmp_path: Path) -> None:
    place = tmp_path / "words"
    place.write_bytes(content)
    with pytest.raises(InputError, match="is no journal"):
        Storage(place)
    assert place.read_bytes() == content
    with pytest.raises(InputError, match="is no journal"):
        _WriteLock(place).acquire()  # of a journal that it was put in the place of
    assert place.read_bytes() == content


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"objectives": ("kl", "latency_s")}, "objectives"),
        ({"limits": {"energy_j": 1.0}}, "limits"),
        ({"vary": {"output_levels": "8,16"}}, "space"),
        ({"fidelities": ("as_is", "matched")}, "fidelities"),
        ({"hardware": HardwareParameters(clock_hz=2e9)}, "space"),
    ],
    ids=lambda x: x if isinstance(x, str) else "",
)
def test_a_storage_of_another_study_is_refused(changes: dict[str, Any], word: str, tmp_path: Path) -> None:
    study(Storage(tmp_path / "journal.log")).open()
    with pytest.raises(InputError, match=f"holds another study \\({word} differ\\)"):
        study(Storage(tmp_path / "journal.log"), **changes)


def test_points_of_one_model_are_not_served_as_those_of_another(tmp_path: Path) -> None:
    """Two shapes differ; two names of one shape do not."""
    how: dict[str, Any] = {"vary": {"output_levels": "8,16"}, "objectives": ("energy_j", "latency_s")}
    place = tmp_path / "journal.log"
    study(Storage(place), shape("demo"), **how).run()
    assert len(study(Storage(place), shape("smollm2"), **how).points) == 2
    with pytest.raises(InputError, match=r"holds another study \(workload differ\)"):
        study(Storage(place), shape("llama3-70b"), **how)


def test_rows_of_another_text_are_not_mixed_in(tmp_path: Path) -> None:
    """Found out when they are read, before a point is measured."""
    first, second = MadeUp(), MadeUp()
    first.found, second.found = {"model": "m", "rows": ["a"]}, {"model": "m", "rows": ["b"]}
    study(Storage(tmp_path / "journal.log"), first, vary={**VARY, "query_levels": "8,16"}).run(2)
    with pytest.raises(InputError, match="holds points of other rows of tokens under the same names"):
        study(Storage(tmp_path / "journal.log"), second, vary={**VARY, "query_levels": "8,16"}).run(3)
    assert second.asked == []


def test_a_study_that_cannot_start_leaves_the_storage_to_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = MadeUp()

    def refuse() -> None:
        raise InputError("no such text")

    monkeypatch.setattr(bench, "prepare", refuse)
    with pytest.raises(InputError, match="no such text"):
        study(Storage(tmp_path / "journal.log"), bench, limits={"kl": 1.0}).run()
    assert len(study(Storage(tmp_path / "journal.log")).run()) == 8


def test_a_storage_tells_its_study(tmp_path: Path) -> None:
    own = study(Storage(tmp_path / "journal.log"), limits={"energy_j": 1.0})
    own.open()
    asked, bench = read_asked(Storage(tmp_path / "journal.log", new=False))
    assert asked == own.asked
    assert bench == {"model": "made up"}


@pytest.mark.parametrize("where", ["base", "cells", "bench"])
def test_what_a_storage_says_reads_no_file(where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of what `to_dict` wrote a cell is content; where it is a path, or something is missing, that is told."""
    own = study(Storage(tmp_path / "journal.log"), vary={"cell": "leroux2025,ito-2t0c"})
    own.open()
    kept = own._study.user_attrs["gaincell"]
    if where == "base":
        kept["asked"]["space"]["base"]["cell"] = "mine.yaml"
    elif where == "cells":
        kept["asked"]["space"]["cells"]["ito-2t0c"] = "mine.yaml"
    else:
        del kept["bench"]
    own._study.set_user_attr("gaincell", kept)
    monkeypatch.setattr("gaincell.config.load_cell", lambda _: pytest.fail("read a file"))
    with pytest.raises(InputError, match="holds a study that is damaged"):
        read_asked(Storage(tmp_path / "journal.log"))


def test_storages_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "words").write_text("no journal\n")
    with pytest.raises(InputError, match="is no journal"):
        Storage(tmp_path / "missing", new=False)
    with pytest.raises(InputError, match="is no journal"):
        Storage(tmp_path)
    with pytest.raises(InputError, match="is no journal"):
        Storage(tmp_path / "words")
    with pytest.raises(InputError, match=r"mysql:// is none"):
        Storage("mysql://me@there/x")
    with pytest.raises(InputError, match=r"the database there\.invalid/x cannot be used"):
        Storage("postgresql://me:secret@there.invalid/x")
    with pytest.raises(InputError, match="holds no study of this version"):
        read_asked(Storage(tmp_path / "new"))
    optuna.create_study(storage=Storage(tmp_path / "theirs").optuna, study_name="gaincell")
    with pytest.raises(InputError, match="holds something else than a study of gaincell"):
        study(Storage(tmp_path / "theirs"))


def test_studies_of_others_may_lie_in_the_same_storage(tmp_path: Path) -> None:
    optuna.create_study(storage=Storage(tmp_path / "theirs").optuna, study_name="theirs")
    assert len(study(Storage(tmp_path / "theirs")).run()) == 8


@pytest.mark.parametrize("missing", ["optuna", "psycopg"])
def test_without_a_package_a_sentence_says_what_to_install(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gaincell.explore.storage.find_spec", lambda name: None if name == missing else True)
    with pytest.raises(InputError, match=rf"explore needs {missing}.*pip install 'gaincell\[explore\]'"):
        Storage("postgresql://there/x")


def test_objectives_limits_and_fidelities_that_are_none() -> None:
    for names, word in ((("kl", "speed"), "speed"), (("kl",), "two figures"), (("kl", "kl"), "each given once")):
        with pytest.raises(InputError, match=word):
            check_objectives(names, runs=True)
    with pytest.raises(InputError, match="kl needs a model that runs"):
        check_objectives(("kl", "energy_j"), runs=False)
    for limit, word in (("speed=1", "no figure"), ("energy_j=few", "no number"), ("energy_j", "no number")):
        with pytest.raises(InputError, match=word):
            read_limits([limit], runs=True)
    with pytest.raises(InputError, match="--limit energy_j is given twice"):
        read_limits(["energy_j=1", "energy_j=1e-20"], runs=True)
    for names, tokens in ((("matched", "as_is"), 0), (("best",), 0), (("as_is", "distilled"), 0), (("as_is",), 9)):
        with pytest.raises(InputError, match="--fidelity"):
            check_fidelities(names, tokens, runs=True)
    with pytest.raises(InputError, match="of a model that runs"):
        check_fidelities(("as_is", "matched"), 0, runs=False)
