"""Generation from the ring: the same tokens and logits as reading the whole text at once, past the window too."""

import copy
from typing import Any

import pytest
import torch
from model_cases import CONFIG, FAMILIES, byte_tokenizer, converted, logits, positions, tokens, unconverted
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel, pipeline, set_seed

from gaincell import InputError
from gaincell.models import RingCache, scalers_of

NEW = 20  # with a prompt, past every window


@pytest.fixture(scope="module", params=FAMILIES)
def model(request: pytest.FixtureRequest) -> PreTrainedModel:
    return converted(request.param)


@pytest.fixture(scope="module", params=["gpt2", "gemma3"])
def rotary_or_not(request: pytest.FixtureRequest) -> PreTrainedModel:
    return converted(request.param)


@pytest.fixture(scope="module")
def llama() -> PreTrainedModel:
    return converted("llama")


def generate(model: PreTrainedModel, ids: Tensor, **options: Any) -> Tensor:
    # No end of text: every row runs its full length.
    options = {"max_new_tokens": NEW, "do_sample": False, "pad_token_id": 0, "eos_token_id": None, **options}
    out = model.generate(ids, **options)
    assert isinstance(out, Tensor)
    return out


@pytest.mark.parametrize("lengths", [[1] * 45, [5, *[1] * 40], [20, 17, 1, 7], [45]])
def test_prefill_equals_chunks_and_single_tokens(model: PreTrainedModel, lengths: list[int]) -> None:
    ids, cache = tokens(2, 45), RingCache(model)
    parts = [logits(model, part, past_key_values=cache, use_cache=True) for part in ids.split(lengths, 1)]
    torch.testing.assert_close(torch.cat(parts, 1), logits(model, ids), rtol=0, atol=1e-9)
    assert cache.get_seq_length() == 45


def test_a_refused_chunk_leaves_the_cache_as_it_was(llama: PreTrainedModel) -> None:
    ids, cache = tokens(1, 12), RingCache(llama)
    first = logits(llama, ids[:, :6], past_key_values=cache, use_cache=True)
    hole = torch.ones(1, 12, dtype=torch.long)
    hole[0, 8] = 0
    with pytest.raises(InputError, match="pad on the left"):
        logits(llama, ids[:, 6:], past_key_values=cache, use_cache=True, attention_mask=hole)
    second = logits(llama, ids[:, 6:], past_key_values=cache, use_cache=True)
    torch.testing.assert_close(torch.cat((first, second), 1), logits(llama, ids), rtol=0, atol=1e-9)


def test_left_padded_chunks_equal_the_row_alone(model: PreTrainedModel) -> None:
    ids, mask = tokens(2, 45), torch.ones(2, 45, dtype=torch.long)
    mask[1, :22] = 0  # pads in the first chunk and in the second
    cache, parts, start = RingCache(model), [], 0
    for part in ids.split([20, 6, 1, 1, 17], 1):
        end = start + part.shape[1]
        where = {"attention_mask": mask[:, :end], "position_ids": positions(mask)[:, start:end]}
        parts.append(logits(model, part, past_key_values=cache, use_cache=True, **where))
        start = end
    found = torch.cat(parts, 1)
    torch.testing.assert_close(found[:1], logits(model, ids[:1]), rtol=0, atol=1e-9)
    torch.testing.assert_close(found[1:, 22:], logits(model, ids[1:, 22:]), rtol=0, atol=1e-9)


def test_greedy_tokens_are_those_without_a_cache(model: PreTrainedModel) -> None:
    ids = tokens(2, 5)
    found = generate(model, ids)
    assert found.shape == (2, 5 + NEW)
    assert torch.equal(found, generate(model, ids, use_cache=False))
    assert torch.equal(found[:, 5:], logits(model, found)[:, 4:-1].argmax(-1))


def test_a_left_padded_batch_generates_what_its_rows_do(model: PreTrainedModel) -> None:
    rows = [tokens(1, 9), tokens(1, 4, seed=3), tokens(1, 1, seed=4)]
    ids = torch.cat([torch.nn.functional.pad(row, (9 - row.shape[1], 0)) for row in rows])
    mask = torch.stack([torch.arange(9) >= 9 - row.shape[1] for row in rows]).long()
    found = generate(model, ids, attention_mask=mask)
    for i, row in enumerate(rows):
        assert torch.equal(found[i, 9:], generate(model, row)[0, row.shape[1] :])


def test_beam_search_equals_the_one_without_a_cache(rotary_or_not: PreTrainedModel) -> None:
    options: dict[str, Any] = {"num_beams": 3, "num_return_sequences": 2}
    found = generate(rotary_or_not, tokens(2, 5), **options)
    assert found.shape == (4, 5 + NEW)
    assert torch.equal(found, generate(rotary_or_not, tokens(2, 5), use_cache=False, **options))


