"""Layers and heads that stay digital: softmax as the model had it, however a model is read; else the arrays."""

from pathlib import Path
from typing import Any

import pytest
import torch
from every_family import build, known
from model_cases import CONFIG, FAMILIES, LAYERS, SIZES, converted, logits, positions, tokens, unconverted
from torch import Tensor
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, PreTrainedModel

import gaincell
from gaincell import GainCellConfig, InputError
from gaincell.hardware import Activity
from gaincell.models import (
    RingCache,
    attention_activity,
    attention_maps,
    design_point,
    load_adapter,
    save_adapter,
    scalers_of,
)
from gaincell.models.attention_modules import blocks_of
from gaincell.models.fingerprint import own_weights
from gaincell.models.subtiles import take_subtiles

ALL = tuple(range(LAYERS))
MIXED = (1, "0.1", "2.0", "2.3")


@pytest.fixture(scope="module", params=["llama", "gpt2", "gemma3", "mistral"])
def pair(request: pytest.FixtureRequest) -> tuple[PreTrainedModel, PreTrainedModel]:
    """A model, and the same one with all of its layers digital."""
    digital = converted(request.param, config=CONFIG.replace(digital=ALL))
    return unconverted(request.param, torch.float64), digital


@pytest.fixture(scope="module", params=["llama", "gemma3"])
def mixed(request: pytest.FixtureRequest) -> PreTrainedModel:
    return converted(request.param, config=CONFIG.replace(digital=MIXED))


def generate(model: PreTrainedModel, ids: Tensor, **options: Any) -> Tensor:
    options = {"max_new_tokens": 20, "do_sample": False, "pad_token_id": 0, "eos_token_id": None, **options}
    out = model.generate(ids, **options)  # pyright: ignore[reportCallIssue]
    assert isinstance(out, Tensor)
    return out


def test_all_digital_is_the_original(pair: tuple[PreTrainedModel, PreTrainedModel]) -> None:
    original, digital = pair
    ids = tokens(2, 45)
    expected = logits(original, ids)
    torch.testing.assert_close(logits(digital, ids), expected, rtol=0, atol=1e-9)
    cache = RingCache(digital)
    parts = [logits(digital, x, past_key_values=cache, use_cache=True) for x in ids.split([20, 1, 1, 7, *[1] * 16], 1)]
    torch.testing.assert_close(torch.cat(parts, 1), expected, rtol=0, atol=1e-9)


def test_all_digital_generates_what_the_original_does(pair: tuple[PreTrainedModel, PreTrainedModel]) -> None:
    ids = tokens(2, 9)
    ids[0, :4] = 0
    mask = (ids != 0).long()
    for options in ({"attention_mask": mask}, {"attention_mask": mask, "num_beams": 3, "num_return_sequences": 2}):
        assert torch.equal(*(generate(model, ids, **options) for model in pair))


def test_left_pads_count_for_nothing(mixed: PreTrainedModel) -> None:
    alone, pads = tokens(1, 30), 7
    ids = torch.cat((torch.zeros(1, pads, dtype=torch.long), alone), 1)
    mask = (torch.arange(ids.shape[1]) >= pads).long()[None]
    cache, places, found = RingCache(mixed), positions(mask), []
    for part in torch.arange(ids.shape[1]).split([pads + 5, *[1] * 20, 5]):
        seen = mask[:, : int(part[-1]) + 1]
        more = {"attention_mask": seen, "position_ids": places[:, part], "past_key_values": cache, "use_cache": True}
        found.append(logits(mixed, ids[:, part], **more))
    torch.testing.assert_close(torch.cat(found, 1)[:, pads:], logits(mixed, alone), rtol=0, atol=1e-9)


def test_some_digital_reads_in_parts_as_a_whole(mixed: PreTrainedModel) -> None:
    ids, cache = tokens(2, 45), RingCache(mixed)
    parts = [logits(mixed, x, past_key_values=cache, use_cache=True) for x in ids.split([20, 17, 1, 7], 1)]
    torch.testing.assert_close(torch.cat(parts, 1), logits(mixed, ids), rtol=0, atol=1e-9)
    assert cache.bytes_per_token > 0
    assert cache.bf16_bytes_per_token == 2 * 2 * LAYERS * 2 * mixed.config.head_dim
    for layer in cache.layers:
        layer.offload()
        layer.prefetch()
    cache.reset()
    first = logits(mixed, ids[:, :20], past_key_values=cache, use_cache=True)
    assert torch.equal(first, parts[0])


def test_tokens_are_taken_back_and_rows_reordered(mixed: PreTrainedModel) -> None:
    ids, cache = tokens(2, 40), RingCache(mixed)
    cache.activate_past_recording()
    logits(mixed, ids[:, :30], past_key_values=cache, use_cache=True)
    logits(mixed, tokens(2, 6, seed=5), past_key_values=cache, use_cache=True)
    cache.crop(-6)
    cache.batch_repeat_interleave(2)
    cache.batch_select_indices(torch.tensor([3, 0]))
    found = logits(mixed, ids[[1, 0], 30:], past_key_values=cache, use_cache=True)
    torch.testing.assert_close(found, logits(mixed, ids[[1, 0]])[:, 30:], rtol=0, atol=1e-9)
    assistant = converted("llama", config=CONFIG.replace(digital=(2,)))
    assert torch.equal(generate(mixed, ids[:1], assistant_model=assistant), generate(mixed, ids[:1]))


