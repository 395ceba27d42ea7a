"""The ring of columns as a transformers cache."""

from typing import Any

import torch
from torch import Tensor, nn
from transformers.cache_utils import Cache, CacheLayerMixin, LinearAttentionLayer

from gaincell.config import GainCellConfig
from gaincell.errors import InputError
from gaincell.models.attention_modules import scalers_of
from gaincell.models.intake import note_ring
from gaincell.models.kept_tokens import KeptTokens, Seen
from gaincell.models.other_layers import cache_layers, holds_states
from gaincell.models.scalers import HeadScalers
from gaincell.ops import Ring
from gaincell.ops.ring import check_packed


class RingLayer(CacheLayerMixin):
    """One layer's ring, and what its digital heads keep. `update` hands the new tokens on; attention writes them.

    Scaling and conversion belong to the attention module, so the keys and values that transformers passes in cannot be
    stored yet: `update` returns them, whatever they are (some families pass what keys are yet to be made of), and tells
    the module that runs of the ring; the attention function calls `arrive`, then `extend`, `keep` or both.

    Args:
        config: the layer's design point.
        packed: store two codes a byte.
        arrays: whether any of its heads attend in gain cells.
        kept: what its digital heads keep, where it has some.
    """

    is_sliding = False
    is_croppable = True

    def __init__(
        self, config: GainCellConfig, packed: bool = False, *, arrays: bool = True, kept: KeptTokens | None = None
    ) -> None:
        super().__init__()
        self.config, self.packed, self.arrays, self.kept = config, packed, arrays, kept
        self.ring: Ring | None = None
        self.length = 0
        #: (B, Hkv, 1, D): each row's first value, where sinks are digital.
        self.first: Tensor | None = None
        #: Whether every row has written its first token.
        self.started = False
        #: Whether what tokens overwrite is kept, so that `crop` can put it back.
        self.record_past = False
        self._handed_on = False

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Allocate the arrays for the batch, heads and device of the first tokens."""
        batch, kv_heads, _, head_dim = key_states.shape
        if self.arrays:
            self.ring = Ring(batch, kv_heads, head_dim, self.config, key_states.device, packed=self.packed)
        self.rows, self.is_initialized = batch, True

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Hand the new tokens (B, Hkv, n, D) to the attention function, which writes them."""
        if self._handed_on:
            raise RuntimeError(
                "the ring cache received new tokens before the attention function wrote the previous ones; "
                "use a new RingCache after a forward pass that was cut short."
            )
        note_ring(self)
        self._handed_on = True
        return key_states, value_states

    def arrive(self, key: Tensor, value: Tensor) -> None:
        """Note that the attention function got what `update` handed on: what it then refuses is not lost on the way."""
        self._handed_on = False
        if self.ring is None and not self.length:
            self.lazy_initialization(key, value)

    def keep(self, key: Tensor, value: Tensor, real: Tensor | None) -> Seen:
        """Keep keys and values (B, n heads, n, D) that digital heads read, and give all that the new tokens see."""
        assert self.kept is not None
        if not self.arrays:
            self.length += key.shape[2]
        self.kept.record_past = self.record_past
        return self.kept.extend(key, value, real)

    @property
    def written(self) -> Tensor:
        """(B,) tokens that each row has written."""
        assert self.ring is not None
        return self.ring.count

    def keep_first(self, value: Tensor, before: Tensor) -> Tensor:
        """Each row's first value (B, Hkv, 1, D), from these tokens (B, Hkv, n, D) if they bring it; before (B, n)."""
        if self.started and self.first is not None:
            return self.first
        first = first_value(value, before)
        if self.first is not None:
            first = torch.where((before == 0).any(1)[:, None, None, None], first, self.first)
        self.first = first.detach()
        return first  # of this chunk: with its gradient

    def extend(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        real: Tensor | None,
        preset: Tensor | None = None,
        absent: Tensor | None = None,
    ) -> Tensor:
        """Write and read the tokens that `update` handed on; operands after scaling."""
        assert self.ring is not None
        self.length += q.shape[2]
        self.ring.recording = self.record_past
        out = self.ring.extend(q, k, v, real, preset, absent=absent, validate=False)
        self.started = self.started or bool((self.written > 0).all())
        return out

    def activate_past_recording(self) -> None:
        """Keep from now on what tokens overwrite, for `crop`."""
        self.record_past = True

    def to_crop(self, tokens_to_remove: int) -> int:
        """How many positions `crop` would take back; -1 where it would refuse."""
        length = self.length
        tokens = min(-tokens_to_remove, length) if tokens_to_remove <= 0 else max(length - tokens_to_remove, 0)
        held = (holder for holder in (self.ring, self.kept) if holder is not None)
        return tokens if all(holder.can_take_back(tokens) for holder in held) else -1

    def crop(self, tokens_to_remove: int) -> None:
        """Take back the last positions (-n: so many; n > 0: all but the first n), as `RingCache.crop` does."""
        tokens = self.to_crop(tokens_to_remove)
        if not tokens:
            return
        if self.kept is not None:
            self.kept.take_back(tokens)
        if self.ring is not None:
            self.ring.take_back(tokens)
            self.started = bool((self.written > 0).all())
        self.length -= tokens

    def get_seq_length(self) -> int:
        """Positions seen so far, pads included."""
        return self.length

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Length and offset of the padding mask: all positions, so that pads of the prompt stay known."""
        return self.length + query_length, 0

    def get_max_length(self) -> int:
        """No maximum: the ring overwrites its oldest token."""
        return -1

    def get_max_cache_shape(self) -> int:
        """No maximum (the name older transformers use)."""
        return -1

    def reset(self) -> None:
        """Forget every token."""
        self.length, self._handed_on, self.first, self.started = 0, False, None, False
        for holder in (self.ring, self.kept):
            if holder is not None:
                holder.reset()

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Follow beam search."""
        self.batch_select_indices(beam_idx)

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep the given rows."""
        if self.ring is not None:
            indices = indices.to(self.ring.count.device)
            self.ring.reorder(indices)
            self.first = None if self.first is None else self.first.index_select(0, indices)
        if self.kept is not None:
            self.kept.select(indices)
        self.rows = len(indices)

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Repeat every row."""
        if self.length:
            rows = torch.arange(self.rows)
            self.batch_select_indices(rows.repeat_interleave(repeats))

    def offload(self) -> None:
        """Move the arrays to the CPU."""
        where = self._where
        if where is not None:
            self._device = where
            self._move("cpu")

    def prefetch(self) -> None:
        """Move the arrays back."""
        if self._where is not None and hasattr(self, "_device"):
            self._move(self._device)

    @property
    def _where(self) -> torch.device | None:
        """The device of what is kept; None while nothing is."""
        key = None if self.kept is None else self.kept.key
        return (None if key is None else key.device) if self.ring is None else self.ring.count.device

    def _move(self, device: torch.device | str) -> None:
        for holder in (self.ring, self.kept):
            if holder is not None:
                holder.to(device)
        self.first = None if self.first is None else self.first.to(device)


