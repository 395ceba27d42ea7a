"""Models of which some layers attend and others do not: those get rings, these keep what transformers has for them."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from every_family import build, known
from model_cases import CONFIG, logits, positions, tokens
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.cache_utils import LinearAttentionLayer

import gaincell
from gaincell import InputError
from gaincell.models import RingCache, attention_modules, scalers_of
from gaincell.models.intake import attends_with_softmax
from gaincell.models.ring_cache import RingAndStatesLayer, RingLayer

#: A delta rule, a state space, one beside attention in the same layer, a convolution: four layers where they can be.
MIXED: dict[str, dict[str, Any]] = {
    "qwen3_next": {"num_hidden_layers": 4, "layer_types": ["linear_attention", "full_attention"] * 2},
    "bamba": {"num_hidden_layers": 4, "attn_layer_indices": [0, 3]},
    "falcon_h1": {},
    "lfm2": {"num_hidden_layers": 4, "layer_types": ["conv", "full_attention"] * 2},
    "lfm3": {"num_hidden_layers": 3, "layer_types": ["conv", "sliding_attention", "full_attention"]},
}
GREEDY: dict[str, Any] = {"max_new_tokens": 20, "do_sample": False, "eos_token_id": None, "pad_token_id": 0}
#: Recurrences compute in float32 whatever the model is in.
EXACT: dict[str, float] = {"rtol": 0, "atol": 1e-5}


def family(name: str, **fields: Any) -> PreTrainedModel:
    if not known(name):
        pytest.skip(f"this transformers has no {name}")
    model = build(name, **fields).double()
    model.set_experts_implementation("eager")  # the others have no float64
    return model


@pytest.fixture(scope="module", params=MIXED)
def mixed(request: pytest.FixtureRequest) -> PreTrainedModel:
    return gaincell.convert_(family(request.param, **MIXED[request.param]), CONFIG)


def read(model: PreTrainedModel, ids: Tensor, lengths: list[int], cache: RingCache | None = None) -> Tensor:
    cache = RingCache(model) if cache is None else cache
    parts = [logits(model, part, past_key_values=cache, use_cache=True) for part in ids.split(lengths, 1)]
    return torch.cat(parts, 1)


def test_layers_that_attend_get_rings_and_the_others_what_transformers_has(mixed: PreTrainedModel) -> None:
    cache, attending = RingCache(mixed), {module.layer_idx for module in attention_modules(mixed).values()}
    assert len(scalers_of(mixed)) == len(attending)
    assert len(cache.layers) == mixed.config.num_hidden_layers
    for index, layer in enumerate(cache.layers):
        assert isinstance(layer, RingLayer) == (index in attending)
        assert isinstance(layer, LinearAttentionLayer) == (
            index not in attending or mixed.config.model_type == "falcon_h1"
        )
    assert all(
        ".gaincell." not in name or name.rpartition(".gaincell.")[0] in scalers_of(mixed) for name in state(mixed)
    )


def state(model: PreTrainedModel) -> list[str]:
    return list(model.state_dict())


@pytest.mark.parametrize("lengths", [[30], [1] * 30, [17, *[1] * 13], [9, 12, 1, 8]])
def test_prefill_equals_chunks_and_single_tokens(mixed: PreTrainedModel, lengths: list[int]) -> None:
    ids = tokens(2, 30)
    torch.testing.assert_close(read(mixed, ids, lengths), logits(mixed, ids), **EXACT)


def test_what_does_not_attend_computes_what_it_did(mixed: PreTrainedModel) -> None:
    """Beside the model as it was: with softmax in place of the arrays for a while, both put out the same."""
    name = mixed.config.model_type
    ids, original = tokens(1, 20), family(name, **MIXED[name])
    mixed.config._attn_implementation = original.config._attn_implementation = "eager"
    try:
        assert torch.equal(logits(mixed, ids), logits(original, ids))
    finally:
        mixed.config._attn_implementation = "gaincell"
    assert not torch.allclose(logits(mixed, ids), logits(original, ids), atol=1e-2)


def test_left_pads_leave_a_row_what_it_is_alone(mixed: PreTrainedModel) -> None:
    ids, mask = tokens(2, 21), torch.ones(2, 21, dtype=torch.long)
    mask[1, :5] = 0
    padded = logits(mixed, ids, attention_mask=mask, position_ids=positions(mask))
    torch.testing.assert_close(padded[:1], logits(mixed, ids[:1]), **EXACT)
    torch.testing.assert_close(padded[1:, 5:], logits(mixed, ids[1:, 5:]), **EXACT)
    ids[1, :5] = 0
    found = mixed.generate(ids, attention_mask=mask, **GREEDY)
    assert torch.equal(found[1, 5:], mixed.generate(ids[1:, 5:], **GREEDY)[0])


@pytest.mark.parametrize("beams", [1, 3])
def test_it_generates_what_it_does_without_a_cache(mixed: PreTrainedModel, beams: int) -> None:
    ids = tokens(1, 9)
    found = mixed.generate(ids, num_beams=beams, **GREEDY)
    assert torch.equal(found, mixed.generate(ids, num_beams=beams, use_cache=False, **GREEDY))
    if beams == 1:
        cache = RingCache(mixed)
        mixed.generate(ids, past_key_values=cache, **GREEDY)
        assert all(layer.ring is not None for layer in cache.layers if isinstance(layer, RingLayer))


def test_a_cache_that_was_reset_begins_again(mixed: PreTrainedModel) -> None:
    ids, cache = tokens(1, 12), RingCache(mixed)
    first = read(mixed, ids, [8, 1, 1, 1, 1], cache)
    cache.reset()
    torch.testing.assert_close(read(mixed, ids, [8, 1, 1, 1, 1], cache), first, **EXACT)


def test_arrays_and_states_may_be_put_aside() -> None:
    model = gaincell.convert_(family("falcon_h1"), CONFIG)
    ids, cache = tokens(1, 12), RingCache(model)
    expected = read(model, ids, [8, 1, 1, 1, 1])
    first = read(model, ids[:, :8], [8], cache)
    assert all(isinstance(layer, RingAndStatesLayer) for layer in cache.layers)
    for layer in cache.layers:
        layer.offload()
        layer.prefetch()
    torch.testing.assert_close(torch.cat((first, read(model, ids[:, 8:], [1] * 4, cache)), 1), expected, **EXACT)


@pytest.mark.parametrize("name", ["qwen3_next", "bamba", "falcon_h1"])
def test_it_is_saved_and_loaded(name: str, tmp_path: Any) -> None:
    model = gaincell.convert_(build(name, **MIXED[name]) if known(name) else pytest.skip(name), CONFIG)
    model.save_pretrained(tmp_path)
    again, ids = AutoModelForCausalLM.from_pretrained(tmp_path).eval(), tokens(1, 20)
    assert torch.equal(logits(again, ids), logits(model, ids))
    assert torch.equal(again.generate(ids, **GREEDY), model.generate(ids, **GREEDY))


def test_tokens_cannot_be_taken_out_of_states(mixed: PreTrainedModel) -> None:
    ids, cache = tokens(1, 6), RingCache(mixed)
    expected = read(mixed, ids, [3, 1, 1, 1])
    found = read(mixed, ids[:, :4], [3, 1], cache)
    for call in (cache.activate_past_recording, lambda: cache.crop(-1), lambda: cache.crop(0)):
        with pytest.raises(InputError, match="tokens cannot be taken back out of the states") as refusal:
            call()
        assert str(refusal.value).endswith(".")
    # Of some families transformers itself says so, before there is a cache.
    with pytest.raises((InputError, ValueError), match=r"generate without an assistant|not supported with stateful"):
        mixed.generate(ids, prompt_lookup_num_tokens=2, **GREEDY)
    found = torch.cat((found, read(mixed, ids[:, 4:], [1, 1], cache)), 1)
    torch.testing.assert_close(found, expected, **EXACT)


def test_several_tokens_at_once_are_refused_where_states_do_not_take_them() -> None:
    """Jamba's state space begins anew with every chunk, whatever attends beside it."""
    model = gaincell.convert_(family("jamba"), CONFIG)
    ids, cache = tokens(1, 12), RingCache(model)
    whole = logits(model, ids)
    found = read(model, ids[:, :9], [7, 1, 1], cache)
    with pytest.raises(InputError, match="JambaForCausalLM goes on from a cache one token at a time") as refusal:
        logits(model, ids[:, 9:], past_key_values=cache, use_cache=True)
    assert str(refusal.value).endswith(".")
    found = torch.cat((found, read(model, ids[:, 9:], [1, 1, 1], cache)), 1)
    torch.testing.assert_close(found, whole, **EXACT)


