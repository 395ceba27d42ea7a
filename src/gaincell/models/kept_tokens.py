"""Keys and values of digital heads, kept as they came: an ordinary cache beside the rings."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor


class Seen(NamedTuple):
    """What the new queries of digital heads may look at.

    Attributes:
        key, value: (B, Hkv, L, D), the new tokens last.
        mask: (B, 1, n, L) true where a query sees a key; None where each sees all keys up to its own.
    """

    key: Tensor
    value: Tensor
    mask: Tensor | None


def seen_alone(key: Tensor, value: Tensor, real: Tensor | None, window: int | None) -> Seen:
    """What tokens see that come without a cache: key and value (B, Hkv, n, D), real (B, n) false at left pads.

    A query sees as many positions back as the layer's own sliding window holds, itself among them. A pad sees itself,
    so that softmax has something to add up; what it puts out counts nowhere.
    """
    return Seen(key, value, _mask(key, real, window, key.shape[2]))


class KeptTokens:
    """Keys and values of one layer as transformers' own cache keeps them: all, or those of a sliding window.

    Args:
        window: positions that a query of this layer sees, itself among them; None: all.

    Attributes:
        record_past: whether what has left the window is kept, so that tokens can be taken back.
    """

    def __init__(self, window: int | None) -> None:
        self.window, self.record_past = window, False
        self.key: Tensor | None = None
        self.value: Tensor | None = None
        self.real: Tensor | None = None
        #: Whether the window has left tokens behind that are not kept.
        self._lost = False

    def extend(self, key: Tensor, value: Tensor, real: Tensor | None) -> Seen:
        """Keep new tokens (B, Hkv, n, D), and what they see; real (B, n) is false at left pads."""
        new = key.shape[2]
        here = torch.ones(len(key), new, dtype=torch.bool, device=key.device) if real is None else real
        if self.key is not None and self.value is not None and self.real is not None:
            key, value = torch.cat((self.key, key), 2), torch.cat((self.value, value), 2)
            here = torch.cat((self.real, here), 1)
        self.key, self.value, self.real = key, value, here
        seen = Seen(key, value, _mask(key, here, self.window, new))
        keep = key.shape[2] if self.window is None or self.record_past else self.window - 1
        if keep < key.shape[2]:
            first = key.shape[2] - keep
            self.key, self.value, self.real = (x.narrow(d, first, keep) for x, d in ((key, 2), (value, 2), (here, 1)))
            self._lost = True
        return seen

    @property
    def nbytes(self) -> int:
        """Bytes of keys and values."""
        return sum(x.numel() * x.element_size() for x in (self.key, self.value) if x is not None)

    def can_take_back(self, tokens: int) -> bool:
        """Whether the last so many positions can be taken back: not where others have left the window for them."""
        if tokens == 0 or not self._lost or self.key is None or self.window is None:
            return True
        return self.key.shape[2] - tokens >= self.window - 1

    def take_back(self, tokens: int) -> None:
        """Forget the last so many positions."""
        if self.key is None or self.value is None or self.real is None or not tokens:
            return
        left = self.key.shape[2] - tokens
        self.key, self.value, self.real = self.key[:, :, :left], self.value[:, :, :left], self.real[:, :left]

    def reset(self) -> None:
        """Forget every token."""
        self.key = self.value = self.real = None
        self._lost = False

    def select(self, rows: Tensor) -> None:
        """Keep the given rows."""
        self._each(lambda x: x.index_select(0, rows.to(x.device)))

    def to(self, device: torch.device | str) -> None:
        """Move everything."""
        self._each(lambda x: x.to(device))

    def _each(self, change: Callable[[Tensor], Tensor]) -> None:
        if self.key is not None and self.value is not None and self.real is not None:
            self.key, self.value, self.real = change(self.key), change(self.value), change(self.real)


def _mask(key: Tensor, real: Tensor | None, window: int | None, new: int) -> Tensor | None:
    """(B, 1, new, L): what the last `new` of L tokens see; None where each sees all up to its own, pads or not."""
    length = key.shape[2]
    padded = real is not None and not bool(real.all())
    slides = window is not None and window < length
    if not padded and not slides and new in (1, length):
        return None
    at = torch.arange(length, device=key.device)
    back = at[length - new :, None] - at
    sees = (back >= 0) if window is None else (back >= 0) & (back < window)
    if not padded or real is None:
        return sees[None, None]
    return (sees & real[:, None] | (back == 0))[:, None]
