"""A study: design points that many workers measure, in a storage that is the one truth."""

import logging
import math
import random
import time
import traceback
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from gaincell.config import GainCellConfig
from gaincell.errors import InputError
from gaincell.explore.bench import FIDELITIES, Bench
from gaincell.explore.dominance import front
from gaincell.explore.measured import Measured, key_hash
from gaincell.explore.point import OF_QUALITY, Point, check_objectives, read_limits
from gaincell.explore.space import Space, Value
from gaincell.explore.storage import Storage, quiet
from gaincell.hardware import Activity, Estimate, estimate
from gaincell.progress import Listener, Silence

if TYPE_CHECKING:
    import optuna

_log = logging.getLogger(__name__)

Sampler = Literal["tpe", "nsga2"]

#: Design points of a space that is larger, unless another number is asked for.
POINTS = 64
#: Seconds between two looks at what other workers are still at.
_POLL_S = 0.5
#: What a study is called in its storage, beside studies of others, and what says there which one it is.
_IDENTITY, _FIDELITY = "gaincell", "fidelity"
#: In the storage, how many workers there have been, and how many design points the last one was asked for.
_WORKERS, _POINTS = "workers", "points"
#: Written by hand into what identifies a study; grows when a newer gaincell tells points apart otherwise.
_FORM = 2


