"""Statistics for design points with a score preset: every head's scores, sum and sinks, fitted without gradients."""

from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

from gaincell.adapt.stages.layers import Heads
from gaincell.adapt.stages.rates import TINY
from gaincell.config import GainCellConfig
from gaincell.models import HeadScalers
from gaincell.models.ring_cache import first_value
from gaincell.models.sinks import DigitalSinks, HeadPredictor
from gaincell.ops import attention

#: Where `fit_layer` looks: alpha, what a unit of softmax's score adds to phi; and phi where the score equals the
#: logarithm of softmax's sum.
SLOPES = (0.06, 0.12, 0.25, 0.5)
OFFSETS = (0.3, 0.6, 0.9, 1.2)
#: Root mean squares that fill the stored range on either side of zero: 2.05 clips 4 % of a normal x.
CLIP = 2.05
#: A channel counts as moving by this share of what the head's channels do on average, at least.
STILL = 1e-5
#: A token whose value is shorter than this share of the median may be a sink, and is one where such tokens attract at
#: least `SINK_MASS` times the attention of others.
SHORT_VALUE = 0.45
SINK_MASS = 3.0
#: Ridges of the linear predictions that are tried, in units of a feature's variance times the number of tokens.
RIDGES = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)


@dataclass(frozen=True)
class SoftmaxSums:
    """What a softmax layer's scores amount to, per query: (N, Hq, T) each.

    Attributes:
        log_sum: logarithm of softmax's sum over the keys that are not sinks, and over learned logits beside them.
        log_odds: logarithm of their share of attention over that of the sinks.
    """

    log_sum: Tensor
    log_odds: Tensor


@torch.no_grad()
def fit_layer(scalers: HeadScalers, heads: Heads, inputs: Tensor, scaling: float) -> Tensor:
    """Fit everything digital around one layer's arrays to its softmax attention; relative error per head (Hq,).

    With s = scaling q k the score and lse the logarithm of softmax's sum over keys that are not sinks, the arrays are
    to give phi = clamp(offset + alpha (s - lse), 0, 1): k fills its range around its mean, q takes alpha, and the
    preset offset - alpha (lse - s of the mean key) follows from the layer's input by ridge regression; so do the sinks'
    shares. For each head the pair (alpha, offset) is tried on the operator itself, with the output's scale by least
    squares, and the one with the smallest error taken, each token's preset as predicted from the other tokens. Errors
    are those on the tokens that it is fitted to.

    Args:
        scalers: of a layer whose design point has a score preset.
        heads: what softmax attention did there.
        inputs: (N, T, hidden) what the layer took in.
        scaling: softmax's scale, 1/sqrt(head_dim) as a rule.
    """
    config, preset, sinks = scalers.config, scalers.preset, scalers.sinks
    assert preset is not None
    before = _tokens_before(heads, config.window)
    absent = None
    if sinks is not None:
        sinks.shortest.copy_(_shortest(heads, scaling, config.window))
        absent = sinks.absent(heads.v, before)
    sums = softmax_sums(heads, scaling, absent, config.window)
    half = min(config.zero_v, config.stored_max_v - config.zero_v)  # of the stored range, on either side of zero
    moments = _fill_ranges(scalers, heads, absent, half)
    (k_mean, k_rms), (v_mean, v_rms) = (tuple(_of_queries(scalers, x) for x in moments[name]) for name in ("k", "v"))
    # The score of the mean key is in every score, but not in the arrays.
    log_sum = sums.log_sum - scaling * (heads.q * k_mean[:, None]).sum(-1)
    rows = before[0] > 0  # the first token has nothing to look back on
    learned, expected = ridge_line(inputs[:, rows], before[:, rows], log_sum[:, :, rows])
    preset_of = learned(inputs, before)
    preset_of[:, :, rows] = expected
    mixed, weight = _fit_sinks(sinks, heads, inputs, before, sums.log_odds)
    mixed = mixed + weight * v_mean[:, None]
    per_score = _per_score(config, half)
    k, v = scalers.scale("k", heads.k), scalers.scale("v", heads.v)
    tried: list[Tensor] = []
    for slope, offset in product(SLOPES, OFFSETS):
        q = heads.q * (slope / per_score * scaling * k_rms)[:, None]
        ridge = offset - slope * preset_of
        out = attention(q, k, v, config, preset=ridge, absent=absent, validate=False) * v_rms[:, None]
        error, gain = _closest(weight * out, mixed, heads.out)
        tried.append(torch.stack((error, torch.full_like(error, slope), torch.full_like(error, offset), gain)))
    of_head = torch.stack(tried)
    error, slope, offset, gain = of_head[of_head[:, 0].argmin(0), :, torch.arange(scalers.heads)].T
    _set(scalers, "q", slope[:, None] / per_score * scaling * k_rms, torch.zeros_like(k_rms))
    _set(scalers, "out", gain[:, None] * v_rms, v_mean)
    _assign(preset, learned, -slope, offset)
    return error / heads.out.square().mean((0, 2, 3)).clamp(min=TINY)


