"""What the digital side does around the arrays of one attention module: scaling, score preset, sinks."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from gaincell.config import GainCellConfig
from gaincell.errors import InputError
from gaincell.models.sinks import DigitalSinks, HeadPredictor


def fetched(scalers: "HeadScalers") -> AbstractContextManager[None]:
    """While scalers that accelerate offloads are where they compute: it fetches what is called, and they are not."""
    if not scalers.q_scale.is_meta:
        return nullcontext()
    from accelerate.utils import align_module_device

    return align_module_device(scalers)


def scalers_in(module: nn.Module) -> "HeadScalers | None":
    """The scalers that an attention module attends with, or None.

    Where PEFT trains them beside other adapters (`modules_to_save`), those of the adapter that is active; the original
    ones where none is.
    """
    found: Any = getattr(module, "gaincell", None)
    if not isinstance(found, HeadScalers) and hasattr(found, "modules_to_save"):
        trained, active = found.modules_to_save, [] if found.disable_adapters else found.active_adapters
        found = next((trained[name] for name in active if name in trained), found.original_module)
    return found if isinstance(found, HeadScalers) else None


class HeadScalers(nn.Module):
    """The scalers of one attention module, and the design point it attends with.

    x <- a x + b per query head for q and the output, per key/value head for k and v; the authors' start is a = 1, b = 0
    for q and the output, b = zero_v for k and v [Leroux et al. 2025, released code]. transformers' `scaling`
    (1/sqrt(head_dim)) starts a of q. With `equalisation` a and b are per head and channel. Parameters stay float32
    whatever the model's dtype: a bfloat16 b = 0.45 would fall on the other side of a code.

    Args:
        heads, kv_heads: Hq and Hkv.
        config: the design point of this layer (its ring may be shorter than the model's window).
        scaling: transformers' softmax scale, folded into a of q.
        device: where the parameters live.
        head_dim: D; only `equalisation` needs it.
        hidden: width of the layer's input; only `score_preset` and `sinks` need it.

    Attributes:
        preset: predicts each query's offset on S / S_sat where the design point has a score preset, else None.
        sinks: mixes the sinks in where they are digital, else None.
        scaling: what a of q started at.
        digital: query heads, ascending, that attend with softmax instead; their scalers are there all the same.
        own_window: tokens that softmax looks back to in this layer, itself among them; None: all.
        hook_numbers: those that torch has given to the hooks of conversion, which a pickle takes along.
        observer: called with q, k, v, preset and absent as the arrays get them, where somebody watches.
    """

    def __init__(
        self,
        heads: int,
        kv_heads: int,
        config: GainCellConfig,
        scaling: float = 1.0,
        device: torch.device | str | None = None,
        *,
        head_dim: int = 1,
        hidden: int = 0,
    ) -> None:
        super().__init__()
        self.config, self.heads, self.kv_heads, self.scaling = config, heads, kv_heads, scaling
        self.digital: tuple[int, ...] = ()
        self.own_window: int | None = None
        self.hook_numbers: object = None
        self.observer: Callable[[Tensor, Tensor, Tensor, Tensor | None, Tensor | None], None] | None = None

        def full(n: int, value: float) -> nn.Parameter:
            shape = (n, head_dim) if config.equalisation else (n,)
            return nn.Parameter(torch.full(shape, value, dtype=torch.float32, device=device))

        self.q_scale, self.q_bias = full(heads, scaling), full(heads, 0.0)
        self.k_scale, self.k_bias = full(kv_heads, 1.0), full(kv_heads, config.zero_v)
        self.v_scale, self.v_bias = full(kv_heads, 1.0), full(kv_heads, config.zero_v)
        self.out_scale, self.out_bias = full(heads, 1.0), full(heads, 0.0)
        self.preset = HeadPredictor(heads, hidden, device=device) if config.score_preset else None
        self.sinks = DigitalSinks(heads, kv_heads, hidden, device) if config.sinks == "digital" else None

    @property
    def reads_input(self) -> bool:
        """Whether the preset or the sinks are predicted from the layer's input."""
        return self.preset is not None or self.sinks is not None

    @property
    def is_digital(self) -> bool:
        """Whether all heads attend with softmax, and no arrays do."""
        return len(self.digital) == self.heads

    @property
    def digital_kv(self) -> tuple[int, ...]:
        """Key/value heads that the digital heads read, ascending."""
        return tuple(sorted({head * self.kv_heads // self.heads for head in self.digital}))

    def forward(self, attend: Callable[..., Any], *operands: Tensor) -> Any:
        """`attend` (q, k, v, x), which scales with these: whoever shards parameters gathers them around this call.

        Raises:
            InputError: parameters that came in less than float32, as under a sharding policy that casts them.
        """
        if self.q_scale.dtype not in (torch.float32, torch.float64):
            kind = str(self.q_scale.dtype).removeprefix("torch.")
            raise InputError(
                f"scalers came as {kind}, in which they would fall on other sides of codes; leave them in float32 "
                "(under FSDP2: call fully_shard on each HeadScalers, without mp_policy, before the rest is sharded "
                "with mixed precision)."
            )
        return attend(*operands)

    def scale(self, name: str, x: Tensor) -> Tensor:
        """a x + b in float32 or wider; `name` is "q", "k", "v" or "out", x (B, H, T, D) of that kind's heads."""
        a, b, heads = getattr(self, f"{name}_scale"), getattr(self, f"{name}_bias"), x.shape[1]
        x = x if x.dtype == a.dtype else x.to(torch.promote_types(x.dtype, a.dtype))
        return torch.addcmul(b.view(heads, 1, -1), x, a.view(heads, 1, -1))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "HeadScalers":
        """Follow `.to()` to another device, or to float64; keep float32 under `.to(bfloat16)` and `.half()`."""

        def keep_precision(tensor: Tensor) -> Tensor:
            moved = fn(tensor)
            if moved.dtype in (torch.float32, torch.float64) or not moved.is_floating_point():
                return moved
            return moved.float() if tensor.is_meta else tensor.to(moved.device)

        return super()._apply(keep_precision, recurse)
