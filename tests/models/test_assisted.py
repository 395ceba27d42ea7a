"""A ring takes tokens back as if they had never been, so that a converted model drafts and has drafts made for it."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from model_cases import converted, logits, positions, tokens, unconverted
from torch import Tensor
from transformers import PreTrainedModel

from gaincell import InputError
from gaincell.models import RingCache

NEW = 20  # past every window


@pytest.fixture(scope="module", params=["llama", "gemma3"])
def model(request: pytest.FixtureRequest) -> PreTrainedModel:
    return converted(request.param)


@pytest.fixture(scope="module")
def llama() -> PreTrainedModel:
    return converted("llama")


def greedy(model: PreTrainedModel, ids: Tensor, **options: Any) -> Tensor:
    options = {"max_new_tokens": NEW, "do_sample": False, "pad_token_id": 0, "eos_token_id": None, **options}
    return model.generate(ids, **options)


def check_same(cache: RingCache, other: RingCache) -> None:
    """Positions, counts, codes and first values of two caches."""
    assert cache.get_seq_length() == other.get_seq_length()
    for mine, yours in zip(cache.layers, other.layers, strict=True):
        assert torch.equal(mine.written, yours.written)
        used = torch.arange(mine.config.window) < yours.written[:, None]
        codes = (x.ring.codes.permute(1, 3, 0, 2, 4)[used] for x in (mine, yours))
        assert torch.equal(*codes)
        absent = (x.ring.absent.transpose(1, 2)[used] for x in (mine, yours))
        assert torch.equal(*absent)
        assert mine.started == yours.started
        rows = yours.written > 0
        assert torch.equal(mine.first[rows], yours.first[rows])


@pytest.mark.parametrize("step", [1, 7])
def test_after_a_crop_it_goes_on_as_if_the_tokens_had_never_been(model: PreTrainedModel, step: int) -> None:
    ids, other, mask = tokens(2, 45), tokens(2, 45, seed=9), torch.ones(2, 45, dtype=torch.long)
    mask[1, :9] = 0
    cache, plain = RingCache(model), RingCache(model)
    cache.activate_past_recording()

    def read(cache: RingCache, ids: Tensor, start: int, end: int) -> Tensor:
        where = {"attention_mask": mask[:, :end], "position_ids": positions(mask)[:, start:end]}
        return logits(model, ids[:, start:end], past_key_values=cache, use_cache=True, **where)

    for start, end in ((0, 3), (3, 12), (12, 30), (30, 31), (31, 45)):
        for draft in range(start, min(start + 14, 45), step):
            read(cache, other, draft, min(draft + step, 45))
        cache.crop(start - cache.get_seq_length())
        if start:
            check_same(cache, plain)
        found, expected = (read(x, ids, start, end)[mask[:, start:end].bool()] for x in (cache, plain))
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    check_same(cache, plain)


def test_crop_takes_a_number_to_remove_or_to_leave_and_is_all_or_nothing() -> None:
    model, ids = converted("gemma3"), tokens(1, 30)
    cache = RingCache(model)
    cache.crop(-2)  # nothing is there yet
    logits(model, ids[:, :7], past_key_values=cache, use_cache=True)
    cache.crop(9)
    assert cache.get_seq_length() == 7
    cache.crop(5)
    cache.crop(0)
    assert cache.get_seq_length() == 5
    logits(model, ids[:, 5:12], past_key_values=cache, use_cache=True)  # past two layers' windows of 8
    with pytest.raises(InputError, match="call that before such tokens, or use a new RingCache") as refusal:
        cache.crop(-1)
    assert str(refusal.value).endswith(".")
    assert [layer.get_seq_length() for layer in cache.layers] == [12] * 3
    cache.activate_past_recording()
    rest = logits(model, ids[:, 12:20], past_key_values=cache, use_cache=True)
    cache.crop(-8)
    again = logits(model, ids[:, 12:20], past_key_values=cache, use_cache=True)
    torch.testing.assert_close(again, rest, rtol=0, atol=1e-12)


def test_tokens_looked_up_in_the_prompt_change_nothing(model: PreTrainedModel) -> None:
    ids = tokens(1, 6).repeat(1, 3)
    expected = greedy(model, ids)
    assert torch.equal(greedy(model, ids, prompt_lookup_num_tokens=4), expected)


@pytest.mark.parametrize("drafter", [unconverted, converted])
def test_drafts_of_another_model_change_nothing(
    model: PreTrainedModel, drafter: Callable[..., PreTrainedModel]
) -> None:
    assistant = drafter("llama", torch.float64)
    ids = tokens(1, 6)
    cache = RingCache(model)
    found = greedy(model, ids, assistant_model=assistant, past_key_values=cache)
    assert torch.equal(found, greedy(model, ids))
    plain = RingCache(model)
    greedy(model, ids, past_key_values=plain)
    check_same(cache, plain)


def test_a_converted_model_drafts_for_its_original(llama: PreTrainedModel) -> None:
    original, ids = unconverted("llama", torch.float64), tokens(1, 6)
    assert torch.equal(greedy(original, ids, assistant_model=llama), greedy(original, ids))


def test_a_prompt_with_pads_is_helped_too(llama: PreTrainedModel) -> None:
    ids, mask = tokens(1, 20), torch.ones(1, 20, dtype=torch.long)
    mask[0, :9] = 0
    found = greedy(llama, ids, attention_mask=mask, assistant_model=unconverted("llama", torch.float64))
    assert torch.equal(found, greedy(llama, ids, attention_mask=mask))
    assert torch.equal(found[:, 20:], greedy(llama, ids[:, 9:])[:, 11:])


def test_drafts_of_the_first_layers_change_nothing(llama: PreTrainedModel) -> None:
    assert torch.equal(greedy(llama, tokens(1, 6), assistant_early_exit=1), greedy(llama, tokens(1, 6)))
