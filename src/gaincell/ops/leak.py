"""What is left of a stored voltage: exponential, or as the cell's table has it."""

from functools import lru_cache

import torch
from torch import Tensor

from gaincell.config import GainCellConfig
from gaincell.errors import InputError
from gaincell.ops.quantise import code_voltage


def aged_voltage(y: Tensor, age: Tensor, config: GainCellConfig) -> Tensor:
    """Voltages y (..., K, D), stored `age` (K,) tokens ago, as they are now; float64."""
    if config.retention == "exponential":
        left, ends = torch.exp(-config.leak * age.double())[:, None], config.cell.retention.ends_at_v
        return ends + (y - ends) * left if ends else y * left
    left, steep = decay_table(config)
    code = (y.detach()[..., None] - written_voltages(config).to(y)).abs().argmin(-1)
    at = age[:, None].expand_as(code)
    return left.to(y)[code, at] + steep.to(y)[code, at] * (y - y.detach())


def check_retention(config: GainCellConfig) -> None:
    """Raise InputError where the table does not reach as far as a token gets old, or the token period is not set."""
    _ = config.leak  # raises where it is not set
    table, period_s = config.cell.retention.table, config.token_period_s
    if config.retention == "exponential" or table is None or period_s is None:
        return
    oldest_s, end_s = (config.window - 1) * period_s, table.time[-1] * config.cell.retention.unit_s
    if oldest_s > end_s:
        raise InputError(
            f"a token of window {config.window} gets {oldest_s * 1e3:.4g} ms old, but the retention table of cell "
            f"'{config.cell.name}' ends at {end_s * 1e3:.4g} ms; use a shorter window or retention 'exponential'."
        )


def written_voltages(config: GainCellConfig) -> Tensor:
    """y of every code as it is written, (levels,) float64."""
    return code_voltage(torch.arange(config.stored_levels or 0), config, torch.float64)


@lru_cache(maxsize=128)  # every layer of a model
def decay_table(config: GainCellConfig) -> tuple[Tensor, Tensor]:
    """y of every code at every age in tokens, and its derivative by what was written: (levels, window), float64.

    Linear between the table's times and written voltages; beyond the outermost two of these, along their line.
    """
    table, period_s = config.cell.retention.table, config.token_period_s
    assert table is not None
    assert period_s is not None
    with torch.inference_mode(False), torch.no_grad():
        rows = torch.tensor(sorted(table.stored), dtype=torch.float64)  # by what was written
        time = torch.tensor(table.time, dtype=torch.float64) * config.cell.retention.unit_s
        now = torch.arange(config.window, dtype=torch.float64) * period_s
        after = torch.searchsorted(time, now, right=True).clamp(1, len(time) - 1)
        part = (now - time[after - 1]) / (time[after] - time[after - 1])
        known = rows[:, after - 1] + part * (rows[:, after] - rows[:, after - 1])  # (rows, window)
        y, written = written_voltages(config), rows[:, 0].contiguous()
        above = torch.searchsorted(written, y).clamp(1, len(written) - 1)
        steep = (known[above] - known[above - 1]) / (written[above] - written[above - 1])[:, None]
        return known[above - 1] + steep * (y - written[above - 1])[:, None], steep
