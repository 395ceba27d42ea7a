"""Both products on a GPU, sub-tile by sub-tile, with their own backward: `blocked_products` in fused kernels."""

# Triton's own types: arguments are constants and tensors once compiled, and launch options are no parameters.
# pyright: reportArgumentType=false, reportCallIssue=false

from dataclasses import dataclass
from itertools import chain
from math import e, log2
from typing import Any

import torch
import triton
from torch import Tensor
from torch.autograd.function import once_differentiable

from gaincell.config import GainCellConfig
from gaincell.ops.model import ArrayModel
from gaincell.ops.operands import Operands
from gaincell.ops.precision import outside_autocast, round_operand
from gaincell.ops.terms import Terms
from gaincell.ops.triton.backward import query_kernel, stored_kernel
from gaincell.ops.triton.forward import forward_kernel
from gaincell.ops.triton.limits import cut, width

#: Whether the kernels run in Triton's interpreter: it was asked for when they were first imported.
INTERPRETED = not isinstance(forward_kernel, triton.JITFunction)


def precision(config: GainCellConfig) -> str:
    """What the kernels' products do to their operands.

    "float32": three tf32 products of high and low parts, which keep 21 of 24 bits and run on the matrix units; float32
    products proper ("ieee") would run beside them, several times slower.
    """
    if config.matmul == "bfloat16":
        return "bfloat16, interpreted" if INTERPRETED else "bfloat16"
    return {"float32": "tf32x3", "tf32": "tf32"}[config.matmul]


def circuits(model: ArrayModel) -> dict[str, tuple[Any, ...]]:
    """What the kernels are compiled for: the gate, the read-out, and the ranges of the normaliser, () if Z is exact."""
    gate, readout = model.gate, model.readout
    return {
        "GATE": (len(gate.ramps), *chain(*gate.ramps), *chain(*gate.jumps)),
        "READOUT": (readout.rounds, readout.gain, readout.offset),
        "RANGES": model.normaliser.ranges if model.normaliser is not None else (),
    }


@dataclass(frozen=True)
class _Plan:
    """The arrays as the kernels take them: the four stored operands' terms, and what pulses are multiplied with.

    Attributes:
        model: the arrays.
        key, value, back_key, back_value: its terms; those of keys over `pulse_scale`.
        pulse_scale: brings pulses to small integers where that is exact in bfloat16; else 1.
    """

    model: ArrayModel
    key: Terms
    value: Terms
    back_key: Terms
    back_value: Terms
    pulse_scale: float

    @classmethod
    def of(cls, model: ArrayModel) -> "_Plan":
        levels = model.config.query_levels if model.config.matmul == "bfloat16" else None
        scale = levels - 1.0 if levels is not None and levels <= 257 else 1.0
        key, back_key = model.key.over(scale), model.back_key.over(scale)
        return cls(model, key, model.value, back_key, model.back_value, scale)

    @property
    def config(self) -> GainCellConfig:
        """Its design point."""
        return self.model.config

    def operand(self, x: Tensor) -> Tensor:
        """x as the products take it: rounded, and in two bytes where that holds it."""
        if self.config.matmul == "bfloat16":
            return x.bfloat16().contiguous()
        return (x if self.config.matmul == "float32" else round_operand(x, "tf32")).contiguous()

    def stored(self, y: Tensor, terms: Terms) -> Tensor:
        """A stored operand y (H, T, D), term by term: (H, terms, T, D)."""
        return self.operand(torch.stack(terms.values(y), 1))

    def base(self, q: Tensor, preset: Tensor | None) -> Tensor | None:
        """What is added to the products whatever the keys: the preset, and the part of the law that is constant."""
        if not self.key.constant:
            return preset if preset is None else preset.contiguous()
        constant = q.sum(-1) * (self.key.constant * self.pulse_scale)
        return constant if preset is None else constant + preset

    def constants(self, q: Tensor, groups: int) -> dict[str, Any]:
        """Arguments that all kernels share."""
        head_dim, config = q.shape[-1], self.config
        return {
            "tokens": q.shape[-2],
            "leak": self.key.leak * log2(e),
            "GROUPS": groups,
            "WINDOW": config.window,
            "COLUMNS": config.subtile_columns,
            "AGED": self.key.leak > 0.0,
            "DIM": head_dim,
            "WIDTH": width(head_dim),
            "MATMUL": precision(config),
        }


