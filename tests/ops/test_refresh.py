"""Tokens that are written anew from a copy: cells leak since then, on every path, and estimates count it."""

import math
from typing import Any

import pytest
import torch
from imperfect_cases import with_table

import gaincell
from gaincell import GainCellConfig, InputError
from gaincell.hardware import HardwareParameters, estimate
from gaincell.ops import naive_attention

CONFIG = GainCellConfig(window=16, subtile_columns=4, leak_per_token=0.05, score_saturation=60.0)


def test_a_cell_leaks_since_it_was_written_anew() -> None:
    """S of one key at every age, by the equation."""
    config = CONFIG.replace(stored_levels=None, query_levels=None, refresh_tokens=4)
    q = torch.ones(1, 1, 11, 1, dtype=torch.float64)
    k = torch.full((1, 1, 11, 1), 0.45, dtype=torch.float64)
    k[0, 0, 0] = 0.87
    _, phi = naive_attention(q, k, k, config)
    for t in range(11):
        expected = config.cell.model_law(0.42 * math.exp(-0.05 * (t % 4))) / 60.0
        assert float(phi[0, 0, t, 0]) == pytest.approx(expected, rel=1e-12), t


def test_every_token_is_as_new_or_nothing_changes() -> None:
    generator = torch.Generator().manual_seed(1)
    q, k, v = (torch.rand(1, 2, 40, 8, generator=generator) for _ in range(3))
    plain = gaincell.attention(q, k, v, CONFIG)
    assert torch.equal(gaincell.attention(q, k, v, CONFIG.replace(refresh_tokens=16)), plain)
    still = gaincell.attention(q, k, v, CONFIG.replace(leak_per_token=0.0))
    assert torch.allclose(gaincell.attention(q, k, v, CONFIG.replace(refresh_tokens=1)), still)
    assert not torch.equal(gaincell.attention(q, k, v, CONFIG.replace(refresh_tokens=4)), plain)


def test_kernels_refuse_and_a_table_need_reach_no_further_than_a_refresh() -> None:
    q = torch.rand(1, 1, 40, 8)
    with pytest.raises(InputError, match=r"path 'triton' cannot compute .*refresh"):
        gaincell.attention(q, q, q, CONFIG.replace(refresh_tokens=4, path="triton"))
    fields: dict[str, Any] = {"retention": "table", "leak_per_token": None, "token_period_s": 20e-6}
    config = CONFIG.replace(cell=with_table(CONFIG.cell), **fields)
    with pytest.raises(InputError, match="ends at"):
        gaincell.attention(q, q, q, config)
    gaincell.attention(q, q, q, config.replace(refresh_tokens=8))


def test_estimates_count_what_is_simulated() -> None:
    paper = GainCellConfig.named("leroux2025").replace(token_period_s=17e-6, retention_spread=0.5)
    gpt2 = {"model_type": "gpt2"}
    by_limit = estimate(gpt2, paper, HardwareParameters(refresh="rewrite"))
    simulated = estimate(gpt2, paper.replace(refresh_tokens=256))
    assert simulated.retention.refreshes == by_limit.retention.refreshes == 3
    assert simulated.energy_j == pytest.approx(by_limit.energy_j)
    assert simulated.retention.lost == pytest.approx(by_limit.retention.lost)
    assert simulated.remaining_fraction == pytest.approx(math.exp(-256 * paper.leak))
    with pytest.raises(InputError, match=r"refresh_tokens 512 .* beyond the limit"):
        estimate(gpt2, paper.replace(refresh_tokens=512))
    plain = paper.replace(token_period_s=None)
    assert estimate(gpt2, plain.replace(refresh_tokens=1024)).energy_j == estimate(gpt2, plain).energy_j
