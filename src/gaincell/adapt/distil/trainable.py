"""Which parameters distillation trains, and how fast."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from gaincell.adapt.settings import AdaptSettings, DistillSettings
from gaincell.adapt.stages.rates import is_scaler, rms, sizes
from gaincell.errors import InputError
from gaincell.models import attention_modules, scalers_of


@contextmanager
def training_only(model: PreTrainedModel, settings: AdaptSettings) -> Iterator[None]:
    """Let only the parameters that `settings.distill.train` names require gradients.

    "attention": all of the attention modules (projections, norms of queries and keys, scalers) and every norm; "lora":
    adapters on the projections, merged into them at the end, and the scalers; "all": everything. Scalers of digital
    layers never: nothing reads them.

    Raises:
        InputError: "lora" without the package peft.
    """
    required = {p: p.requires_grad for p in model.parameters()}
    adapters = _attach(model, settings) if settings.distill.train == "lora" else None
    try:
        names = _names(model, settings.distill.train)
        for name, p in model.named_parameters():
            p.requires_grad_(name in names)
        yield
    finally:
        if adapters is not None:
            adapters.merge_and_unload()
        for p in model.parameters():
            p.requires_grad_(required.get(p, True))
            p.grad = None


def untouched(model: PreTrainedModel, settings: DistillSettings) -> list[nn.Parameter]:
    """Parameters of an unconverted model that no stage of adaptation changes."""
    names = _names(model, "all" if settings.train == "all" else "attention")
    return [p for name, p in model.named_parameters() if name not in names]


def groups(model: nn.Module, settings: DistillSettings) -> list[dict[str, Any]]:
    """AdamW's groups of what a model trains, each of one rate and decay; `peak` is the rate that `rate` scales.

    Matrices decay. With `relative` a rate is in proportion to the parameter's size.
    """
    named = {name: p for name, p in model.named_parameters() if p.requires_grad}
    large = dict.fromkeys(named, 1.0)
    if settings.relative:
        large = {name: float(rms(size)) for name, size in sizes(model).items()}
    found: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, p in named.items():
        peak = settings.lr * large[name] * (settings.scaler_factor if is_scaler(name) else 1.0)
        decay = settings.weight_decay if p.dim() > 1 and not is_scaler(name) else 0.0
        found.setdefault((peak, decay), []).append(p)
    return [{"params": some, "peak": peak, "weight_decay": decay} for (peak, decay), some in found.items()]


def rate(step: int, steps: int, warmup: float) -> float:
    """Learning rate of a step over its peak: a line up over `warmup` of the steps, then a cosine to zero."""
    rising = math.ceil(warmup * steps)
    if step < rising:
        return (step + 1) / (rising + 1)
    return 0.5 * (1 + math.cos(math.pi * (step - rising) / (steps - rising)))


def _names(model: PreTrainedModel, train: str) -> set[str]:
    unread = tuple(f"{name}.gaincell." for name, scalers in scalers_of(model).items() if scalers.is_digital)
    names = {name for name, _ in model.named_parameters() if not name.startswith(unread)}
    if train == "all":
        return names
    if train == "lora":
        return {name for name in names if ".gaincell." in name or ".lora_" in name}
    modules = tuple(f"{name}." for name in attention_modules(model))
    norms = tuple(f"{name}." for name, module in model.named_modules() if "norm" in type(module).__name__.lower())
    return {name for name in names if name.startswith(modules + norms)}


def _attach(model: PreTrainedModel, settings: AdaptSettings) -> Any:
    try:
        from peft import LoraConfig, LoraModel
    except ImportError:
        raise InputError("distill.train 'lora' needs the package peft: pip install 'gaincell[lora]'.") from None
    linear = {
        f"{name}.{inner}": child
        for name, module in attention_modules(model).items()
        for inner, child in module.named_modules()
        if isinstance(child, nn.Linear | Conv1D)
    }
    config = LoraConfig(
        r=settings.distill.lora_rank,
        lora_alpha=settings.distill.lora_rank,
        target_modules=list(linear),
        fan_in_fan_out=any(isinstance(child, Conv1D) for child in linear.values()),
    )
    with torch.random.fork_rng():
        torch.manual_seed(settings.seed)  # every process starts from the same adapters
        return LoraModel(model, config, "default")
