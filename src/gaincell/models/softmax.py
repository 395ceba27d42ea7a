"""Softmax attention as transformers has it: what a model is tried with."""

import torch
from torch import Tensor


def softmax_attention(query: Tensor, key: Tensor, value: Tensor, scale: float, sinks: Tensor | None = None) -> Tensor:
    """Causal attention (B, n, Hq, D) of the last n of all tokens, with weights in float32; sinks (Hq,) take a share."""
    groups = query.shape[1] // key.shape[1]
    key, value = (x.repeat_interleave(groups, 1) for x in (key, value))
    scores = query @ key.mT * scale
    future = torch.ones_like(scores, dtype=torch.bool).triu(1 + key.shape[2] - query.shape[2])
    scores = scores.masked_fill(future, -torch.inf)
    if sinks is not None:
        scores = torch.cat((scores, sinks.to(scores)[:, None, None].expand(*scores.shape[:3], 1)), -1)
    weights = scores.softmax(-1, dtype=torch.promote_types(query.dtype, torch.float32)).to(value.dtype)
    return (weights[..., : key.shape[2]] @ value).transpose(1, 2).contiguous()
