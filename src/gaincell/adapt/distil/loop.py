"""End-to-end training of a converted model, towards what the original put out or towards the text itself."""

import copy
import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType, GradientAccumulationPlugin, InitProcessGroupKwargs
from torch import Tensor, nn
from transformers import PreTrainedModel

from gaincell.adapt.distil.step_rows import Rows, Share, shares
from gaincell.adapt.distil.teacher import Probe, Teacher, divergence, probing, relative_error
from gaincell.adapt.distil.trainable import groups, rate, training_only
from gaincell.adapt.learning_leak import leaking
from gaincell.adapt.precision import computing
from gaincell.adapt.run.checkpoints import Checkpoints
from gaincell.adapt.run.folder import Run
from gaincell.adapt.seeds import drawing
from gaincell.adapt.settings import AdaptSettings, DistillSettings
from gaincell.errors import InputError
from gaincell.progress import Progress


def make_accelerator() -> Accelerator:
    """What runs on one CPU, one GPU or many: as `accelerate launch` says, or the device that is there.

    Other processes wait for as long as the first one takes for the stages before, steps are counted here, and precision
    is the setting `precision`'s to say.

    Raises:
        InputError: several processes were launched, but accelerate does not join them (shards on CPUs, for one).
    """
    accelerator = Accelerator(
        gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=1),
        kwargs_handlers=[InitProcessGroupKwargs(timeout=timedelta(days=7))],
    )
    launched = int(os.environ.get("WORLD_SIZE", "1"))
    if launched != accelerator.num_processes:
        raise InputError(
            f"{launched} processes were launched, but accelerate joined {accelerator.num_processes}; "
            "look at the file or options given to `accelerate launch`."
        )
    # accelerate keeps one state a process: after a Trainer in bfloat16, say, it wraps whatever comes next in autocast.
    accelerator.native_amp, accelerator.scaler = False, None
    return accelerator


@contextmanager
def first_process_first(accelerator: Accelerator | None) -> Iterator[None]:
    """Of several processes let the first do the work and write it down; the others then find it done."""
    if accelerator is None:
        yield
        return
    with accelerator.main_process_first():
        yield


def distill(
    model: PreTrainedModel,
    teacher: Teacher,
    rows: Rows,
    steps: int,
    *,
    settings: AdaptSettings,
    run: Run,
    stage: str = "distill",
    accelerator: Accelerator | None = None,
    validate: Callable[[nn.Module], dict[str, float]] | None = None,
    progress: Progress | None = None,
) -> None:
    """Train a converted model in place towards the original's outputs, or towards the text's next tokens.

    See `Loop` for a step, which is a line of the metrics; a later call goes on from the last checkpoint.

    Args:
        model: a converted model in float32, on the accelerator's device.
        teacher: the original's outputs, see `from_model` and `from_cache`; or the text's tokens, `from_text`.
        rows, steps: the text, `settings.distill.batch` rows a step, and how many steps to take in all.
        settings: `distill`, and `seed`, `precision` and `learning_leak`.
        run: where metrics and, in its folder's `stage`, checkpoints are kept.
        stage: what metrics and progress call this training.
        accelerator: processes and device; by default `make_accelerator()`.
        validate: what else to measure of the student every `distill.validate_every` steps, logged with the step's.
        progress: called with (stage, step, steps).

    Raises:
        InputError: a loss or gradient that is not finite; a batch that processes cannot share; "lora" without peft.
    """
    accelerator = accelerator or make_accelerator()
    check_shared(settings.distill, accelerator.num_processes)
    checkpoints = Checkpoints(run.folder / stage)
    if accelerator.is_main_process:
        checkpoints.folder.mkdir(exist_ok=True)
    # Sharding rewrites parameters: then a copy learns, and what it learned comes back from its checkpoint.
    sharded = accelerator.distributed_type == DistributedType.FSDP
    with training_only(model, settings):
        student = copy.deepcopy(model) if sharded else model
        optimiser = torch.optim.AdamW(groups(student, settings.distill), betas=settings.distill.betas)
        prepared: Any = accelerator.prepare(student, optimiser)[0]
        try:
            loop = Loop(prepared, optimiser, teacher, rows, steps, settings, accelerator)
            loop.run(run, stage, checkpoints, validate, progress)
        finally:
            student.__dict__.pop("_is_accelerate_prepared", None)
        if sharded:
            accelerator.wait_for_everyone()
            checkpoints.load(_trained(model))


def restore(model: PreTrainedModel, run: Run, stage: str, settings: AdaptSettings) -> list[dict[str, Any]]:
    """Put on a converted model what the newest checkpoint of `distill` holds, and learn nothing more.

    Returns:
        The run's metrics, of which the checkpoint's are the last.

    Raises:
        InputError: there is no checkpoint that can be read.
    """
    with training_only(model, settings):
        step = Checkpoints(run.folder / stage).load(_trained(model))
    if step == 0:
        raise InputError(f"{run.folder} has no checkpoint of '{stage}' that can be read; let the run go on.")
    return run.until(stage, step)


def check_shared(settings: DistillSettings, processes: int) -> None:
    """Raise InputError unless every process and every forward pass of it gets as many rows of a step as any other."""
    passes = settings.accumulation
    if settings.batch % (processes * passes):
        raise InputError(
            f"distill.batch {settings.batch} is not a multiple of {processes} processes x {passes} passes "
            "(distill.accumulation); choose one that is."
        )


def _trained(model: nn.Module) -> dict[str, nn.Parameter]:
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


