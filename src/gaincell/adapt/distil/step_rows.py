"""What a step of distillation learns on: a function of the seed, the step and the row, and of nothing else.

Neither the number of processes nor what was drawn before changes it, so that a run resumes anywhere, on any machine.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from gaincell.adapt.seeds import seeded

#: The token ids (B, T) that step number `step` learns on; the same for the same step, however often it is asked.
Rows = Callable[[int], Tensor]


class Permuted:
    """Rows of a text, each once an epoch, in an order of that epoch's own.

    Args:
        ids: (N, T) token ids.
        batch: rows of a step, B; an epoch may end within a step.
        seed: of the orders.
    """

    def __init__(self, ids: Tensor, batch: int, seed: int) -> None:
        self.ids, self.batch, self.seed = ids, batch, seed
        self._epoch, self._order = -1, torch.empty(0, dtype=torch.long)

    def numbers(self, step: int) -> Tensor:
        """Which rows of `ids` a step learns on, (B,)."""
        places = range(step * self.batch, (step + 1) * self.batch)
        return torch.stack([self._permutation(place // len(self.ids))[place % len(self.ids)] for place in places])

    def __call__(self, step: int) -> Tensor:
        """The rows of a step, (B, T)."""
        return self.ids[self.numbers(step)].long()

    def _permutation(self, epoch: int) -> Tensor:
        if epoch != self._epoch:
            generator = seeded("rows", self.seed, epoch)
            self._epoch, self._order = epoch, torch.randperm(len(self.ids), generator=generator)
        return self._order


@dataclass(frozen=True)
class Share:
    """What one process learns on in one forward pass of a step.

    Attributes:
        step: the step.
        places: (b,) places of its rows within the step's B.
        ids: (b, T) token ids.
        positions: (b, P) positions whose next-token distributions are compared, in order.
    """

    step: int
    places: Tensor
    ids: Tensor
    positions: Tensor


def shares(
    rows: Rows,
    step: int,
    *,
    seed: int,
    positions: int | None,
    process: int,
    processes: int,
    passes: int,
    followed: bool = False,
) -> Iterator[Share]:
    """A process's shares of a step, one per forward pass; B must be a multiple of processes x passes.

    Of a row `positions` random ones are taken (null: all), where `followed` of those before its last token.
    """
    ids = rows(step)
    there = ids.shape[1] - followed
    count = there if positions is None else min(positions, there)
    for places in torch.arange(len(ids)).view(passes, processes, -1)[:, process]:
        drawn = [torch.randperm(there, generator=seeded("positions", seed, step, int(p))) for p in places]
        yield Share(step, places, ids[places], torch.stack([d[:count].sort().values for d in drawn]))
