"""Written down token by token, computed in blocks, or streamed through the ring: one and the same result."""

import pytest
import torch
from hypothesis import given, settings
from ops_cases import TRIED, Case, cases
from torch import Tensor

import gaincell
from gaincell import GainCellConfig
from gaincell.ops import Ring, attention_map, naive_attention
from gaincell.ops.blocked import blocked_products
from gaincell.ops.model import array_model
from gaincell.ops.operands import Operands


def assert_same(found: Tensor, expected: Tensor, path: str) -> None:
    # A code's step is at least 2/31, over Z + epsilon < 33 where normalised: no flip hides within 1e-9.
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9, msg=lambda text: f"{path}: {text}")
    TRIED["equivalence: outputs compared"] += found.numel()


@settings(max_examples=2 * settings().max_examples)
@given(cases())
def test_blocked_and_streamed_equal_token_by_token(case: Case) -> None:
    expected, phi = naive_attention(case.q, case.k, case.v, case.config, **case.options)
    naive = case.config.replace(path="naive")
    assert_same(gaincell.attention(case.q, case.k, case.v, naive, **case.options), expected, "naive, by config")
    assert_same(gaincell.attention(case.q, case.k, case.v, case.config, **case.options), expected, "blocked")
    assert_same(case.stream((1,)), expected, "ring, token by token")
    assert_same(case.stream(case.chunks), expected, "ring, in chunks")
    assert_same(attention_map(case.q, case.k, case.config, **case.options), phi, "attention map")
    assert bool(((phi >= 0) & (phi <= 1)).all())
    TRIED["equivalence: cases"] += 1
    TRIED["equivalence: pulses that fired in full"] += int((phi == 1).sum())
    TRIED["equivalence: pulses that fired in part"] += int(((phi > 0) & (phi < 1)).sum())


def test_the_operands_drawn_above_spread_over_hardsigmoid() -> None:
    if not TRIED["equivalence: cases"]:
        pytest.skip("counts what the test above draws")
    full, part = (TRIED[f"equivalence: pulses that fired in {much}"] for much in ("full", "part"))
    assert min(full, part) > 10 * TRIED["equivalence: cases"]


def operands(heads: int, kv_heads: int, tokens: int, head_dim: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)

    def normal(n: int, mean: float, deviation: float) -> Tensor:
        return mean + deviation * torch.randn(1, n, tokens, head_dim, generator=generator)

    return normal(heads, 0.2, 0.7), normal(kv_heads, 0.45, 0.25), normal(kv_heads, 0.45, 0.25)


def exact(q: Tensor, k: Tensor, v: Tensor, config: GainCellConfig) -> Tensor:
    """The same converted operands summed in float64; in blocks, which equal the oracle as shown above."""
    converted = Operands(q, k, v).convert(config)
    wide = Operands(converted.q.double(), converted.k.double(), converted.v.double(), converted=True)
    return blocked_products(wide, array_model(config))[0]


def count_flips(found: Tensor, expected: Tensor, config: GainCellConfig) -> int:
    """Outputs that are half a read-out step off, or more."""
    assert found.dtype == torch.float32
    assert config.output_levels is not None
    flips = int(((found - expected).abs() > 0.99 / (config.output_levels - 1)).sum())
    TRIED["float32: outputs compared"] += found.numel()
    TRIED["float32: flipped codes"] += flips
    return flips


@pytest.mark.parametrize("name", ["leroux2025", "leroux2025-linear"])
@pytest.mark.parametrize("heads", [8, pytest.param(64, marks=pytest.mark.slow)])
def test_float32_flips_fewer_than_one_output_in_a_hundred_thousand(name: str, heads: int) -> None:
    config = GainCellConfig.named(name)  # the published window: an output is the sum of 16 read-outs
    q, k, v = operands(heads=heads, kv_heads=heads // 2, tokens=2560, head_dim=64)
    expected = exact(q, k, v, config)
    assert expected.numel() >= 1_000_000
    assert float((expected * 15.5).round().abs().mean()) > 2  # the read-out counts
    assert count_flips(gaincell.attention(q, k, v, config), expected, config) < 1e-5 * expected.numel()


def test_a_float32_ring_flips_fewer_than_one_output_in_a_hundred_thousand() -> None:
    config = GainCellConfig.named("leroux2025").replace(window=256)
    q, k, v = operands(heads=8, kv_heads=8, tokens=600, head_dim=64)
    ring = Ring(1, 8, 64, config)
    tokens = [ring.extend(*(x[:, :, t : t + 1] for x in (q, k, v))) for t in range(q.shape[2])]
    assert count_flips(torch.cat(tokens, 2), exact(q, k, v, config), config) < 1e-5 * q.numel()


def test_a_million_tokens_leave_the_ring_as_exact_as_none() -> None:
    """Ages stay below the window, so no exponent grows with the token's index."""
    config = GainCellConfig(window=8, subtile_columns=4, leak_per_token=0.3, score_saturation=5.1, output_scale=3.7)
    generator = torch.Generator().manual_seed(2)

    def tokens(n: int) -> tuple[Tensor, ...]:
        q, k, v = (m + 0.3 * torch.randn(1, 1, n, 4, generator=generator).double() for m in (0.3, 0.45, 0.45))
        return q, k, v

    q, k, v = tokens(1_000_000)
    more = tokens(21)
    ring = Ring(1, 1, 4, config)
    ring.write(k, v)
    one_by_one = [ring.extend(*(x[:, :, t : t + 1] for x in more)) for t in range(5)]
    chunk = ring.extend(*(x[:, :, 5:] for x in more))
    # Column = token mod window, and 1,000,000 is a multiple of it: the last 16 tokens before are all that counts.
    recent = [torch.cat((x[:, :, -16:], y), 2) for x, y in zip((q, k, v), more, strict=True)]
    expected = naive_attention(recent[0], recent[1], recent[2], config)[0][:, :, 16:]
    assert_same(torch.cat((*one_by_one, chunk), 2), expected, "ring")


def test_a_long_sequence_equals_its_end_alone() -> None:
    config = GainCellConfig.named("leroux2025").replace(window=256)
    q, k, v = (x.double() for x in operands(heads=1, kv_heads=1, tokens=32_768, head_dim=16))
    end = [x[:, :, -512:] for x in (q, k, v)]  # begins in column 0
    expected = naive_attention(end[0], end[1], end[2], config)[0][:, :, 256:]
    assert_same(gaincell.attention(q, k, v, config)[:, :, -256:], expected, "blocked")