class RingAndStatesLayer(LinearAttentionLayer, RingLayer):
    """The ring of a layer that attends, and transformers' states of a recurrence or convolution in the same layer."""

    is_compileable = False

    def __init__(self, config: GainCellConfig, packed: bool = False, number_of_states: int = 1, **heads: Any) -> None:
        RingLayer.__init__(self, config, packed, **heads)
        LinearAttentionLayer.__init__(self, number_of_states=number_of_states)

    def lazy_initialization(self, *keys_and_values: Any, **states: Any) -> None:
        """Allocate what these are of: keys and values come as they are, states by their names."""
        if keys_and_values:
            RingLayer.lazy_initialization(self, *keys_and_values)
        else:
            LinearAttentionLayer.lazy_initialization(self, **states)

    def reset(self) -> None:
        """Forget every token."""
        RingLayer.reset(self)
        LinearAttentionLayer.reset(self)

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Follow beam search."""
        RingLayer.reorder_cache(self, beam_idx)
        LinearAttentionLayer.reorder_cache(self, beam_idx)  # pyright: ignore[reportArgumentType]

    def offload(self) -> None:
        """Move arrays and states to the CPU."""
        RingLayer.offload(self)
        LinearAttentionLayer.offload(self)

    def prefetch(self) -> None:
        """Move arrays and states back."""
        RingLayer.prefetch(self)
        LinearAttentionLayer.prefetch(self)


def first_value(value: Tensor, before: Tensor) -> Tensor:
    """(B, Hkv, 1, D): the value of the token that has none before it, of value (B, Hkv, n, D) and before (B, n).

    Rows without such a token give any of theirs.
    """
    at = (before == 0).int().argmax(1)
    return value.gather(2, at[:, None, None, None].expand(-1, value.shape[1], 1, value.shape[3]))


class RingCache(Cache):
    """What `generate` uses for a converted model.

    That is one ring an attention layer; keys and values as they are in the place of a digital layer's ring, and beside
    the ring of a layer that has digital heads; and of layers of another kind (state spaces, recurrences, convolutions)
    the states that transformers keeps of them.

    Args:
        model: a converted model.
        packed: store two codes a byte, which quarters a bfloat16 cache instead of halving it.

    Raises:
        InputError: the model is not converted, or attends in layers that have no ring; two codes a byte are not all
            that its cells hold.

    Attributes:
        takes_chunks: whether the model's layers of another kind were seen to go on with several tokens at once.
    """

    def __init__(self, model: nn.Module, *, packed: bool = False) -> None:
        scalers = scalers_of(model)
        if not scalers:
            raise InputError("RingCache needs a converted model; call gaincell.convert_(model, config) first.")
        for each in scalers.values():
            if packed:
                check_packed(each.config)
        found: Any = model
        places = {found.get_submodule(name).layer_idx: each for name, each in scalers.items()}
        layers = cache_layers(found)
        for index, other in enumerate(layers):
            if index in places:
                layers[index] = _layer(places[index], packed, other)
            elif isinstance(other, CacheLayerMixin):
                where = f"{type(model).__name__} attends in layer {index}"
                raise InputError(f"{where} in a way of its own, whose keys no ring holds; gain cells cannot serve it.")
        super().__init__(layers=layers)
        self.takes_chunks = False

    def crop(self, tokens_to_remove: int) -> None:
        """Take back the last positions of every row: the rings are what they were before them.

        A token that overwrote another is taken back only as long as that one is kept: call `activate_past_recording`
        before what may have to go; from then on each layer keeps what the last 1,024 tokens overwrote, or as many as
        its window holds if those are more. Assisted generation does so by itself.

        Args:
            tokens_to_remove: -n takes n positions back; n > 0 leaves the first n.

        Raises:
            InputError: tokens that overwrote others which were not kept, or layers that do not attend; nothing is taken
                back then.
        """
        rings = [layer for layer in self.layers if isinstance(layer, RingLayer)]
        self._check_forgets()
        if any(layer.to_crop(tokens_to_remove) < 0 for layer in rings):
            raise InputError(
                f"crop({tokens_to_remove}) takes back tokens that overwrote others, which a ring keeps only after "
                "activate_past_recording, and not for good; call that before such tokens, or use a new RingCache."
            )
        super().crop(tokens_to_remove)

    def activate_past_recording(self) -> None:
        """Keep from now on what tokens overwrite, for `crop`.

        Raises:
            InputError: layers that do not attend.
        """
        self._check_forgets()
        super().activate_past_recording()

    def _check_forgets(self) -> None:
        if holds_states(self):
            raise InputError(
                "tokens cannot be taken back out of the states of layers that do not attend, which hold all of them in "
                "one; generate without an assistant, or use a new RingCache."
            )

    @property
    def bytes_per_token(self) -> float:
        """Bytes that one token of one row takes over all layers; known once the cache has been used."""
        rings = [layer.ring for layer in self.layers if isinstance(layer, RingLayer) and layer.ring is not None]
        kept = [layer.kept for layer in self.layers if isinstance(layer, RingLayer) and layer.kept is not None]
        of_rings = sum(ring.nbytes / (ring.codes.shape[1] * ring.config.window) for ring in rings)
        return of_rings + sum(x.nbytes / (x.key.shape[0] * x.key.shape[2]) for x in kept if x.key is not None)

    @property
    def bf16_bytes_per_token(self) -> float:
        """What a bfloat16 cache of the same keys and values takes per token."""
        rings = [layer.ring for layer in self.layers if isinstance(layer, RingLayer) and layer.ring is not None]
        alone = [layer.kept for layer in self.layers if isinstance(layer, RingLayer) and layer.ring is None]
        kept = sum(4 * x.key[0, :, 0].numel() for x in alone if x is not None and x.key is not None)
        return kept + sum(2 * ring.codes[:, 0, :, 0].numel() * (2 if ring.packed else 1) for ring in rings)


def _layer(scalers: HeadScalers, packed: bool, other: Any) -> RingLayer:
    """The ring in the place of what transformers keeps of a layer, with its states where it has some."""
    kept = KeptTokens(scalers.own_window) if scalers.digital else None
    if isinstance(other, LinearAttentionLayer):
        states = getattr(other, "number_of_states", 1)
        return RingAndStatesLayer(scalers.config, packed, states, arrays=not scalers.is_digital, kept=kept)
    return RingLayer(scalers.config, packed, arrays=not scalers.is_digital, kept=kept)