def _fill_ranges(
    scalers: HeadScalers, heads: Heads, absent: Tensor | None, half: float
) -> dict[str, tuple[Tensor, Tensor]]:
    """Let k and v fill `half` of the stored range on either side of zero; their means and root mean squares."""
    config = scalers.config
    moments = {name: _moments(getattr(heads, name), absent, config.equalisation) for name in ("k", "v")}
    for name, (mean, rms) in moments.items():
        _set(scalers, name, half / (CLIP * rms), config.zero_v - half / (CLIP * rms) * mean)
    return moments


def _tokens_before(heads: Heads, window: int) -> Tensor:
    """(N, T) tokens before each, up to the window, as a converted module counts them."""
    return torch.arange(heads.q.shape[2], device=heads.q.device).clamp(max=window).expand(len(heads.q), -1)


def _per_score(config: GainCellConfig, half: float) -> float:
    """What a unit of q k over k's root mean square is of S / S_sat."""
    law = config.cell.model_law
    return (law(half) - law(-half)) / (2 * CLIP * config.score_saturation)


def _fit_sinks(
    sinks: DigitalSinks | None, heads: Heads, inputs: Tensor, before: Tensor, log_odds: Tensor
) -> tuple[Tensor, Tensor]:
    """Fit the sinks' shares; what they add to every output (N, Hq, T, D), and the weight left for the arrays."""
    if sinks is None:
        return torch.zeros_like(heads.out), torch.ones_like(heads.out[..., :1])
    rows = before[0] > 0
    _assign(sinks.share, ridge_line(inputs[:, rows], before[:, rows], log_odds[:, :, rows])[0])
    first = first_value(heads.v, before)
    mixed = sinks.mix(torch.zeros_like(heads.out), first, inputs, before)
    return mixed, sinks.mix(torch.ones_like(heads.out), torch.zeros_like(first), inputs, before)


def _closest(part: Tensor, mixed: Tensor, out: Tensor) -> tuple[Tensor, Tensor]:
    """Mean squared error and gain per head (Hq,) with which gain x part + mixed comes closest to softmax's output."""
    gain = (part * (out - mixed)).sum((0, 2, 3)) / part.square().sum((0, 2, 3)).clamp(min=TINY)
    return (mixed + gain[:, None, None] * part - out).square().mean((0, 2, 3)), gain


def softmax_sums(heads: Heads, scaling: float, absent: Tensor | None, window: int) -> SoftmaxSums:
    """Sums of softmax attention in a sliding window; absent (N, Hkv, T) marks sinks."""
    log_sum, log_odds = [], []
    for n in range(len(heads.q)):
        score, seen = _scores(heads, n, scaling, window)
        kept = seen if absent is None else seen & ~_repeat(absent[n], heads)[:, None]
        rest = score.masked_fill(~kept, -torch.inf).logsumexp(-1)
        if heads.learned is not None:
            rest = torch.logaddexp(rest, heads.learned[:, None])
        sink = score.masked_fill(~seen | kept, -torch.inf).logsumexp(-1)
        log_sum.append(rest)
        log_odds.append((rest - sink).clamp(-8.0, 8.0))
    return SoftmaxSums(torch.stack(log_sum).nan_to_num(neginf=-8.0), torch.stack(log_odds))


def _scores(heads: Heads, n: int, scaling: float, window: int) -> tuple[Tensor, Tensor]:
    """(Hq, T, T) scores of row n, and which of them a query sees."""
    score = scaling * heads.q[n] @ _repeat(heads.k[n], heads).mT
    index = torch.arange(score.shape[-1], device=score.device)
    age = index[:, None] - index
    return score, ((age >= 0) & (age < window)).expand_as(score)


