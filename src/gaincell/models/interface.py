"""The attention and mask functions that transformers calls for the implementation "gaincell"."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface

from gaincell.errors import InputError
from gaincell.models.arguments import check_arguments, learned_sinks
from gaincell.models.intake import attends_with_softmax, layer_input, running
from gaincell.models.kept_tokens import seen_alone
from gaincell.models.packed_refused import PACKED
from gaincell.models.ring_cache import RingLayer, first_value
from gaincell.models.scalers import HeadScalers, fetched, scalers_in
from gaincell.models.softmax import digital_attention, softmax_attention, softmax_weights
from gaincell.ops import attention, attention_map
from gaincell.ops.precision import without_autocast

try:
    from transformers.utils.output_capturing import _active_collector
except ImportError:  # older transformers pass the wish on
    _active_collector = None

IMPLEMENTATION = "gaincell"


def gaincell_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **kwargs: Any,
) -> tuple[Tensor, Tensor | None]:
    """Scale, attend in gain cells, scale back; digital heads attend with softmax, by keys and values as they are.

    In the arrays transformers' `scaling` is ignored (folded into a of q at conversion), and so is `dropout`: they have
    none. So are a module's own learned sinks: they are a term of the sum that softmax divides by. Of a layer with
    digital heads the arrays compute all heads, and softmax replaces those (a choice: simple and exact).

    Args:
        module: an attention module with `HeadScalers` under the name `gaincell`.
        query: (B, Hq, n, D); key, value: (B, Hkv, n, D), unrepeated, the new tokens only.
        attention_mask: (B, positions) padding mask, or None.

    Returns:
        (B, n, Hq, D) in the query's dtype, and when attentions are asked for phi (B, Hq, n, n), of digital heads
        softmax's weights.
    """
    scalers = scalers_in(module)
    if scalers is None:
        raise InputError(
            "this model attends as 'gaincell' but was not converted; call gaincell.convert_(model, config)."
        )
    check_arguments(module, kwargs)
    scale = query.shape[3] ** -0.5 if scaling is None else float(scaling)
    if attends_with_softmax():
        return softmax_attention(query, key, value, scale, learned_sinks(module, kwargs)), None
    _check_operands(query, key, value)
    module_running = running(scalers)
    ring = None if module_running is None else module_running.ring
    if ring is not None:
        ring.arrive(key, value)
    real = _real_tokens(attention_mask, query.shape[2], cached=ring is not None)
    want_map = bool(kwargs.get("output_attentions")) or _attentions_are_captured()
    if want_map and ring is not None and ring.length:
        raise InputError("output_attentions needs the whole sequence in one forward pass, without a cache.")
    softmax = _Softmax(scalers, ring, real, scale, learned_sinks(module, kwargs), dropout, want_map=want_map)
    if scalers.is_digital:
        out, weights = softmax(query, key, value)
        return out.transpose(1, 2).contiguous(), weights
    follows = ring is not None and ring.started and query.shape[2] == 1
    attending = _Attending(scalers, ring, real, follows=follows, want_map=want_map)
    # Where one token follows others, most of the time goes into starting operations: inference mode saves some.
    inference = torch.inference_mode() if follows and not torch.is_grad_enabled() else nullcontext()
    x = [layer_input(scalers)] if scalers.reads_input else []
    with inference, without_autocast(query.device.type), fetched(scalers):
        # Through the scalers' own call, so that hooks that fetch their weights find them.
        out, phi = scalers(attending, query, key, value, *x)
    if scalers.digital:
        heads = torch.tensor(scalers.digital, device=query.device)
        own, weights = softmax(query, key, value)
        out = out.index_copy(1, heads, own.to(out.dtype))
        phi = None if phi is None or weights is None else phi.index_copy(1, heads, weights.to(phi.dtype))
    return out.transpose(1, 2).contiguous().to(query.dtype), phi


@dataclass(slots=True)
class _Attending:
    """One module's attention in one forward pass.

    Attributes:
        scalers: the module's.
        ring: its layer of the cache, if there is one.
        real: (B, n), false at left pads; None where there are none.
        follows: whether one token follows others in the ring.
        want_map: whether phi is asked for.
    """

    scalers: HeadScalers
    ring: RingLayer | None
    real: Tensor | None
    follows: bool
    want_map: bool

    def __call__(self, query: Tensor, key: Tensor, value: Tensor, *x: Tensor) -> tuple[Tensor, Tensor | None]:
        """(B, Hq, n, D) after output scaling, zero at pads, and phi; `x` is the layer's input, where it is read."""
        scalers, ring, real = self.scalers, self.ring, self.real
        q, k, v = scalers.scale("q", query), scalers.scale("k", key), scalers.scale("v", value)
        preset, absent, mix = self._from_input(query, value, *x) if x else (None, None, None)
        if scalers.observer is not None:
            scalers.observer(q, k, v, preset, absent)
        pad = None if real is None else (~real).sum(1)
        phi = None
        if self.want_map:
            phi = attention_map(q, k, scalers.config, pad=pad, preset=preset, absent=absent).to(query.dtype)
        if ring is not None:
            out = ring.extend(q, k, v, real, preset, absent)
        else:
            out = attention(q, k, v, scalers.config, pad=pad, preset=preset, absent=absent, validate=False)
        out = scalers.scale("out", out)
        if mix is not None:
            out = mix(out)
        return (out if real is None else out * real[:, None, :, None]), phi

    def _from_input(
        self, query: Tensor, value: Tensor, x: Tensor
    ) -> tuple[Tensor | None, Tensor | None, Callable[[Tensor], Tensor] | None]:
        """What is predicted from the layer's input: score preset, absent tokens, and how first tokens are mixed in."""
        scalers, ring = self.scalers, self.ring
        before = _tokens_before(query, self.real, None if ring is None else ring.written)
        seen = before.clamp(max=scalers.config.window)
        preset = None if scalers.preset is None else scalers.preset(x, seen)
        if scalers.sinks is None:
            return preset, None, None
        absent = scalers.sinks.absent(value, None if self.follows else before)
        first = first_value(value, before) if ring is None else ring.keep_first(value, before)
        return preset, absent, partial(scalers.sinks.mix, first=first, x=x, before=seen)


