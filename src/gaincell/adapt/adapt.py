"""`gaincell.adapt`: from a pre-trained model to one that fits the hardware."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from gaincell.adapt.calibration import fingerprint, own_text, read_sequences
from gaincell.adapt.layers import LayerWalk
from gaincell.adapt.run import Run
from gaincell.adapt.settings import AdaptSettings
from gaincell.adapt.statistics import least_squares_layer, match_layer
from gaincell.adapt.transfer import transfer_layer
from gaincell.config import GainCellConfig
from gaincell.errors import InputError
from gaincell.models import HeadScalers, base_hash, check_servable, convert_, scalers_of
from gaincell.ops.check import check_design

Progress = Callable[[str, int, int], None]
STAGES = ("statistics", "transfer")


@dataclass(frozen=True)
class AdaptResult:
    """An adapted model and what every layer of every stage reached.

    Attributes:
        model: the model that was given, converted and adapted in place.
        metrics: one entry per stage and layer, with its relative error.
        folder: the run directory.
    """

    model: PreTrainedModel
    metrics: list[dict[str, Any]]
    folder: Path


def adapt(
    model: PreTrainedModel,
    config: GainCellConfig | str,
    *,
    tokenizer: Any,
    out: Path | str,
    text: str | None = None,
    calibration: Tensor | None = None,
    stages: Sequence[str] = STAGES,
    statistics: Literal["least-squares", "matching"] = "least-squares",
    settings: AdaptSettings | None = None,
    progress: Progress | None = None,
) -> AdaptResult:
    """Convert a pre-trained softmax model in place and adapt it to the hardware, layer by layer.

    Stages: `statistics` chooses the scalers of every head without gradients (least squares against softmax's output on
    the operator itself, or the paper's matching of mean and deviation); `transfer` then trains each layer's projections
    and scalers to put out what softmax put out there, on the inputs that the adapted layers below give it.

    Args:
        model: an unconverted causal decoder, in float32 or wider.
        config: the design point, or a preset's name.
        tokenizer: the model's tokenizer.
        out: the run directory; a run that was interrupted goes on where it stopped, with the same result as an
            uninterrupted one (bit-equal on one CPU thread).
        text: text to learn from; by default the model writes its own (cached in the run directory).
        calibration: (N, T) token ids to learn from instead of text.
        stages: "statistics", "transfer", or both in that order.
        statistics: which statistics.
        settings: amounts and rates; see `AdaptSettings`.
        progress: called with (stage, done, total).

    Raises:
        InputError: a model that is converted already or cannot be served, unknown stages, a text that is too short, a
            folder that belongs to another run.
    """
    config = GainCellConfig.preset(config) if isinstance(config, str) else config
    settings = settings or AdaptSettings()
    if not stages or any(stage not in STAGES for stage in stages):
        raise InputError(f"unknown stages {', '.join(stages) or '(none)'}; choose from {', '.join(STAGES)}.")
    if statistics not in ("least-squares", "matching"):
        raise InputError(f"unknown statistics '{statistics}'; choose least-squares or matching.")
    if scalers_of(model):
        raise InputError("the model attends in gain cells already; adapt starts from the original softmax model.")
    if next(model.parameters()).dtype not in (torch.float32, torch.float64):
        raise InputError("adaptation learns in float32: load the model with dtype=torch.float32.")
    if calibration is not None and (calibration.dim() != 2 or calibration.shape[0] < 1 or calibration.shape[1] < 2):
        raise InputError(f"calibration must be token ids of shape (N, T); got {tuple(calibration.shape)}.")
    check_design(config.for_layers(len(check_servable(model))))
    ids = _given(tokenizer, text, calibration, settings)
    _check_batches(settings.sequences if ids is None else len(ids), stages, settings)
    source = {
        "design_point": config.model_dump(mode="json"),
        "settings": settings.model_dump(),
        "statistics": statistics,
        "model": base_hash(model),
        "text": _source_of(text, calibration),
    }
    run = Run(out, source)
    ids = _own_text(model, tokenizer, run, settings, progress) if ids is None else ids
    was_training = model.training
    model.eval()
    convert_(model, config)
    # Statistics that the folder holds are what `transfer` starts from, in whichever call they were taken.
    wanted = [stage for stage in STAGES if stage in stages or (stage == "statistics" and run.holds(stage))]
    try:
        for stage in wanted:
            _run_stage(model, ids.to(model.device), run, stage, "statistics" in wanted, statistics, settings, progress)
    finally:
        model.train(was_training)
    return AdaptResult(model, run.metrics(), run.folder)


def _run_stage(
    model: PreTrainedModel,
    ids: Tensor,
    run: Run,
    stage: str,
    after_statistics: bool,
    statistics: str,
    settings: AdaptSettings,
    progress: Progress | None,
) -> None:
    batch = settings.statistics_sequences if stage == "statistics" else settings.batch
    count = min(len(ids), settings.statistics_sequences) if stage == "statistics" else len(ids) // batch * batch
    walk = LayerWalk(model, ids[:count], min(batch, count))
    for index, module in enumerate(walk.modules.values()):
        teaching = walk.advance(index)
        # `statistics` decides the scalers, `transfer` the whole attention module.
        target = _scalers(module) if stage == "statistics" else module
        metrics = run.load(stage, index, target)
        if metrics is not None and metrics.get("after_statistics", after_statistics) != after_statistics:
            raise InputError(
                f"{run.folder} holds a transfer that did not start from statistics; choose another output folder."
            )
        if metrics is None:
            metrics = {"stage": stage, "layer": index}
            if stage == "statistics":
                fit = least_squares_layer if statistics == "least-squares" else match_layer
                errors = fit(_scalers(module), walk.heads(index, teaching))
                metrics["relative_error"] = float(errors.mean())
            else:
                if settings.inputs == "student":
                    teaching = replace(teaching, inputs=walk.student_inputs(index))
                before, after = transfer_layer(module, teaching, settings, settings.seed + index)
                metrics |= {"relative_error_before": before, "relative_error": after}
                metrics["after_statistics"] = after_statistics
            run.save(stage, index, target.state_dict(), metrics)
        if stage == "transfer" and settings.inputs == "student":
            walk.follow(index)
        if progress is not None:
            progress(stage, index + 1, len(walk.modules))


def _scalers(module: nn.Module) -> HeadScalers:
    scalers = module.gaincell
    assert isinstance(scalers, HeadScalers)
    return scalers


def _given(tokenizer: Any, text: str | None, calibration: Tensor | None, settings: AdaptSettings) -> Tensor | None:
    """The token ids that the caller gave, or None where the model is to write its own."""
    if calibration is not None:
        return calibration
    return None if text is None else read_sequences(tokenizer, text, settings.sequences, settings.length)


def _check_batches(sequences: int, stages: Sequence[str], settings: AdaptSettings) -> None:
    if "transfer" in stages and sequences < settings.batch:
        raise InputError(
            f"a learning step takes {settings.batch} sequences, but there are {sequences}; use a smaller batch."
        )


def _own_text(
    model: PreTrainedModel, tokenizer: Any, run: Run, settings: AdaptSettings, progress: Progress | None
) -> Tensor:
    def report(done: int, total: int) -> None:
        if progress is not None:
            progress("text", done, total)

    path = run.folder / "calibration.safetensors"
    return own_text(model, tokenizer, path, settings.sequences, settings.length, settings.seed, report)


def _source_of(text: str | None, calibration: Tensor | None) -> str:
    if calibration is not None:
        return f"token ids {fingerprint(calibration)}"
    return "written by the model itself" if text is None else f"given text {fingerprint({'text': text})}"