class Loop:
    """The steps of `distill`, on one of its processes.

    The loss is KL(original || student) of the next token at random positions, in nats, plus `distill.hidden_weight`
    times the relative squared error of the hidden state before the LM head; both are means over the step's rows.
    With `distill.loss` "next-token" it is the cross-entropy of the text at all positions that a token follows.
    Quantisers are straight-through. AdamW, a warm-up and a cosine to zero, gradients clipped.
    """

    def __init__(
        self,
        model: nn.Module,
        optimiser: torch.optim.Optimizer,
        teacher: Teacher,
        rows: Rows,
        steps: int,
        settings: AdaptSettings,
        accelerator: Accelerator,
    ) -> None:
        self.model, self.optimiser, self.teacher, self.rows, self.steps = model, optimiser, teacher, rows, steps
        self.settings, self.accelerator = settings, accelerator
        self.student: PreTrainedModel = accelerator.unwrap_model(model)
        self.named = _trained(self.student)
        self.next_token = settings.distill.loss == "next-token"

    def run(
        self,
        run: Run,
        stage: str,
        checkpoints: Checkpoints,
        validate: Callable[[nn.Module], dict[str, float]] | None,
        progress: Progress | None,
    ) -> None:
        """Take the steps that are left."""
        main, how = self.accelerator.is_main_process, self.settings.distill
        begun = checkpoints.load(self.named, self.optimiser)
        self.accelerator.wait_for_everyone()
        if main:
            run.rewind(stage, begun or -1)  # what was measured before the first step is measured again
        if validate is not None and begun == 0:
            found = validate(self.student)
            if main:
                run.log({"stage": stage, "step": 0, "tokens": 0, **found})
        for step in range(begun, self.steps):
            with probing(self.student) as probe, leaking(self.student, self.settings.learning_leak):
                metrics = self.step(step, probe)
            if not all(map(math.isfinite, metrics.values())):
                raise InputError(
                    f"'{stage}' met a loss or gradient that is not finite at step {step + 1} of {self.steps}; "
                    f"run again in another folder with a distill.lr below {how.lr:g} (the last good "
                    f"checkpoint stays in {checkpoints.folder})."
                )
            done = step + 1
            if validate is not None and (done % how.validate_every == 0 or done == self.steps):
                metrics |= validate(self.student)
            if main:
                run.log({"stage": stage, "step": done, **metrics})
            if done % how.checkpoint_every == 0 or done == self.steps:
                checkpoints.save(done, self.named, self.optimiser, write=main)
            if main and progress is not None:
                progress(stage, done, self.steps)

    def step(self, step: int, probe: Probe) -> dict[str, float]:
        """One step; its metrics, over all processes. Parameters do not move where something is not finite."""
        began = time.monotonic()
        seed, how, accelerator = self.settings.seed, self.settings.distill, self.accelerator
        factor = rate(step, self.steps, how.warmup)
        for group in self.optimiser.param_groups:
            group["lr"] = group["peak"] * factor
        self.optimiser.zero_grad()
        passes = how.accumulation
        sums, tokens = torch.zeros(2, device=accelerator.device), 0
        for number, share in enumerate(
            shares(
                self.rows,
                step,
                seed=seed,
                positions=None if self.next_token else how.positions,
                process=accelerator.process_index,
                processes=accelerator.num_processes,
                passes=passes,
                followed=self.next_token,
            )
        ):
            with accelerator.no_sync(self.model) if number + 1 < passes else nullcontext():
                # The same noise for every share, so that neither processes nor passes decide what a row meets.
                with drawing("noise", seed, step):
                    loss, terms = self.loss(_on(share, accelerator.device), probe)
                # Processes' gradients are averaged; the loss is a mean over the rows of all of them.
                accelerator.backward(loss.sum() * (accelerator.num_processes / how.batch))
            sums += terms
            tokens += share.ids.numel() * accelerator.num_processes
        total: Any = accelerator.reduce(sums, "sum")
        kl, hidden = (total / how.batch).tolist()
        norm = float(_clip(self.named, how.clip))
        if math.isfinite(norm) and math.isfinite(kl + hidden):
            self.optimiser.step()
        return {
            "tokens": (step + 1) * tokens,
            "loss": kl + how.hidden_weight * hidden,
            **({} if self.next_token else {"kl": kl, "hidden_error": hidden}),
            "gradient_norm": norm,
            "lr": how.lr * factor,
            "seconds": round(time.monotonic() - began, 3),
        }

    def loss(self, share: Share, probe: Probe) -> tuple[Tensor, Tensor]:
        """A share's loss per row (b,), and the sums of its two terms (2,)."""
        how = self.settings.distill
        with computing(self.settings, share.ids.device):
            lesson = self.teacher(share)
            logits, hidden = probe.ask(self.model, share.ids, share.positions)
        kl = divergence(logits, lesson, 1.0 if self.next_token else how.temperature)
        if not how.hidden_weight or lesson.hidden is None:
            return kl, torch.stack((kl.detach().sum(), kl.new_zeros(())))
        error = relative_error(hidden, lesson.hidden)
        return kl + how.hidden_weight * error, torch.stack((kl.detach().sum(), error.detach().sum()))


def _clip(named: dict[str, nn.Parameter], largest: float) -> Tensor:
    norm = nn.utils.clip_grad_norm_(named.values(), largest)
    return getattr(norm, "full_tensor", lambda: norm)()


def _on(share: Share, device: torch.device) -> Share:
    return Share(share.step, share.places, share.ids.to(device), share.positions.to(device))