def test_a_slid_window_is_not_taken_back_unless_recorded() -> None:
    model = converted("mistral", config=CONFIG.replace(digital=ALL))
    ids, cache = tokens(1, 30), RingCache(model)
    logits(model, ids, past_key_values=cache, use_cache=True)
    with pytest.raises(InputError, match="activate_past_recording"):
        cache.crop(-2)
    kept = cache.layers[0].kept  # pyright: ignore[reportAttributeAccessIssue]
    assert kept.key.shape[2] == 11


def test_learned_sinks_stay_with_digital_heads() -> None:
    if not known("gpt_oss"):
        pytest.skip("this transformers has no gpt_oss")

    def model() -> PreTrainedModel:
        torch.manual_seed(0)
        found = build("gpt_oss", sliding_window=8, layer_types=["sliding_attention", "full_attention"]).double()
        found.set_experts_implementation("eager")
        return found

    ids = tokens(2, 30)
    original = model()
    digital = gaincell.convert_(model(), CONFIG, digital=(0, 1))
    digital.load_state_dict(original.state_dict(), strict=False)
    expected, cache = logits(original, ids), RingCache(digital)
    torch.testing.assert_close(logits(digital, ids), expected, rtol=0, atol=1e-6)
    parts = [logits(digital, x, past_key_values=cache, use_cache=True) for x in ids.split([20, *[1] * 10], 1)]
    torch.testing.assert_close(torch.cat(parts, 1), expected, rtol=0, atol=1e-6)


def test_none_digital_is_the_analog_model_to_the_last_bit() -> None:
    model, ids = converted("llama", dtype=torch.float32), tokens(2, 40)
    before, weights = logits(model, ids), {name: p.clone() for name, p in model.state_dict().items()}
    config = design_point(model)
    assert config is not None
    gaincell.convert_(model, config, digital=(0, "2.1"))
    assert not torch.equal(logits(model, ids), before)
    assert {name: p.shape for name, p in model.state_dict().items()} == {n: p.shape for n, p in weights.items()}
    gaincell.convert_(model, config)
    assert torch.equal(logits(model, ids), before)


def test_all_heads_one_by_one_are_the_layer() -> None:
    ids = tokens(1, 30)
    whole = converted("qwen3", config=CONFIG.replace(digital=(1,)))
    heads = converted("qwen3", config=CONFIG.replace(digital=tuple(f"1.{head}" for head in range(4))))
    assert torch.equal(logits(whole, ids), logits(heads, ids))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_mixed_layer_is_softmax_in_its_heads_and_arrays_in_the_others(family: str) -> None:
    ids, outs = tokens(1, 30), []
    for digital in ((), (0,), ("0.1", "0.2")):
        model = converted(family, config=CONFIG.replace(digital=digital))
        module: Any = next(iter(gaincell.models.attention_modules(model).values()))
        projection = getattr(module, "o_proj", None) or module.c_proj
        seen: list[Tensor] = []
        projection.register_forward_pre_hook(lambda _, args, seen=seen: seen.append(args[0]))
        logits(model, ids)
        outs.append(seen[0].unflatten(-1, (4, -1)))
    analog, digital, mixed = outs
    assert torch.equal(mixed[:, :, [0, 3]], analog[:, :, [0, 3]])
    torch.testing.assert_close(mixed[:, :, 1:3], digital[:, :, 1:3], rtol=0, atol=1e-12)


