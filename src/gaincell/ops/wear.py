"""What cells hold when they are written and read as their circuit does it: errors of writes, and read disturb."""

from collections.abc import Sequence

import torch
from torch import Tensor

from gaincell.config import GainCellConfig


def between(
    table: Sequence[Sequence[float]],
    rows: Sequence[float],
    columns: Sequence[float],
    row: Tensor,
    column: Tensor,
    *,
    holds: bool = False,
) -> Tensor:
    """A table's entries at rows and columns that broadcast, linear between its own, in the dtype of `row`.

    Beyond the outermost two along their line; beyond the last column as there, where it `holds` that.
    """
    entries, by_row, by_column = (torch.tensor(x, dtype=row.dtype, device=row.device) for x in (table, rows, columns))
    (low, y), (left, x) = _place(by_row, row), _place(by_column, column.to(row))
    if holds:
        x = x.clamp(max=1.0)
    corner = low * len(columns) + left
    a, b, c, d = (_at(entries, corner + i) for i in (0, 1, len(columns), len(columns) + 1))
    below, above = a + x * (b - a), c + x * (d - c)
    return below + y * (above - below)


def _at(entries: Tensor, index: Tensor) -> Tensor:
    """Entries at indices into all of them; index_select takes half the time of advanced indexing."""
    return entries.view(-1).index_select(0, index.flatten()).view(index.shape)


def _place(knots: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """Between which two knots each number lies, the first one's index, and which part of the way; outside, beyond."""
    after = torch.searchsorted(knots, x.detach().contiguous(), right=True).clamp_(1, len(knots) - 1)
    return after - 1, (x - knots[after - 1]) / (knots[after] - knots[after - 1])


def shift_by_reads(y: Tensor, age: Tensor, config: GainCellConfig) -> Tensor:
    """What reads add to voltages written as y, `age` tokens ago, which broadcasts to y, in volt; see `read_disturb`."""
    read = config.cell.circuit and config.cell.circuit.read
    assert read
    assert read.disturb is not None
    found, none = read.disturb, (0.0,) * len(read.disturb.written_v)
    table = [(zero, *row) for zero, row in zip(none, found.shift_v, strict=True)]
    return between(table, found.written_v, (0.0, *found.reads), y, age * config.disturb_reads, holds=True)


def written_voltage(y: Tensor, held: Tensor, config: GainCellConfig) -> Tensor:
    """What a cell holds that is to be written to y and held `held` before, both above zero, in volt."""
    write = config.cell.circuit and config.cell.circuit.write
    assert write
    assert write.errors is not None
    return y + between(write.errors.error_v, write.errors.levels_v, write.errors.levels_v, y, held)


def unwritten_voltage(config: GainCellConfig) -> float:
    """What a cell holds above zero that was never written, in volt."""
    return 0.0 if config.unwritten_v is None else config.unwritten_v - config.zero_v
