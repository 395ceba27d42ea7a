"""The paper's own adaptation: train a linear hardware model, match the nonlinear one to it, and train that."""

import logging
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from torch import Tensor
from transformers import PreTrainedModel

from gaincell.adapt.adapt import AdaptResult, Progress
from gaincell.adapt.check_panel import check_panel
from gaincell.adapt.claim import claimed
from gaincell.adapt.distill import check_shared, distill, make_accelerator, restore
from gaincell.adapt.held_out import keep_learned
from gaincell.adapt.matching import match_model
from gaincell.adapt.outcome import STAGE, conclude, hold_back
from gaincell.adapt.precision import settled
from gaincell.adapt.prepare import (
    begins,
    check_original,
    cut_rows,
    first_process_first,
    fit_length,
    make_validation,
    own_rows,
    source_of,
    text_rows,
)
from gaincell.adapt.rows import Permuted, drawing
from gaincell.adapt.run import Run
from gaincell.adapt.settings import MANNER, AdaptSettings
from gaincell.adapt.teacher import from_text
from gaincell.cell import Cell, load_cell
from gaincell.config import GainCellConfig
from gaincell.errors import InputError
from gaincell.models import base_hash, check_servable, convert_
from gaincell.ops.check import check_design

logger = logging.getLogger("gaincell")

#: Iterations of the two fine-tunings [Leroux et al. 2025], which share the budget in this proportion.
LINEAR_ITERATIONS, CUBIC_ITERATIONS = 2900, 5900
#: What the recipe sets, unless the caller does [Leroux et al. 2025, released code]. The rate falls to zero, an
#: assumption, and its warm-up is shortened: see `paper_recipe`.
PAPER: dict[str, Any] = {
    "distill_loss": "next-token",
    "distill_train": "all",
    "distill_relative": False,
    "distill_lr": 6e-4,
    "distill_scaler_factor": 1.0,
    "distill_betas": (0.9, 0.95),
    "distill_weight_decay": 0.1,
    "distill_clip": 1.0,
    "distill_warmup": 1 / 3,
    "distill_leak": None,
}


