"""What the last tokens of a ring overwrote, kept so that they can be taken back."""

from collections import deque
from dataclasses import dataclass

from torch import Tensor


@dataclass(eq=False)
class Chunk:
    """What a chunk of no more tokens than the ring has columns overwrote.

    Attributes:
        before: (B,) tokens that each row had written.
        index: (B, n) of each token in its row; -1 at pads.
        codes: (2, B, Hkv, n, D) of their columns before, as the ring stores them.
        absent: (B, Hkv, n) of their columns before; None where no token ever was.
    """

    before: Tensor
    index: Tensor
    codes: Tensor
    absent: Tensor | None

    def __len__(self) -> int:
        return self.index.shape[1]

    def until(self, after: Tensor) -> "Chunk":
        """What is left of it when each row goes back to `after` (B,) tokens."""
        n = int((self.index < after[:, None]).any(0).sum())
        absent = None if self.absent is None else self.absent[..., :n]
        return Chunk(self.before, self.index[:, :n], self.codes[..., :n, :], absent)


class Overwritten:
    """The last chunks, newest last: enough to take back `depth` tokens.

    Args:
        depth: how many.
    """

    def __init__(self, depth: int) -> None:
        self.depth, self._chunks, self._length = depth, deque[Chunk](), 0

    def keep(self, chunk: Chunk) -> None:
        """Add what the newest tokens overwrote, and forget what is not needed any more."""
        self._chunks.append(chunk)
        self._length += len(chunk)
        while self._length - len(self._chunks[0]) >= self.depth:
            self._length -= len(self._chunks.popleft())

    def clear(self) -> None:
        """Forget everything: from here on nothing is taken back to before."""
        self._chunks.clear()
        self._length = 0

    def reaches(self, after: Tensor, count: Tensor, window: int) -> bool:
        """Whether rows of `count` tokens can go back to `after`: what was overwritten in between is here, if any."""
        first = self._chunks[0].before if self._chunks else count
        return bool(((count <= window) | (first <= after.clamp(min=window))).all())

    def take(self, after: Tensor) -> list[Chunk]:
        """What tokens from `after` (B,) on overwrote, newest first; what those before overwrote stays here."""
        taken: list[Chunk] = []
        while self._chunks and bool((self._chunks[-1].index >= after[:, None]).any()):
            taken.append(self._chunks.pop())
            self._length -= len(taken[-1])
        if taken and bool((taken[-1].before < after).any()):
            self.keep(taken[-1].until(after))
        return taken