def test_sampling_with_one_seed_gives_one_text(rotary_or_not: PreTrainedModel) -> None:
    options: dict[str, Any] = {"do_sample": True, "num_return_sequences": 3, "temperature": 1.3, "top_k": 0}

    def sample(seed: int, **more: Any) -> Tensor:
        set_seed(seed)
        return generate(rotary_or_not, tokens(2, 5), **options, **more)

    found = sample(7)
    assert found.shape == (6, 5 + NEW)
    assert torch.equal(found, sample(7))
    assert torch.equal(found, sample(7, use_cache=False))
    assert not torch.equal(found, sample(8))


@pytest.mark.parametrize("chunk", [1, 4, 16, 100])
def test_a_prompt_may_be_read_in_chunks(llama: PreTrainedModel, chunk: int) -> None:
    ids, mask = tokens(2, 37), torch.ones(2, 37, dtype=torch.long)
    mask[1, :6] = 0
    found = generate(llama, ids, attention_mask=mask, prefill_chunk_size=chunk)
    assert torch.equal(found, generate(llama, ids, attention_mask=mask))


def test_generation_goes_on_from_the_ring_it_left(llama: PreTrainedModel) -> None:
    ids, cache = tokens(1, 7), RingCache(llama)
    first = generate(llama, ids, past_key_values=cache, max_new_tokens=9)
    assert cache.get_seq_length() == 7 + 9 - 1  # the last token was not read yet
    turn = torch.cat((first, tokens(1, 6, seed=3)), 1)
    assert torch.equal(generate(llama, turn, past_key_values=cache), generate(llama, turn))
    cache.reset()
    assert cache.get_seq_length() == 0
    assert torch.equal(generate(llama, ids, past_key_values=cache, max_new_tokens=9), first)


def test_the_ring_takes_half_or_a_quarter_of_a_bfloat16_cache() -> None:
    model, ids = converted("llama", torch.bfloat16), tokens(2, 5)
    plain, packed = RingCache(model), RingCache(model, packed=True)
    found = generate(model, ids, past_key_values=plain)
    assert torch.equal(found, generate(model, ids, past_key_values=packed))
    layers, kv_heads, head_dim = 3, 2, 8
    for cache, share in ((plain, 2), (packed, 4)):
        assert cache.bf16_bytes_per_token == 2 * layers * kv_heads * head_dim * torch.bfloat16.itemsize
        assert cache.bytes_per_token == cache.bf16_bytes_per_token / share
        stored = sum(layer.ring.codes.untyped_storage().nbytes() for layer in cache.layers)
        assert stored == 2 * CONFIG.window * cache.bytes_per_token  # two rows, and no more than the window


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "drafts of other layers": ({"use_mtp": True}, "drafts of layers beside the model's own are not served"),
    "a static cache": ({"cache_implementation": "static"}, "cache_implementation='static' is not served"),
    "an offloaded cache": ({"cache_implementation": "offloaded"}, "cache_implementation='offloaded' is not served"),
    "a dynamic cache": ({"past_key_values": "dynamic"}, "DynamicCache cannot hold"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_other_caches_and_drafts_are_refused_in_one_sentence(llama: PreTrainedModel, name: str) -> None:
    options, said = REFUSED[name]
    if options.get("past_key_values") == "dynamic":
        options = {"past_key_values": DynamicCache(config=llama.config)}
    with pytest.raises(InputError, match=said) as refusal:
        generate(llama, tokens(1, 5), **options)
    assert str(refusal.value).endswith(".")


def test_a_ring_needs_a_converted_model() -> None:
    with pytest.raises(InputError, match="RingCache needs a converted model"):
        RingCache(unconverted("llama"))


def test_a_ring_does_not_show_maps_of_part_of_a_text(llama: PreTrainedModel) -> None:
    cache = RingCache(llama)
    logits(llama, tokens(1, 5), past_key_values=cache, use_cache=True)
    with pytest.raises(InputError, match="output_attentions needs the whole sequence"):
        logits(llama, tokens(1, 3), past_key_values=cache, use_cache=True, output_attentions=True)


def test_a_copy_generates_with_its_own_scalers(llama: PreTrainedModel) -> None:
    ids, before = tokens(1, 5), generate(llama, tokens(1, 5))
    twin = copy.deepcopy(llama)
    assert torch.equal(generate(twin, ids), before)
    with torch.no_grad():
        for scalers in scalers_of(twin).values():
            scalers.out_scale.mul_(-3.0)
    found = generate(twin, ids)
    assert torch.equal(found, generate(twin, ids, use_cache=False))
    assert not torch.equal(found, before)
    assert torch.equal(generate(llama, ids), before)


def test_a_text_generation_pipeline_needs_no_telling() -> None:
    tokenizer = byte_tokenizer()
    model = converted("llama", torch.float32)
    model.resize_token_embeddings(len(tokenizer))
    options = {"max_new_tokens": 20, "do_sample": False, "return_full_text": False}
    run = pipeline("text-generation", model=model, tokenizer=tokenizer, batch_size=2)
    texts = [result[0]["generated_text"] for result in run(["a ring", "of columns"], **options)]
    alone = [run(prompt, **options)[0]["generated_text"] for prompt in ("a ring", "of columns")]
    assert texts == alone
    assert all(texts)