def test_it_is_saved_and_loaded(tmp_path: Path) -> None:
    model, ids = converted("llama", dtype=torch.float32, config=CONFIG.replace(digital=MIXED)), tokens(1, 30)
    model.save_pretrained(tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    found = design_point(loaded)
    assert found is not None
    assert found.digital == ("0.1", 1, "2.0", "2.3")
    assert torch.equal(logits(loaded, ids), logits(model, ids))


def test_what_the_model_has_not_is_refused_and_changes_nothing() -> None:
    model, ids = converted("llama"), tokens(1, 20)
    before = logits(model, ids)
    with pytest.raises(InputError, match=r"digital names 3, .* are 0 \.\.\. 2"):
        gaincell.convert_(model, CONFIG, digital=(3,))
    with pytest.raises(InputError, match=r"head 4 of layer 1, whose query heads are 0 \.\.\. 3"):
        gaincell.convert_(model, CONFIG, digital=("1.4",))
    assert torch.equal(logits(model, ids), before)
    q, k, v = torch.rand(3, 1, 1, 4, 8)
    with pytest.raises(InputError, match="keeps heads digital"):
        gaincell.attention(q, k, v, CONFIG.replace(digital=(0,), token_period_s=1e-6))


def test_maps_and_activity_of_digital_heads(mixed: PreTrainedModel) -> None:
    ids = tokens(1, 24)
    maps = attention_maps(mixed, ids[0])
    assert maps.pulses is not None
    assert float(maps.pulses[1].abs().max()) == 0.0
    digital = [scalers.digital for scalers in scalers_of(mixed).values()]
    for layer, heads in enumerate(digital):
        for head in heads:
            torch.testing.assert_close(maps.weights[layer, head].sum(-1), torch.ones(24), rtol=0, atol=1e-5)
    found = attention_activity(mixed, ids)
    for layer, heads in enumerate(digital):
        assert [bool(found.phi[layer, head] == 0) for head in range(4)] == [head in heads for head in range(4)]
    assert not any(found.dead[layer, head] for layer, heads in enumerate(digital) for head in heads)
    assert Activity.from_dict(found.to_dict()).digital == found.digital != ()
    with pytest.raises(InputError, match="nothing for its arrays to do"):
        attention_activity(converted("llama", config=CONFIG.replace(digital=ALL)), ids)
    taken = take_subtiles(converted("llama", config=CONFIG.replace(digital=(0, "2.0"))), ids, 4)
    assert {tile.name.split(", head")[0] for tile in taken} == {"layer 1", "layer 2"}


def test_it_learns_in_digital_layers_too() -> None:
    model, ids = converted("llama", dtype=torch.float32, config=CONFIG.replace(digital=(1, "0.1"))), tokens(2, 20)
    model(input_ids=ids, labels=ids, use_cache=False).loss.backward()
    projections = [p.grad for name, p in model.named_parameters() if name.endswith("q_proj.weight")]
    assert all(grad is not None and bool(grad.abs().sum() > 0) for grad in projections)
    scalers = list(scalers_of(model).values())
    assert scalers[1].q_scale.grad is None
    assert scalers[0].q_scale.grad is not None
    assert bool((scalers[0].q_scale.grad[1] == 0).all())


def test_entries_are_put_in_order() -> None:
    config = GainCellConfig(digital=[24, "20.10", "20.3", 18, "18.2", "24"])
    assert config.digital == (18, "20.3", "20.10", 24)
    assert GainCellConfig(**config.model_dump(mode="json")) == config
    for wrong, message in (([20.3], "in quotes"), ("24", "is a list"), ([True], "an entry is"), (["a"], "an entry is")):
        with pytest.raises(InputError, match=message):
            GainCellConfig(digital=wrong)


def unheeded(family: str) -> PreTrainedModel:
    """A model with a sliding window in its config that its code does not apply."""
    torch.manual_seed(0)
    if family == "llama":
        return LlamaForCausalLM(LlamaConfig(**{**SIZES, "sliding_window": 24})).eval()
    return build("olmoe", sliding_window=24)


@pytest.mark.parametrize("family", ["llama", "olmoe"])
def test_a_window_that_the_model_does_not_heed_is_none_of_its_digital_layers(family: str, tmp_path: Path) -> None:
    original, ids = unheeded(family), tokens(1, 40)
    model = gaincell.convert_(unheeded(family), CONFIG)
    assert [scalers.config.window for scalers in scalers_of(model).values()] == [16] * len(scalers_of(model))
    config = design_point(model)
    assert config is not None
    gaincell.convert_(model, config, digital=range(len(scalers_of(model))))
    expected = logits(original, ids)
    torch.testing.assert_close(logits(model, ids), expected, rtol=0, atol=1e-5)
    model.save_pretrained(tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    torch.testing.assert_close(logits(loaded, ids), expected, rtol=0, atol=1e-5)
    loaded.save_pretrained(tmp_path / "again")
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "again").config.quantization_config.own_windows


def test_a_window_beyond_the_design_points_is_served() -> None:
    assert scalers_of(gaincell.convert_(unheeded("llama"), CONFIG.replace(window=16)))
    with pytest.raises(InputError, match=r"attends to all tokens .* tells of 24"):
        gaincell.convert_(unheeded("llama"), CONFIG.replace(window=32))


def test_a_layer_that_is_put_back_is_the_originals_however_deep_its_attention_lies(tmp_path: Path) -> None:
    def model() -> PreTrainedModel:
        return build("bert", is_decoder=True)

    original, adapted = model(), gaincell.convert_(model(), CONFIG)
    with torch.no_grad():
        for p in own_weights(adapted).values():
            p.mul_(1.1)
    save_adapter(adapted, original, tmp_path / "a.safetensors")
    loaded = load_adapter(model(), tmp_path / "a.safetensors", digital=[1])
    before, after = own_weights(original), own_weights(loaded)
    for name, p in after.items():
        assert torch.equal(p, before[name]) == (".layer.1." in name or not bool(before[name].any())), name
    blocks = [blocks_of(each)[0] for each in (original, unconverted("gpt2"))]
    assert blocks == ["bert.encoder.layer.0.", "transformer.h.0."]