@dataclass(frozen=True)
class Asked:
    """What a study looks for: what tells it from others, besides what its bench measures with.

    Attributes:
        space: what is varied.
        objectives: figures that are to be small, see `point.FIGURES`.
        limits: the most that figures may be.
        fidelities: of `bench.FIDELITIES`, in order; the points that no other beats go on to the next.
        model: what the model is called, for those who join.
        adapter: what it learned, likewise.

    Raises:
        InputError: fidelities that are none, or that need what is not there.
    """

    space: Space
    objectives: tuple[str, ...]
    limits: Mapping[str, float] = field(default_factory=dict)
    fidelities: tuple[str, ...] = ("as_is",)
    model: str = ""
    adapter: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        return {
            "space": self.space.to_dict(),
            "objectives": [*self.objectives],
            "limits": dict(self.limits),
            "fidelities": [*self.fidelities],
            "model": self.model,
            "adapter": self.adapter,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Asked":
        """What `to_dict` gave."""
        return cls(
            Space.from_dict(data["space"]),
            tuple(data["objectives"]),
            data["limits"],
            tuple(data["fidelities"]),
            data["model"],
            data["adapter"],
        )


def check_fidelities(names: Sequence[str], tokens: int, *, runs: bool) -> tuple[str, ...]:
    """The fidelities, if there are such.

    Raises:
        InputError: one that there is not, in another order, or without what it needs.
    """
    known = [name for name in FIDELITIES if name in names]
    if not names or known != [*names]:
        raise InputError(f"--fidelity: give some of {', '.join(FIDELITIES)}, in this order, each once.")
    if known != ["as_is"] and not runs:
        raise InputError("--fidelity is of a model that runs; name what it learned with --from ADAPTER.")
    if ("distilled" in known) != (tokens > 0):
        raise InputError("--fidelity distilled and --tokens go together; give both, or neither.")
    return tuple(known)


class Study:
    """Design points, their figures, and the front between these.

    Args:
        asked: what is looked for.
        bench: what measures.
        storage: where points are kept, and shared with other workers.
        sampler: how points are chosen where the space has more than are asked for.
        seed: of that choice.
        listener: whom to tell.
        joins: whether `run` goes by the number of points that the storage's study was last run for.

    Raises:
        InputError: objectives or limits that are none, a space without a valid design point, a storage that holds
            another study.
    """

    def __init__(
        self,
        asked: Asked,
        bench: Bench,
        storage: Storage,
        *,
        sampler: Sampler = "tpe",
        seed: int = 0,
        listener: Listener | None = None,
        joins: bool = False,
    ) -> None:
        check_objectives(asked.objectives, runs=bench.runs)
        read_limits(asked.limits, runs=bench.runs)
        asked.space.check()
        self.asked, self.bench, self.storage = asked, bench, storage
        self.sampler, self.seed, self.listener = sampler, seed, listener or Silence()
        self.joins = joins
        self._study: Any = self._find()
        self._prepared = False

    @property
    def objectives(self) -> tuple[str, ...]:
        """What is to be small."""
        return self.asked.objectives

    @property
    def points(self) -> list[Point]:
        """What is known, each design point once, at the highest fidelity that it has been measured at."""
        found: dict[str, Point] = {}
        for point in self.measured:
            key = _key(point.values)
            known = found.get(key)
            if known is None or _rank(point) > _rank(known):
                found[key] = point
        return [*found.values()]

    @property
    def measured(self) -> list[Point]:
        """Every measurement: a design point comes once for each of its fidelities, in order of number."""
        found: dict[tuple[str, str], Point] = {}
        for trial in self._trials():
            point = _point(trial, self.asked)
            if point is not None:
                found.setdefault((point.fidelity, _key(point.values)), point)
        return [*found.values()]

    @property
    def front(self) -> list[Point]:
        """The points that no other beats."""
        return front(self.points, self.objectives)

    @property
    def importances(self) -> dict[str, dict[str, float]]:
        """By objective, how much of it each field decides: Optuna's PED-ANOVA [Watanabe et al. 2023], sums of 1.

        Of the measurements at the first fidelity; nothing where they are too few, or all alike.
        """
        import optuna

        with quiet(), warnings.catch_warnings():
            warnings.filterwarnings("error", ".*importances will be equal")  # figures that are all alike
            copy = optuna.create_study(directions=_less(self.objectives))
            for trial in self._trials():
                if trial.state == optuna.trial.TrialState.COMPLETE and self._rung(trial) == 0:
                    copy.add_trial(trial)
            found: dict[str, dict[str, float]] = {}
            if len(copy.trials) < 2:
                return found
            for index, name in enumerate(self.objectives):
                try:
                    evaluator = optuna.importance.PedAnovaImportanceEvaluator()
                    target = _value_at(index)
                    told = optuna.importance.get_param_importances(copy, evaluator=evaluator, target=target)
                except (UserWarning, ValueError, RuntimeError, ZeroDivisionError):
                    continue  # too few, or all alike
                if all(map(math.isfinite, told.values())):
                    found[name] = {axis: float(told.get(axis, 0.0)) for axis in self.asked.space.names}
        return found

    @property
    def notes(self) -> list[str]:
        """What to know of the figures, in sentences."""
        axes = {axis.name: axis for axis in self.asked.space.axes}
        windows = [x for x in axes["window"].values if isinstance(x, int)] if "window" in axes else []
        window, rows = max([*windows, self.asked.space.base.window]), self.bench.identity.get("rows")
        if rows is None:
            return []
        found = []
        if rows["length"] < window:
            found.append(
                f"quality is of rows of {rows['length']:,} tokens, so that what only a full window of {window:,} does, "
                "or a sub-tile that is larger than a row, is not in it; cost is of a full window."
            )
        if len(self.asked.fidelities) == 1 and self.asked.fidelities[0] == "as_is":
            found.append("the adapter is moved to each design point as it is: matched or trained there it does better.")
        return found

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for JSON: points in order of number, and which of them no other beats."""
        asked = self.asked
        return {
            "model": asked.model,
            "adapter": asked.adapter,
            "objectives": [*asked.objectives],
            "limits": dict(asked.limits),
            "fidelities": [*asked.fidelities],
            "bench": self.bench.identity,
            "notes": self.notes,
            "vary": [axis.to_dict() for axis in asked.space.axes],
            "points": [point.to_dict() for point in self.points],
            "front": [point.number for point in self.front],
            "importances": self.importances,
        }

    def design(self, point: Point) -> GainCellConfig:
        """The design point of a point."""
        return self.asked.space.design(point.values)[0]

    def open(self) -> None:
        """Load what every point needs, and then begin the study where the storage has none: one that cannot start
        leaves the storage to another.

        Raises:
            InputError: what the bench refuses, rows or weights that are not those of the points that are there, or a
                storage in which another study was begun meanwhile.
        """
        if self._prepared:
            return
        self.bench.prepare()  # what it refuses is refused for all points, and of none of them
        self.storage.turn.acquire()
        try:
            self._study = self._find() or self._begin()
        finally:
            self.storage.turn.release()
        kept = self._study.user_attrs[_IDENTITY].get("found")
        kept = kept if isinstance(kept, dict) else {}
        apart = [name for name, found in self.bench.found.items() if found != kept.get(name)]
        if apart:
            told = " and ".join({"model": "weights", "rows": "rows of tokens"}.get(name, name) for name in apart)
            raise InputError(
                f"{self.storage.told} holds points of other {told} under the same names; give the same model and text, "
                "or choose another storage."
            )
        self._prepared = True

    def run(self, points: int | None = None) -> list[Point]:
        """Measure until there are so many design points, whoever measured them, and those that go on have gone on.

        Ends when nothing is left to do for any worker: what one that died had begun is done again. A point whose
        measurement fails is kept with what the error says, and not tried again.

        Args:
            points: how many; by default as many as the study that is joined was last run for, or the whole space, or
                `POINTS` of a larger one. No more than the space has.
        """
        space = self.asked.space
        if points is None and self.joins and self._study is not None:
            kept = self._study.user_attrs.get(_POINTS)
            points = kept if isinstance(kept, int) else None
        wanted = points if points is not None else min(space.size or POINTS, POINTS)
        wanted = wanted if space.size is None else min(wanted, space.size)
        if wanted < 1:
            return self.points
        with self.storage.alive(), quiet():
            study = self._begun()
            study.sampler = self._sampler(self._ordinal(wanted))
            while self._one(wanted):
                pass
        return self.points

    def _one(self, wanted: int) -> bool:
        """Measure one point, or wait a while for others; False where nothing is left to do."""
        import optuna

        self.storage.turn.acquire()
        try:
            self.storage.take_back(self._study)
            self._fill(wanted)
            waiting, running = (
                self._study.get_trials(deepcopy=False, states=(state,))
                for state in (optuna.trial.TrialState.WAITING, optuna.trial.TrialState.RUNNING)
            )
            if waiting and self._prepared:
                self._study.optimize(self._measure, n_trials=1)
                return True
        finally:
            self.storage.turn.release()
        if waiting:
            self.open()
        elif running:
            time.sleep(_POLL_S)
        return bool(waiting or running)

    def _fill(self, wanted: int) -> None:
        """Queue what is missing: design points of the first fidelity, and then those that go on from each."""
        import optuna

        states = optuna.trial.TrialState
        trials = self._study.get_trials(deepcopy=False)
        open_ = [trial for trial in trials if trial.state in (states.WAITING, states.RUNNING)]
        known = {(point.fidelity, _key(point.values)): point for point in self.measured}
        first, *later = self.asked.fidelities
        have = [key for fidelity, key in known if fidelity == first]
        queued = [trial for trial in open_ if self._rung(trial) == 0]
        if self.asked.space.size is not None and self.asked.space.size <= wanted:
            there = {*have, *(_key(trial.system_attrs.get("fixed_params") or trial.params) for trial in queued)}
            for values in self.asked.space.every():
                if _key(values) not in there:
                    self._study.enqueue_trial(values, user_attrs={_FIDELITY: first})
        else:
            for _ in range(wanted - len(have) - len(queued)):
                self._study.enqueue_trial({}, user_attrs={_FIDELITY: first})
        before = first
        for rung, fidelity in enumerate(later, 1):
            if any(self._rung(trial) < rung for trial in open_) or len(have) < wanted:
                return
            at_rung = [point for (at, _), point in known.items() if at == before]
            there = {key for at, key in known if at == fidelity}
            there |= {_key(trial.params or trial.system_attrs["fixed_params"]) for trial in open_}
            able = [_without_limits_on_quality(point, self.asked.limits) for point in at_rung]
            going_on = [point for point in front(able, self.objectives) if _key(point.values) not in there]
            for point in going_on:
                self._study.enqueue_trial(point.values, user_attrs={_FIDELITY: fidelity})
            if going_on:
                return
            before = fidelity

    def _measure(self, trial: "optuna.Trial") -> tuple[float, ...]:
        """The objectives of one trial; its values are chosen, and its worker written down, while it has the turn."""
        import optuna

        fidelity = trial.user_attrs.get(_FIDELITY, self.asked.fidelities[0])
        self.storage.claim(trial)
        values = {axis.name: _suggest(trial, axis) for axis in self.asked.space.axes}
        there = self._there(fidelity, but=trial.number)
        same = there.get(_key(values))
        if same is not None:
            trial.set_user_attr("same_as", same)
            self._queue_another({*there}, trial.number, fidelity)
            self.storage.turn.release()
            raise optuna.TrialPruned
        self.storage.turn.release()
        try:
            figures = self._figures(values, fidelity)
        except OSError:
            raise  # of the machine, not of the point: another worker, or the next try, may do better
        except Exception as error:  # one design point must not end the study, whatever it provokes
            told = str(error) if isinstance(error, InputError) else f"failed: {_sentence(error)}"
            _log.debug("point %d", trial.number, exc_info=True)
            trial.set_user_attr("refused", told)
            self.listener.say(f"point {trial.number}: {told}")
            raise optuna.TrialPruned from None  # which samplers learn from, and do not from one that failed
        trial.set_user_attr("figures", figures)
        last = fidelity == self.asked.fidelities[-1]
        for name, most in self.asked.limits.items():
            if name in OF_QUALITY and not last:
                continue  # what a later fidelity may meet is none to keep away from
            trial.set_constraint(name, figures[name] / most - 1.0)  # above zero where it is not kept
        told = ", ".join(f"{name} {figures[name]:.4g}" for name in self.objectives)
        self.listener.say(f"point {trial.number} ({fidelity}): {told}")
        return tuple(figures[name] for name in self.objectives)

    def _there(self, fidelity: str, but: int) -> dict[str, int]:
        """What is measured at a fidelity, or at least queued with its values, and by which trial."""
        found = {_key(point.values): point.number for point in self.measured if point.fidelity == fidelity}
        for trial in self._trials():
            chosen = trial.params if trial.state.name == "RUNNING" else trial.system_attrs.get("fixed_params")
            mine = trial.state.name in ("RUNNING", "WAITING") and trial.number != but
            if mine and chosen and self.asked.fidelities[self._rung(trial)] == fidelity:
                found.setdefault(_key(chosen), trial.number)
        return found

    def _queue_another(self, there: set[str], number: int, fidelity: str) -> None:
        """In place of a design point that came a second time one that nobody had, where the space is small."""
        space = self.asked.space
        if space.size is None or space.size > 1 << 20:
            return  # the next look for what is missing queues another
        left = [values for values in space.every() if _key(values) not in there]
        if left:
            chosen = random.Random(f"{self.seed} {number}").choice(left)
            self._study.enqueue_trial(chosen, user_attrs={_FIDELITY: fidelity})

    def _figures(self, values: Mapping[str, Value], fidelity: str) -> dict[str, float]:
        """Every figure of a choice of values. What the hardware's parameters change is computed anew each time."""
        point, parameters = self.asked.space.design(values)
        estimate(self.bench.shape, point, parameters)  # what no hardware can be need not be measured
        measured = self.bench.measure(point, fidelity)
        activity = None if measured is None else Activity.from_dict(measured.activity)
        figures = figures_of(measured, estimate(self.bench.shape, point, parameters, activity))
        wrong = [name for name in (*self.objectives, *self.asked.limits) if not math.isfinite(figures[name])]
        if wrong:
            raise InputError(f"{' and '.join(dict.fromkeys(wrong))} of this design point is no number.")
        return figures

    def _rung(self, trial: Any) -> int:
        return self.asked.fidelities.index(trial.user_attrs.get(_FIDELITY, self.asked.fidelities[0]))

    def _ordinal(self, wanted: int) -> int:
        """How many workers came before, so that those which start together do not choose the same points.

        What is asked of this one is written down, for those who join.
        """
        self.storage.turn.acquire()
        try:
            found = self._study.user_attrs.get(_WORKERS, 0)
            self._study.set_user_attr(_WORKERS, found + 1)
            self._study.set_user_attr(_POINTS, wanted)
        finally:
            self.storage.turn.release()
        return found

    def _sampler(self, ordinal: int) -> Any:
        import optuna

        seed = self.seed + ordinal
        if self.sampler == "nsga2":
            return optuna.samplers.NSGAIISampler(seed=seed)
        return optuna.samplers.TPESampler(multivariate=True, seed=seed)

    def _begun(self) -> Any:
        """The storage's study, begun where it has none."""
        if self._study is None:
            self.open()
        return self._study

    def _trials(self) -> list[Any]:
        return [] if self._study is None else self._study.get_trials(deepcopy=False)

    def _identity(self) -> dict[str, Any]:
        return {"form": _FORM, "asked": self.asked.to_dict(), "bench": self.bench.identity}

    def _find(self) -> Any:
        """The storage's study; None where it has none, or one whose worker died before it said which."""
        import optuna

        with quiet():
            if _IDENTITY not in optuna.get_all_study_names(self.storage.optuna):
                return None
            study = optuna.load_study(study_name=_IDENTITY, storage=self.storage.optuna)
            kept = study.user_attrs.get(_IDENTITY)
            if kept is None and not study.get_trials(deepcopy=False) and len(study.directions) > 1:
                return None
        _check_same(self.storage, kept, self._identity())
        return study

    def _begin(self) -> Any:
        """The storage's new study; the caller has the turn."""
        import optuna

        with quiet():
            study = optuna.create_study(
                storage=self.storage.optuna,
                study_name=_IDENTITY,
                directions=_less(self.objectives),
                load_if_exists=True,
            )
            study.set_metric_names(list(self.objectives))
            study.set_user_attr(_IDENTITY, {**self._identity(), "found": self.bench.found})
        return study


def read_asked(storage: Storage) -> tuple[Asked, dict[str, Any]]:
    """What the study in a storage looks for, and what its bench measures with.

    Raises:
        InputError: there is none, or it is not of this version.
    """
    import optuna

    with quiet():
        names = optuna.get_all_study_names(storage.optuna)
        there = _IDENTITY in names
        kept = optuna.load_study(study_name=_IDENTITY, storage=storage.optuna).user_attrs if there else {}
    found = kept.get(_IDENTITY)
    if not isinstance(found, dict) or found.get("form") != _FORM:
        raise InputError(f"{storage.told} holds no study of this version of gaincell; check it, or begin one there.")
    try:
        _check_no_paths(found["asked"]["space"])
        return Asked.from_dict(found["asked"]), dict(found["bench"])
    except InputError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError):
        raise InputError(f"{storage.told} holds a study that is damaged; choose another.") from None


