"""Adaptation without gradients: choose the scalers a and b of every head from statistics of real text."""

from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

from gaincell.adapt.stages.layers import Heads
from gaincell.adapt.stages.rates import TINY
from gaincell.config import GainCellConfig
from gaincell.models import HeadScalers
from gaincell.ops import attention

#: k and v are scaled so that this many standard deviations fill the stored range (2.05 clips 4 % of a normal x).
CLIP = 2.05
#: Where `least_squares` looks: clip of k; standard deviation and offset of the query's pulse width.
KEY_CLIPS = (2.05, 2.8)
QUERY_SIGMAS = {"signed": (0.15, 0.3, 0.5, 0.8), "unsigned": (0.3, 0.6, 1.0, 1.5)}
QUERY_OFFSETS = {"signed": (0.0,), "unsigned": (0.0, 0.25, 0.5)}


@dataclass(frozen=True)
class Moments:
    """Mean and standard deviation per head of q, k, v or the output, after scaling; shape (heads,) each."""

    mean: Tensor
    std: Tensor

    @classmethod
    def of(cls, x: Tensor) -> "Moments":
        """Of x (N, heads, T, D)."""
        x = x.float()
        return cls(x.mean((0, 2, 3)), x.std((0, 2, 3)))


@torch.no_grad()
def match(scalers: HeadScalers, name: str, seen: Moments, target: Moments) -> int:
    """The paper's matching for one of "q", "k", "v", "out": a <- a sigma_target / sigma, b <- b + mu_target - mu.

    Damped by alpha from 1.0 to 0.1 over 50 iterations, until both differ by less than 1e-4, or 100 iterations [Leroux
    et al. 2025, released code]. Moments of a x + b follow exactly from those of x, so no forward pass is repeated.

    Args:
        seen: moments of x before scaling.
        target: what they should be after it.

    Returns:
        Iterations taken.
    """
    a, b = (getattr(scalers, f"{name}_{kind}") for kind in ("scale", "bias"))
    if a.dim() == 2:  # one value for all channels of a head
        seen, target = (Moments(x.mean[..., None], x.std[..., None]) for x in (seen, target))
    for iteration in range(100):
        sigma, mu = a.abs() * seen.std, a * seen.mean + b
        if max((target.std - sigma).abs().max(), (target.mean - mu).abs().max()) < 1e-4:
            return iteration
        alpha = 1.0 - 0.9 * min(iteration / 49, 1.0)
        a *= 1 + alpha * (target.std / sigma.clamp(min=1e-12) - 1)
        b += alpha * (target.mean - mu)
    return 100


def design_targets(config: GainCellConfig, heads: Heads) -> dict[str, Moments]:
    """Targets where no linear hardware model precedes: ranges filled to `CLIP` deviations, and softmax's output."""
    half = torch.ones(())
    middle = 0.5 if config.query_sign == "unsigned" else 0.0
    stored = Moments(config.zero_v * half, config.zero_v / CLIP * half)
    query = Moments(middle * half, (1.0 - middle) / CLIP * half)
    return {"q": query, "k": stored, "v": stored, "out": Moments.of(heads.out)}


@torch.no_grad()
def match_layer(scalers: HeadScalers, heads: Heads, targets: dict[str, Moments] | None = None) -> Tensor:
    """The paper's matching of one layer, to `targets` or to `design_targets`; relative error per head (Hq,)."""
    targets = targets or design_targets(scalers.config, heads)
    for name in ("q", "k", "v"):
        match(scalers, name, Moments.of(getattr(heads, name)), targets[name])
    out = _attend(scalers, heads)
    match(scalers, "out", Moments.of(out), targets["out"])
    return _relative_error(scalers.scale("out", out), heads.out)


