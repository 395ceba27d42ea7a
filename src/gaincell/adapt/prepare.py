"""What adaptation needs before a model is converted: its text, its teacher, its processes."""

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType
from torch import Tensor, nn
from transformers import PreTrainedModel

from gaincell.adapt.calibration import fingerprint, opening, own_text, read_sequences, rows_of
from gaincell.adapt.check_panel import check_panel
from gaincell.adapt.held_out import check_held_out
from gaincell.adapt.precision import computing
from gaincell.adapt.rows import Permuted, drawing
from gaincell.adapt.run import Run
from gaincell.adapt.settings import AdaptSettings
from gaincell.adapt.teacher import Teacher, cache_lessons, from_cache, from_model, from_text, head_of
from gaincell.adapt.trained import untouched
from gaincell.config import GainCellConfig
from gaincell.errors import InputError
from gaincell.evaluate.perplexity import encode, perplexity
from gaincell.evaluate.prefix import prefix_of
from gaincell.models import check_servable, positions_of, scalers_of
from gaincell.models.adapter import check_base
from gaincell.models.tensorfile import read_tensors


@contextmanager
def first_process_first(accelerator: Accelerator | None) -> Iterator[None]:
    """Of several processes let the first do the work and write it down; the others then find it done."""
    if accelerator is None:
        yield
        return
    with accelerator.main_process_first():
        yield


def make_validation(
    tokenizer: Any, text: str, settings: AdaptSettings, *learned: Tensor
) -> Callable[[nn.Module], dict[str, float]]:
    """Measures {"perplexity": ...} on a text, at the length of training: of the first of the ids learned from, (N, T).

    Raises:
        InputError: the text shares a passage with what is learned from.
    """
    length, tokens = learned[0].shape[1], settings.distill_validate_tokens
    scored = encode(tokenizer, text, tokens)[: tokens + 1]
    for rows in learned:
        check_held_out(rows, scored)

    def validate(model: nn.Module) -> dict[str, float]:
        assert isinstance(model, PreTrainedModel)
        with drawing("validation", settings.seed):
            return {"perplexity": perplexity(model, tokenizer, text, length=length, tokens=tokens).perplexity}

    return validate