def test_while_that_is_looked_at_other_threads_read_on() -> None:
    model, ids = gaincell.convert_(family("qwen3_next"), CONFIG), tokens(1, 12)
    expected, cache, seen = logits(model, ids), RingCache(model), []
    read(model, ids[:, :6], [6], cache)

    def meanwhile(*_: Any) -> None:
        if threading.current_thread() is threading.main_thread() and attends_with_softmax():
            with ThreadPoolExecutor(1) as other:
                seen.append(other.submit(logits, model, ids).result())

    hook = next(iter(attention_modules(model).values())).register_forward_pre_hook(meanwhile)
    found = read(model, ids[:, 6:], [6], cache)
    hook.remove()
    assert seen
    assert all(torch.equal(other, expected) for other in seen)
    torch.testing.assert_close(found, expected[:, 6:], **EXACT)


def test_positions_go_on_where_a_family_would_begin_again() -> None:
    """Bamba counts from 0 with a filled cache, unless it is told."""
    model, ids = gaincell.convert_(family("bamba"), CONFIG), tokens(1, 12)
    one, other = RingCache(model), RingCache(model)
    for at, part in zip((0, 8, 9), ids[:, :10].split([8, 1, 1], 1), strict=True):
        told = torch.arange(at, at + part.shape[1])[None]
        found = logits(model, part, past_key_values=one, use_cache=True)
        assert torch.equal(found, logits(model, part, past_key_values=other, use_cache=True, position_ids=told))


REFUSED = {
    # Older transformers keep keys for all of its layers, whatever they do.
    "recurrent_gemma": "does not read a text token by token, or after pads, as it reads it whole|attends in layer 0 in",
    "zamba2": "attends in layer 1 in a way of its own",
    "minimax": "cannot read a text in parts with its own cache",
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_family_whose_layers_do_not_go_on_is_refused(name: str) -> None:
    model = family(name)
    with pytest.raises(InputError, match=REFUSED[name]) as refusal:
        gaincell.convert_(model, CONFIG)
    assert str(refusal.value).endswith("gain cells cannot serve it.")
    assert not scalers_of(model)
