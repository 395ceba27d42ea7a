"""Attention sinks, kept out of the arrays, and the linear prediction that stands for a softmax's sum."""

import torch
from torch import Tensor, nn
from torch.nn.functional import linear


class HeadPredictor(nn.Module):
    """w x + c log(1 + n) + b for every query head: x the layer's input, n the tokens before, up to the window.

    An option (not in the published design): the logarithm of softmax's sum is close to linear in them.

    Args:
        heads: Hq.
        hidden: width of the layer's input.
        bias: where b starts; w and c start at 0.
        device: where the parameters live.
    """

    def __init__(self, heads: int, hidden: int, bias: float = 0.0, device: torch.device | str | None = None) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(heads, hidden, dtype=torch.float32, device=device))
        self.log_weight = nn.Parameter(torch.zeros(heads, dtype=torch.float32, device=device))
        self.bias = nn.Parameter(torch.full((heads,), bias, dtype=torch.float32, device=device))

    def forward(self, x: Tensor, before: Tensor) -> Tensor:
        """(B, Hq, T) in float32 or wider, of x (B, T, hidden) and before (B, T) tokens."""
        x = x.to(torch.promote_types(x.dtype, self.weight.dtype))
        position = torch.log1p(before.to(x.dtype))[..., None]
        offset = torch.addcmul(self.bias, position, self.log_weight)
        return (linear(x, self.weight.to(x.dtype)) + offset).transpose(1, 2)


class DigitalSinks(nn.Module):
    """The first token, and any whose value is short, stay out of the arrays; the first one's value is mixed in.

    out <- g out + (1 - g) v_0 with g = sigmoid(w x + c log(1 + n) + b), 0 for the first token. An option (not in the
    published design): pre-trained models park attention that they do not need on such tokens, and most of it.

    Args:
        heads, kv_heads: Hq and Hkv.
        hidden: width of the layer's input.
        device: where the parameters live.

    Attributes:
        shortest: (Hkv,) a token whose value has a smaller norm (before scaling) is a sink; 0: the first one only.
    """

    shortest: Tensor

    def __init__(self, heads: int, kv_heads: int, hidden: int, device: torch.device | str | None = None) -> None:
        super().__init__()
        self.share = HeadPredictor(heads, hidden, bias=8.0, device=device)
        self.register_buffer("shortest", torch.zeros(kv_heads, dtype=torch.float32, device=device))

    def absent(self, value: Tensor, before: Tensor | None) -> Tensor:
        """(B, Hkv, T), true at sinks; value (B, Hkv, T, D) before scaling, before (B, T).

        `before` is None where it is zero nowhere.
        """
        value = value.detach().to(torch.promote_types(value.dtype, torch.float32))
        short = torch.linalg.vector_norm(value, dim=-1) < self.shortest.unsqueeze(1)
        return short if before is None else short | (before == 0)[:, None]

    def mix(self, out: Tensor, first: Tensor, x: Tensor, before: Tensor) -> Tensor:
        """The arrays' output (B, Hq, T, D) after scaling, and the first token's value (B, Hkv, 1, D), mixed."""
        share = torch.sigmoid(self.share(x, before)) * (before != 0)[:, None]
        first = first.to(out.dtype).repeat_interleave(out.shape[1] // first.shape[1], 1)
        return torch.lerp(first, out, share.to(out.dtype)[..., None])
