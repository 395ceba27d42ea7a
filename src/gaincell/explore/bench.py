"""What a study measures with: a model, what it learned, and the rows."""

import hashlib
import logging
import math
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from gaincell.cell.cell import is_file
from gaincell.config import GainCellConfig
from gaincell.errors import InputError
from gaincell.explore.measured import Kept, Measured, key_hash
from gaincell.explore.rows import RowsAsked, fingerprint, read
from gaincell.hardware.named import NamedModel, find_model
from gaincell.hardware.read_workload import read_workload
from gaincell.progress import Listener, Silence
from gaincell.study.models import Load, load_model
from gaincell.version import __version__

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

    from gaincell.adapt.outcome import HeldBack

#: What is done before quality is measured, the cheapest first.
FIDELITIES = ("as_is", "matched", "distilled")


class Bench(Protocol):
    """Measures design points."""

    @property
    def identity(self) -> dict[str, Any]:
        """What its figures depend on beside the design point, as plain values."""
        ...

    @property
    def found(self) -> dict[str, Any]:
        """Checksums of what `prepare` found under the names of `identity`; nothing before."""
        ...

    @property
    def shape(self) -> object:
        """What `gaincell.hardware.estimate` takes for the model."""
        ...

    @property
    def runs(self) -> bool:
        """Whether a model runs, so that there is quality to measure."""
        ...

    def prepare(self) -> None:
        """Load what every point needs, and refuse what none could be measured with."""
        ...

    def measure(self, point: GainCellConfig, fidelity: str) -> Measured | None:
        """Quality and activity at a design point; None where no model runs."""
        ...


@dataclass(frozen=True)
class ShapeBench:
    """A model that is a shape alone: latency, energy and area at the activity that estimates assume."""

    model: NamedModel

    @property
    def identity(self) -> dict[str, Any]:
        """The model's name, and what its shape makes arrays do."""
        return {"model": self.model.name, "workload": _workload(self.model.fields)}

    @property
    def found(self) -> dict[str, Any]:
        """Nothing is loaded."""
        return {}

    @property
    def shape(self) -> object:
        """The model's fields."""
        return self.model.fields

    runs = False

    def prepare(self) -> None:
        """Nothing is loaded."""

    def measure(self, point: GainCellConfig, fidelity: str) -> None:
        """Nothing runs."""


def bench_of(
    model: str,
    adapter: str | None = None,
    rows: RowsAsked | None = None,
    *,
    load: Load = load_model,
    tokens: int = 0,
    cache: Path | str | None = None,
    listener: Listener | None = None,
) -> "Bench":
    """What a user names to measure with.

    Args:
        model: a shape, as `gaincell cost` knows them, or the original model's folder.
        adapter: what the model learned.
        rows: to measure on.
        load: gives a model and its tokenizer by name.
        tokens: that "distilled" learns on.
        cache: the folder of measurements.
        listener: whom to tell.

    Raises:
        InputError: a model or an adapter that is none, or rows without an adapter.
    """
    if adapter is None:
        if rows is not None:
            raise InputError("rows to measure on (--text, --rows, --length) are for a model with --from ADAPTER.")
        return ShapeBench(find_model(model))
    named = find_model(model)
    if named.loads is None:
        raise InputError(f"'{model}' is a shape without weights, which no adapter is for; name a model's folder.")
    from gaincell.models.adapter import adapter_checksum

    checksum = adapter_checksum(adapter)
    return ModelBench(named, adapter, checksum, rows or RowsAsked(), load, tokens, Kept(cache), listener or Silence())


@dataclass
class _Loaded:
    """The original, as long as nothing was measured, and what it is measured on."""

    model: "PreTrainedModel"
    tokenizer: Any
    rows: "Tensor"
    learned: "Tensor"
    key: dict[str, Any]


@dataclass
class _Ready:
    """The model in gain cells as it was adapted, and what the original predicts."""

    model: "PreTrainedModel"
    own: GainCellConfig
    held: "HeldBack"
    scalers: dict[str, dict[str, "Tensor"]]