def _check_no_paths(space: Mapping[str, Any]) -> None:
    """A storage may come from anyone: a cell, which may be a file's path or its content, is content there.

    Raises:
        TypeError: it is not.
    """
    content = [space["base"]["cell"], *space["cells"].values()]
    if not all(isinstance(x, dict) for x in content):
        raise TypeError


def figures_of(measured: Measured | None, found: Estimate) -> dict[str, float]:
    """Every figure, by name, see `point.FIGURES`."""
    figures = {
        "energy_j": found.energy_j,
        "head_energy_j": found.per_head.energy_j,
        "latency_s": found.latency_s,
        "area_m2": found.area_m2,
    }
    if measured is not None:
        figures |= {"kl": measured.kl, "perplexity_ratio": measured.perplexity / measured.original}
    return figures


def _check_same(storage: Storage, kept: Any, now: dict[str, Any]) -> None:
    """Refuse a storage that holds another study."""
    if not isinstance(kept, dict) or not isinstance(kept.get("asked"), dict):
        raise InputError(f"{storage.told} holds something else than a study of gaincell; choose another.")
    a, b = (_without_paths(x["asked"], x["bench"]) for x in (kept, now))
    apart = sorted(name for name in a | b if key_hash({"x": a.get(name)}) != key_hash({"x": b.get(name)}))
    if kept.get("form") != _FORM or apart:
        raise InputError(
            f"{storage.told} holds another study ({', '.join(apart) or 'form'} differ); choose another storage, or "
            "join it as it is with --join."
        )