def _bits(q: Tensor, config: GainCellConfig) -> Tensor:
    """Room for one bit a sub-tile, query and output line: (words, heads, T, D)."""
    dtype = torch.int8 if config.tiles <= 8 else torch.int16 if config.tiles <= 16 else torch.int32
    return q.new_empty(-(-config.tiles // 32), *q.shape, dtype=dtype)


def _fold(grad: Tensor, y: Tensor, terms: Terms) -> Tensor:
    """Gradient of every term (H, terms, T, D) -> gradient of the stored voltages y (H, T, D)."""
    slopes = terms.slopes(y)
    return sum((part * slope for part, slope in zip(grad.unbind(1), slopes, strict=True)), torch.zeros_like(y))


class _Products(torch.autograd.Function):
    """q (H, T, D), yk and yv (H / groups, T, D), preset (H, T) and absent (H / groups, T) or None."""

    @staticmethod
    @outside_autocast
    def forward(ctx, q, yk, yv, preset, absent, model, grad):  # pyright: ignore[reportIncompatibleMethodOverride]
        plan, config, compiled, groups = _Plan.of(model), model.config, circuits(model), len(q) // len(yk)
        out, z = torch.empty_like(q), q.new_empty(q.shape[:2])
        opened = _bits(q, config) if grad else None
        # Pulses are at most 1 wide: no sub-tile goes beyond a range of its number of columns.
        exceeds = grad and compiled["RANGES"] and compiled["RANGES"][-1] < config.subtile_columns
        counted = q.new_empty(-(-config.tiles // 32), *q.shape[:2], dtype=torch.int32) if exceeds else None
        layout = cut(config, q.shape[2], len(plan.key.laws) + len(plan.value.laws), 1, q.device)
        with torch.cuda.device_of(q):
            forward_kernel[(triton.cdiv(q.shape[1], layout["BLOCK"]), len(q))](
                plan.operand(q * plan.pulse_scale),
                plan.base(q, preset),
                plan.stored(yk, plan.key),
                plan.stored(yv, plan.value),
                absent,
                out,
                z,
                opened,
                counted,
                constant=plan.value.constant,
                full=model.readout.full,
                KEY_STEPS=plan.key.steps,
                VALUE_STEPS=plan.value.steps,
                **compiled,
                **plan.constants(q, groups),
                **layout,
            )
        ctx.save_for_backward(q, yk, yv, preset, absent, opened, counted)
        ctx.plan = plan
        return out, z

    @staticmethod
    @once_differentiable
    @outside_autocast
    def backward(ctx, *grads):  # pyright: ignore[reportIncompatibleMethodOverride]
        q, yk, yv, preset, absent, opened, counted = ctx.saved_tensors
        plan: _Plan = ctx.plan
        groups, full = len(q) // len(yk), plan.model.readout.full
        shared = plan.constants(q, groups) | {
            "q": plan.operand(q * plan.pulse_scale),
            "base": plan.base(q, preset),
            "key": plan.stored(yk, plan.key),
            "back_value": plan.stored(yv, plan.back_value),
            "absent": absent,
            "opened": opened,
            "counted": counted,
            "grad_out": plan.operand(grads[0] / full),  # d read-out / d charge in counts is one count, straight through
            "grad_z": grads[1].contiguous(),
            "back_constant": plan.back_value.constant,
            "KEY_STEPS": plan.key.steps,
            "BACK_STEPS": plan.back_key.steps,
            "GATE": circuits(plan.model)["GATE"],
        }
        terms, back_terms = len(plan.key.laws), len(plan.back_key.laws)
        rows = cut(plan.config, q.shape[2], terms + 2 * back_terms, 2, q.device)
        columns = cut(plan.config, q.shape[2], 3, terms + back_terms + 2, q.device)
        grad_q, grad_base = torch.empty_like(q), q.new_empty(q.shape[:2])
        back_key = plan.stored(yk, plan.back_key)
        grad_key, grad_value = (torch.empty(back_key.shape, device=q.device) for _ in range(2))
        with torch.cuda.device_of(q):
            query_kernel[(triton.cdiv(q.shape[1], rows["BLOCK"]), len(q))](
                back_key=back_key, grad_q=grad_q, grad_base=grad_base, **shared, **rows
            )
            stored_kernel[(triton.cdiv(q.shape[1], columns["BLOCK"]), len(yk), back_terms)](
                grad_key=grad_key, grad_value=grad_value, **shared, **columns
            )
        grad_q *= plan.pulse_scale
        if plan.back_key.constant:
            grad_q += grad_base[..., None] * (plan.back_key.constant * plan.pulse_scale)
        grad_yk, grad_yv = _fold(grad_key, yk, plan.back_key), _fold(grad_value, yv, plan.back_value)
        return grad_q, grad_yk, grad_yv, None if preset is None else grad_base, None, None, None


def triton_products(operands: Operands, model: ArrayModel) -> tuple[Tensor, Tensor]:
    """Both products of operands in float32, for rows without pads; see `gaincell.ops.blocked.blocked_products`.

    `gaincell.ops.triton.SERVES` and `gaincell.ops.triton.unsupported` say what fits. `start` counts for nothing here:
    all cells are equal, and there is no noise.

    Returns:
        (B, Hq, T, D) sum of the sub-tiles' read-outs, and (B, Hq, T) Z as the normaliser gives it.
    """
    operands = operands.convert(model.config)
    q, absent, (batch, heads) = operands.q, operands.absent, operands.q.shape[:2]
    if not q.numel():
        return q.clone(), q.sum(3)
    flat = [x.flatten(0, 1).contiguous() for x in (q, operands.k, operands.v)]
    preset = model.gate.start(operands.preset, q)
    offset = None if preset is None else preset.to(q.dtype).flatten(0, 1)
    empty = None if absent is None else absent.flatten(0, 1).to(torch.int8).contiguous()
    out, z = _Products.apply(  # pyright: ignore[reportGeneralTypeIssues]
        *flat, offset, empty, model, operands.learning
    )
    return out.unflatten(0, (batch, heads)), z.unflatten(0, (batch, heads))
