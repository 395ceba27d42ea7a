import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gaincell import GainCellConfig
from gaincell.adapt.layers import Heads
from gaincell.adapt.statistics import Moments, design_targets, least_squares_layer, match, match_layer
from gaincell.models import HeadScalers
from gaincell.ops import attention

DESIGNS = ["leroux2025", "leroux2025-linear", "extended"]


def softmax_heads(seed: int = 0, heads: int = 4, kv_heads: int = 2, tokens: int = 80) -> Heads:
    g = torch.Generator().manual_seed(seed)
    q = torch.randn(2, heads, tokens, 16, generator=g) * 2
    k = torch.randn(2, kv_heads, tokens, 16, generator=g) * 1.5 + 0.3
    v = torch.randn(2, kv_heads, tokens, 16, generator=g) - 0.2
    out = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
    return Heads(q, k, v, out)


def error_of(scalers: HeadScalers, heads: Heads) -> torch.Tensor:
    operands = (scalers.scale(name, getattr(heads, name)) for name in ("q", "k", "v"))
    out = scalers.scale("out", attention(*operands, scalers.config))
    return ((out - heads.out) ** 2).mean((0, 2, 3)) / (heads.out**2).mean((0, 2, 3))


@given(
    st.tuples(st.floats(-5, 5), st.floats(0.05, 20)),
    st.tuples(st.floats(-1, 1), st.floats(0.05, 2)),
    st.sampled_from(["q", "k", "v", "out"]),
)
def test_matching_reaches_the_targets(before: tuple[float, float], after: tuple[float, float], name: str) -> None:
    (mean, std), (target_mean, target_std) = before, after
    scalers = HeadScalers(4, 2, GainCellConfig.preset("leroux2025"))
    n = 4 if name in ("q", "out") else 2
    seen = Moments(torch.full((n,), mean), torch.full((n,), std))
    target = Moments(torch.full((n,), target_mean), torch.full((n,), target_std))
    iterations = match(scalers, name, seen, target)
    a, b = getattr(scalers, f"{name}_scale").detach(), getattr(scalers, f"{name}_bias").detach()
    assert iterations < 100
    torch.testing.assert_close(a * std, target.std, atol=1e-4, rtol=0)
    torch.testing.assert_close(a * mean + b, target.mean, atol=1e-4, rtol=0)


@pytest.mark.parametrize("design", DESIGNS)
def test_matching_a_layer_gives_every_stage_its_moments(design: str) -> None:
    heads, config = softmax_heads(), GainCellConfig.preset(design)
    scalers = HeadScalers(4, 2, config, 0.25)
    match_layer(scalers, heads)
    targets = design_targets(config, heads)
    for name in ("q", "k", "v"):
        got = Moments.of(scalers.scale(name, getattr(heads, name)).detach())
        torch.testing.assert_close(got.mean, targets[name].mean.expand_as(got.mean), atol=2e-3, rtol=0)
        torch.testing.assert_close(got.std, targets[name].std.expand_as(got.std), atol=2e-3, rtol=0)


@pytest.mark.parametrize("design", DESIGNS)
def test_least_squares_beats_matching_and_the_start(design: str) -> None:
    heads, config = softmax_heads(), GainCellConfig.preset(design)
    start, matched, fitted = (HeadScalers(4, 2, config, 0.25) for _ in range(3))
    match_layer(matched, heads)
    reported = least_squares_layer(fitted, heads)
    torch.testing.assert_close(error_of(fitted, heads), reported, atol=1e-4, rtol=1e-4)
    assert (reported <= error_of(matched, heads) + 1e-4).all()
    assert (reported < error_of(start, heads)).all()
    assert (reported <= 1.0 + 1e-4).all(), "a constant output would do better"