def _without_paths(asked: Mapping[str, Any], bench: Mapping[str, Any]) -> dict[str, Any]:
    """What tells a study from others: where model, adapter and text lie may differ from one machine to the next."""
    rows = bench.get("rows")
    rows = {**rows, "text": None} if isinstance(rows, Mapping) else rows
    return {**asked, **bench, "model": None, "adapter": bench.get("adapter"), "rows": rows}


def _sentence(error: Exception) -> str:
    """What an error that nobody foresaw is, and where it was raised."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    first = (str(error).splitlines() or [""])[0][:200]
    return f"{type(error).__name__}{first and f' ({first})'}, at line {place.lineno} of {Path(place.filename).name}."


def _less(objectives: Sequence[str]) -> list[Literal["minimize", "maximize"]]:
    """Of every objective less is better."""
    return ["minimize" for _ in objectives]


def _suggest(trial: "optuna.Trial", axis: Any) -> Value:
    if axis.span is not None:
        return trial.suggest_float(axis.name, *axis.span, log=True)
    return trial.suggest_categorical(axis.name, axis.values)


def _point(trial: Any, asked: Asked) -> Point | None:
    """A finished trial as a point; None of one that is not, or that another stands for."""
    attrs, state = trial.user_attrs, trial.state.name
    refused = attrs.get("refused")
    if state != "COMPLETE" and (state != "PRUNED" or refused is None):
        return None
    figures = {} if refused is not None else dict(attrs.get("figures", {}))
    feasible = all(figures.get(name, math.inf) <= most for name, most in asked.limits.items())
    fidelity = attrs.get(_FIDELITY, asked.fidelities[0])
    values = {name: trial.params[name] for name in asked.space.names if name in trial.params}
    return Point(trial.number, values, fidelity, figures, refused, refused is None and feasible)


def _without_limits_on_quality(point: Point, limits: Mapping[str, float]) -> Point:
    """A point as far as a later fidelity, which may better its quality and changes no cost, lets limits decide."""
    kept = all(point.figures.get(name, math.inf) <= most for name, most in limits.items() if name not in OF_QUALITY)
    return replace(point, feasible=point.refused is None and kept)


def _rank(point: Point) -> int:
    return -1 if point.refused is not None else FIDELITIES.index(point.fidelity)


def _key(values: Mapping[str, Value]) -> str:
    return key_hash({str(name): value for name, value in values.items()})


def _value_at(index: int) -> Any:
    return lambda trial: trial.values[index]
