"""`gaincell.adapt`: from a pre-trained model to one that fits the hardware."""

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from torch import Tensor, nn
from transformers import PreTrainedModel

from gaincell.adapt.calibration import fingerprint, read_sequences
from gaincell.adapt.check_panel import check_panel
from gaincell.adapt.claim import claimed
from gaincell.adapt.distill import check_shared, distill, make_accelerator, restore
from gaincell.adapt.fit import fit_layer
from gaincell.adapt.held_out import keep_learned
from gaincell.adapt.layers import LayerWalk
from gaincell.adapt.matching import match_cell
from gaincell.adapt.outcome import Outcome, conclude, hold_back
from gaincell.adapt.precision import keep, settled
from gaincell.adapt.prepare import (
    begins,
    check_original,
    check_start,
    check_teacher,
    cut_rows,
    distill_rows,
    first_process_first,
    fit_length,
    make_teacher,
    make_validation,
    own_rows,
    source_of,
    text_rows,
)
from gaincell.adapt.rows import Permuted, drawing
from gaincell.adapt.run import Run, check_same
from gaincell.adapt.settings import MANNER, AdaptSettings
from gaincell.adapt.statistics import least_squares_layer, match_layer
from gaincell.adapt.transfer import transfer_layer
from gaincell.config import GainCellConfig
from gaincell.errors import InputError
from gaincell.models import HeadScalers, attention_modules, base_hash, check_servable, convert_, load_adapter
from gaincell.models.adapter import adapter_checksum
from gaincell.models.convert import softmax_scale
from gaincell.models.scalers import scalers_in
from gaincell.ops.check import check_design

logger = logging.getLogger("gaincell")

Progress = Callable[[str, int, int], None]
STAGES = ("matching", "statistics", "transfer", "distill")
DEFAULT_STAGES = ("statistics", "transfer")


@dataclass(frozen=True)
class AdaptResult:
    """An adapted model and what every layer of every stage reached.

    Attributes:
        model: the model that was given, converted and adapted in place.
        metrics: of the stages that the model has been through: one entry per layer of `statistics`, `transfer` and
            `matching`, with its relative error; one per step of `distill`, `linear` and `cubic`.
        folder: the run directory.
        outcome: how near the model came to the original, on rows that were held back; None where nothing was learned
            in this call or `AdaptSettings.held_back` is 0, without a tokenizer, and in all processes but the first.
    """

    model: PreTrainedModel
    metrics: list[dict[str, Any]]
    folder: Path
    outcome: Outcome | None = None


