"""Softmax attention as transformers has it: what a model is tried with, and what digital heads attend by."""

import torch
from torch import Tensor
from torch.nn.functional import dropout, scaled_dot_product_attention


def softmax_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    scale: float,
    sinks: Tensor | None = None,
    mask: Tensor | None = None,
    dropped: float = 0.0,
) -> Tensor:
    """Attention (B, n, Hq, D) of the last n of all tokens, with weights in float32.

    Args:
        query: (B, Hq, n, D).
        key, value: (B, Hkv, L, D).
        scale: of the scores.
        sinks: (Hq,) learned logits that take a share.
        mask: (B, 1, n, L) true where a query sees a key; None: causal.
        dropped: share of the weights that are dropped, others scaled up for it.
    """
    weights = softmax_weights(query, key, scale, sinks, mask).to(value.dtype)
    value = value.repeat_interleave(query.shape[1] // value.shape[1], 1)
    return (dropout(weights, dropped, training=dropped > 0) @ value).transpose(1, 2).contiguous()


def softmax_weights(
    query: Tensor, key: Tensor, scale: float, sinks: Tensor | None = None, mask: Tensor | None = None
) -> Tensor:
    """The weights (B, Hq, n, L) of `softmax_attention`, in float32 or wider; with sinks they add up to less than 1."""
    key = key.repeat_interleave(query.shape[1] // key.shape[1], 1)
    scores = query @ key.mT * scale
    past = key.shape[2] - query.shape[2]
    hidden = torch.ones_like(scores, dtype=torch.bool).triu(1 + past) if mask is None else mask.logical_not()
    scores = scores.masked_fill(hidden, -torch.inf)
    if sinks is not None:
        scores = torch.cat((scores, sinks.to(scores)[:, None, None].expand(*scores.shape[:3], 1)), -1)
    weights = scores.softmax(-1, dtype=torch.promote_types(query.dtype, torch.float32))
    return weights[..., : key.shape[2]]


def digital_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    scale: float,
    sinks: Tensor | None = None,
    mask: Tensor | None = None,
    dropped: float = 0.0,
) -> Tensor:
    """What `softmax_attention` computes, (B, Hq, n, D), by torch's own operation, which knows no sinks."""
    if sinks is not None:
        return softmax_attention(query, key, value, scale, sinks, mask, dropped).transpose(1, 2)
    groups, causal = query.shape[1] // key.shape[1], mask is None and query.shape[2] > 1
    if groups > 1:
        key, value = (x.repeat_interleave(groups, 1) for x in (key, value))
    return scaled_dot_product_attention(query, key, value, mask, dropped, causal, scale=scale)
