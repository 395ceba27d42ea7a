"""Which layers of an adapted model to keep digital: rows, what the original says on them, and every layer in turn."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gaincell.config import GainCellConfig
from gaincell.errors import InputError
from gaincell.progress import Listener, Progress, Silence, of_stage
from gaincell.study.models import Load, load_model

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

    from gaincell.adapt import AdaptSettings
    from gaincell.adapt.sensitivity import Sensitivity

#: Tokens of a row, and rows, where the settings leave them out: minutes for the demo model.
LENGTH, ROWS = 512, 4


@dataclass(frozen=True)
class AskedDigital:
    """What to measure.

    Attributes:
        out: the folder, where rows and every measurement are kept; a call that was cut short goes on.
        adapter: an adapter, by name or file.
        model: what the original is loaded by.
        text: a UTF-8 text or data set to measure on; the original writes its own by default.
        budget: how many layers, or candidates, to choose.
        candidates: entries of the design point's field `digital` to try; all analog layers by default.
        settings: of `AdaptSettings`; of them `held_back`, the rows, `length` and `seed`.
    """

    out: Path
    adapter: str
    model: str = "demo"
    text: str | None = None
    budget: int = 0
    candidates: Sequence[int | str] | None = None
    settings: dict[str, Any] | None = None


@dataclass(frozen=True)
class FoundDigital:
    """What came of it.

    Attributes:
        found: with the order.
        rows, length: what was measured on.
        files: what was written: the data, and a plot where matplotlib is there.
    """

    found: "Sensitivity"
    rows: int
    length: int
    files: tuple[Path, ...]

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        return {"rows": self.rows, "length": self.length, **self.found.to_dict()}


def find_digital(asked: AskedDigital, load: Load = load_model, listener: Listener | None = None) -> FoundDigital:
    """Measure what each layer of an adapted model loses in gain cells, and choose those to keep digital.

    Raises:
        InputError: what `load_adapter`, `sensitivity` and the text refuse; settings of no rows.
        OSError: the disk is full.
    """
    from gaincell.adapt import AdaptSettings
    from gaincell.adapt.outcome import HeldBack
    from gaincell.adapt.precision import computing
    from gaincell.adapt.run.claim import claimed
    from gaincell.adapt.run.folder import Run
    from gaincell.adapt.sensitivity import STAGE, sensitivity, to_try
    from gaincell.adapt.text.cut import source_of
    from gaincell.evaluate.text_prefix import prefix_of
    from gaincell.models import load_adapter
    from gaincell.models.adapter import adapter_checksum, check_base
    from gaincell.models.convert import query_heads
    from gaincell.models.fingerprint import own_weights
    from gaincell.report.digital import write_sensitivity

    settings = AdaptSettings(**{"held_back": ROWS, "length": LENGTH, "precision": "no", **(asked.settings or {})})
    if settings.held_back < 1:
        raise InputError("there is nothing to measure on without rows; set held_back to 1 or more.")
    model, tokenizer = load(asked.model)
    config = GainCellConfig(**check_base(model, asked.adapter).design_point)
    to_try(config, query_heads(model), asked.candidates, asked.budget)
    model.eval()
    prefix = len(prefix_of(tokenizer))
    about = {"recipe": STAGE, "adapter": adapter_checksum(asked.adapter), "text": source_of(asked.text, None)}
    about |= {"rows": settings.model_dump(mode="json", include={"held_back", "length", "seed", "precision"})}
    with claimed(asked.out), (listener or Silence()).stages() as progress, computing(settings, model.device):
        Run(asked.out, about)
        ids = _rows(asked, settings, model, tokenizer, progress)
        of_original = of_stage(progress, "the original on it")
        held = HeldBack(model, ids, [ids.shape[1]], prefix, settings.seed, of_original)
        original = {name: value.clone() for name, value in own_weights(model).items()}
        load_adapter(model, asked.adapter)
        kept = asked.out / f"{STAGE}.json"
        how: dict[str, Any] = {"candidates": asked.candidates, "budget": asked.budget}
        found = sensitivity(model, held, original, **how, kept=kept, progress=progress)
    return FoundDigital(found, len(ids), ids.shape[1], (kept, *write_sensitivity(asked.out, found)))


def _rows(
    asked: AskedDigital, settings: "AdaptSettings", model: "PreTrainedModel", tokenizer: Any, progress: Progress
) -> "Tensor":
    """Token ids (N, T): of the text, or of the model's own."""
    from gaincell.adapt.seeds import number_of
    from gaincell.adapt.text.cut import read_rows
    from gaincell.adapt.text.own_text import own_text
    from gaincell.adapt.text.panel_refused import check_panel
    from gaincell.adapt.text.sources import load_source
    from gaincell.study.models import check_positions

    check_positions(model, settings.length, "the measurement")
    seed = number_of("sensitivity", settings.seed)
    if asked.text is not None:
        text = load_source(asked.text, characters=8 * settings.held_back * settings.length)
        check_panel(tokenizer, text, None)
        return read_rows(tokenizer, text, settings.held_back, settings.length, seed % 2**31)
    path = asked.out / f"rows-{settings.length}.safetensors"
    return own_text(
        model, tokenizer, path, settings.held_back, settings.length, seed, of_stage(progress, "text to measure on")
    )
