import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gaincell import GainCellConfig
from gaincell.adapt.stages import score_preset
from gaincell.adapt.stages.layers import Heads
from gaincell.adapt.stages.score_preset import fit_layer, ridge_line, softmax_sums
from gaincell.adapt.stages.statistics import Moments, design_targets, least_squares_layer, match, match_layer
from gaincell.models import HeadScalers
from gaincell.models.intake import taking_in
from gaincell.models.interface import gaincell_attention
from gaincell.ops import attention

#: Without and with the options that do not depend on a layer's input.
DESIGNS = {
    "leroux2025": GainCellConfig.named("leroux2025"),
    "leroux2025-linear": GainCellConfig.named("leroux2025-linear"),
    "options": GainCellConfig.named("leroux2025").replace(
        normaliser="column", query_sign="differential", storage="linearised"
    ),
    "offset-binary": GainCellConfig.named("leroux2025").replace(normaliser="column", query_sign="offset_binary"),
    "equalisation": GainCellConfig.named("leroux2025").replace(normaliser="ideal", equalisation=True),
}


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
    scalers = HeadScalers(4, 2, GainCellConfig.named("leroux2025"))
    n = 4 if name in ("q", "out") else 2
    seen = Moments(torch.full((n,), mean), torch.full((n,), std))
    target = Moments(torch.full((n,), target_mean), torch.full((n,), target_std))
    iterations = match(scalers, name, seen, target)
    a, b = getattr(scalers, f"{name}_scale").detach(), getattr(scalers, f"{name}_bias").detach()
    assert iterations < 100
    torch.testing.assert_close(a * std, target.std, atol=1e-4, rtol=0)
    torch.testing.assert_close(a * mean + b, target.mean, atol=1e-4, rtol=0)


@pytest.mark.parametrize("design", list(DESIGNS))
def test_matching_a_layer_gives_every_stage_its_moments(design: str) -> None:
    heads, config = softmax_heads(), DESIGNS[design]
    scalers = HeadScalers(4, 2, config, 0.25, head_dim=16)
    match_layer(scalers, heads)
    targets = design_targets(config, heads)
    for name in ("q", "k", "v"):
        got = Moments.of(scalers.scale(name, getattr(heads, name)).detach())
        torch.testing.assert_close(got.mean, targets[name].mean.expand_as(got.mean), atol=2e-3, rtol=0)
        torch.testing.assert_close(got.std, targets[name].std.expand_as(got.std), atol=2e-3, rtol=0)


@pytest.mark.parametrize("design", list(DESIGNS))
def test_least_squares_beats_matching_and_the_start(design: str) -> None:
    heads, config = softmax_heads(), DESIGNS[design]
    start, matched, fitted = (HeadScalers(4, 2, config, 0.25, head_dim=16) for _ in range(3))
    match_layer(matched, heads)
    reported = least_squares_layer(fitted, heads)
    torch.testing.assert_close(error_of(fitted, heads), reported, atol=1e-4, rtol=1e-4)
    assert (reported <= error_of(matched, heads) + 1e-4).all()
    assert (reported < error_of(start, heads)).all()
    assert (reported <= 1.0 + 1e-4).all(), "a constant output would do better"


def teaching_heads(scaling: float = 0.25, hidden: int = 24, window: int = 1024) -> tuple[Heads, torch.Tensor]:
    """Heads that follow from a layer's input, as in a model: what a preset is predicted from knows about q."""
    g = torch.Generator().manual_seed(3)
    x = torch.randn(3, 90, hidden, generator=g)
    q = (x @ torch.randn(hidden, 4 * 16, generator=g) / 3).unflatten(-1, (4, 16)).transpose(1, 2)
    k, v = ((x @ torch.randn(hidden, 2 * 16, generator=g) / 4).unflatten(-1, (2, 16)).transpose(1, 2) for _ in "kv")
    age = torch.arange(90)[:, None] - torch.arange(90)
    seen = (age >= 0) & (age < window)
    out = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=seen, enable_gqa=True, scale=scaling)
    return Heads(q, k, v, out), x


