"""A study as a user names it: begun, gone on with, or joined by one more worker."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict, Unpack

from gaincell.config import GainCellConfig
from gaincell.errors import InputError
from gaincell.explore.bench import Bench, bench_of
from gaincell.explore.point import read_limits
from gaincell.explore.rows import PACKAGED, RowsAsked
from gaincell.explore.space import Space, Value
from gaincell.explore.storage import Storage
from gaincell.explore.study import Asked, Sampler, Study, check_fidelities, read_asked
from gaincell.hardware.parameters import HardwareParameters
from gaincell.progress import Listener
from gaincell.study.models import Load, load_model

#: What is looked for where nothing else is asked: of a model that runs, and of a shape.
WITH_QUALITY, COST_ALONE = ("kl", "energy_j"), ("energy_j", "latency_s")


class How(TypedDict, total=False):
    """What is the same of a study that is begun and one that is joined, or has a default.

    Attributes:
        load: gives a model and its tokenizer by name.
        cache: the folder of measurements; by default in the user's cache folder.
        listener: whom to tell.
        sampler: how points are chosen where the space has more than are asked for: "tpe" or "nsga2".
        seed: of that choice.
    """

    load: Load
    cache: Path | str | None
    listener: Listener | None
    sampler: Sampler
    seed: int


class What(How, total=False):
    """What a study may say beside its model, storage and space.

    Attributes:
        adapter: what the model learned: a shipped adapter's name, or a file.
        config: the design point, for all that is not varied: its name or path, or itself. By default the adapter's own,
            else "leroux2025".
        hardware: the hardware likewise.
        objectives: figures that are to be small, see `point.FIGURES`.
        limits: the most that figures may be.
        fidelities: of "as_is", "matched" and "distilled", in this order.
        tokens: that "distilled" learns on.
        rows: to measure on.
    """

    adapter: str | None
    config: GainCellConfig | str | Path | None
    hardware: HardwareParameters | None
    objectives: Sequence[str]
    limits: Mapping[str, float] | Sequence[str]
    fidelities: Sequence[str]
    tokens: int
    rows: RowsAsked | None


def begin(
    model: str, vary: Mapping[str, str | Sequence[Value]], storage: Storage | str | Path, **what: Unpack[What]
) -> Study:
    """The study of a storage, begun where that is a new one, gone on with where it is this one.

    Args:
        model: a shape, as `gaincell cost` knows them, or the original model's folder; an adapter's name or file stands
            for the demo model with it.
        vary: by field its values, see `Space.of`.
        storage: the path of a journal, or postgresql://...
        what: see `What`.

    Raises:
        InputError: what `Space.of`, `Study` and the bench refuse.
    """
    tokens = what.get("tokens", 0)
    model, adapter = _named(model, what.get("adapter"))
    runs = adapter is not None
    fidelities = check_fidelities(what.get("fidelities") or ("as_is",), tokens, runs=runs)
    space = Space.of(vary, _base(adapter, what.get("config")), what.get("hardware"))
    objectives = tuple(what.get("objectives") or (WITH_QUALITY if runs else COST_ALONE))
    limits = read_limits(what.get("limits") or {}, runs=runs)
    rows = what.get("rows")
    if runs:
        rows = rows or RowsAsked()
        learned = max(rows.learned, math.ceil(tokens / rows.length))
        rows = RowsAsked(rows.text, rows.rows, rows.length, rows.seed, learned)
    asked = Asked(space, objectives, limits, fidelities, model, adapter)
    return _study(asked, _bench(model, adapter, rows, tokens, what), storage, what)


def join(
    storage: Storage | str | Path,
    model: str | None = None,
    adapter: str | None = None,
    text: str | None = None,
    **how: Unpack[How],
) -> Study:
    """The study that a storage holds, for one more worker: everything but where files lie is kept there.

    A storage may come from anyone, so that a text which is not one of the package is read where `text` names it, and
    nowhere else.

    Args:
        storage: the path of a journal, or postgresql://...
        model: where the model lies on this machine, if elsewhere.
        adapter: where what it learned lies, likewise.
        text: the text of its rows, where that is a file or a data set.
        how: see `How`.

    Raises:
        InputError: there is no study, it is of another model, adapter or text, or not of this version; or its rows are
            of a text that has to be named.
    """
    storage = storage if isinstance(storage, Storage) else Storage(storage, new=False)
    asked, kept = read_asked(storage)
    named = (model or asked.model, adapter or asked.adapter)
    bench = _bench(*named, _joined_rows(kept.get("rows"), text), kept.get("tokens", 0), how)
    return _study(asked, bench, storage, how, joins=True)


def _joined_rows(kept: dict[str, Any] | None, text: str | None) -> RowsAsked | None:
    """The rows of a study in a storage, on the text that whoever joins names, or on one of the package."""
    if kept is None:
        if text is not None:
            raise InputError("--text: this study is of cost alone, without a text; leave it out.")
        return None
    if not isinstance(kept, dict) or kept.keys() != RowsAsked().to_dict().keys():
        raise InputError("this study's rows are damaged; choose another storage.")
    if text is None and kept["text"] not in PACKAGED:
        raise InputError(
            f"this study measures on the text '{kept['text']}', which joining does not read unasked; say with --text "
            "where it lies."
        )
    return RowsAsked(**{**kept, "text": text or kept["text"]})


def _named(model: str, adapter: str | None) -> tuple[str, str | None]:
    """The original's name and the adapter's, where an adapter's name may stand for both."""
    from gaincell.hardware.named import SHAPES

    if adapter is not None or model in SHAPES:
        return model, adapter
    from gaincell.models.adapter import is_adapter

    return ("demo", model) if is_adapter(model) else (model, None)


def _base(adapter: str | None, config: GainCellConfig | str | Path | None) -> GainCellConfig:
    if isinstance(config, GainCellConfig):
        return config
    if config is not None:
        return GainCellConfig.load(config)
    if adapter is None:
        return GainCellConfig.named("leroux2025")
    if adapter in GainCellConfig.names():
        return GainCellConfig.named(adapter)
    from gaincell.models import adapter_info

    return GainCellConfig(**adapter_info(adapter).design_point)


def _bench(model: str, adapter: str | None, rows: RowsAsked | None, tokens: int, how: How | What) -> Bench:
    return bench_of(
        model,
        adapter,
        rows,
        tokens=tokens,
        load=how.get("load", load_model),
        cache=how.get("cache"),
        listener=how.get("listener"),
    )


def _study(asked: Asked, bench: Bench, storage: Storage | str | Path, how: How | What, *, joins: bool = False) -> Study:
    storage = storage if isinstance(storage, Storage) else Storage(storage)
    return Study(
        asked,
        bench,
        storage,
        sampler=how.get("sampler", "tpe"),
        seed=how.get("seed", 0),
        listener=how.get("listener"),
        joins=joins,
    )
