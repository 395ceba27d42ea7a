"""Maps as bytes: how far off they can be, how large, and how two are compared."""

import base64

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gaincell.models import AttentionMaps
from gaincell.report.map_bytes import BUDGET, LONGEST, moved, packed, tokens_that_fit


def random_maps(seed: int, tokens: int) -> AttentionMaps:
    generator = torch.Generator().manual_seed(seed)
    scores = 3.0 * torch.randn(2, 3, tokens, tokens, generator=generator)
    weights = scores.masked_fill(torch.ones(tokens, tokens).triu(1).bool(), -torch.inf).softmax(-1)
    return AttentionMaps(weights, weights.sum(-1))


@given(st.integers(0, 1000), st.integers(1, 12))
def test_weights_come_back_within_half_a_step(seed: int, tokens: int) -> None:
    maps = random_maps(seed, tokens)
    size = tokens * (tokens + 1) // 2
    found = np.frombuffer(base64.b64decode(packed(maps)["weights"]), np.uint8).reshape(2, 3, size) / 255.0
    lower = maps.weights[:, :, torch.ones(tokens, tokens).tril().bool()].numpy()
    assert (np.abs(found - np.sqrt(lower)) <= 0.5 / 255 + 1e-6).all()
    assert (np.abs(found**2 - lower) < 0.004).all()


def test_distance_is_none_to_itself_and_all_to_what_is_elsewhere() -> None:
    tokens = 5
    first = torch.zeros(1, 1, tokens, tokens)
    first[..., 0] = 1.0
    same = torch.eye(tokens)[None, None]
    maps = [packed(AttentionMaps(weights, None)) for weights in (first, same)]
    assert moved(maps[0], maps[0], tokens) == [0.0]
    assert moved(maps[0], maps[1], tokens) == pytest.approx([(tokens - 1) / tokens])  # the first token has no choice


@pytest.mark.parametrize(("heads", "models"), [(270, 3), (1024, 2), (5120, 2)])
def test_maps_of_large_models_keep_to_the_budget(heads: int, models: int) -> None:
    tokens = tokens_that_fit(heads, models)
    assert 2 <= tokens <= LONGEST
    assert models * heads * tokens * (tokens + 1) / 2 * 4 / 3 <= BUDGET


def test_all_attention_of_a_dead_head_has_moved() -> None:
    tokens = 5
    alive = torch.eye(tokens)[None, None]
    dead, sunk = torch.zeros_like(alive), torch.zeros_like(alive)
    sunk[..., 0] = 0.25  # silent, but for a sink that takes a quarter
    first, second, third = (packed(AttentionMaps(weights, None)) for weights in (alive, dead, sunk))
    assert moved(first, second, tokens) == moved(second, first, tokens) == [1.0]
    assert moved(second, second, tokens) == [0.0]
    assert moved(second, third, tokens) == pytest.approx([0.25], abs=0.01)