@pytest.mark.parametrize(("window", "sign"), [(1024, "differential"), (32, "differential"), (32, "offset_binary")])
def test_a_fit_with_preset_and_sinks_beats_scalers_alone_and_reports_what_the_module_gives(
    window: int, sign: str
) -> None:
    heads, x = teaching_heads(window=window)
    shipped = GainCellConfig.named("extended")
    design = shipped.replace(window=window, subtile_columns=min(64, window), query_sign=sign)
    alone = HeadScalers(4, 2, design.replace(score_preset=False, sinks="none"), 0.25, head_dim=16)
    without = least_squares_layer(alone, heads)
    scalers = HeadScalers(4, 2, design, 0.25, head_dim=16, hidden=x.shape[2])
    reported = fit_layer(scalers, heads, x, 0.25)
    assert (reported < without).all()
    # As a converted module computes it.
    module = torch.nn.Module()
    module.gaincell = scalers
    with taking_in(scalers, x):
        out, _ = gaincell_attention(module, heads.q, heads.k, heads.v, None)
    error = ((out.transpose(1, 2) - heads.out) ** 2).mean((0, 2, 3)) / (heads.out**2).mean((0, 2, 3))
    # What is reported has each token's preset predicted from the other tokens, so it may not flatter.
    assert (error <= reported * 1.01 + 1e-3).all()
    torch.testing.assert_close(error, reported, atol=1e-3, rtol=0.1)
    # Softmax gives the first token its own value, and so do digital sinks.
    torch.testing.assert_close(out[:, 0].transpose(0, 1), heads.out[:, :, 0].transpose(0, 1), atol=1e-5, rtol=0)


@pytest.mark.parametrize("strength", [0.01, 1.0])
def test_a_token_is_predicted_as_if_it_had_not_been_seen(strength: float, monkeypatch: pytest.MonkeyPatch) -> None:
    g = torch.Generator().manual_seed(0)
    x, before = torch.randn(2, 9, 5, generator=g), torch.arange(9).expand(2, -1)
    target = torch.randn(2, 3, 9, generator=g)
    monkeypatch.setattr(score_preset, "RIDGES", (strength,))
    line, expected = ridge_line(x, before, target)
    # The same regression, its intercept free, with one token left out after the other.
    features = torch.cat((x, torch.log1p(before.float())[..., None]), -1).flatten(0, 1).double()
    features = (features - features.mean(0)) / (features - features.mean(0)).square().mean(0).sqrt()
    features = torch.cat((features, torch.ones(18, 1)), -1)
    wanted = target.transpose(1, 2).flatten(0, 1).double()
    penalty = 18 * strength * torch.diag(torch.tensor([1.0] * 6 + [0.0])).double()
    for left_out in range(18):
        kept = torch.arange(18) != left_out
        gram = features[kept].T @ features[kept] + penalty
        weights = torch.linalg.solve(gram, features[kept].T @ wanted[kept])
        got = expected.transpose(1, 2).flatten(0, 1)[left_out].double()
        torch.testing.assert_close(got, features[left_out] @ weights, atol=1e-3, rtol=1e-3)
    seen = (line(x, before) - target).square().mean()
    assert seen < (expected - target).square().mean()


def test_softmax_sums_are_those_of_softmax() -> None:
    heads, _ = teaching_heads()
    absent = torch.zeros(3, 2, 90, dtype=torch.bool)
    absent[:, :, 0] = True
    absent[:, 1, 5] = True
    window = 40
    sums = softmax_sums(heads, 0.25, absent, window)
    age = torch.arange(90)[:, None] - torch.arange(90)
    seen = (age >= 0) & (age < window)
    score = 0.25 * heads.q @ heads.k.repeat_interleave(2, 1).mT
    share = score.masked_fill(~seen, -torch.inf).softmax(-1)
    of_sinks = (share * absent.repeat_interleave(2, 1)[:, :, None]).sum(-1)
    later = slice(1, None)
    odds = torch.log((1 - of_sinks) / of_sinks).clamp(-8, 8)
    torch.testing.assert_close(sums.log_odds[:, :, later], odds[:, :, later], atol=1e-4, rtol=1e-4)
    rest = (score.exp() * (seen & ~absent.repeat_interleave(2, 1)[:, :, None])).sum(-1).log()
    torch.testing.assert_close(sums.log_sum[:, :, later], rest[:, :, later], atol=1e-4, rtol=1e-4)


def test_short_values_are_sinks_only_where_they_attract() -> None:
    heads, x = teaching_heads()
    heads.v[:, :, 7] *= 0.1
    config = GainCellConfig.named("extended")
    scalers = HeadScalers(4, 2, config, 0.25, head_dim=16, hidden=x.shape[2])
    fit_layer(scalers, heads, x, 0.25)
    assert scalers.sinks is not None
    assert not scalers.sinks.shortest.any()
    heads.q[:] += heads.q.mean((0, 1, 2)) + 3 * torch.sign(heads.q.mean((0, 1, 2)))
    heads.k[:, :, 7] = 2 * torch.sign(heads.q.mean((0, 1, 2)))
    fit_layer(scalers, heads, x, 0.25)
    assert (scalers.sinks.shortest > 0).all()
    absent = scalers.sinks.absent(heads.v, torch.arange(90).expand(3, -1))
    assert absent[:, :, [0, 7]].all()
