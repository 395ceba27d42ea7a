"""What adaptation refuses before anything is computed."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from gaincell.adapt.distil.teacher import head_of
from gaincell.adapt.settings import AdaptSettings
from gaincell.adapt.text.cut import begins
from gaincell.adapt.text.own_text import opening
from gaincell.config import GainCellConfig
from gaincell.digital_heads import whole_layers
from gaincell.errors import InputError
from gaincell.models import check_servable, positions_of, scalers_of
from gaincell.models.adapter import check_base
from gaincell.models.convert import query_heads


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
    length = max(length, (settings.distill.length or 0) if distilling else 0)
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
    saved = GainCellConfig(**check_base(model, start).design_point)
    found, wanted = saved.hardware, config.for_layers(len(check_servable(model))).hardware
    heads = query_heads(model)
    found, wanted = (point.replace(digital=whole_layers(point.digital, heads)) for point in (found, wanted))
    if "matching" in stages:
        fields = type(config).model_fields.keys() - config.of_cell()
        differing = sorted(name for name in fields if getattr(found, name) != getattr(wanted, name))
        if differing:
            raise InputError(
                f"adapter '{start}' is of design point '{saved.name}', and matching moves it to another cell only; "
                f"{', '.join(differing)} must stay as there."
            )
    elif found.replace(digital=wanted.digital) != wanted:
        raise InputError(
            f"adapter '{start}' is of design point '{saved.name}', not of '{config.name}' as it is now; name that "
            "one, or move it to another cell with the stage matching."
        )


def check_teacher(model: PreTrainedModel, teacher: PreTrainedModel | None, settings: AdaptSettings) -> None:
    """Raise InputError if a model that the caller gave cannot teach."""
    if teacher is None:
        return
    if settings.distill.loss == "next-token":
        raise InputError("distill.loss 'next-token' learns from the text alone; leave the teacher out.")
    if teacher is model or scalers_of(teacher):
        raise InputError(
            "the teacher must be another model, which attends with softmax; leave it out for the original."
        )
    (words, width), (known, channels) = (tuple(head_of(m).weight.shape) for m in (model, teacher))
    if words != known:
        raise InputError(f"the teacher knows {known} tokens, the model {words}; give one with the same vocabulary.")
    if width != channels and settings.distill.hidden_weight:
        raise InputError(
            f"the teacher's hidden states have {channels} channels, the model's {width}; set distill.hidden_weight 0."
        )
