"""What is left of a stored voltage: exponential, or as the cell's table has it; and what reads add to it."""

import math
from functools import lru_cache

import torch
from torch import Tensor

from gaincell.config import GainCellConfig
from gaincell.errors import InputError
from gaincell.ops.quantise import code_voltage
from gaincell.ops.wear import between, shift_by_reads


def since_written(age: Tensor, config: GainCellConfig) -> Tensor:
    """Ages in tokens as cells have them: since they were written, or written anew from a copy.

    A refresh that reads leaves something of the age before it, so what is left is told by the whole age.
    """
    return age if config.refresh_tokens is None or config.refresh == "read" else age % config.refresh_tokens


def aged_voltage(y: Tensor, age: Tensor, config: GainCellConfig, pace: Tensor | None = None) -> Tensor:
    """Voltages y (..., K, D), last written `age` (K,) tokens ago, as they are now; float64.

    Cells that leak at a pace of their own, which broadcasts to y, are as old as pace times age.
    """
    if pace is not None:
        return voltage_at(y, age.double()[:, None] * pace, config)
    if config.refresh == "read":
        return _read_and_rewritten(y, age, _by_copy(config))
    if config.writes == "cell" or config.read_disturb == "cell":
        return voltage_at(y, age.double()[:, None], config)
    if config.retention == "exponential":
        left, ends = torch.exp(-config.leak * age.double())[:, None], config.cell.retention.ends_at_v
        return ends + (y - ends) * left if ends else y * left
    left, steep = decay_table(config)
    code = _codes(y, config)
    at = age[:, None].expand_as(code)
    return left.to(y)[code, at] + steep.to(y)[code, at] * (y - y.detach())