def _repeat(x: Tensor, heads: Heads) -> Tensor:
    return x.repeat_interleave(heads.q.shape[1] // heads.k.shape[1], 0)


def _shortest(heads: Heads, scaling: float, window: int) -> Tensor:
    """(Hkv,) the norm below which a value marks a sink: 0 where short values attract no more than others."""
    norm = torch.linalg.vector_norm(heads.v, dim=-1)  # (N, Hkv, T)
    limit = SHORT_VALUE * norm.flatten(0).unflatten(0, norm.shape).movedim(1, 0).flatten(1).median(1).values
    mass = []
    for n in range(len(heads.q)):
        score, seen = _scores(heads, n, scaling, window)
        received = score.masked_fill(~seen, -torch.inf).softmax(-1).sum(1) / seen.sum(1)
        mass.append(received.unflatten(0, (heads.k.shape[1], -1)).mean(1))
    received = torch.stack(mass)
    short = norm < limit[:, None]
    short[:, :, 0] = False  # a sink anyway
    long = ~short
    long[:, :, 0] = False
    mean = [(received * x).sum((0, 2)) / x.sum((0, 2)).clamp(min=1) for x in (short, long)]
    return torch.where(mean[0] >= SINK_MASS * mean[1], limit, 0.0)


def _moments(x: Tensor, absent: Tensor | None, per_channel: bool) -> tuple[Tensor, Tensor]:
    """Mean and root mean square around it of x (N, H, T, D) where it is stored: (H, D), or (H, 1) per head."""
    weight = torch.ones_like(x[..., :1]) if absent is None else (~absent)[..., None].to(x)
    dims = (0, 2) if per_channel else (0, 2, 3)
    count = weight.expand_as(x).sum(dims, keepdim=True).clamp(min=1)
    mean = (x * weight).sum(dims, keepdim=True) / count
    rms = (((x - mean) * weight).square().sum(dims, keepdim=True) / count).sqrt()
    rms = torch.maximum(rms, STILL * rms.mean((-2, -1), keepdim=True))
    return mean[0, :, 0], torch.where(rms > 0, rms, 1.0)[0, :, 0]


def _of_queries(scalers: HeadScalers, x: Tensor) -> Tensor:
    return x.repeat_interleave(scalers.heads // scalers.kv_heads, 0)


def _set(scalers: HeadScalers, name: str, a: Tensor, b: Tensor) -> None:
    for kind, value in (("scale", a), ("bias", b)):
        parameter = getattr(scalers, f"{name}_{kind}")
        parameter.copy_(value if parameter.dim() == 2 else value.squeeze(1))


@torch.no_grad()
def ridge_line(x: Tensor, before: Tensor, target: Tensor) -> tuple[HeadPredictor, Tensor]:
    """A prediction of target (N, H, T) from x (N, T, hidden) and before (N, T), by ridge regression in float64.

    Each head takes the ridge with the smallest error on tokens left out one at a time, which has a closed form: the
    residual over 1 - h, h the token's own weight in its prediction [Allen 1974, PRESS].

    Returns:
        The predictor; and what it would say of each token had it not seen it, (N, H, T).
    """
    features = torch.cat((x, torch.log1p(before.to(x.dtype))[..., None]), -1).flatten(0, 1).double()
    wanted = target.transpose(1, 2).flatten(0, 1).double()
    centre, middle = features.mean(0), wanted.mean(0)
    features, wanted = features - centre, wanted - middle
    spread = features.square().mean(0).sqrt()
    spread = spread + 1e-5 * spread.mean() + 1e-6
    values, vectors = torch.linalg.eigh((features / spread).T @ (features / spread))
    turned = features / spread @ vectors
    projected = turned.T @ wanted
    best = torch.full_like(middle, torch.inf)
    found, expected = torch.zeros_like(projected), torch.zeros_like(wanted)
    for ridge in RIDGES:
        shrunk = 1 / (values.clamp(min=0) + ridge * len(wanted))
        weights = shrunk[:, None] * projected
        own = 1 / len(wanted) + (turned.square() @ shrunk)[:, None]
        residual = (wanted - turned @ weights) / (1 - own).clamp(min=1e-6)
        error = residual.square().mean(0)
        better = error < best
        best, found = torch.where(better, error, best), torch.where(better, weights, found)
        expected = torch.where(better, wanted - residual, expected)
    line = HeadPredictor(target.shape[1], x.shape[2], device=x.device)
    found = (vectors @ found / spread[:, None]).T
    line.weight.copy_(found[:, :-1])
    line.log_weight.copy_(found[:, -1])
    line.bias.copy_(middle - found @ centre)
    return line, (expected + middle).to(target.dtype).unflatten(0, before.shape).transpose(1, 2)


def _assign(
    predictor: HeadPredictor, line: HeadPredictor, by: Tensor | float = 1.0, plus: Tensor | float = 0.0
) -> None:
    """predictor <- plus + by times the line; by and plus (H,) or numbers."""
    by = torch.as_tensor(by, dtype=line.bias.dtype, device=line.bias.device).expand_as(line.bias)
    predictor.weight.copy_(by[:, None] * line.weight)
    predictor.log_weight.copy_(by * line.log_weight)
    predictor.bias.copy_(by * line.bias + plus)