def adapt(
    model: PreTrainedModel,
    config: GainCellConfig | str,
    *,
    tokenizer: Any,
    out: Path | str,
    text: str | None = None,
    calibration: Tensor | None = None,
    distill_calibration: Tensor | None = None,
    calibration_of: Mapping[str, Any] | None = None,
    stages: Sequence[str] = DEFAULT_STAGES,
    statistics: Literal["least-squares", "matching"] = "least-squares",
    settings: AdaptSettings | None = None,
    teacher: PreTrainedModel | None = None,
    start: str | Path | None = None,
    validation: str | None = None,
    progress: Progress | None = None,
    learn: bool = True,
) -> AdaptResult:
    """Convert a pre-trained softmax model in place and adapt it to the hardware, layer by layer and then as a whole.

    Stages: `statistics` chooses the scalers of every head without gradients (least squares against softmax's output on
    the operator itself, or the paper's matching of mean and deviation); `transfer` then trains each layer's projections
    and scalers to put out what softmax put out there, on the inputs that the adapted layers below give it; `distill`
    trains the model end to end towards the original's next-token distributions and last hidden states (or, with
    `distill_loss` "next-token", towards the text). The paper's own recipe is `gaincell.adapt.paper_recipe`.
    `matching` moves an adapter (`start`) to another cell: without gradients, it brings the charges that every head
    stores, and its output, to the mean and deviation that they had.

    `distill` runs through accelerate: under `accelerate launch` on several processes, of which the first takes the
    stages before; otherwise on the GPU if there is one, where the model then stays.

    Args:
        model: an unconverted causal decoder, in float32 or wider.
        config: the design point, or a preset's name.
        tokenizer: the model's tokenizer.
        out: the run directory; a run that was interrupted goes on where it stopped, with the same result as an
            uninterrupted one (bit-equal on one CPU thread).
        text: text to learn from; by default the model writes its own (cached in the run directory).
        calibration: (N, T) token ids to learn from instead of text; stages before `distill` take the first
            `settings.sequences` rows.
        distill_calibration: (M, L) token ids that `distill` learns on, where they are others than `calibration`.
        calibration_of: what these ids are, for the run's `config.json`.
        stages: any of "statistics", "transfer" and "distill", or with `start` of "matching" and "distill"; they run in
            that order, on top of those that the folder holds.
        statistics: which statistics.
        settings: amounts and rates; see `AdaptSettings`.
        teacher: the model that `distill` learns from; by default the original.
        start: an adapter to go on from with the stages "matching" or "distill": a shipped one's name, or a file.
        validation: text, not to be learned from, whose perplexity `distill` logs every now and then.
        progress: called with (stage, done, total).
        learn: False puts on the model what the folder holds up to the last checkpoint, of a run that was cut short or
            is still going on, and leaves the folder as it is.

    Raises:
        InputError: a model that is converted already or cannot be served, unknown stages, a text that is too short, a
            teacher or an adapter that does not fit, a folder that belongs to another run or that another process is at
            work in, a loss that is not finite.
    """
    config = GainCellConfig.preset(config) if isinstance(config, str) else config
    settings = settings or AdaptSettings()
    if not stages or any(stage not in STAGES for stage in stages):
        raise InputError(f"unknown stages {', '.join(stages) or '(none)'}; choose from {', '.join(STAGES)}.")
    if statistics not in ("least-squares", "matching"):
        raise InputError(f"unknown statistics '{statistics}'; choose least-squares or matching.")
    distilling = "distill" in stages
    settings = fit_length(settings, model, config)
    check_original(model, tokenizer, text, calibration, settings, distilling=distilling)
    _check_statistics(config, stages, statistics)
    check_design(config.for_layers(len(check_servable(model))))
    if start is not None:
        check_start(model, config, start, stages)
    elif "matching" in stages:
        raise InputError("the stage matching moves an adapter to another cell; say which adapter to start from.")
    if distilling:
        check_teacher(model, teacher, settings)
    elif validation is not None or teacher is not None:
        raise InputError("a validation text and a teacher are for the stage distill; add it, or leave them out.")
    # Of a text that none but `distill` learns on, no more is asked than that takes.
    ids = calibration if set(stages) == {"distill"} else _given(tokenizer, text, calibration, settings)
    longer = text_rows(tokenizer, text, ids, settings) if distilling else None
    if distill_calibration is not None:
        longer = distill_rows(model, tokenizer, calibration, distill_calibration, settings, distilling=distilling)
    if learn:
        check_panel(tokenizer, text, calibration)
        check_panel(tokenizer, None, distill_calibration)
    _check_batches(settings.sequences if ids is None else min(len(ids), settings.sequences), stages, settings)
    accelerator = None
    if distilling:
        accelerator = make_accelerator()
        check_shared(settings, accelerator.num_processes)
        model.to(accelerator.device)
    fields = settings.model_dump(mode="json")
    source = {
        "design_point": config.model_dump(mode="json"),
        "settings": {
            k: v for k, v in fields.items() if not k.startswith("distill_") and k not in {"precision", *MANNER}
        },
        "statistics": statistics,
        "model": base_hash(model),
        "text": source_of(text, calibration),
        **({"prefix": begins(tokenizer)} if begins(tokenizer) else {}),
        **({} if calibration_of is None else {"calibration_of": dict(calibration_of)}),
        **({} if start is None else {"start": adapter_checksum(start)}),
    }
    with claimed(out) if learn else nullcontext():
        with first_process_first(accelerator):
            # In every call, lest the stages of later ones be taken for those of a run from before there was a choice.
            settings, note = settled(settings, out, model, learn=learn)
            computes = distilling or "transfer" in stages or (text is None and calibration is None)
            run = Run(out, source, new=learn)
            if learn:
                keep(settings, run.folder)
            # What the folder holds of an earlier stage is what a later one starts from, in whichever call it was made.
            last = max(STAGES.index(stage) for stage in stages)
            wanted = [stage for stage in STAGES[: last + 1] if stage in stages or run.holds(stage)]
            for stage in () if learn else wanted:
                run.check_reached(stage, len(check_servable(model)))
            about = {
                "settings": {k: v for k, v in fields.items() if k.startswith("distill_") and k not in MANNER}
                | {"distill_precision": settings.precision},
                "after": wanted[:-1],
                "teacher": None if teacher is None else base_hash(teacher),
            }
            if distilling:  # before hours of writing
                check_same(run.folder / "distill", about, part=True)
            if note is not None and computes:
                logger.warning(note)
            if text is None and calibration is None:
                ids = own_rows(model, tokenizer, run, settings, progress, distilling=distilling, learn=learn)
            elif ids is None and wanted != ["distill"]:
                ids = _given(tokenizer, text, calibration, settings)
        was_training = model.training
        model.eval()
        try:
            rows, teach, validate, held = None, None, None, None
            others = None if ids is None else ids[: settings.sequences]
            if accelerator is not None:
                longer = cut_rows(tokenizer, ids, settings) if longer is None and ids is not None else longer
                assert longer is not None
                with first_process_first(accelerator):
                    Run(run.folder / "distill", {**about, "text": fingerprint(longer)}, new=learn)
                if learn:
                    if validation is not None:
                        learned = (longer,) if others is None or wanted == ["distill"] else (longer, others)
                        validate = make_validation(tokenizer, validation, settings, *learned)
                    if accelerator.is_main_process:
                        keep_learned(run, longer)
                    rows, whole = Permuted(longer, settings.distill_batch, settings.seed), start is not None
                    teach = make_teacher(model, teacher, rows, run, settings, accelerator, progress, whole=whole)
            first = accelerator is None or accelerator.is_main_process
            learned_on = others if accelerator is None else longer
            assert learned_on is not None
            trained = learned_on.shape[1]
            if learn and first:  # while the model is still the original
                held = hold_back(model, tokenizer, config, run, settings, trained, progress)
            if start is None:
                convert_(model, config)
            else:
                load_adapter(model, start)
            with first_process_first(accelerator):
                for stage in wanted[:-1] if distilling else wanted:
                    assert others is not None
                    if stage == "matching":
                        some = others[: settings.statistics_sequences].to(model.device)
                        with drawing(stage, settings.seed):
                            match_cell(model, config, some, run, progress)
                    else:
                        after = "statistics" in wanted
                        _run_stage(model, others.to(model.device), run, stage, after, statistics, settings, progress)
            if accelerator is not None and rows is not None and teach is not None:
                steps = max(1, round(settings.distill_tokens / (settings.distill_batch * rows.ids.shape[1])))
                distill(
                    model,
                    teach,
                    rows,
                    steps,
                    settings=settings,
                    run=run,
                    accelerator=accelerator,
                    validate=validate,
                    progress=progress,
                )
            metrics = run.metrics() if learn or not distilling else restore(model, run, "distill", settings)
            outcome = conclude(model, held, run, wanted, settings, trained, progress)
        finally:
            model.train(was_training)
        return AdaptResult(model, [line for line in metrics if line["stage"] in wanted], run.folder, outcome)


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
    modules = attention_modules(model)
    if all(run.finished(stage, index) for index in range(len(modules))):
        for index, module in enumerate(modules.values()):
            _load(run, stage, index, module, after_statistics)
        return
    keep_learned(run, ids)
    batch = settings.statistics_sequences if stage == "statistics" else settings.batch
    count = min(len(ids), settings.statistics_sequences) if stage == "statistics" else len(ids) // batch * batch
    walk = LayerWalk(model, ids[:count], min(batch, count))
    for index, module in enumerate(walk.modules.values()):
        teaching = walk.advance(index)
        metrics = _load(run, stage, index, module, after_statistics)
        if metrics is None:
            metrics = {"stage": stage, "layer": index}
            noise = drawing(stage, settings.seed, index)
            if stage == "statistics":
                heads, scalers = walk.heads(index, teaching), _scalers(module)
                with noise:
                    if statistics == "matching":
                        errors = match_layer(scalers, heads)
                    elif scalers.preset is not None:
                        errors = fit_layer(scalers, heads, teaching.inputs, softmax_scale(module))
                    else:
                        errors = least_squares_layer(scalers, heads)
                metrics["relative_error"] = float(errors.mean())
            else:
                if settings.inputs == "student":
                    teaching = replace(teaching, inputs=walk.student_inputs(index))
                with noise:
                    went = transfer_layer(module, teaching, settings, settings.seed + index)
                metrics |= {"relative_error_before": went.before, "relative_error": went.after}
                metrics |= {"rate": went.rate, "kept": went.kept, "after_statistics": after_statistics}
            run.save(stage, index, _target(module, stage).state_dict(), metrics)
        if stage == "transfer" and settings.inputs == "student":
            with drawing("follow", settings.seed, index):
                walk.follow(index)
        if progress is not None:
            progress(stage, index + 1, len(walk.modules))


