"""`gaincell.adapt`: from a pre-trained model to one that fits the hardware."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Unpack

from transformers import PreTrainedModel

from gaincell.adapt.distil.stage import Training
from gaincell.adapt.request import FurtherOfStages, Request, fit_length
from gaincell.adapt.run_stages import Plan, perform, source_identity
from gaincell.adapt.settings import MANNER, AdaptSettings
from gaincell.adapt.stage import AdaptResult, Stage
from gaincell.adapt.stages.layerwise import Statistics, Transfer
from gaincell.adapt.stages.matching import MatchCell
from gaincell.config import GainCellConfig
from gaincell.errors import InputError
from gaincell.models import convert_, load_adapter
from gaincell.models.adapter import adapter_checksum
from gaincell.progress import Progress

#: At equal time, what `transfer` gives is what more tokens of `distill` give.
DEFAULT_STAGES = ("statistics", "distill")


def adapt(
    model: PreTrainedModel,
    config: GainCellConfig | str,
    *,
    tokenizer: Any,
    out: Path | str,
    text: str | None = None,
    stages: Sequence[str] = DEFAULT_STAGES,
    statistics: Literal["least-squares", "matching"] = "least-squares",
    settings: AdaptSettings | None = None,
    start: str | Path | None = None,
    progress: Progress | None = None,
    **further: Unpack[FurtherOfStages],
) -> AdaptResult:
    """Convert a pre-trained softmax model in place and adapt it to the hardware.

    `statistics` chooses the scalers of every head, without gradients; `transfer` trains each layer's projections and
    scalers to put out what softmax put out there; `distill` trains the model end to end towards the original's
    next-token distributions and last hidden states, or towards the text; `matching` moves an adapter to another cell.

    Args:
        model: an unconverted causal decoder, in float32 or wider.
        config: the design point, or a shipped one's name.
        tokenizer: the model's tokenizer.
        out: the run directory; a run that was interrupted goes on where it stopped, with the same result as an
            uninterrupted one (bit-equal on one CPU thread).
        text: text to learn from; by default the model writes its own (cached in the run directory).
        stages: any of "statistics", "transfer" and "distill", or with `start` of "matching" and "distill"; they run in
            that order, on top of those that the folder holds.
        statistics: how that stage finds scalers: by least squares, or by the paper's matching of mean and deviation.
        settings: amounts and rates; see `AdaptSettings`.
        start: an adapter to go on from with the stages "matching" or "distill": a shipped one's name, or a file.
        progress: called with (stage, done, total).
        further: see `gaincell.adapt.request.FurtherOfStages`.

    Raises:
        InputError: a model, text, teacher or adapter that does not fit, unknown stages, a folder that belongs to
            another run or that another process is at work in, a loss that is not finite.
    """
    every = known_stages(stages, statistics)
    config = GainCellConfig.named(config) if isinstance(config, str) else config
    settings = fit_length(settings or AdaptSettings(), model, config)
    request = Request(model, config, tokenizer, out, settings, text, start, progress, **further)
    chosen = tuple(stage for stage in every if stage.name in stages)
    return perform(request, stages_plan(request, chosen, every, statistics))


def known_stages(names: Sequence[str], statistics: str) -> tuple[Stage, ...]:
    """All stages that there are, in their order.

    Raises:
        InputError: one of these names is no stage, none is given, or statistics that there are not.
    """
    if statistics not in ("least-squares", "matching"):
        raise InputError(f"unknown statistics '{statistics}'; choose least-squares or matching.")
    every: tuple[Stage, ...] = (MatchCell(), Statistics(statistics), Transfer(), Training())
    known = [stage.name for stage in every]
    if not names or any(name not in known for name in names):
        raise InputError(f"unknown stages {', '.join(names) or '(none)'}; choose from {', '.join(known)}.")
    return every


def stages_plan(request: Request, chosen: tuple[Stage, ...], every: tuple[Stage, ...], statistics: str) -> Plan:
    """The plan of these stages, from softmax or from an adapter."""
    config, start = request.config, request.start

    def identity(settings: AdaptSettings) -> dict[str, Any]:
        # Precision and what is `distill`'s are kept apart from what decides the stages before it.
        fields = settings.model_dump(mode="json", exclude={**MANNER, "precision": True, "distill": True})
        return {
            **source_identity(request),
            "settings": fields,
            "statistics": statistics,
            **({} if start is None else {"start": adapter_checksum(start)}),
        }

    def begin(model: PreTrainedModel) -> object:
        if start is None:
            return convert_(model, config)
        return load_adapter(model, start, digital=config.digital)

    return Plan(chosen, identity, begin, every, precision_apart=True)
