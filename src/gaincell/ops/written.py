"""What cells hold once tokens are written over what was there before, many tokens at a time."""

import torch
from torch import Tensor

from gaincell.config import GainCellConfig
from gaincell.ops.leak import voltage_at
from gaincell.ops.wear import unwritten_voltage, written_voltage


def overwrite(
    y: Tensor,
    held: Tensor | None,
    count: Tensor,
    real: Tensor | None,
    absent: Tensor | None,
    config: GainCellConfig,
) -> Tensor:
    """What is in the columns of new tokens when they are written: above zero, in volt, of y's shape.

    Every token finds what the one that it overwrites, `window` tokens before, has left. One that is absent leaves that
    in its column, which goes on as if it had been written so [an assumption where a table tells what is left].

    Args:
        y: (2, B, Hkv, n, D) voltages to be written, keys first, above zero.
        held: (2, B, Hkv, window, D) what is in every column, as it was written; None where nothing was.
        count: (B,) tokens that each row has written before.
        real: (B, n), false at pads, which are not written: what comes back there means nothing. None: all are.
        absent: (B, Hkv, n), true at tokens that take their column but are not stored; None: none is.
        config: a design point with `writes` "cell".
    """
    window, parts, never = config.window, [], unwritten_voltage(config)
    if held is None:
        held = y.new_full((*y.shape[:3], min(window, y.shape[3]), y.shape[4]), never)
    for start in range(0, y.shape[3], window):
        now = slice(start, start + window)
        new = y[:, :, :, now]
        there = torch.ones(new.shape[1], new.shape[3], dtype=torch.bool, device=y.device)
        there = there if real is None else real[:, now]
        index = count[:, None] + there.cumsum(1) - 1
        column = (index % window).clamp(max=held.shape[3] - 1)
        at = column[None, :, None, :, None].expand_as(new)
        before = voltage_at(held.gather(3, at), index.new_full((), window).double(), config)
        before = torch.where((index >= window)[None, :, None, :, None], before, never)
        found = written_voltage(new, before, config)
        if absent is not None:
            found = torch.where(absent[None, :, :, now, None], before, found)
        parts.append(found)
        rows, tokens = there.nonzero(as_tuple=True)
        if start + window < y.shape[3]:
            held = held.clone()
            held[:, rows, :, column[rows, tokens]] = found[:, rows, :, tokens]
        count = count + there.sum(1)
    return torch.cat(parts, 3)