@dataclass
class ModelBench:
    """A model that runs at every design point; loaded when something is first measured that is not kept."""

    named: NamedModel
    adapter: str
    checksum: str
    asked: RowsAsked
    load: Load
    tokens: int
    kept: Kept
    listener: Listener
    _loaded: _Loaded | None = None
    _adapted: _Ready | None = None

    runs = True

    @property
    def identity(self) -> dict[str, Any]:
        """Model, adapter and rows: the adapter is of one base alone, which `prepare` holds against it."""
        rows, workload = self.asked.to_dict(), _workload(self.named.fields)
        given = {"adapter": self.checksum, "rows": rows, "text": _content(self.asked.text), "tokens": self.tokens}
        return {"model": self.named.name, "workload": workload, **given}

    @property
    def found(self) -> dict[str, Any]:
        """The original's weights, and the rows."""
        return {} if self._loaded is None else {name: self._loaded.key[name] for name in ("model", "rows")}

    @property
    def shape(self) -> object:
        """The model's fields."""
        return self.named.fields

    def prepare(self) -> None:
        """Load the original and the rows.

        Raises:
            InputError: the model, the rows or the adapter cannot be had, or do not fit each other.
        """
        self._loaded = self._loaded or self._load()

    def measure(self, point: GainCellConfig, fidelity: str) -> Measured:
        """Quality and activity, from what is kept where it is."""
        self.prepare()
        loaded = self._loaded
        assert loaded is not None
        # All of the design point but what it is called: of cells with references even the rows of a sub-tile count.
        counted = point.replace(name=type(point).model_fields["name"].default).model_dump(mode="json")
        key = {**loaded.key, "design_point": counted, "fidelity": fidelity}
        if fidelity == "distilled":
            key["tokens"] = self.tokens
        return self.kept.find(key, lambda: self._measure(loaded, point, fidelity, key))

    def _load(self) -> _Loaded:
        from gaincell.models import base_hash, scalers_of
        from gaincell.models.adapter import check_base

        assert self.named.loads is not None
        model, tokenizer = self.load(self.named.loads)
        if scalers_of(model):
            raise InputError(f"'{self.named.name}' attends in gain cells already; name the original model.")
        check_base(model, self.adapter)
        with self.listener.stages() as progress:
            rows, learned = read(self.asked, tokenizer, progress)
        key = {
            "gaincell": __version__,
            "model": base_hash(model),
            "adapter": self.checksum,
            "rows": [fingerprint(rows), fingerprint(learned)],
            "seed": self.asked.seed,
        }
        return _Loaded(model, tokenizer, rows, learned, key)

    def _adapt(self, loaded: _Loaded, digital: tuple[int | str, ...]) -> _Ready:
        """What the original predicts, and then the adapter on it; layers that are digital keep the original's weights.

        No study varies which those are.
        """
        from gaincell.adapt.outcome import HeldBack
        from gaincell.evaluate.text_prefix import prefix_of
        from gaincell.models import design_point, load_adapter, scalers_of

        rows, model = loaded.rows, loaded.model
        model.eval()
        held = HeldBack(model, rows, [rows.shape[1]], len(prefix_of(loaded.tokenizer)), self.asked.seed)
        load_adapter(model, self.adapter, digital=digital)
        model.eval()
        own = design_point(model)
        assert own is not None
        kept = {
            name: {part: value.detach().clone() for part, value in scalers.state_dict().items()}
            for name, scalers in scalers_of(model).items()
        }
        return _Ready(model, own, held, kept)

    def _measure(self, loaded: _Loaded, point: GainCellConfig, fidelity: str, key: dict[str, Any]) -> Measured:
        ready = self._adapted = self._adapted or self._adapt(loaded, point.digital)
        if ready.own.digital != point.digital:
            raise InputError("all design points of a study have the same digital layers; begin another for others.")
        with _without_notes():
            if fidelity == "as_is":
                from gaincell.models import convert_

                return self._watch(convert_(ready.model, point), ready)
            if fidelity == "matched":
                with self._matched(ready, loaded.learned, point) as model:
                    return self._watch(model, ready)
            model = self._distilled(ready, loaded, point, self.kept.folder / f"run-{key_hash(key)}")
            return self._watch(model, ready)

    def _watch(self, model: "PreTrainedModel", ready: _Ready) -> Measured:
        """One pass over the rows gives quality and activity."""
        from gaincell.adapt.seeds import drawing
        from gaincell.models.observe import activity_of, watched

        model.eval()
        rows = ready.held.ids
        with drawing("explore", self.asked.seed), watched(model) as tallies:
            (at,) = ready.held.measure(model)
        activity = activity_of(tallies, rows.numel(), f"{rows.numel()} tokens of '{Path(self.asked.text).name}'")
        if not math.isfinite(at.divergence):
            raise InputError("the model's predictions at this design point are no numbers.")
        return Measured(at.divergence, at.perplexity, at.original, activity.to_dict())

    @contextmanager
    def _matched(self, ready: _Ready, rows: "Tensor", point: GainCellConfig) -> "Iterator[PreTrainedModel]":
        """The adapted model moved to a design point, its scalers matched to what its arrays drew; taken back after."""
        from gaincell.adapt.run.folder import Run
        from gaincell.adapt.stages.matching import match_cell
        from gaincell.models import convert_, scalers_of

        model = convert_(ready.model, ready.own)
        target = point.for_layers(len(scalers_of(model)))
        try:
            with tempfile.TemporaryDirectory() as folder:
                match_cell(model, target, rows[:2].to(model.device), Run(folder, {}))
            yield model
        finally:
            for name, scalers in scalers_of(model).items():
                scalers.load_state_dict(ready.scalers[name])

    def _distilled(self, ready: _Ready, loaded: _Loaded, point: GainCellConfig, folder: Path) -> "PreTrainedModel":
        """The matched model, trained end to end for a while; a run that was cut short goes on."""
        from gaincell.adapt import AdaptSettings, DistillSettings, adapt
        from gaincell.models import save_adapter

        assert self.named.loads is not None
        original, _ = self.load(self.named.loads)
        start = folder.with_suffix(".safetensors")
        if not start.is_file():
            with self._matched(ready, loaded.learned, point) as model:
                save_adapter(model, original, start)
        length = int(loaded.learned.shape[1])
        settings = AdaptSettings(length=length, held_back=0, distill=DistillSettings(tokens=self.tokens))
        how: dict[str, Any] = {"tokenizer": loaded.tokenizer, "calibration": loaded.learned, "settings": settings}
        return adapt(original, point, out=folder, stages=("distill",), start=start, **how).model


def _workload(fields: object) -> str:
    """A checksum of all that attention's cost depends on of a model, whatever it is called."""
    return key_hash(asdict(read_workload(fields)))


def _content(text: str) -> str:
    """A checksum of a file, which may lie elsewhere on another machine; any other text goes by its name."""
    path = Path(text)
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()[:32] if is_file(path) else text
    except OSError:
        return text  # reading the rows says what is wrong with it


@contextmanager
def _without_notes() -> Iterator[None]:
    """Without a note at every design point that the model moves to."""

    def keep(record: logging.LogRecord) -> bool:
        return not record.getMessage().startswith("design point changed")

    logger = logging.getLogger("gaincell.models.convert"), logging.getLogger("gaincell")
    for each in logger:
        each.addFilter(keep)
    try:
        yield
    finally:
        for each in logger:
            each.removeFilter(keep)
