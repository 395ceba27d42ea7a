"""What the arrays of a running model do: how long the pulses between the two products are, head by head."""

from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel

from gaincell.errors import InputError
from gaincell.models.convert import scalers_of

#: A head is called saturated where more than this share of its pulses have full width.
SATURATED = 0.9


@dataclass(frozen=True)
class HeadActivity:
    """Pulses phi between the two products; (layers, Hq) each, over every query and every token in its window.

    Tokens that stay out of the arrays (pads, digital sinks) count as pulses of zero width.

    Attributes:
        silent: share of phi = 0.
        full: share of phi = 1.
        mean: mean of phi.
    """

    silent: Tensor
    full: Tensor
    mean: Tensor

    @property
    def dead(self) -> Tensor:
        """Heads without a single pulse: (layers, Hq)."""
        return self.silent == 1

    @property
    def saturated(self) -> Tensor:
        """Heads whose pulses nearly all have full width: (layers, Hq)."""
        return self.full > SATURATED


@torch.no_grad()
def head_activity(model: PreTrainedModel, ids: Tensor) -> HeadActivity:
    """Run a converted model on token ids (B, T) and look at every head's pulses; memory grows with T squared.

    Raises:
        InputError: a model that is not converted.
    """
    scalers = scalers_of(model)
    if not scalers:
        raise InputError("the model attends with softmax, so there are no pulses to look at; convert it first.")
    maps = model(ids, use_cache=False, output_attentions=True).attentions
    index = torch.arange(ids.shape[1], device=ids.device)
    age = index[:, None] - index
    rows = []
    for phi, layer in zip(maps, scalers.values(), strict=True):
        seen = phi[..., (age >= 0) & (age < layer.config.window)]  # (B, Hq, pairs)
        rows.append(torch.stack([x.float().mean((0, 2)) for x in (seen == 0, seen == 1, seen)]))
    return HeadActivity(*torch.stack(rows, 1).cpu())
