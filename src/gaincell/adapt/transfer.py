"""Layer-wise transfer: each gain-cell layer learns to put out what the softmax layer in its place did."""

import math

import torch
from torch import Tensor, nn

from gaincell.adapt.layers import Teaching, without_mask
from gaincell.adapt.settings import AdaptSettings


def transfer_layer(module: nn.Module, teaching: Teaching, settings: AdaptSettings, seed: int) -> tuple[float, float]:
    """Train one attention module's parameters (projections, norms of queries and keys, scalers) towards the teacher's.

    The loss is the mean squared error of the module's output (after its projection) over the output's power, plus that
    of the first tokens alone: one token in hundreds, but later layers make of it the sink that all others attend to.
    Adam with beta = (0.9, 0.98), a cosine to zero, quantisers straight-through, `settings.steps` steps. A layer whose
    error rose is left as it was.

    Args:
        module: an attention module that attends in gain cells.
        teaching: the inputs to learn on and the softmax layer's outputs, (N, T, hidden).
        settings: steps, batch, learning rates.
        seed: of the order in which sequences are seen.

    Returns:
        Relative error of the output on the first sequences, before and after.
    """
    parameters = dict(module.named_parameters())
    groups = [{"params": [p], "lr": _rate(name, p, settings)} for name, p in parameters.items()]
    trained = [p.requires_grad for p in parameters.values()]
    for p in parameters.values():
        p.requires_grad_(True)
    optimiser = torch.optim.Adam(groups, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: 0.5 * (1 + math.cos(math.pi * step / settings.steps))
    )
    first = torch.zeros_like(teaching.sinks)
    first[:, 0] = True
    others = teaching.sinks & ~first
    power = teaching.outputs.square().mean().clamp(min=1e-12)
    # Own terms: (which tokens, their power), tokens spread over the steps as they come.
    apart = [(x, teaching.outputs[x].square().mean().clamp(min=1e-12)) for x in (first, others) if x.any()]
    generator = torch.Generator().manual_seed(seed)
    before = relative_error(module, teaching, settings.batch)
    start = {name: value.clone() for name, value in module.state_dict().items()}
    order: list[int] = []
    for _ in range(settings.steps):
        if len(order) < settings.batch:
            order += torch.randperm(len(teaching.inputs), generator=generator).tolist()
        rows, order = order[: settings.batch], order[settings.batch :]
        error = (_run(module, teaching, rows) - teaching.outputs[rows]).square()
        loss = error.mean() / power
        for which, own in apart:
            # Over the tokens expected in a batch, so that one of them weighs the same in every step.
            expected = which.sum() * (settings.batch / len(which)) * error.shape[-1]
            loss = loss + settings.sink_weight * error[which[rows]].sum() / (expected * own)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    optimiser.zero_grad()
    for p, required in zip(parameters.values(), trained, strict=True):
        p.requires_grad_(required)
    after = relative_error(module, teaching, settings.batch)
    if not after <= before:  # a rate too large for this layer, up to one that is not finite
        module.load_state_dict(start)
        after = before
    return before, after


def _rate(name: str, parameter: nn.Parameter, settings: AdaptSettings) -> float:
    """Peak learning rate of a parameter."""
    if name.startswith("gaincell.") and name.endswith(".weight"):
        return settings.predictor_lr
    if name.startswith("gaincell."):
        return settings.scaler_lr * max(float(parameter.detach().abs().mean()), 0.1)
    return settings.projection_lr


@torch.no_grad()
def relative_error(module: nn.Module, teaching: Teaching, batch: int) -> float:
    """Squared error of a module's output over its power, on the first whole batches: some four sequences."""
    error, power = 0.0, 0.0
    count = min(max(4 // batch, 1), len(teaching.inputs) // batch) * batch
    for rows in torch.arange(count).split(batch):
        target = teaching.outputs[rows]
        error += float((_run(module, teaching, rows) - target).square().sum())
        power += float(target.square().sum())
    return error / max(power, 1e-12)


def _run(module: nn.Module, teaching: Teaching, rows: Tensor | list[int]) -> Tensor:
    return module(hidden_states=teaching.inputs[rows], **without_mask(teaching.kwargs))[0]
