"""Digital scaling per head: x <- a x + b before conversion, and on the output."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from gaincell.config import GainCellConfig


class HeadScalers(nn.Module):
    """The scalers of one attention module, and the design point it attends with.

    x <- a x + b per query head for q and the output, per key/value head for k and v; the authors' start is a = 1, b = 0
    for q and the output, b = zero_v for k and v [Leroux et al. 2025, released code]. transformers' `scaling`
    (1/sqrt(head_dim)) starts a of q. Parameters stay float32 whatever the model's dtype: a bfloat16 b = 0.45 would fall
    on the other side of a code.

    Args:
        heads, kv_heads: Hq and Hkv.
        config: the design point of this layer (its ring may be shorter than the model's window).
        scaling: transformers' softmax scale, folded into a of q.
        device: where the parameters live.
    """

    def __init__(
        self,
        heads: int,
        kv_heads: int,
        config: GainCellConfig,
        scaling: float = 1.0,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__()
        self.config, self.heads, self.kv_heads = config, heads, kv_heads

        def full(n: int, value: float) -> nn.Parameter:
            return nn.Parameter(torch.full((n,), value, dtype=torch.float32, device=device))

        self.q_scale, self.q_bias = full(heads, scaling), full(heads, 0.0)
        self.k_scale, self.k_bias = full(kv_heads, 1.0), full(kv_heads, config.zero_v)
        self.v_scale, self.v_bias = full(kv_heads, 1.0), full(kv_heads, config.zero_v)
        self.out_scale, self.out_bias = full(heads, 1.0), full(heads, 0.0)

    def scale(self, name: str, x: Tensor) -> Tensor:
        """a x + b in float32 or wider; `name` is "q", "k", "v" or "out", x (B, H, T, D) of that kind's heads."""
        a, b = getattr(self, f"{name}_scale"), getattr(self, f"{name}_bias")
        x = x if x.dtype == a.dtype else x.to(torch.promote_types(x.dtype, a.dtype))
        return torch.addcmul(b.view(-1, 1, 1), x, a.view(-1, 1, 1))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "HeadScalers":
        """Follow `.to()` to another device, or to float64; keep float32 under `.to(bfloat16)` and `.half()`."""

        def keep_precision(tensor: Tensor) -> Tensor:
            moved = fn(tensor)
            if moved.dtype in (torch.float32, torch.float64) or not moved.is_floating_point():
                return moved
            return moved.float() if tensor.is_meta else tensor.to(moved.device)

        return super()._apply(keep_precision, recurse)
