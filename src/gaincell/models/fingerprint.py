"""A model's identity: its kind and every weight."""

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor
from transformers import PreTrainedModel

#: How the parameters that conversion adds are told from the model's own.
CONVERTED = ".gaincell."


def own_weights(model: PreTrainedModel) -> dict[str, Tensor]:
    """The parameters of a model, converted or not, less what conversion added; tied weights once."""
    return {name: p.detach() for name, p in model.named_parameters() if CONVERTED not in name}


def base_hash(model: PreTrainedModel, weights: Mapping[str, Tensor] | None = None) -> str:
    """SHA-256 of a model's type, and of the name, shape and float32 value of every parameter it had before conversion.

    The dtype does not enter: weights that were stored in bfloat16 give the same hash in bfloat16 and in float32. Those
    that lost digits on the way (float32 ones loaded as bfloat16) give another.

    Args:
        model: the model; where `weights` are given, only its type counts.
        weights: other weights by name, such as those of the model before it was trained on.
    """
    weights = own_weights(model) if weights is None else weights
    digest = hashlib.sha256(f"{model.config.model_type}\n".encode())
    for name in sorted(weights):
        values = weights[name].detach().to("cpu", torch.float32).contiguous()
        digest.update(f"{name} {tuple(values.shape)}\n".encode())
        digest.update(values.numpy().reshape(-1).data)
    return digest.hexdigest()
