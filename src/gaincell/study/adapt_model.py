"""Adaptation as a user asks for it: text from wherever it comes, the run, and the model and adapter that it leaves."""

import os
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gaincell.config import GainCellConfig
from gaincell.progress import Listener, Progress, Silence
from gaincell.report.numbers import number
from gaincell.study.models import Load, load_model

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from gaincell.adapt import AdaptResult, AdaptSettings, Outcome
    from gaincell.adapt.text import Mixture

#: Of a data set, at least; more where the settings ask for more tokens than are in there, at up to 8 a token.
CHARACTERS = 10_000_000


@dataclass(frozen=True)
class Asked:
    """What is to be adapted, to what, on what and how.

    Attributes:
        out: the run folder; a run in it that was cut short goes on.
        design_point: what to adapt to.
        model: what the original is loaded by.
        text: a file, a data set, "packaged" or "library", or "mixture" or a mixture file (.yaml); the model writes its
            own by default.
        allow_missing: whether a mixture goes on without the sources that cannot be fetched.
        tokens: token ids in place of a text: a .npy file.
        validate: text whose perplexity is logged on the way: a file, "speeches" or "novel".
        stages: of `gaincell.adapt`; none where there is a recipe.
        statistics: how the stage of that name finds the scalers.
        recipe: "paper": `gaincell.adapt.paper_recipe` in place of stages.
        start: an adapter to go on from.
        settings: fields of `AdaptSettings`.
        rank: of the adapter's matrices; exact differences by default.
        save: an adapter of the last checkpoint of a run in `out` goes into this file, and nothing more is learned.
        notes: the adapter's: how it was made.
    """

    out: Path
    design_point: GainCellConfig
    model: str = "demo"
    text: str | None = None
    allow_missing: bool = False
    tokens: Path | None = None
    validate: str | None = None
    stages: tuple[str, ...] = ()
    statistics: str | None = None
    recipe: str | None = None
    start: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    rank: int | None = None
    save: Path | None = None
    notes: str = ""

    @property
    def learns(self) -> bool:
        """Whether the run goes on."""
        return self.save is None

    @property
    def distils(self) -> bool:
        """Whether the model is trained end to end."""
        return self.recipe is not None or "distill" in self.stages


@dataclass(frozen=True)
class Adaptation:
    """What came of it.

    Attributes:
        result: of `gaincell.adapt`, whose model is the adapted one.
        model: the folder that it was saved to; None where nothing was learned.
        adapter: the adapter's file.
        reached: the checkpoint that was reached, in words; None where the stages have none.
    """

    result: "AdaptResult"
    model: Path | None
    adapter: Path
    reached: str | None

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        metrics, outcome = self.result.metrics, self.result.outcome
        return {
            "model": None if self.model is None else str(self.model),
            "adapter": str(self.adapter),
            "stages": list(dict.fromkeys(line["stage"] for line in metrics)),
            "metrics": metrics,
            "outcome": None if outcome is None else outcome.to_dict(),
        }


def told(outcome: "Outcome") -> list[str]:
    """What came out, in a line for each length, and what there is to mind."""
    lines = [
        f"at {at.length:,} tokens: perplexity {number(at.perplexity)}, {number(at.ratio, 3)} times the original's "
        f"{number(at.original)}, and KL {number(at.divergence, 3)} nats a token"
        for at in outcome.lengths
    ]
    return [*lines, *(note for note in (outcome.note, outcome.left_behind) if note is not None)]


