"""Conversion between numbers and levels: the one place where anything is clamped or rounded.

Every path (naive, blocked, stream) calls these functions on the same values in float32 or wider, so that a value that
lies exactly between two codes falls on the same side everywhere. Rounding is half-to-even [released code of Leroux et
al. 2025]. Training passes straight through the rounding, and stops at the clamp [Leroux et al. 2025].
"""

import math
from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor

from gaincell.config import GainCellConfig
from gaincell.ops.precision import widen


class _StraightThrough(torch.autograd.Function):
    """Value `converted`; gradient what `backward` makes of it, x and the config."""

    @staticmethod
    def forward(ctx, x, converted, backward, config):  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx.save_for_backward(x)
        ctx.rest = backward, config
        return converted

    @staticmethod
    def backward(ctx, *grads):
        backward, config = ctx.rest
        return backward(grads[0], ctx.saved_tensors[0], config), None, None, None


def clamp_backward(gradient: Tensor, x: Tensor, low: float, high: float, out: Tensor | None = None) -> Tensor:
    """`gradient` where low <= x <= high, edges too, and zero elsewhere; of x's shape, in one pass."""
    # hardtanh's backward leaves its edges out, so they are moved to the next number outside.
    below, above = (_next(edge, toward, x.dtype) for edge, toward in ((low, -math.inf), (high, math.inf)))
    if out is None:
        return torch.ops.aten.hardtanh_backward(gradient, x, below, above)
    return torch.ops.aten.hardtanh_backward(gradient, x, below, above, grad_input=out)


@lru_cache(maxsize=64)
def _next(edge: float, toward: float, dtype: torch.dtype) -> float:
    if edge == 0.0:  # not a denormal number, which a processor may take for zero
        return math.copysign(torch.finfo(dtype).tiny, toward)
    return torch.nextafter(torch.tensor(edge, dtype=dtype), torch.tensor(toward, dtype=dtype)).item()


def _convert(
    x: Tensor,
    converted: Tensor,
    backward: Callable[[Tensor, Tensor, GainCellConfig], Tensor],
    config: GainCellConfig,
) -> Tensor:
    if not (torch.is_grad_enabled() and x.requires_grad):
        return converted
    return _StraightThrough.apply(x, converted, backward, config)  # pyright: ignore[reportReturnType]


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
    return _convert(q, pulse, query_gradient, config)


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


def charge_scale(config: GainCellConfig) -> float:
    """What a sub-tile's charge is multiplied with to be in counts: the circuit's gain, full scale / output_scale."""
    return config.signed_conversion[0] * full_scale(config) / config.output_scale


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
    return level.copy_(_lookup(_linearised_voltages(config), level))


def stored_voltage(x: Tensor, config: GainCellConfig, out: Tensor | None = None) -> Tensor:
    """y = stored voltage - zero of a voltage `x` to be written: clamp, quantise, and what the DAC then puts out.

    `out` as in `query_pulse`.
    """
    x = widen(x)
    with torch.no_grad():
        y = _voltage_(_level(x, config, out), config)
    return _convert(x, y, stored_gradient, config)


def stored_gradient(gradient: Tensor, x: Tensor, config: GainCellConfig) -> Tensor:
    """Gradient of `stored_voltage` with respect to x, given that of its result."""
    gradient = clamp_backward(gradient, x, 0.0, config.stored_max_v)
    if config.storage == "linearised":
        gradient = gradient.mul_(_lookup(_voltage_slopes(config), _level(x, config)))
    return gradient


def readout(o: Tensor, config: GainCellConfig) -> Tensor:
    """What a sub-tile's counter reports for a charge `o` (1 = full scale): clamp to [-1, 1], then quantise."""
    full, o = full_scale(config), config.signed_conversion[0] * o
    with torch.no_grad():
        value = readout_(o * full, config) / full
    return _convert(o, value, _readout_gradient, config)


def _readout_gradient(gradient: Tensor, o: Tensor, config: GainCellConfig) -> Tensor:
    edge = readout_edge(config) / full_scale(config)
    return clamp_backward(gradient, o, -edge, edge)


def readout_edge(config: GainCellConfig) -> float:
    """Charge in counts beyond which a read-out is clamped, and passes no gradient."""
    return full_scale(config) * (1.0 - config.signed_conversion[1])


def readout_(counts: Tensor, config: GainCellConfig) -> Tensor:
    """The counter's code for a charge in counts, in place; divided by `full_scale` it is the read-out."""
    full, offset = full_scale(config), config.signed_conversion[1]
    if offset:
        sign = counts.sign()
        counts.abs_().add_(offset * full).clamp_(min=0.0).mul_(sign)
    counts.clamp_(-full, full)
    return counts if config.output_levels is None else counts.round_()


def normaliser_readout(fired: Tensor, config: GainCellConfig) -> Tensor:
    """What the digital side takes for the sum of phi of one sub-tile, `fired`, in pulse widths; same shape.

    Exactly that where the normaliser is ideal (or not there). From reference columns: R readout(fired / R) in the
    finest range R that holds it, else the last, with gradient 1 up to the last range [assumption].
    """
    if config.normaliser != "column":
        return fired
    *finer, last = config.normaliser_ranges
    with torch.no_grad():
        scale = torch.full_like(fired, last)
        for finest in reversed(finer):
            scale.masked_fill_(fired <= finest, finest)
        counts = readout_((fired / scale).mul_(config.signed_conversion[0] * full_scale(config)), config)
        counts.mul_(divide_(scale, full_scale(config)))
    return _convert(fired, counts, _normaliser_gradient, config)


def _normaliser_gradient(gradient: Tensor, fired: Tensor, config: GainCellConfig) -> Tensor:
    return gradient.masked_fill(beyond_ranges(fired, config), 0.0)


def beyond_ranges(fired: Tensor, config: GainCellConfig) -> Tensor:
    """Where `normaliser_readout` is clamped: no reference column holds so many pulses."""
    return fired > config.normaliser_ranges[-1]


def full_scale(config: GainCellConfig) -> float:
    """Counts at a charge of 1: (levels - 1)/2, or for the "counter" its top code levels/2 - 1 (assumption).

    The reference's 15.5 rounds to even: code +-16 of 32 levels. 1 if unquantised.
    """
    if config.output_levels is None:
        return 1.0
    if config.readout == "reference":
        return (config.output_levels - 1) / 2
    return float(max(config.output_levels // 2 - 1, 1))


def _lookup(table: tuple[float, ...], level: Tensor) -> Tensor:
    """The table's entry for every code, NaN for NaN; index_select takes half the time of advanced indexing."""
    entries = torch.tensor(table, dtype=level.dtype, device=level.device)
    index = level.int().clamp_(0, len(table) - 1)  # of NaN any integer may come
    return entries.index_select(0, index.flatten()).view(level.shape).add_(level, alpha=0)


@lru_cache(maxsize=64)
def _linearised_voltages(config: GainCellConfig) -> tuple[float, ...]:
    """y of every code in double precision, spaced so that the charge f(y) is even ("linearised")."""
    top, law = (config.stored_levels or 2) - 1, config.cell.model_law
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
    return tuple(mean / slope(y) for y in _linearised_voltages(config))