@dataclass(slots=True)
class _Softmax:
    """Attention of one module's digital heads in one forward pass.

    Attributes:
        scalers: the module's, which say which heads these are.
        ring: its layer of the cache, if there is one.
        real: (B, n), false at left pads; None where there are none.
        scale: of the scores.
        sinks: (Hq,) the module's own learned sinks, if it has some.
        dropped: share of the weights that training drops.
        want_map: whether the weights are asked for.
    """

    scalers: HeadScalers
    ring: RingLayer | None
    real: Tensor | None
    scale: float
    sinks: Tensor | None
    dropped: float
    want_map: bool

    def __call__(self, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor | None]:
        """(B, digital heads, n, D), zero at pads, and the weights; of all heads' queries, keys and values."""
        scalers, sinks, real = self.scalers, self.sinks, self.real
        some, groups = list(scalers.digital), list(scalers.digital_kv)
        if not scalers.is_digital:
            query, key, value = query[:, some], key[:, groups], value[:, groups]
            sinks = None if sinks is None else sinks[some]
        if self.ring is None:
            key, value, mask = seen_alone(key, value, real, scalers.own_window)
        else:
            key, value, mask = self.ring.keep(key, value, real)
        if not scalers.is_digital:
            own = [groups.index(head * scalers.kv_heads // scalers.heads) for head in some]
            key, value = key[:, own], value[:, own]
        out = digital_attention(query, key, value, self.scale, sinks, mask, self.dropped)
        weights = softmax_weights(query, key, self.scale, sinks, mask).to(query.dtype) if self.want_map else None
        return (out if real is None else out * real[:, None, :, None]), weights


def _check_operands(query: Tensor, key: Tensor, value: Tensor) -> None:
    if key.shape[2] != query.shape[2]:
        raise InputError(
            f"a converted model stores keys in its ring: {key.shape[2]} keys arrived for {query.shape[2]} queries; "
            "pass past_key_values=gaincell.models.RingCache(model), or none."
        )
    if key.shape != value.shape:
        raise InputError(
            f"keys {tuple(key.shape)} and values {tuple(value.shape)} differ in shape; gain cells serve models whose "
            "keys and values share one head_dim."
        )


def _attentions_are_captured() -> bool:
    """Whether transformers collects attentions in this forward pass (GPT-2 does not pass the wish on)."""
    return _active_collector is not None and "attentions" in (_active_collector.get() or {})


def _tokens_before(query: Tensor, real: Tensor | None, written: Tensor | None) -> Tensor:
    """(B, n): how many tokens of its row came before each of the new ones."""
    rows, tokens = query.shape[0], query.shape[2]
    if real is None and tokens == 1 and written is not None:
        return written.unsqueeze(1)
    if real is None:
        rank = torch.arange(tokens, device=query.device).expand(rows, -1)
    else:
        rank = torch.where(real, real.cumsum(1) - 1, 1)  # a pad is nobody's first token
    return rank if written is None else rank + written[:, None]


def _real_tokens(mask: Tensor | None, tokens: int, *, cached: bool) -> Tensor | None:
    """(B, n), false at left pads of the new tokens; None when there are none."""
    if mask is None:
        return None
    if hasattr(mask, "refusal"):
        raise InputError(mask.refusal)  # pyright: ignore[reportAttributeAccessIssue]
    if mask.dim() != 2:
        raise InputError(
            f"gain cells take a 2-D padding mask (batch, positions); got {mask.dim()} dimensions: causality and window "
            "belong to the arrays."
        )
    seen = mask.bool()
    started = seen.cummax(1).values if seen.shape[1] else seen
    holes = started & ~seen
    if cached and bool(holes.any()):
        raise InputError("attention_mask masks a token after a real one; pad on the left.")
    if bool((holes[:, :-1] & seen[:, 1:]).any()):
        raise InputError("attention_mask has holes between real tokens; gain cells serve left padding only.")
    # Pads on the right of a training batch are tokens that nobody earlier can see: only the left ones are absent.
    real = started[:, -tokens:]
    return None if bool(real.all()) else real


def gaincell_mask(
    batch_size: int,
    q_length: int,
    kv_length: int,
    q_offset: int = 0,
    kv_offset: int = 0,
    mask_function: Callable[..., Any] | None = None,
    attention_mask: Tensor | None = None,
    device: torch.device | str = "cpu",
    **kwargs: Any,
) -> Tensor | None:
    """The 2-D padding mask, or None without pads; refuses what is not causal (packed sequences, prefix attention).

    Causality and window belong to the operator: a T x T mask would cost the memory that the arrays save.
    """
    if attention_mask is not None:
        attention_mask = attention_mask[:, -kv_length:]
    if mask_function is not None and q_length > 1:
        batch = torch.arange(batch_size, device=device)[:, None]
        position = torch.arange(q_offset, q_offset + q_length, device=device)[None]
        head = torch.zeros((), dtype=torch.long, device=device)
        if bool(torch.as_tensor(mask_function(batch, head, position[:, :-1], position[:, 1:])).any()):
            return _refused(batch_size, "this attention mask lets tokens see their future; gain cells attend causally.")
        apart = ~torch.as_tensor(mask_function(batch, head, position[:, 1:], position[:, :-1]))
        if attention_mask is not None:  # what a pad sees does not matter
            real = attention_mask[:, -q_length:].bool()
            apart = apart & real[:, 1:] & real[:, :-1]
        if bool(apart.any()):
            return _refused(batch_size, PACKED)
    return None if attention_mask is None or bool(attention_mask.all()) else attention_mask


def _refused(batch: int, why: str) -> Tensor:
    """A mask that attention refuses: some families make one that none of their layers then uses."""
    mask = torch.zeros(batch, 1, 0, dtype=torch.bool)
    mask.refusal = why  # pyright: ignore[reportAttributeAccessIssue]
    return mask


def register() -> None:
    """Make "gaincell" known to transformers as attention and as mask function.

    Neither is compiled: torch.compile would trace every sub-tile of every length anew, for minutes.
    """
    AttentionInterface.register(IMPLEMENTATION, torch.compiler.disable(gaincell_attention))
    AttentionMaskInterface.register(IMPLEMENTATION, torch.compiler.disable(gaincell_mask))  # pyright: ignore
