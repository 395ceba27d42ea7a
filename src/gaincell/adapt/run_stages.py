"""How a run of adaptation goes, whatever its stages."""

import logging
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

from accelerate import Accelerator
from torch import Tensor
from transformers import PreTrainedModel

from gaincell.adapt.checks import check_original, check_start
from gaincell.adapt.distil.loop import check_shared, first_process_first, make_accelerator
from gaincell.adapt.distil.stage import Training, get_ready
from gaincell.adapt.outcome import HeldBack, conclude, hold_back
from gaincell.adapt.precision import keep, settled
from gaincell.adapt.request import Request
from gaincell.adapt.run.claim import claimed
from gaincell.adapt.run.folder import Run
from gaincell.adapt.settings import AdaptSettings
from gaincell.adapt.stage import AdaptResult, Stage, Work
from gaincell.adapt.text.cut import begins, cut_rows, read_rows, source_of, text_rows
from gaincell.adapt.text.own_text import own_rows
from gaincell.adapt.text.panel_refused import check_panel
from gaincell.digital_heads import analog_layers
from gaincell.errors import InputError
from gaincell.models import base_hash, check_servable
from gaincell.models.convert import query_heads
from gaincell.ops.check import check_design
from gaincell.ops.dispatch import check_path
from gaincell.ops.model import array_model

logger = logging.getLogger("gaincell")


@dataclass(frozen=True)
class Plan:
    """What a run does.

    Attributes:
        stages: those that were asked for, in their order.
        identity: of settings whose precision is settled, what tells the run from others besides `source_identity`.
        begin: puts the arrays in softmax's place.
        every: all stages that there are, in their order; of those before the last one that was asked for, the model
            goes through what the folder holds, too: a later stage starts from an earlier one, in whichever call that
            was made. None but those that were asked for, if it is empty.
        precision_apart: whether the precision is kept in a file of its own, for stages of later calls.
    """

    stages: tuple[Stage, ...]
    identity: Callable[[AdaptSettings], dict[str, Any]]
    begin: Callable[[PreTrainedModel], object]
    every: tuple[Stage, ...] = ()
    precision_apart: bool = False

    @property
    def trains(self) -> bool:
        """Whether the model is trained end to end."""
        return any(stage.trains for stage in self.stages)

    def through(self, run: Run) -> tuple[Stage, ...]:
        """The stages that the model goes through."""
        every = self.every or self.stages
        until = every[: every.index(self.stages[-1]) + 1]
        return tuple(stage for stage in until if stage in self.stages or run.holds(stage.name))


def perform(request: Request, plan: Plan) -> AdaptResult:
    """Do what a plan says, or what of it is left to do, and tell what came out.

    Raises:
        InputError: what the stages, the text or the run folder cannot be, see `gaincell.adapt`.
    """
    _check(request, plan)
    calibration, rows = _given_rows(request, plan)
    accelerator = None
    if plan.trains:
        accelerator = make_accelerator()
        check_shared(request.settings.distill, accelerator.num_processes)
        request.model.to(accelerator.device)
    with claimed(request.out) if request.learn else nullcontext():
        with first_process_first(accelerator):
            work = _begin(request, plan, calibration, rows, accelerator)
        was_training = request.model.training
        request.model.eval()
        try:
            held = _before(work)
            plan.begin(request.model)
            for stage in work.stages:
                with nullcontext() if stage.trains else first_process_first(accelerator):
                    stage.run(work)
            metrics = work.run.metrics() if work.reached is None else work.reached
            outcome = conclude(work.model, held, work.run, work.names, work.settings, work.trained, work.progress)
        finally:
            request.model.train(was_training)
    return AdaptResult(work.model, [m for m in metrics if m["stage"] in work.names], work.run.folder, outcome)


def source_identity(request: Request) -> dict[str, Any]:
    """What tells a run from others: where it starts from, where it goes, and what it learns from."""
    prefix, about = begins(request.tokenizer), request.calibration_of
    return {
        "design_point": request.config.model_dump(mode="json"),
        "model": base_hash(request.model),
        "text": source_of(request.text, request.calibration),
        **({"prefix": prefix} if prefix else {}),
        **({} if about is None else {"calibration_of": dict(about)}),
    }


