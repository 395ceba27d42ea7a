"""Training end to end as a stage: what it learns on, how many steps it takes, and the checkpoint that it leaves."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from accelerate.utils import DistributedType
from torch import Tensor, nn
from transformers import PreTrainedModel

from gaincell.adapt.checks import check_teacher
from gaincell.adapt.distil.loop import distill, first_process_first, restore
from gaincell.adapt.distil.step_rows import Permuted
from gaincell.adapt.distil.teacher import Teacher, cache_lessons, from_cache, from_model, from_text
from gaincell.adapt.distil.trainable import untouched
from gaincell.adapt.request import Request
from gaincell.adapt.run.folder import Run, check_same
from gaincell.adapt.seeds import drawing
from gaincell.adapt.settings import MANNER, AdaptSettings
from gaincell.adapt.stage import Lessons, Stage, Work
from gaincell.adapt.text.cut import fingerprint
from gaincell.adapt.text.held_out import check_held_out, keep_learned
from gaincell.evaluate.perplexity import encode, perplexity
from gaincell.models import base_hash
from gaincell.progress import of_stage


def _all(steps: int) -> tuple[int, int]:
    return 0, max(1, steps)


@dataclass(frozen=True)
class Training(Stage):
    """Trains the model towards the original's outputs, or towards the text (`distill.loss`).

    Attributes:
        name: of the stage.
        span: of the steps that `distill.tokens` amount to, how many stages before take, and how many this one does.
        apart: whether its settings and rows are kept in its own folder, since they may be others than the run's.
    """

    name: str = "distill"
    span: Callable[[int], tuple[int, int]] = _all
    apart: bool = True
    trains = True
    computes = True

    def check(self, request: Request) -> None:
        """Refuse a teacher that cannot teach this model."""
        check_teacher(request.model, request.teacher, request.settings)

    def check_same(self, work: Work) -> None:
        """Refuse a folder whose training was another one: before text is written, which takes hours."""
        if self.apart:
            check_same(work.run.folder / self.name, self._about(work), part=True)

    def keep_about(self, work: Work, rows: Tensor) -> None:
        """Keep what tells this training from another one."""
        if self.apart:
            about = {**self._about(work), "text": fingerprint(rows)}
            Run(work.run.folder / self.name, about, new=work.request.learn)

    def run(self, work: Work) -> None:
        """Take the steps that are left; where nothing is learned, put the newest checkpoint on the model."""
        if work.lessons is None:
            work.reached = restore(work.model, work.run, self.name, work.settings)
            return
        assert work.accelerator is not None
        lessons, how = work.lessons, work.settings.distill
        before, steps = self.span(round(how.tokens / (how.batch * lessons.rows.ids.shape[1])))
        distill(
            work.model,
            lessons.teacher,
            lambda step: lessons.rows(before + step),
            steps,
            settings=work.settings,
            run=work.run,
            stage=self.name,
            accelerator=work.accelerator,
            validate=lessons.validate,
            progress=work.progress,
        )
        work.accelerator.free_memory()  # it holds on to every model that it prepared

    def _about(self, work: Work) -> dict[str, Any]:
        own, teacher = {"precision", "learning_leak", "distill"}, work.request.teacher
        return {
            "settings": work.settings.model_dump(mode="json", include=own, exclude=MANNER),
            "after": list(work.names[:-1]),
            "teacher": None if teacher is None else base_hash(teacher),
        }


def get_ready(work: Work) -> None:
    """Keep what the rows are, and make lessons of them, while the model is still the original."""
    assert work.accelerator is not None
    assert work.rows is not None
    request, rows = work.request, work.rows
    with first_process_first(work.accelerator):
        for stage in work.stages:
            if isinstance(stage, Training):
                stage.keep_about(work, rows)
    if not request.learn:
        return
    validate = None
    if request.validation is not None:
        by_layer = any(stage.by_layer for stage in work.stages)
        learned = (rows, work.calibration) if by_layer and work.calibration is not None else (rows,)
        validate = make_validation(request.tokenizer, request.validation, work.settings, *learned)
    if work.first:
        keep_learned(work.run, rows)
    permuted = Permuted(rows, work.settings.distill.batch, work.settings.seed)
    work.lessons = Lessons(permuted, make_teacher(work, permuted), validate)


def make_validation(
    tokenizer: Any, text: str, settings: AdaptSettings, *learned: Tensor
) -> Callable[[nn.Module], dict[str, float]]:
    """Measures {"perplexity": ...} on a text, at the length of training: of the first of the ids learned from, (N, T).

    Raises:
        InputError: the text shares a passage with what is learned from.
    """
    length, tokens = learned[0].shape[1], settings.distill.validate_tokens
    scored = encode(tokenizer, text, tokens)[: tokens + 1]
    for rows in learned:
        check_held_out(rows, scored)

    def validate(model: nn.Module) -> dict[str, float]:
        assert isinstance(model, PreTrainedModel)
        with drawing("validation", settings.seed):
            return {"perplexity": perplexity(model, tokenizer, text, length=length, tokens=tokens).perplexity}

    return validate


def make_teacher(work: Work, rows: Permuted) -> Teacher:
    """What training learns from; the model is still the original.

    A copy of it shares the weights that no stage changes, unless the run goes on from an adapter, which may change any.
    """
    how, accelerator, given = work.settings.distill, work.accelerator, work.request.teacher
    assert accelerator is not None
    if how.loss == "next-token":
        return from_text
    original = work.model if given is None else given.to(accelerator.device).eval()
    if how.teacher == "cached":
        folder = work.run.folder / "distill" / "teacher"
        cache_lessons(
            original,
            rows.ids,
            folder,
            keep=how.cached_tokens,
            temperature=how.temperature,
            batch=max(1, how.batch // accelerator.num_processes),
            process=accelerator.process_index,
            processes=accelerator.num_processes,
            progress=of_stage(work.progress if accelerator.is_main_process else None, "teacher"),
        )
        accelerator.wait_for_everyone()
        return from_cache(folder, rows.numbers)
    if given is None:
        # Weights that never change are the student's own, except where sharding will take them apart.
        sharded = accelerator.distributed_type == DistributedType.FSDP
        whole = sharded or work.request.start is not None
        original = copy.deepcopy(work.model, {} if whole else {id(p): p for p in untouched(work.model, how)})
    return from_model(original, how.temperature)
