"""A forward pass gets a ring where a cache is asked for, and nothing else where one is given."""

import copy
from typing import Any

import pytest
import torch
from model_cases import CONFIG, converted, logits, positions, tokens, unconverted
from torch import Tensor
from transformers import DynamicCache, LlamaForCausalLM, PreTrainedModel, StaticCache

import gaincell
from gaincell import InputError
from gaincell.models import RingCache


@pytest.fixture(scope="module", params=["llama", "gpt2", "gemma3"])
def model(request: pytest.FixtureRequest) -> PreTrainedModel:
    return converted(request.param)


@pytest.fixture(scope="module")
def llama() -> PreTrainedModel:
    return converted("llama")


def test_a_ring_that_was_asked_for_is_gone_on_with(model: PreTrainedModel) -> None:
    ids, mask = tokens(2, 40), torch.ones(2, 40, dtype=torch.long)
    mask[1, :7] = 0
    where = {"attention_mask": mask, "position_ids": positions(mask)}
    whole, cache, parts, start = logits(model, ids, **where), None, [], 0
    for part in ids.split([19, 1, 1, 12, 7], 1):
        end = start + part.shape[1]
        inputs = {"attention_mask": mask[:, :end], "position_ids": where["position_ids"][:, start:end]}
        with torch.no_grad():
            out = model(part, past_key_values=cache, use_cache=True, **inputs)
        assert isinstance(out.past_key_values, RingCache)
        cache, start = out.past_key_values, end
        parts.append(out.logits)
    torch.testing.assert_close(torch.cat(parts, 1)[mask.bool()], whole[mask.bool()], rtol=0, atol=1e-9)


def test_it_is_the_ring_that_generate_leaves(model: PreTrainedModel) -> None:
    ids, generated = tokens(2, 30), RingCache(model)
    model.generate(ids[:, :6], past_key_values=generated, max_new_tokens=20, do_sample=False, eos_token_id=None)
    text = model.generate(ids[:, :6], max_new_tokens=19, do_sample=False, eos_token_id=None)
    with torch.no_grad():
        asked = model(text, use_cache=True).past_key_values
    for ours, theirs in zip(asked.layers, generated.layers, strict=True):
        assert torch.equal(ours.ring.codes, theirs.ring.codes)
        assert torch.equal(ours.ring.count, theirs.ring.count)


def test_a_call_without_a_wish_of_its_own_stays_as_it_was(model: PreTrainedModel, monkeypatch: Any) -> None:
    assert model.config.use_cache  # which is no wish of the caller's
    ids = tokens(2, 30)
    expected = logits(model, ids)

    def never(*args: Any) -> None:
        raise AssertionError

    monkeypatch.setattr(RingCache, "__init__", never)
    with torch.no_grad():
        assert torch.equal(model(ids).logits, expected)
        assert torch.equal(model(ids, use_cache=None).logits, expected)
        assert torch.equal(model.base_model(ids)[0], model.base_model(ids, use_cache=False)[0])


def test_arguments_without_names_and_models_inside_get_theirs(model: PreTrainedModel) -> None:
    ids = tokens(1, 12)
    first = model.base_model(ids[:, :8], use_cache=True)
    assert isinstance(first.past_key_values, RingCache)
    by_place = [None] * 2 if model.config.model_type == "gpt2" else [None] * 4
    out = model(ids[:, :8], *by_place, use_cache=True)  # past_key_values are among them
    assert isinstance(out.past_key_values, RingCache)
    rest = model(ids[:, 8:], past_key_values=out.past_key_values, use_cache=True).logits
    torch.testing.assert_close(rest, model(ids).logits[:, 8:], rtol=0, atol=1e-9)


class Wilful(LlamaForCausalLM):
    """A family that caches for itself, as some do, whatever its caller says."""

    def forward(self, input_ids: Tensor, **kwargs: Any) -> Any:
        return super().forward(input_ids, past_key_values=DynamicCache(config=self.config), use_cache=True)


def test_what_a_model_does_inside_is_no_wish_of_the_callers(llama: PreTrainedModel) -> None:
    model, ids = Wilful(unconverted("llama").config).double().eval(), tokens(1, 20)
    gaincell.convert_(model, CONFIG)
    model.load_state_dict(llama.state_dict())
    out = model(ids)
    assert isinstance(out.past_key_values, DynamicCache)
    assert torch.equal(out.logits, logits(llama, ids))


def test_a_call_that_was_interrupted_leaves_no_trace(llama: PreTrainedModel) -> None:
    model = copy.deepcopy(llama)

    def interrupt(*args: Any) -> None:
        raise KeyboardInterrupt

    handle = model.get_submodule("model.layers.1").register_forward_pre_hook(interrupt)
    with pytest.raises(KeyboardInterrupt):
        model(tokens(1, 5), use_cache=True)
    handle.remove()
    for call in (model, model.base_model):
        assert isinstance(call(tokens(1, 5), use_cache=True).past_key_values, RingCache)


def test_other_caches_are_refused_even_when_they_are_empty(llama: PreTrainedModel) -> None:
    caches = DynamicCache(config=llama.config), StaticCache(config=llama.config, max_cache_len=20), ((), ())
    for cache in (*caches, copy.deepcopy(llama)(tokens(1, 5)).past_key_values):
        for use_cache in (True, None, False):
            with pytest.raises(InputError, match="cannot hold a converted model's codes; pass a RingCache") as refusal:
                llama(tokens(1, 3), past_key_values=cache, use_cache=use_cache)
            assert str(refusal.value).endswith(".")
    assert isinstance(llama(tokens(1, 3), use_cache=True).past_key_values, RingCache)  # the next call is a new one


def test_a_model_that_trains_learns_with_a_ring_but_not_where_layers_are_run_again() -> None:
    model, ids = converted("llama").train(), tokens(1, 14)

    def gradients(**options: Any) -> torch.Tensor:
        model.zero_grad()
        model(ids, labels=ids, **options).loss.backward()
        return torch.cat([p.grad.flatten() for p in model.parameters()])

    expected = gradients(use_cache=False)
    torch.testing.assert_close(gradients(use_cache=True), expected, rtol=0, atol=1e-9)
    getattr(model, "activation_checkpointing_enable", model.gradient_checkpointing_enable)()  # renamed in 5.2x
    torch.testing.assert_close(gradients(use_cache=True), expected, rtol=0, atol=1e-9)
    with pytest.raises(InputError, match="gradient checkpointing keeps no cache"):
        model(ids, past_key_values=RingCache(model), use_cache=True)
    assert isinstance(model.eval()(ids, use_cache=True).past_key_values, RingCache)