@torch.no_grad()
def least_squares_layer(scalers: HeadScalers, heads: Heads) -> Tensor:
    """Choose a, b per head by trying a grid on the gain-cell operator itself; relative error per head (Hq,).

    v fills its range. For k the clip, for q the deviation and (unsigned) the offset of the pulse are tried; for each
    choice the output's a and b follow by least squares from softmax's output. A query head takes the choice with the
    smallest squared error; heads that share keys share the clip with the smallest sum.
    """
    clips = torch.tensor(KEY_CLIPS, device=heads.k.device)
    v = Moments.of(heads.v)
    _fill(scalers, "v", v, torch.full_like(v.std, CLIP))
    k = Moments.of(heads.k)
    best = []
    for clip in clips:
        _fill(scalers, "k", k, clip.expand_as(k.std))
        best.append(_best_queries(scalers, heads))
    tried = torch.stack(best)  # (clips, 5, Hq)
    shared = tried[:, 0].unflatten(-1, (scalers.kv_heads, -1)).sum(-1).argmin(0)
    _fill(scalers, "k", k, clips[shared])
    of_query = shared.repeat_interleave(scalers.heads // scalers.kv_heads)
    chosen = tried[of_query, :, torch.arange(scalers.heads, device=clips.device)].T
    for parameter, value in zip(_query_and_output(scalers), chosen[1:], strict=True):
        _put(parameter, value)
    return chosen[0]


def _best_queries(scalers: HeadScalers, heads: Heads) -> Tensor:
    """(5, Hq): the smallest error, and the scalers of q and output that give it, with k and v scaled as they are."""
    sign = "unsigned" if scalers.config.query_sign == "unsigned" else "signed"
    q = Moments.of(heads.q)
    best = torch.full((5, scalers.heads), torch.inf, device=q.std.device)
    for sigma, offset in product(QUERY_SIGMAS[sign], QUERY_OFFSETS[sign]):
        _put(scalers.q_scale, sigma / q.std)
        scalers.q_bias.fill_(offset)
        out = _attend(scalers, heads)
        a, b = _line(out, heads.out)
        _put(scalers.out_scale, a)
        _put(scalers.out_bias, b)
        found = (x if x.dim() == 1 else x[:, 0] for x in _query_and_output(scalers))
        row = torch.stack((_relative_error(scalers.scale("out", out), heads.out), *found))
        best = torch.where(row[0] < best[0], row, best)
    return best


def _query_and_output(scalers: HeadScalers) -> tuple[Tensor, ...]:
    return scalers.q_scale, scalers.q_bias, scalers.out_scale, scalers.out_bias


def _fill(scalers: HeadScalers, name: str, x: Moments, clip: Tensor) -> None:
    """Scale k or v so that `clip` (Hkv,) deviations around its mean fill the range on either side of zero."""
    config = scalers.config
    a = min(config.zero_v, config.stored_max_v - config.zero_v) / (clip * torch.where(x.std > 0, x.std, 1.0))
    _put(getattr(scalers, f"{name}_scale"), a)
    _put(getattr(scalers, f"{name}_bias"), config.zero_v - a * x.mean)


def _put(parameter: Tensor, value: Tensor) -> None:
    """A value per head (H,) into (H,), or into every channel of (H, D)."""
    parameter.copy_(value if parameter.dim() == 1 else value[:, None])


def _attend(scalers: HeadScalers, heads: Heads) -> Tensor:
    """The gain-cell output before output scaling, (N, Hq, T, D)."""
    q, k, v = (scalers.scale(name, getattr(heads, name)) for name in ("q", "k", "v"))
    return attention(q, k, v, scalers.config, validate=False)


def _line(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Per head, the a and b of the line a x + b closest to y in least squares; both (Hq,)."""
    mx, my = x.mean((0, 2, 3)), y.mean((0, 2, 3))
    covariance = (x * y).mean((0, 2, 3)) - mx * my
    variance = (x * x).mean((0, 2, 3)) - mx * mx
    a = torch.where(variance > 1e-12, covariance / variance.clamp(min=1e-12), 0.0)
    return a, my - a * mx


def _relative_error(x: Tensor, target: Tensor) -> Tensor:
    """Mean squared error per head over the target's mean square, (Hq,)."""
    return ((x - target) ** 2).mean((0, 2, 3)) / (target**2).mean((0, 2, 3)).clamp(min=TINY)
