"""No family is served untried: what `convert_` finds out by running a model, and that it leaves no trace of it."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import accelerate
import pytest
import torch
from every_family import VOCABULARY, build, known
from model_cases import CONFIG, FAMILIES, LAYERS, converted, logits, positions, unconverted
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

import gaincell
from gaincell import InputError
from gaincell.models import RingCache, attention_modules, scalers_of
from gaincell.models.ring_cache import RingLayer


def tokens(rows: int, length: int) -> Tensor:
    return torch.randint(3, VOCABULARY, (rows, length), generator=torch.Generator().manual_seed(2))


def family(model_type: str, **fields: Any) -> PreTrainedModel:
    if not known(model_type):
        pytest.skip(f"this transformers has no {model_type}")
    return build(model_type, **fields)


#: Served: attention scaled by hand, MLA of one width, keys repeated after the cache, a window of 0, no flag for its
#: use of the interface, masks for chunks that no layer has, learned sinks.
SERVED = {
    "opt": {},
    "deepseek_v2": {},
    "deepseek_v3": {},
    "glm4_moe_lite": {},
    "jetmoe": {},
    "qwen2_moe": {},
    "stablelm": {},
    "llama4_text": {},
    "gpt_oss": {"sliding_window": 8, "layer_types": ["sliding_attention", "full_attention"]},
    "flint": {},
    "cohere2": {"sliding_window": 8, "layer_types": ["sliding_attention", "full_attention"]},
}


@pytest.mark.parametrize("name", SERVED)
def test_a_family_is_scaled_as_it_says_and_reads_pads_and_single_tokens_like_a_whole_text(name: str) -> None:
    model = family(name, **SERVED[name]).double()
    model.set_experts_implementation("eager")  # the others have no float64
    passed: dict[Any, Any] = {}

    def note(module: Any, *args: Any, scaling: float | None = None, **kwargs: Any) -> Any:
        passed[module] = scaling
        return ALL_ATTENTION_FUNCTIONS["sdpa"](module, *args, scaling=scaling, **kwargs)

    ALL_ATTENTION_FUNCTIONS["noted"] = note
    try:
        model.config._attn_implementation = "noted"
        logits(model, tokens(1, 4))
    finally:
        del ALL_ATTENTION_FUNCTIONS["noted"]
    model.config._attn_implementation = "eager"
    gaincell.convert_(model, CONFIG)
    for module in attention_modules(model).values():
        assert torch.equal(module.gaincell.q_scale, torch.full_like(module.gaincell.q_scale, passed[module]))

    ids, mask, cache = tokens(2, 21), torch.ones(2, 21, dtype=torch.long), RingCache(model)
    whole = logits(model, ids)
    parts = [logits(model, part, past_key_values=cache, use_cache=True) for part in ids.split([15, 1, 1, 4], 1)]
    exact: dict[str, float] = {"rtol": 0, "atol": 1e-6}  # routers compute in float32, and rotations of Llama 4
    torch.testing.assert_close(torch.cat(parts, 1), whole, **exact)
    mask[1, :5] = 0
    padded = logits(model, ids, attention_mask=mask, position_ids=positions(mask))
    torch.testing.assert_close(padded[:1], whole[:1], **exact)
    torch.testing.assert_close(padded[1:, 5:], logits(model, ids[1:, 5:]), **exact)


REFUSED: dict[str, tuple[str, dict[str, Any], str]] = {
    "two attentions a layer": ("diffllama", {}, "attends 2 times in model.layers.0.self_attn"),
    "MLA, keys wider than values": ("deepseek_v3", {"v_head_dim": 8}, r"different head_dim \(16, 16 and 8\)"),
    "MLA, V2": ("deepseek_v2", {"v_head_dim": 8}, "different head_dim"),
    "MLA, MiniCPM": ("minicpm3", {"v_head_dim": 8}, "different head_dim"),
    "sparse, V3.2": ("deepseek_v32", {}, "self_attn with indices"),
    "sparse, GLM": ("glm_moe_dsa", {}, "self_attn with indices"),
    "sparse, MiniMax": (
        "minimax_m3_vl_text",
        {"layer_types": ["minimax_m3_sparse"] * 2},
        "self_attn with block_indices",
    ),
    "position bias": ("inkling_text", {}, "self_attn with position_bias"),
    "a cache of its own": ("minimax", {}, "cannot read a text in parts with its own cache"),
    "sinks that depend on the text": ("inkling2_text", {}, "self_attn with "),
    "attention of its own code": ("gpt_neo", {}, "does not use transformers' attention interface"),
    "an encoder-decoder's decoder": ("bart", {}, "several attentions in one layer"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_would_be_answered_wrongly_is_refused_and_the_model_stays_what_it_was(case: str) -> None:
    name, fields, said = REFUSED[case]
    model = family(name, **fields)
    before = state(model)
    with pytest.raises(InputError, match=said) as refusal:
        gaincell.convert_(model, CONFIG)
    assert str(refusal.value).endswith(".")
    assert "\n" not in str(refusal.value)
    assert not scalers_of(model)
    assert same(state(model), before)


def state(model: PreTrainedModel) -> dict[str, Any]:
    hooks = {name: (*m._forward_pre_hooks, *m._forward_hooks) for name, m in model.named_modules()}
    return {
        "tensors": {name: (x, x.detach().clone()) for name, x in (*model.named_parameters(), *model.named_buffers())},
        "modes": {name: module.training for name, module in model.named_modules()},
        "hooks": hooks,
        "implementation": model.config._attn_implementation,
        "config": model.config.to_dict(),
        "own": set(vars(model)),
    }


def same(after: dict[str, Any], before: dict[str, Any]) -> bool:
    tensors = zip(after.pop("tensors").items(), before.pop("tensors").items(), strict=True)
    return after == before and all(a == b and x is y and torch.equal(v, w) for (a, (x, v)), (b, (y, w)) in tensors)


@pytest.mark.parametrize("name", ["llama", "gemma3", "mistral"])
def test_trying_a_model_leaves_no_trace(name: str) -> None:
    model = unconverted(name).train()
    next(iter(model.children())).eval()  # a model of which a part is frozen
    before, random = state(model), torch.get_rng_state()
    gaincell.convert_(model, CONFIG)
    assert torch.equal(torch.get_rng_state(), random)
    assert all(p.grad is None for p in model.parameters())
    after = state(model)
    new = {key: value for key, value in after["tensors"].items() if ".gaincell." not in key}
    assert same(
        {"tensors": new, "modes": {key: after["modes"][key] for key in before["modes"]}},
        {"tensors": before["tensors"], "modes": before["modes"]},
    )
    assert not any(layer.ring for layer in RingCache(model).layers)
    unbiased = copy.deepcopy(model).eval()
    assert torch.equal(logits(unbiased, tokens(1, 9)), logits(unbiased, tokens(1, 9)))


FAULTS: dict[str, Callable[..., Any]] = {
    "another output": lambda extend: lambda *args, **kwargs: extend(*args, **kwargs) + 0.3,
    "heads in another order": lambda extend: lambda *args, **kwargs: extend(*args, **kwargs).flip(1),
    "a ring that forgets": lambda extend: (
        lambda self, *args, **kwargs: (self.reset(), extend(self, *args, **kwargs))[1]
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("again", [False, True])
def test_arrays_that_do_not_answer_as_the_oracle_are_refused(
    monkeypatch: pytest.MonkeyPatch, fault: str, again: bool
) -> None:
    model = unconverted("llama")
    if again:
        gaincell.convert_(model, CONFIG)
    before, configs = state(model), [scalers.config for scalers in scalers_of(model).values()]
    monkeypatch.setattr(RingLayer, "extend", FAULTS[fault](RingLayer.extend))
    with pytest.raises(InputError, match=r"does not attend in model\.layers\.0\.self_attn as the oracle does"):
        gaincell.convert_(model, CONFIG.replace(output_levels=4))
    assert same(state(model), before)
    assert [scalers.config for scalers in scalers_of(model).values()] == configs


def test_more_than_softmax_around_the_products_is_refused() -> None:
    model = unconverted("llama")
    module = model.model.layers[1].self_attn
    forward = type(module).forward

    def scaled_by_softmax_alone(*args: Any, **kwargs: Any) -> Any:
        out, weights = forward(module, *args, **kwargs)
        return out * (2.0 if module.config._attn_implementation == "eager" else 1.0), weights

    module.forward = scaled_by_softmax_alone
    with pytest.raises(InputError, match=r"computes more in model\.layers\.1\.self_attn than softmax"):
        gaincell.convert_(model, CONFIG)


def test_weights_that_are_not_here_are_not_tried() -> None:
    with torch.device("meta"):
        model = FAMILIES["llama"]()
    gaincell.convert_(model, CONFIG)
    assert all(p.is_meta for p in model.parameters())
    assert len(scalers_of(model)) == 3


@pytest.mark.parametrize("first", ["offloaded", "converted"])
@pytest.mark.parametrize("where", ["cpu", "disk"])
def test_weights_that_accelerate_fetches_are_tried_and_serve(where: str, first: str, tmp_path: Path) -> None:
    def offload(model: PreTrainedModel) -> PreTrainedModel:
        if where == "cpu":
            return accelerate.cpu_offload(model, torch.device("cpu"))
        accelerate.disk_offload(model, str(tmp_path), torch.device("cpu"))
        return model

    if first == "offloaded":
        model, expected = (unconverted("llama") for _ in range(2))
        model, expected = gaincell.convert_(offload(model), CONFIG), gaincell.convert_(expected, CONFIG)
    else:
        model, expected = offload(converted("llama")), converted("llama")
    assert next(model.model.layers[0].self_attn.q_proj.parameters()).is_meta
    assert torch.equal(logits(model, tokens(1, 9)), logits(expected, tokens(1, 9)))


def test_a_saved_model_loads_with_layers_on_disk(tmp_path: Path) -> None:
    expected = gaincell.convert_(unconverted("llama", torch.float32), "extended")
    expected.save_pretrained(tmp_path / "saved")
    parts = dict.fromkeys(("model.embed_tokens", "model.norm", "model.rotary_emb", "lm_head"), "cpu")
    parts |= {f"model.layers.{layer}": "disk" if layer else "cpu" for layer in range(LAYERS)}
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "saved", device_map=parts, offload_folder=tmp_path / "disk")
    assert torch.equal(logits(model, tokens(1, 9)), logits(expected, tokens(1, 9)))


@pytest.mark.parametrize("name", ["indices", "block_indices", "softcap", "s_aux", "position_bias", "a_new_one"])
def test_an_attention_with_what_is_not_known_is_refused(name: str) -> None:
    model = gaincell.convert_(unconverted("llama"), CONFIG)
    with pytest.raises(InputError, match=f"cannot serve an attention with {name}"):
        logits(model, tokens(1, 6), **{name: torch.zeros(1)})
    logits(model, tokens(1, 6), **{name: None})
    # `transformers serve`, and `stop_strings`, hand a tokenizer all the way down.
    assert torch.equal(logits(model, tokens(1, 6), tokenizer=object()), logits(model, tokens(1, 6)))
    with pytest.raises(InputError, match="see their future"):
        logits(model, tokens(1, 6), is_causal=False)


@pytest.mark.parametrize("name", ["opt", "stablelm", "ctrl", "llama"])
@pytest.mark.parametrize("use_cache", [False, True])
def test_packed_rows_are_refused_whatever_a_family_tells_its_attention(name: str, use_cache: bool) -> None:
    model, ids = gaincell.convert_(family(name), CONFIG), tokens(1, 8)
    packed, bounds = torch.tensor([[0, 1, 2, 3, 0, 1, 2, 3]]), torch.tensor([0, 4, 8], dtype=torch.int32)
    for inputs in (
        {"position_ids": packed},
        {"position_ids": packed, "attention_mask": torch.ones_like(packed)},
        {"cu_seq_lens_q": bounds, "cu_seq_lens_k": bounds},
        {"seq_idx": packed},
    ):
        for call in (model, model.base_model):  # PEFT and Trainer wrap either
            with pytest.raises(InputError, match="packed sequences share one row"):
                call(input_ids=ids, use_cache=use_cache, **inputs)
    if name == "llama":  # by position
        with pytest.raises(InputError, match="packed sequences share one row"):
            model.base_model(ids, None, packed)
    assert logits(model, ids, position_ids=torch.arange(8)[None]).shape == (1, 8, VOCABULARY)


def test_noise_is_not_drawn_in_the_trial() -> None:
    model = unconverted("llama")
    random = torch.get_rng_state()
    gaincell.convert_(model, CONFIG.replace(score_noise=0.01, readout_noise=0.02))
    assert torch.equal(torch.get_rng_state(), random)
    found = {(scalers.config.score_noise, scalers.config.readout_noise) for scalers in scalers_of(model).values()}
    assert found == {(0.01, 0.02)}
