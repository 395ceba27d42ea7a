"""Conversion of operands into levels: with `gaincell.ops.readout` the one place where anything is clamped or rounded.

Every path (naive, blocked, stream) calls these functions on the same values in float32 or wider, so that a value that
lies exactly between two codes falls on the same side everywhere. Rounding is half-to-even [released code of Leroux et
al. 2025]. Training passes straight through the rounding, and stops at the clamp [Leroux et al. 2025].
"""

from functools import lru_cache, partial

import torch
from torch import Tensor

from gaincell.config import GainCellConfig
from gaincell.ops.precision import widen
from gaincell.ops.straight_through import clamp_backward, straight_through


def query_pulse(q: Tensor, config: GainCellConfig, out: Tensor | None = None) -> Tensor:
    """Pulse widths in units of T_max: clamp to [0, 1] ([-1, 1] unless unsigned), then `query_levels` per polarity.

    Offset-binary pulses u = (q + 1)/2 have `query_levels` in all, and the result is 2u - 1: what is left of a score
    2 sum_d u_d f(y_d) - sum_d f(y_d), whose second sum is assumed exact at any age, its rows leaking like the cells.
    Into `out` where it is given, in the dtype of conversion; that is for callers that differentiate on their own.
    """
    q = widen(q)
    with torch.no_grad():
        pulse = torch.clamp(q, _lowest_query(config), 1.0, out=out)
        if config.query_levels is not None:
            top = config.query_levels - 1
            step = 1.0 / top
            if config.query_sign == "offset_binary":  # by a product, exact where q = 0 lies between two levels
                pulse.add_(1.0).mul_(top / 2).round_().mul_(2.0).sub_(top).mul_(step)
            else:
                divide_(pulse, step).round_().mul_(step)
    return straight_through(q, pulse, partial(query_gradient, config=config))


def query_gradient(gradient: Tensor, q: Tensor, config: GainCellConfig) -> Tensor:
    """Gradient of `query_pulse` with respect to q, given that of its result."""
    return clamp_backward(gradient, q, _lowest_query(config), 1.0)


def _lowest_query(config: GainCellConfig) -> float:
    return 0.0 if config.query_sign == "unsigned" else -1.0


def fired(pulse: Tensor, config: GainCellConfig) -> Tensor:
    """How often converted pulses let feedthrough in: 0 at no width; negative pulses subtract it.

    What is left of an offset-binary pulse u > 0 is 2 F - F with the reference's, whose rows have pulses always.
    """
    if config.query_sign == "offset_binary":
        return torch.where(pulse > 2.0 * torch.finfo(pulse.dtype).eps - 1.0, 1.0, -1.0).to(pulse)
    return pulse.sign()


def divide_(x: Tensor, by: float) -> Tensor:
    """x / by in place, divided on every device: by a plain number a GPU multiplies by its reciprocal, and ties move."""
    return x.div_(by if x.device.type == "cpu" else x.new_full((), by))


def stored_code(x: Tensor, config: GainCellConfig) -> Tensor:
    """The code 0...levels - 1 (uint8) that a voltage in volt is stored as; the clamped voltage if unquantised."""
    level = _level(x, config)
    return level if config.stored_levels is None else level.to(torch.uint8)


def _level(x: Tensor, config: GainCellConfig, out: Tensor | None = None) -> Tensor:
    """`stored_code` in the precision of conversion."""
    clamped = torch.clamp(widen(x), 0.0, config.stored_max_v, out=out)
    if config.stored_levels is None:
        return clamped
    return divide_(clamped, config.stored_max_v / (config.stored_levels - 1)).round_()


def code_voltage(code: Tensor, config: GainCellConfig, dtype: torch.dtype = torch.float32) -> Tensor:
    """y = stored voltage - zero, in volt, of stored codes; same shape, in `dtype`."""
    return _voltage_(code.to(dtype, copy=True), config)


def _voltage_(level: Tensor, config: GainCellConfig) -> Tensor:
    """y of codes in floating point, in place."""
    if config.stored_levels is None:
        return level.sub_(config.zero_v)
    if config.storage == "uniform":
        step = config.stored_max_v / (config.stored_levels - 1)
        return level.sub_(config.zero_v / step).mul_(step)  # zero first: it lies on or between codes, without rounding
    return level.copy_(_lookup(config.stored_voltages, level))


def stored_voltage(x: Tensor, config: GainCellConfig, out: Tensor | None = None) -> Tensor:
    """y = stored voltage - zero of a voltage `x` to be written: clamp, quantise, and what the DAC then puts out.

    `out` as in `query_pulse`.
    """
    x = widen(x)
    with torch.no_grad():
        y = _voltage_(_level(x, config, out), config)
    return straight_through(x, y, partial(stored_gradient, config=config))


def stored_gradient(gradient: Tensor, x: Tensor, config: GainCellConfig) -> Tensor:
    """Gradient of `stored_voltage` with respect to x, given that of its result."""
    gradient = clamp_backward(gradient, x, 0.0, config.stored_max_v)
    if config.storage == "linearised":
        gradient = gradient.mul_(_lookup(_voltage_slopes(config), _level(x, config)))
    return gradient


def _lookup(table: tuple[float, ...], level: Tensor) -> Tensor:
    """The table's entry for every code, NaN for NaN; index_select takes half the time of advanced indexing."""
    entries = torch.tensor(table, dtype=level.dtype, device=level.device)
    index = level.int().clamp_(0, len(table) - 1)  # of NaN any integer may come
    return entries.index_select(0, index.flatten()).view(level.shape).add_(level, alpha=0)


@lru_cache(maxsize=64)
def _voltage_slopes(config: GainCellConfig) -> tuple[float, ...]:
    """dV/dx of every code under linearised storage: the mean slope of f over the range, over f' at the code."""
    law = config.cell.model_law
    mean = (law(config.stored_max_v - config.zero_v) - law(-config.zero_v)) / config.stored_max_v
    slope = law.derivative()
    return tuple(mean / slope(y) for y in config.stored_voltages)
