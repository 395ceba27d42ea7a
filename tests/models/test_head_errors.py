"""A planted error is found in the head, and the layer, that it was planted in."""

import copy

import numpy as np
import pytest
import torch
from model_cases import LAYERS, converted, tokens, unconverted
from torch import nn
from transformers.pytorch_utils import Conv1D

from gaincell import InputError
from gaincell.models import attention_modules, head_errors

FAMILIES = ["llama", "gpt2", "qwen3", "gemma3"]


def spoil(model: nn.Module, layer: int, head: int, factor: float) -> None:
    """Scale one head's rows of the output projection."""
    module = list(attention_modules(model).values())[layer]
    projection = getattr(module, "o_proj", None) or module.c_proj
    weight = projection.weight if isinstance(projection, Conv1D) else projection.weight.T
    with torch.no_grad():
        weight.unflatten(0, (4, -1))[head] *= factor


@pytest.mark.parametrize("family", FAMILIES)
def test_a_planted_error_stays_in_its_head_and_layer(family: str) -> None:
    original = unconverted(family, torch.float64)
    adapted = copy.deepcopy(original)
    spoil(adapted, 1, 2, 1.3)
    found = head_errors(original, adapted, tokens(2, 20))
    wanted = np.zeros((LAYERS, 4))
    wanted[1, 2] = 0.3**2
    np.testing.assert_allclose(found.heads, wanted, atol=1e-12)
    np.testing.assert_allclose(found.blocks, [0.0, wanted[1, 2] * found.power[1, 2], 0.0], atol=1e-12)


@pytest.mark.parametrize("family", FAMILIES)
def test_converted_models_compare_and_are_left_as_they_were(family: str) -> None:
    original, adapted, ids = unconverted(family, torch.float64), converted(family), tokens(2, 20)
    before = adapted(ids, use_cache=False).logits
    adapted.train()
    found = head_errors(original, adapted, ids)
    assert found.heads.shape == found.power.shape == (LAYERS, 4)
    assert (found.heads > 1e-3).all()
    assert (found.blocks > 1e-3).all()
    assert adapted.training
    assert torch.equal(adapted.eval()(ids, use_cache=False).logits, before)


def test_rows_count_by_their_power() -> None:
    original, adapted = unconverted("llama", torch.float64), converted("llama")
    both, alone = head_errors(original, adapted, tokens(2, 20)), head_errors(original, adapted, tokens(2, 20)[:1])
    assert not np.allclose(both.blocks, alone.blocks)
    twice = head_errors(original, adapted, tokens(2, 20)[:1].repeat(2, 1))
    np.testing.assert_allclose(twice.heads, alone.heads)


def test_what_cannot_be_compared() -> None:
    model = unconverted("llama")
    with pytest.raises(InputError, match=r"shape \(B, T\)"):
        head_errors(model, model, tokens(1, 8)[0])