def adapt_model(asked: Asked, load: Load = load_model, listener: Listener | None = None) -> Adaptation | None:
    """Adapt a model, and save it and an adapter of it; None in all processes but the first of `accelerate launch`.

    Raises:
        InputError: what `gaincell.adapt`, `load_source` and `load_mixture` refuse.
        OSError: the disk is full.
    """
    from gaincell.adapt import AdaptSettings
    from gaincell.adapt.request import fit_length
    from gaincell.adapt.run.claim import claimed
    from gaincell.models import save_adapter
    from gaincell.models.load import save_model

    given = _read(asked)
    settings = AdaptSettings(**asked.settings)
    mixture, words = _open_text(asked, settings)
    network, tokenizer = load(asked.model)
    settings = fit_length(settings, network, asked.design_point)
    with claimed(asked.out) if asked.learns else nullcontext():
        with (listener or Silence()).stages() as progress:
            given |= {"tokenizer": tokenizer, "out": asked.out, "text": words, "settings": settings}
            given |= {"progress": progress, "learn": asked.learns}
            if mixture is not None:
                given |= _mixed(asked, mixture, network, tokenizer, settings, progress)
            result = _adapt(asked, network, given)
        if int(os.environ.get("RANK", "0")):
            return None  # the first process tells and saves
        model = save_model(result.model, tokenizer, asked.out / "model") if asked.learns else None
        adapter = asked.save or asked.out / "adapter.safetensors"
        last = result.metrics[-1]
        reached = f"the checkpoint after {last['tokens']:,} tokens of {last['stage']}" if "tokens" in last else None
        notes = asked.notes if asked.learns or reached is None else f"{asked.notes}, {reached}"
        # The model was adapted in place: its weights as they were are read again rather than held all the while.
        save_adapter(result.model, load(asked.model)[0], adapter, rank=asked.rank, notes=notes)
    return Adaptation(result, model, adapter, reached)


def _read(asked: Asked) -> dict[str, Any]:
    """Files of token ids and of a text to validate on."""
    from gaincell.adapt.text.sources import load_tokens
    from gaincell.evaluate import load_text

    return {
        "calibration": None if asked.tokens is None else load_tokens(asked.tokens),
        "validation": None if asked.validate is None else load_text(asked.validate),
    }


def is_mixture(text: str | None) -> bool:
    """Whether this names a mixture of texts."""
    return text is not None and (text == "mixture" or text.endswith((".yaml", ".yml")))


def _open_text(asked: Asked, settings: "AdaptSettings") -> "tuple[Mixture | None, str | None]":
    """A mixture, or the text itself; neither where the model writes its own, or tokens are given."""
    from gaincell.adapt.text import load_mixture
    from gaincell.adapt.text.sources import load_source

    if asked.text is None or is_mixture(asked.text):
        return None if asked.text is None else load_mixture(asked.text), None
    learned = max(settings.rows * settings.length, settings.distill.tokens if asked.distils else 0)
    return None, load_source(asked.text, characters=max(CHARACTERS, 8 * learned))


def _mixed(
    asked: Asked,
    mixture: "Mixture",
    network: "PreTrainedModel",
    tokenizer: Any,
    settings: "AdaptSettings",
    progress: Progress,
) -> dict[str, Any]:
    """Rows of a mixture, as `gaincell.adapt` takes them."""
    from gaincell.adapt.distil.loop import first_process_first, make_accelerator
    from gaincell.adapt.text import mixed_calibration

    how: dict[str, Any] = {"distilling": asked.distils, "learn": asked.learns, "allow_missing": asked.allow_missing}
    with first_process_first(make_accelerator() if asked.distils else None):
        rows = mixed_calibration(network, tokenizer, mixture, settings, progress, **how)
    if asked.recipe:
        return {"calibration": rows.distill, "calibration_of": rows.about}
    return {"calibration": rows.rows, "distill_calibration": rows.distill, "calibration_of": rows.about}


def _adapt(asked: Asked, network: "PreTrainedModel", given: dict[str, Any]) -> "AdaptResult":
    from gaincell.adapt import adapt, paper_recipe

    if asked.recipe:
        return paper_recipe(network, asked.design_point, **given)
    how: dict[str, Any] = {"statistics": asked.statistics or "least-squares", "start": asked.start}
    return adapt(network, asked.design_point, stages=asked.stages, **how, **given)
