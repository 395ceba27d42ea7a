"""Layer-wise transfer: each gain-cell layer learns to put out what the softmax layer in its place did."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gaincell.adapt.learning_leak import leaking
from gaincell.adapt.precision import computing
from gaincell.adapt.settings import AdaptSettings, TransferSettings
from gaincell.adapt.stages.layers import Teaching, without_mask
from gaincell.adapt.stages.rates import TINY, is_predictor, is_scaler, sizes

#: What rates are multiplied by when a layer is tried again.
LOWER = 1 / 3


@dataclass(frozen=True)
class Transferred:
    """How a layer's transfer went.

    Attributes:
        before, after: relative error of the output on the first rows.
        rate: what the rates were multiplied by in the try that counts: 1 in the first, then a third of the one before.
        kept: whether every try made it worse, so that the layer is as it was.
    """

    before: float
    after: float
    rate: float
    kept: bool


def transfer_layer(module: nn.Module, teaching: Teaching, settings: AdaptSettings, seed: int) -> Transferred:
    """Train one attention module's parameters (projections, norms of queries and keys, scalers) towards the teacher's.

    The loss is the mean squared error of the module's output (after its projection) over the output's power, plus that
    of the first tokens alone: one token in hundreds, but later layers make of it the sink that all others attend to.
    Adam with beta = (0.9, 0.98), rates relative to each parameter's size, a cosine to zero, quantisers
    straight-through, `steps` steps, with the leak in the form of `settings.learning_leak`. A layer whose error rose, up
    to one that is not finite, tries again from its start at a third of the rates, `tries` times in all; then it is left
    as it was.

    Args:
        module: an attention module that attends in gain cells.
        teaching: the inputs to learn on and the softmax layer's outputs, (N, T, hidden).
        settings: `transfer` of them, and the precision and the leak that it learns with.
        seed: of the order in which rows are seen.
    """
    before = relative_error(module, teaching, settings)
    start = {name: value.clone() for name, value in module.state_dict().items()}
    rate = 1.0
    for _ in range(settings.transfer.tries):
        with leaking(module, settings.learning_leak):
            _learn(module, teaching, settings, seed, rate)
        after = relative_error(module, teaching, settings)
        if after <= before:
            return Transferred(before, after, rate, kept=False)
        module.load_state_dict(start)
        rate *= LOWER
    return Transferred(before, before, rate / LOWER, kept=True)


def _learn(module: nn.Module, teaching: Teaching, settings: AdaptSettings, seed: int, rate: float) -> None:
    """All steps of one try."""
    how = settings.transfer
    parameters = dict(module.named_parameters())
    # What learns is how far a parameter is from its start, over its size: of every entry Adam moves that by its rate.
    moved = [
        (p, p.detach().clone(), size, torch.zeros_like(p))
        for p, size in zip(parameters.values(), sizes(module).values(), strict=True)
    ]
    groups = [
        {"params": [way], "lr": rate * _relative(name, how)} for name, (*_, way) in zip(parameters, moved, strict=True)
    ]
    trained = [p.requires_grad for p in parameters.values()]
    for p in parameters.values():
        p.requires_grad_(True)
    optimiser = torch.optim.Adam(groups, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: 0.5 * (1 + math.cos(math.pi * step / how.steps))
    )
    first = torch.zeros_like(teaching.sinks)
    first[:, 0] = True
    others = teaching.sinks & ~first
    power = teaching.outputs.square().mean().clamp(min=TINY)
    # Own terms: (which tokens, their power), tokens spread over the steps as they come.
    apart = [(x, teaching.outputs[x].square().mean().clamp(min=TINY)) for x in (first, others) if x.any()]
    generator = torch.Generator().manual_seed(seed)
    order: list[int] = []
    for _ in range(how.steps):
        if len(order) < how.batch:
            order += torch.randperm(len(teaching.inputs), generator=generator).tolist()
        rows, order = order[: how.batch], order[how.batch :]
        error = (_run(module, teaching, rows, settings) - teaching.outputs[rows]).square()
        loss = error.mean() / power
        for which, own in apart:
            # Over the tokens expected in a batch, so that one of them weighs the same in every step.
            expected = which.sum() * (how.batch / len(which)) * error.shape[-1]
            loss = loss + how.sink_weight * error[which[rows]].sum() / (expected * own)
        module.zero_grad()
        loss.backward()
        for p, _, size, way in moved:
            way.grad = None if p.grad is None else p.grad * size
        optimiser.step()
        with torch.no_grad():
            for p, start, size, way in moved:
                p.copy_(start + size * way)
        schedule.step()
    module.zero_grad()
    for p, required in zip(parameters.values(), trained, strict=True):
        p.requires_grad_(required)


def _relative(name: str, settings: TransferSettings) -> float:
    """Peak learning rate of a parameter over its size."""
    if is_predictor(name):
        return settings.predictor_lr
    return settings.scaler_lr if is_scaler(name) else settings.projection_lr


@torch.no_grad()
def relative_error(module: nn.Module, teaching: Teaching, settings: AdaptSettings) -> float:
    """Squared error of a module's output over its power, on the first whole batches: some four rows."""
    error, power, batch = 0.0, 0.0, settings.transfer.batch
    count = min(max(4 // batch, 1), len(teaching.inputs) // batch) * batch
    for rows in torch.arange(count).split(batch):
        target = teaching.outputs[rows]
        error += float((_run(module, teaching, rows, settings) - target).square().sum())
        power += float(target.square().sum())
    return error / max(power, TINY)


def _run(module: nn.Module, teaching: Teaching, rows: Tensor | list[int], settings: AdaptSettings) -> Tensor:
    with computing(settings, teaching.inputs.device):
        out = module(hidden_states=teaching.inputs[rows], **without_mask(teaching.kwargs))[0]
    return out.to(teaching.outputs.dtype)