def _read_and_rewritten(y: Tensor, age: Tensor, config: GainCellConfig) -> Tensor:
    """`aged_voltage` of cells that are read, rounded and written anew, by the point that writes them from a copy."""
    every = config.refresh_tokens or config.window
    for n in range(1, int(age.max()) // every + 1):
        rounded = _nearest(aged_voltage(y, torch.full_like(age, every), config), config)
        y = torch.where((age >= n * every)[:, None], rounded, y)
    return aged_voltage(y, age % every, config)


def _nearest(y: Tensor, config: GainCellConfig) -> Tensor:
    """The stored level nearest to each voltage."""
    return written_voltages(config).to(y)[_codes(y, config)]


@lru_cache(maxsize=128)
def _by_copy(config: GainCellConfig) -> GainCellConfig:
    return config.replace(refresh="copy")


def voltage_at(y: Tensor, age: Tensor, config: GainCellConfig) -> Tensor:
    """Voltages y, stored `age` tokens ago, no whole number and one for each, as they are now; in the dtype of y.

    A table holds its last voltages beyond its end. Reads add to what is left as they would to what was written [an
    assumption: the two are small].
    """
    left = _left_at(y, age, config)
    return left + shift_by_reads(y, age, config) if config.read_disturb == "cell" else left


def _left_at(y: Tensor, age: Tensor, config: GainCellConfig) -> Tensor:
    """`voltage_at` without reads."""
    if config.retention == "exponential":
        left, ends = torch.exp(age * -config.leak).to(y.dtype), config.cell.retention.ends_at_v
        return ends + (y - ends) * left if ends else y * left
    table, period_s = config.cell.retention.table, config.token_period_s
    assert table is not None
    assert period_s is not None
    if config.writes == "cell":  # not the voltages of codes
        rows, tokens = sorted(table.stored), period_s / config.cell.retention.unit_s
        return between(rows, [row[0] for row in rows], table.time, y, age.to(y) * tokens, holds=True)
    left, steep = _written_curves(config)
    time = torch.tensor(table.time, dtype=torch.float64) * (config.cell.retention.unit_s / period_s)
    time = time.to(age)
    age, code = torch.broadcast_tensors(age, _codes(y, config))
    after = torch.searchsorted(time, age.contiguous(), right=True).clamp_(1, len(time) - 1)
    part = ((age - time[after - 1]) / (time[after] - time[after - 1])).clamp_(max=1.0).to(y.dtype)
    found = []
    for curve in (left.to(y), steep.to(y)):
        before = curve[code, after - 1]
        found.append(before + part * (curve[code, after] - before))
    return found[0] + found[1] * (y - y.detach())


def _codes(y: Tensor, config: GainCellConfig) -> Tensor:
    """Which code each voltage is, as it was written."""
    return (y.detach()[..., None] - written_voltages(config).to(y)).abs().argmin(-1)


def check_retention(config: GainCellConfig) -> None:
    """Raise InputError where the table does not reach as far as a token gets old, or the token period is not set."""
    _ = config.leak  # raises where it is not set
    table, period_s = config.cell.retention.table, config.token_period_s
    if config.retention == "exponential" or table is None or period_s is None:
        return
    # of cells that leak each at its own rate, all but one in 741
    fastest = math.exp(3 * (config.leak_spread or 0.0))
    last = config.window if config.writes == "cell" else config.window - 1
    oldest = min(last, (config.refresh_tokens or math.inf) - (config.refresh == "copy"))
    oldest_s, end_s = oldest * period_s * fastest, table.time[-1] * config.cell.retention.unit_s
    if oldest_s > end_s:
        beyond = f" in cells that leak {fastest:.3g} times as fast as others" if fastest > 1.0 else ""
        raise InputError(
            f"a token of window {config.window} gets {oldest_s * 1e3:.4g} ms old{beyond}, but the retention table of "
            f"cell '{config.cell.name}' ends at {end_s * 1e3:.4g} ms; use a shorter window or retention 'exponential'."
        )


def written_voltages(config: GainCellConfig) -> Tensor:
    """y of every code as it is written, (levels,) float64."""
    return code_voltage(torch.arange(config.stored_levels or 0), config, torch.float64)


@lru_cache(maxsize=128)  # every layer of a model
def decay_table(config: GainCellConfig) -> tuple[Tensor, Tensor]:
    """y of every code at every age in tokens, and its derivative by what was written: (levels, window), float64.

    Linear between the table's times and written voltages; beyond the outermost two of these, along their line. What
    reads add is in it, see `voltage_at`, and what refreshes that read have made of a code by then; rounding passes the
    derivative straight through.
    """
    if config.refresh == "read":
        return _refreshed(config)
    if config.read_disturb == "ideal" and config.retention == "table":
        return _left(config)
    with torch.inference_mode(False), torch.enable_grad():
        left, steep = _left(config) if config.retention == "table" else _left_by_exponential(config)
        if config.read_disturb == "ideal":
            return left, steep
        y = written_voltages(config)[:, None].repeat(1, config.window).requires_grad_()
        shift = shift_by_reads(y, torch.arange(config.window, dtype=torch.float64), config)
        (by_y,) = torch.autograd.grad(shift.sum(), y)
        return left + shift.detach(), steep + by_y


def _refreshed(config: GainCellConfig) -> tuple[Tensor, Tensor]:
    """`decay_table` of codes that become others whenever they are read and written anew."""
    every, window = config.refresh_tokens or config.window, config.window
    left, steep = decay_table(_by_copy(config))
    code, parts = torch.arange(len(left)), []
    for start in range(0, window, every):
        now = slice(min(every, window - start))
        parts.append((left[code, now], steep[code, now]))
        if start + every < window:
            code = _codes(left[code, every], config)
    lefts, steeps = zip(*parts, strict=True)
    return torch.cat(lefts, 1), torch.cat(steeps, 1)


def _left_by_exponential(config: GainCellConfig) -> tuple[Tensor, Tensor]:
    ends, age = config.cell.retention.ends_at_v, torch.arange(config.window, dtype=torch.float64)
    steep = torch.exp(-config.leak * age).expand(config.stored_levels or 0, -1)
    return ends + (written_voltages(config)[:, None] - ends) * steep, steep


def _left(config: GainCellConfig) -> tuple[Tensor, Tensor]:
    table, period_s = config.cell.retention.table, config.token_period_s
    assert table is not None
    assert period_s is not None
    curves, slopes = _written_curves(config)
    with torch.inference_mode(False), torch.no_grad():
        time = torch.tensor(table.time, dtype=torch.float64) * config.cell.retention.unit_s
        now = torch.arange(config.window, dtype=torch.float64) * period_s
        after = torch.searchsorted(time, now, right=True).clamp(1, len(time) - 1)
        part = (now - time[after - 1]) / (time[after] - time[after - 1])
        left, steep = (x[:, after - 1] + part * (x[:, after] - x[:, after - 1]) for x in (curves, slopes))
        return left, steep


@lru_cache(maxsize=128)
def _written_curves(config: GainCellConfig) -> tuple[Tensor, Tensor]:
    """y of every code at the table's times, and its derivative by what was written: (levels, times), float64."""
    table = config.cell.retention.table
    assert table is not None
    with torch.inference_mode(False), torch.no_grad():
        rows = torch.tensor(sorted(table.stored), dtype=torch.float64)  # by what was written
        y, written = written_voltages(config), rows[:, 0].contiguous()
        above = torch.searchsorted(written, y).clamp(1, len(written) - 1)
        steep = (rows[above] - rows[above - 1]) / (written[above] - written[above - 1])[:, None]
        return rows[above - 1] + steep * (y - written[above - 1])[:, None], steep