def paper_recipe(
    model: PreTrainedModel,
    config: GainCellConfig | str,
    *,
    tokenizer: Any,
    out: Path | str,
    text: str | None = None,
    calibration: Tensor | None = None,
    calibration_of: Mapping[str, Any] | None = None,
    settings: AdaptSettings | None = None,
    validation: str | None = None,
    progress: Progress | None = None,
    learn: bool = True,
) -> AdaptResult:
    """Convert a pre-trained softmax model in place and adapt it as the paper does, scaled to a budget of tokens.

    Stages: `linear` puts the linear law, quantisers, leak and HardSigmoid in softmax's place and trains everything on
    next tokens; `matching` moves weights and scalers to the design point's own law and brings mean and deviation of q,
    k, v and output per head to those that the linear model showed on one batch (`statistics_sequences` rows), layer by
    layer; `cubic` trains on. Of a design point whose law is linear already, `linear` is all [Leroux et al. 2025].

    AdamW as published: rate 6e-4, betas (0.9, 0.95), weight decay 0.1 (here of matrices alone, there of scalers, too),
    gradients clipped at norm 1. To fit a budget of `distill_tokens`:

    - both trainings share its steps as 2,900 : 5,900, the published iterations, with one step each at least;
    - a step has `distill_batch` rows instead of 120 x 16 (in `cubic` 120 x 12) of 1,024 tokens, and `cubic` goes on in
      the text where `linear` stopped;
    - a third of either's steps is warm-up: published are 2,000, a third of 5,900; of 2,900 they would be two thirds;
    - the rate falls to zero along a cosine. That is an assumption: in the released code the cosine takes 600,000
      iterations down to a tenth, so that it has hardly fallen in those published.

    It runs through accelerate, as `distill` of `gaincell.adapt` does.

    Args:
        model: an unconverted causal decoder, in float32 or wider.
        config: the design point, or a preset's name.
        tokenizer: the model's tokenizer.
        out: the run directory, with a folder for each stage; a run that was interrupted goes on where it stopped.
        text: text to learn from; by default the model writes its own (cached in the run directory).
        calibration: (N, T) token ids to learn from instead of text.
        calibration_of: what these ids are, for the run's `config.json`.
        settings: amounts; what is set explicitly also overrides the paper's own choices, but for `distill_loss`.
        validation: text, not to be learned from, whose perplexity both trainings log every now and then.
        progress: called with (stage, done, total).
        learn: see `gaincell.adapt`; False asks for a checkpoint of the last training.

    Raises:
        InputError: a design point with score preset or digital sinks, `distill_loss` "kl", and what
            `gaincell.adapt` refuses.
    """
    config = GainCellConfig.preset(config) if isinstance(config, str) else config
    settings = paper_settings(fit_length(settings or AdaptSettings(), model, config))
    check_original(model, tokenizer, text, calibration, settings, distilling=True)
    _check_digital_side(config)
    check_design(config.for_layers(len(check_servable(model))))
    ids = text_rows(tokenizer, text, calibration, settings)
    if learn:
        check_panel(tokenizer, text, calibration)
    accelerator = make_accelerator()
    check_shared(settings, accelerator.num_processes)
    model.to(accelerator.device)
    fields = settings.model_dump(mode="json", exclude={"precision", *MANNER})
    source = {
        "recipe": "paper",
        "design_point": config.model_dump(mode="json"),
        "model": base_hash(model),
        "text": source_of(text, calibration),
        **({"prefix": begins(tokenizer)} if begins(tokenizer) else {}),
        **({} if calibration_of is None else {"calibration_of": dict(calibration_of)}),
    }
    linear = linear_design(config)
    with claimed(out) if learn else nullcontext():
        with first_process_first(accelerator):
            settings, note = settled(settings, out, model, learn=learn)
            run = Run(out, source | {"settings": fields | {"distill_precision": settings.precision}}, new=learn)
            if not learn:
                run.check_reached("linear" if linear is None else "cubic", len(check_servable(model)))
            if note is not None:
                logger.warning(note)
            if ids is None:
                ids = cut_rows(
                    tokenizer,
                    own_rows(model, tokenizer, run, settings, progress, distilling=True, learn=learn),
                    settings,
                )
            if learn and accelerator.is_main_process:
                keep_learned(run, ids)
        rows = Permuted(ids, settings.distill_batch, settings.seed)
        validate = None if validation is None else make_validation(tokenizer, validation, settings, ids)
        steps = split_steps(
            round(settings.distill_tokens / (settings.distill_batch * ids.shape[1])), linear is not None
        )

        def train(stage: str, before: int, steps: int) -> list[dict[str, Any]]:
            if not learn:
                return restore(model, run, stage, settings)
            distill(
                model,
                from_text,
                lambda step: rows(before + step),
                steps,
                settings=settings,
                run=run,
                stage=stage,
                accelerator=accelerator,
                validate=validate,
                progress=progress,
            )
            accelerator.free_memory()  # it holds on to every model that it prepared
            return run.metrics()

        was_training = model.training
        model.eval()
        try:
            held, trained = None, ids.shape[1]
            if learn and accelerator.is_main_process:  # while the model is still the original
                held = hold_back(model, tokenizer, config, run, settings, trained, progress)
            convert_(model, linear or config)
            metrics = train("linear", 0, steps[0])
            if linear is not None:
                with first_process_first(accelerator), drawing("matching", settings.seed):
                    match_model(model, config, ids[: settings.statistics_sequences].to(model.device), run, progress)
                metrics = train("cubic", *steps)
            metrics = [line for line in metrics if line["stage"] != STAGE]
            stages = ("linear",) if linear is None else ("linear", "matching", "cubic")
            outcome = conclude(model, held, run, stages, settings, trained, progress)
        finally:
            model.train(was_training)
        return AdaptResult(model, metrics, run.folder, outcome)


def paper_settings(settings: AdaptSettings) -> AdaptSettings:
    """The paper's choices (`PAPER`), overridden by what was set explicitly.

    Raises:
        InputError: another loss than the paper's was.
    """
    given = settings.model_dump(exclude_unset=True)
    if given.get("distill_loss", "next-token") != "next-token":
        raise InputError("the paper's recipe learns next tokens; leave distill_loss out, or adapt in stages.")
    return AdaptSettings(**{**PAPER, **given})


def split_steps(steps: int, cubic: bool = True) -> tuple[int, int]:
    """Steps of both trainings, as 2,900 : 5,900 and one each at least; all of them of the first without `cubic`."""
    if not cubic:
        return max(1, steps), 0
    linear = max(1, round(steps * LINEAR_ITERATIONS / (LINEAR_ITERATIONS + CUBIC_ITERATIONS)))
    return linear, max(1, steps - linear)


def linear_design(config: GainCellConfig) -> GainCellConfig | None:
    """The same design point, of ideal circuits, with the paper's linear law; None where its own law is linear.

    It leaks by the same time constant.
    """
    if not any(config.cell.model_law.coefficients[2:]):
        return None
    law, name = load_cell("leroux2025-linear").law, f"{config.cell.name}-linear"
    cell = Cell(name=name, law=law, retention=config.cell.retention)
    return config.ideal().replace(name=f"{config.name}-linear", cell=cell)


def _check_digital_side(config: GainCellConfig) -> None:
    if config.score_preset or config.sinks != "none":
        raise InputError(
            "the paper's recipe knows no score preset and no digital sinks, which design point "
            f"'{config.name}' has; choose leroux2025, or adapt in stages."
        )