def _check(request: Request, plan: Plan) -> None:
    """Refuse what cannot be done, before anything is computed."""
    model, config, names = request.model, request.config, [stage.name for stage in plan.stages]
    check_original(
        model, request.tokenizer, request.text, request.calibration, request.settings, distilling=plan.trains
    )
    for stage in plan.stages:
        stage.check(request)
    point = config.for_layers(len(check_servable(model)))
    check_design(point.for_layer(0))
    # `statistics` tries scalers on the operator as it is; what learns after it needs gradients.
    check_path(array_model(point), learning=any(stage.computes for stage in plan.stages))
    if request.start is not None:
        check_start(model, config, request.start, names)
    if not plan.trains and (request.validation is not None or request.teacher is not None):
        raise InputError("a validation text and a teacher are for the stage distill; add it, or leave them out.")


def _given_rows(request: Request, plan: Plan) -> tuple[Tensor | None, Tensor | None]:
    """Rows of what was given, for stages by layer and for training; None where the model is to write its own."""
    tokenizer, text, settings = request.tokenizer, request.text, request.settings
    # Of a text that is only trained on, no more is asked than that takes.
    by_layer = any(stage.by_layer for stage in plan.stages)
    ids = _read(request) if by_layer else request.calibration
    rows = text_rows(tokenizer, text, ids, settings) if plan.trains else None
    apart = request.distill_calibration
    if apart is not None:
        if request.calibration is None or not plan.trains:
            raise InputError("rows for the stage distill alone come beside calibration, and with that stage; add them.")
        check_original(request.model, tokenizer, None, apart, settings, distilling=True)
        rows = apart.cpu()
    if request.learn:
        check_panel(tokenizer, text, request.calibration)
        check_panel(tokenizer, None, apart)
    return ids, rows


def _read(request: Request) -> Tensor | None:
    """The token ids that the caller gave, or None where the model is to write its own."""
    if request.text is None or request.calibration is not None:
        return request.calibration
    settings = request.settings
    return read_rows(request.tokenizer, request.text, settings.rows, settings.length, settings.seed)


def _begin(
    request: Request, plan: Plan, ids: Tensor | None, rows: Tensor | None, accelerator: Accelerator | None
) -> Work:
    """Open the run's folder, and have all text there that is learned from."""
    learn, model = request.learn, request.model
    # In every call, lest the stages of later ones be taken for those of a run from before there was a choice.
    settings, note = settled(request.settings, request.out, model, learn=learn)
    run = Run(request.out, plan.identity(settings), new=learn)
    if learn and plan.precision_apart:
        keep(settings, run.folder)
    work = Work(request, settings, run, plan.through(run), accelerator, None, rows)
    for stage in () if learn else reversed(work.stages):
        run.check_reached(stage.name, analog_layers(request.config.digital, query_heads(model)))
    for stage in work.stages:
        if isinstance(stage, Training):
            stage.check_same(work)
    if note is not None and (request.writes or any(stage.computes for stage in plan.stages)):
        logger.warning(note)
    if request.writes:
        ids = own_rows(model, request.tokenizer, run, settings, work.progress, distilling=plan.trains, learn=learn)
    elif ids is None and any(stage.by_layer for stage in work.stages):
        ids = _read(request)
    if plan.trains and work.rows is None:
        assert ids is not None
        work.rows = cut_rows(request.tokenizer, ids, settings.distill.length)
    work.calibration = None if ids is None else ids[: settings.rows]
    return work


def _before(work: Work) -> HeldBack | None:
    """What is taken from the model while it is still the original: lessons, and what it predicts on rows held back."""
    if work.accelerator is not None:
        get_ready(work)
    request = work.request
    if not request.learn or not work.first:
        return None
    how = (work.run, work.settings, work.trained, work.progress)
    return hold_back(work.model, request.tokenizer, request.config, *how)