def _load(run: Run, stage: str, index: int, module: nn.Module, after_statistics: bool) -> dict[str, Any] | None:
    """A finished layer's metrics, with its parameters put into `module`; None if it is not finished."""
    metrics = run.load(stage, index, _target(module, stage))
    if metrics is not None and metrics.get("after_statistics", after_statistics) != after_statistics:
        raise InputError(
            f"{run.folder} holds a transfer that did not start from statistics; choose another output folder."
        )
    return metrics


def _target(module: nn.Module, stage: str) -> nn.Module:
    """What a stage decides: `statistics` the scalers, `transfer` the whole attention module."""
    return _scalers(module) if stage == "statistics" else module


def _check_statistics(config: GainCellConfig, stages: Sequence[str], statistics: str) -> None:
    if "statistics" not in stages:
        return
    if config.score_preset and statistics == "matching":
        raise InputError(
            f"the published matching finds no score preset, which design point '{config.name}' has; use least-squares."
        )
    if config.score_preset and config.query_sign == "unsigned":
        raise InputError(
            "statistics fits a score preset to signed queries; set query_sign to differential or offset_binary."
        )
    if config.sinks != "none" and not config.score_preset:
        raise InputError("statistics fits digital sinks together with a score preset; set score_preset, too.")


def _scalers(module: nn.Module) -> HeadScalers:
    scalers = scalers_in(module)
    assert scalers is not None
    return scalers


def _given(tokenizer: Any, text: str | None, calibration: Tensor | None, settings: AdaptSettings) -> Tensor | None:
    """The token ids that the caller gave, or None where the model is to write its own."""
    if calibration is not None:
        return calibration
    return None if text is None else read_sequences(tokenizer, text, settings.sequences, settings.length, settings.seed)


def _check_batches(sequences: int, stages: Sequence[str], settings: AdaptSettings) -> None:
    if "transfer" in stages and sequences < settings.batch:
        raise InputError(
            f"a learning step takes {settings.batch} sequences, but there are {sequences}; use a smaller batch."
        )
