"""Conversion between numbers and levels: the one place where anything is clamped or rounded.

Every path (naive, blocked, stream) calls these functions on the same values in float32 or wider, so that a value that
lies exactly between two codes falls on the same side everywhere. Rounding is half-to-even [released code of Leroux et
al. 2025]. Training passes straight through the rounding, and stops at the clamp [Leroux et al. 2025].
"""

from functools import lru_cache

import torch
from torch import Tensor

from gaincell.config import GainCellConfig
from gaincell.ops.precision import widen


class _StraightThrough(torch.autograd.Function):
    """Value `converted`; gradient that of `x` times `slope`, and zero where the clamp [low, high] held `x` back."""

    @staticmethod
    def forward(ctx, x, converted, low, high, slope):  # pyright: ignore[reportIncompatibleMethodOverride]
        inside = (x >= low) & (x <= high)
        ctx.save_for_backward(inside if slope is None else inside * slope)
        return converted

    @staticmethod
    def backward(ctx, *grads):
        (slope,) = ctx.saved_tensors
        return grads[0] * slope, None, None, None, None


def _convert(x: Tensor, converted: Tensor, low: float, high: float, slope: Tensor | None = None) -> Tensor:
    if not (torch.is_grad_enabled() and x.requires_grad):
        return converted
    return _StraightThrough.apply(x, converted, low, high, slope)  # pyright: ignore[reportReturnType]


def query_pulse(q: Tensor, config: GainCellConfig) -> Tensor:
    """Pulse widths in units of T_max: clamp to [0, 1] ([-1, 1] when differential), then `query_levels` per polarity."""
    q = widen(q)
    low = -1.0 if config.query_sign == "differential" else 0.0
    with torch.no_grad():
        pulse = q.clamp(low, 1.0)
        if config.query_levels is not None:
            step = 1.0 / (config.query_levels - 1)
            pulse = torch.round(pulse / step) * step
    return _convert(q, pulse, low, 1.0)


def stored_code(x: Tensor, config: GainCellConfig) -> Tensor:
    """The code 0...levels - 1 (uint8) that a voltage in volt is stored as; the clamped voltage if unquantised."""
    clamped = widen(x).clamp(0.0, config.stored_max_v)
    if config.stored_levels is None:
        return clamped
    return torch.round(clamped / (config.stored_max_v / (config.stored_levels - 1))).to(torch.uint8)


def code_voltage(code: Tensor, config: GainCellConfig, dtype: torch.dtype = torch.float32) -> Tensor:
    """y = stored voltage - zero, in volt, of stored codes; same shape, in `dtype`."""
    if config.stored_levels is None:
        return code.to(dtype) - config.zero_v
    return _lookup(_voltages(config), code, dtype)


def stored_voltage(x: Tensor, config: GainCellConfig) -> Tensor:
    """y = stored voltage - zero of a voltage `x` to be written: clamp, quantise, and what the DAC then puts out."""
    x = widen(x)
    with torch.no_grad():
        code = stored_code(x, config)
        y = code_voltage(code, config, x.dtype)
        slope = _lookup(_voltage_slopes(config), code, x.dtype) if config.storage == "linearised" else None
    return _convert(x, y, 0.0, config.stored_max_v, slope)


def readout(o: Tensor, config: GainCellConfig) -> Tensor:
    """What a sub-tile's counter reports for a charge `o` (1 = full scale): clamp to [-1, 1], then quantise."""
    with torch.no_grad():
        value = readout_code_(o.clone(), config) * readout_step(config)
    return _convert(o, value, -1.0, 1.0)


def readout_code_(o: Tensor, config: GainCellConfig) -> Tensor:
    """The counter's code for a charge `o`, in place; times `readout_step` it is the read-out."""
    o.clamp_(-1.0, 1.0)
    return o if config.output_levels is None else o.div_(readout_step(config)).round_()


def readout_step(config: GainCellConfig) -> float:
    """One count: 2/(levels - 1), or for the "counter" 1/(levels/2 - 1), its top code (assumption); 1 if unquantised."""
    if config.output_levels is None:
        return 1.0
    if config.readout == "reference":
        return 2.0 / (config.output_levels - 1)
    return 1.0 / max(config.output_levels // 2 - 1, 1)


def _lookup(table: tuple[float, ...], code: Tensor, dtype: torch.dtype) -> Tensor:
    return torch.tensor(table, dtype=dtype, device=code.device)[code.int()]


@lru_cache(maxsize=64)
def _voltages(config: GainCellConfig) -> tuple[float, ...]:
    """y of every code in double precision: even in voltage, or even in charge ("linearised")."""
    top = (config.stored_levels or 2) - 1
    even = [config.stored_max_v * m / top for m in range(top + 1)]
    if config.storage == "uniform":
        return tuple(v - config.zero_v for v in even)
    law = config.cell.model_law
    bottom, head = law(-config.zero_v), law(config.stored_max_v - config.zero_v)
    return tuple(_solve(config, bottom + (head - bottom) * m / top) for m in range(top + 1))


def _solve(config: GainCellConfig, charge: float) -> float:
    """y in the stored range with f(y) = charge, by bisection; f increases there (the config checks it)."""
    law, low, high = config.cell.model_law, -config.zero_v, config.stored_max_v - config.zero_v
    for _ in range(64):
        middle = (low + high) / 2
        low, high = (middle, high) if law(middle) < charge else (low, middle)
    return (low + high) / 2


@lru_cache(maxsize=64)
def _voltage_slopes(config: GainCellConfig) -> tuple[float, ...]:
    """dV/dx of every code under linearised storage: the mean slope of f over the range, over f' at the code."""
    law = config.cell.model_law
    mean = (law(config.stored_max_v - config.zero_v) - law(-config.zero_v)) / config.stored_max_v
    slope = law.derivative()
    return tuple(mean / slope(y) for y in _voltages(config))