def make_teacher(
    model: PreTrainedModel,
    given: PreTrainedModel | None,
    rows: Permuted,
    run: Run,
    settings: AdaptSettings,
    accelerator: Accelerator,
    progress: Callable[[str, int, int], None] | None,
    *,
    whole: bool = False,
) -> Teacher:
    """What `distill` learns from; `model` is still the original.

    A copy of it shares the weights that no stage changes, unless it is to be `whole`: an adapter may change any.
    """
    if settings.distill_loss == "next-token":
        return from_text
    original = model if given is None else given.to(accelerator.device).eval()
    if settings.distill_teacher == "cached":

        def report(done: int, total: int) -> None:
            if progress is not None and accelerator.is_main_process:
                progress("teacher", done, total)

        folder = run.folder / "distill" / "teacher"
        cache_lessons(
            original,
            rows.ids,
            folder,
            keep=settings.distill_cached_tokens,
            temperature=settings.distill_temperature,
            batch=max(1, settings.distill_batch // accelerator.num_processes),
            process=accelerator.process_index,
            processes=accelerator.num_processes,
            progress=report,
        )
        accelerator.wait_for_everyone()
        return from_cache(folder, rows.numbers)
    if given is None:
        # Weights that never change are the student's own, except where sharding will take them apart.
        sharded = accelerator.distributed_type == DistributedType.FSDP
        shared = {} if sharded or whole else {id(p): p for p in untouched(model, settings)}
        original = copy.deepcopy(model, shared)
    return from_model(original, settings.distill_temperature)


def text_rows(tokenizer: Any, text: str | None, ids: Tensor | None, settings: AdaptSettings) -> Tensor | None:
    """Rows for `distill`: of a given text as many as its budget takes, of given ids all; None if yet to be written."""
    if text is None:
        return None if ids is None else cut_rows(tokenizer, ids, settings)
    length = settings.distill_length or settings.length
    there = len(encode(tokenizer, text)) // (length - len(prefix_of(tokenizer)))
    if there < 1:
        raise InputError(f"the text is shorter than one row of {length} tokens; give a longer text.")
    return read_sequences(
        tokenizer, text, min(there, math.ceil(settings.distill_tokens / length)), length, settings.seed
    )


def distill_rows(
    model: PreTrainedModel,
    tokenizer: Any,
    calibration: Tensor | None,
    ids: Tensor,
    settings: AdaptSettings,
    *,
    distilling: bool,
) -> Tensor:
    """Rows (M, L) that were given to `distill` alone.

    Raises:
        InputError: there is no `distill` or nothing else to learn from, or they are not this model's rows.
    """
    if calibration is None or not distilling:
        raise InputError("rows for the stage distill alone come beside calibration, and with that stage; add them.")
    check_original(model, tokenizer, None, ids, settings, distilling=True)
    return ids.cpu()


def cut_rows(tokenizer: Any, ids: Tensor, settings: AdaptSettings) -> Tensor:
    """Rows of `distill_length`, cut from rows of another length one after the other; all begin with the prefix."""
    length = settings.distill_length or ids.shape[1]
    if length == ids.shape[1]:
        return ids.cpu()
    prefix = begins(tokenizer)
    text = ids[:, len(prefix) :].reshape(-1).cpu()
    if len(text) < length - len(prefix):
        raise InputError(f"there are {ids.numel()} tokens, fewer than distill_length {length}; give more.")
    return rows_of(text, length, prefix)


def begins(tokenizer: Any) -> list[int]:
    """What every row begins with; nothing where rows were given without a tokenizer."""
    return [] if tokenizer is None else prefix_of(tokenizer)


def own_rows(
    model: PreTrainedModel,
    tokenizer: Any,
    run: Run,
    settings: AdaptSettings,
    progress: Callable[[str, int, int], None] | None,
    *,
    distilling: bool,
    learn: bool,
) -> Tensor:
    """Token ids (N, length) that the original model writes, kept in the run's folder; without `learn`, has written.

    N is `settings.sequences`, or as many more as it takes that distillation meets none of them too often.
    """
    wanted = math.ceil(settings.distill_tokens / (settings.length * settings.distill_repeats)) if distilling else 0

    def report(done: int, total: int) -> None:
        if progress is not None:
            progress("text", done, total)

    path, sequences = run.folder / "calibration.safetensors", max(settings.sequences, wanted)
    if not learn and (not path.is_file() or len(read_tensors(path)["ids"]) < sequences):
        raise InputError(f"{run.folder} has not {sequences} sequences of the model's own text yet; let the run go on.")
    with computing(settings, model.device):
        rows = own_text(model, tokenizer, path, sequences, settings.length, settings.seed, report)
    if learn:
        check_panel(tokenizer, None, rows)
    return rows


def fit_length(settings: AdaptSettings, model: PreTrainedModel, config: GainCellConfig) -> AdaptSettings:
    """Settings whose `length`, where it was not given, is what the window and the model's positions hold."""
    return settings.fitted(min(config.window, positions_of(model) or config.window))


def source_of(text: str | None, calibration: Tensor | None) -> str:
    """What is learned from, in a few words that tell it from another."""
    if calibration is not None:
        return f"token ids {fingerprint(calibration)}"
    return "written by the model itself" if text is None else f"given text {fingerprint({'text': text})}"


def check_original(
    model: PreTrainedModel,
    tokenizer: Any,
    text: str | None,
    calibration: Tensor | None,
    settings: AdaptSettings,
    *,
    distilling: bool,
) -> None:
    """Raise InputError if a model is not one that adaptation starts from, or rows to learn from not its."""
    if scalers_of(model):
        raise InputError("the model attends in gain cells already; adapt starts from the original softmax model.")
    if next(model.parameters()).dtype not in (torch.float32, torch.float64):
        raise InputError("adaptation learns in float32: load the model with dtype=torch.float32.")
    if text is not None and calibration is not None:
        raise InputError("text and calibration are both what to learn from; give one of them.")
    if text is None and calibration is None:
        opening(tokenizer)  # a chat template that fails is told before anything is written
    if calibration is not None and (calibration.dim() != 2 or calibration.shape[0] < 1 or calibration.shape[1] < 2):
        raise InputError(f"calibration must be token ids of shape (N, T); got {tuple(calibration.shape)}.")
    embedded: Any = model.get_input_embeddings()
    words = len(embedded.weight)
    if calibration is not None and not 0 <= int(calibration.min()) <= int(calibration.max()) < words:
        raise InputError(
            f"token ids must lie in 0 ... {words - 1}, the model's vocabulary; these are another tokenizer's."
        )
    prefix = begins(tokenizer)
    if calibration is not None and prefix:
        begun = [row == prefix for row in calibration[:, : len(prefix)].tolist()]
        if not all(begun):
            raise InputError(
                f"{begun.count(False)} of {len(begun)} rows of token ids do not begin with {prefix}, which this "
                "model's tokenizer puts in front of every text; put it in front of every row."
            )
    length = settings.length if calibration is None else calibration.shape[1]
    length = max(length, (settings.distill_length or 0) if distilling else 0)
    positions = positions_of(model)
    if positions is not None and length > positions:
        raise InputError(
            f"adaptation asks for {length} tokens in a row, but this model has {positions} positions; use fewer."
        )


def check_start(model: PreTrainedModel, config: GainCellConfig, start: str | Path, stages: Sequence[str]) -> None:
    """Raise InputError if a run cannot go on from an adapter."""
    if not set(stages) <= {"matching", "distill"}:
        raise InputError(
            "statistics and transfer begin anew; go on from an adapter with the stages matching and distill."
        )
    stored = GainCellConfig(**check_base(model, start).design_point)
    found, wanted = stored.hardware, config.for_layers(len(check_servable(model))).hardware
    if "matching" in stages:
        fields = type(config).model_fields.keys() - config.of_cell()
        differing = sorted(name for name in fields if getattr(found, name) != getattr(wanted, name))
        if differing:
            raise InputError(
                f"adapter '{start}' is of design point '{stored.name}', and matching moves it to another cell only; "
                f"{', '.join(differing)} must stay as there."
            )
    elif found != wanted:
        raise InputError(
            f"adapter '{start}' is of design point '{stored.name}', not of '{config.name}' as it is now; name that "
            "one, or move it to another cell with the stage matching."
        )


def check_teacher(model: PreTrainedModel, teacher: PreTrainedModel | None, settings: AdaptSettings) -> None:
    """Raise InputError if a model that the caller gave cannot teach."""
    if teacher is None:
        return
    if settings.distill_loss == "next-token":
        raise InputError("distill_loss 'next-token' learns from the text alone; leave the teacher out.")
    if teacher is model or scalers_of(teacher):
        raise InputError(
            "the teacher must be another model, which attends with softmax; leave it out for the original."
        )
    (words, width), (known, channels) = (tuple(head_of(m).weight.shape) for m in (model, teacher))
    if words != known:
        raise InputError(f"the teacher knows {known} tokens, the model {words}; give one with the same vocabulary.")
    if width != channels and settings.distill_hidden_weight:
        raise InputError(
            f"the teacher's hidden states have {channels} channels, the model's {width}; set distill_hidden_weight 0."
        )
