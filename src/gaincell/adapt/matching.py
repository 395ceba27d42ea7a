"""From a trained linear hardware model to a nonlinear one: bring each layer's statistics to those it had."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from gaincell.adapt.layers import Heads, attending_by
from gaincell.adapt.run import Run
from gaincell.adapt.statistics import Moments, match_layer
from gaincell.config import GainCellConfig
from gaincell.models import convert_, scalers_of
from gaincell.models.interface import gaincell_attention


@dataclass(frozen=True)
class Shown:
    """What one layer's attention showed on some text.

    Attributes:
        moments: of "q", "k", "v" and "out", after scaling.
        out: the output after scaling, (N, Hq, T, D).
    """

    moments: dict[str, Moments]
    out: Tensor


@torch.no_grad()
def show(model: PreTrainedModel, ids: Tensor) -> list[Shown]:
    """What every layer of a converted model shows on ids (N, T), in one forward pass; in layer order."""
    found: list[Shown] = []

    def attend(module: nn.Module, query: Tensor, key: Tensor, value: Tensor, *args: Any, **kwargs: Any) -> Any:
        result = gaincell_attention(module, query, key, value, *args, **kwargs)
        out = result[0].transpose(1, 2)
        scalers: Any = module.gaincell
        moments = {name: Moments.of(scalers.scale(name, x)) for name, x in (("q", query), ("k", key), ("v", value))}
        found.append(Shown({**moments, "out": Moments.of(out)}, out))
        return result

    with attending_by(model, attend):
        model(ids, use_cache=False, logits_to_keep=1)
    return found


@torch.no_grad()
def match_model(
    model: PreTrainedModel,
    config: GainCellConfig,
    ids: Tensor,
    run: Run,
    progress: Callable[[str, int, int], None] | None = None,
) -> None:
    """Move a converted model to another design point, and match its scalers to what it showed before.

    Weights and scalers are kept; then, layer by layer, mean and deviation per head of the scaled q, k, v and output are
    brought to those at the former design point. A layer sees what the matched layers below it put out, so that all of
    it is one forward pass [Leroux et al. 2025, released code].

    Args:
        model: attends at the former design point; changed in place. One without score preset and digital sinks.
        config: the new design point.
        ids: (N, T) token ids on the model's device, the one batch that it looks at.
        run: where each layer's scalers are kept, as the stage "matching"; those of a finished run are read back.
        progress: called with ("matching", layers done, layers).
    """
    scalers = list(scalers_of(model).values())
    finished = all(run.finished("matching", layer) for layer in range(len(scalers)))
    targets = [] if finished else show(model, ids)
    convert_(model, config)
    if finished:
        for layer, each in enumerate(scalers):
            run.load("matching", layer, each)
        return

    def attend(module: nn.Module, query: Tensor, key: Tensor, value: Tensor, *args: Any, **kwargs: Any) -> Any:
        layer: Any = module.layer_idx
        target = targets[layer]
        # The output compared with is the linear model's, in place of softmax's.
        errors = match_layer(scalers[layer], Heads(query, key, value, target.out), target.moments)
        metrics = {"stage": "matching", "layer": layer, "relative_error": float(errors.mean())}
        run.save("matching", layer, scalers[layer].state_dict(), metrics)
        if progress is not None:
            progress("matching", layer + 1, len(scalers))
        return gaincell_attention(module, query, key, value, *args, **kwargs)

    with attending_by(model, attend):
        model(ids, use_cache=False, logits_to_keep=1)
