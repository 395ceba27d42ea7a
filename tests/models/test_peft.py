"""PEFT trains adapters beside the scalers of a converted model, saves them, loads them and merges them."""

import copy
from pathlib import Path

import pytest
import torch
from model_cases import CONFIG, converted, logits, tokens, unconverted
from peft import AutoPeftModelForCausalLM, LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, PreTrainedModel

import gaincell
from gaincell import InputError
from gaincell.models import RingCache, design_point, scalers_of


def with_lora(model: PreTrainedModel) -> PeftModel:
    torch.manual_seed(0)
    config = LoraConfig(r=4, target_modules=["q_proj", "v_proj"], modules_to_save=["gaincell"], task_type="CAUSAL_LM")
    found = get_peft_model(model, config)
    assert isinstance(found, PeftModel)
    return found


def learn(model: PeftModel) -> None:
    """Some steps, with which every parameter that learns moves."""
    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    before = {name: p.detach().clone() for name, p in parameters.items()}
    optimizer, ids = torch.optim.SGD(parameters.values(), lr=0.01), tokens(2, 30)
    model.train()
    for _ in range(2):  # LoRA's first step moves one of its two factors
        model(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.eval()
    still = {name for name, p in parameters.items() if torch.equal(p, before[name])}
    assert not still
    assert sum(".gaincell." in name for name in parameters) == (8 + 2 * 3) * 3
    assert sum(".lora_" in name for name in parameters) == 2 * 2 * 3


def test_lora_and_scalers_learn_are_saved_loaded_and_merged(tmp_path: Path) -> None:
    converted("llama", torch.float32).save_pretrained(tmp_path / "base")
    base = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    ids = tokens(2, 30)
    original = logits(base, ids)
    model = with_lora(base)
    assert torch.equal(logits(model, ids), original)
    assert len(scalers_of(model)) == 3
    learn(model)
    adapted = logits(model, ids)
    assert (adapted - original).abs().max() > 1e-3
    with model.disable_adapter():
        assert torch.equal(logits(model, ids), original)
    model.save_pretrained(tmp_path / "adapter")
    for again in (
        AutoPeftModelForCausalLM.from_pretrained(tmp_path / "adapter"),
        PeftModel.from_pretrained(converted("llama", torch.float32), tmp_path / "adapter"),
        copy.deepcopy(model),
    ):
        assert torch.equal(logits(again, ids), adapted)
        assert design_point(again) == CONFIG.for_layers(3)
    merged = model.merge_and_unload()
    torch.testing.assert_close(logits(merged, ids), adapted, rtol=0, atol=1e-4)
    assert not any("modules_to_save" in name or "lora" in name for name, _ in merged.named_modules())
    merged.save_pretrained(tmp_path / "merged")
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    assert torch.equal(logits(loaded, ids), logits(merged, ids))
    assert gaincell.convert_(merged, CONFIG) is merged  # which it could not before the adapters were merged


def test_an_adapter_on_a_base_that_was_never_converted_is_told_by_its_design_point(tmp_path: Path) -> None:
    """PEFT leaves the scalers out without a word, and calls nothing of gaincell's; this is what the how-to checks."""
    model = with_lora(converted("llama", torch.float32))
    assert design_point(model) == CONFIG.for_layers(3)
    model.save_pretrained(tmp_path / "adapter")
    assert design_point(PeftModel.from_pretrained(unconverted("llama"), tmp_path / "adapter")) is None


def test_it_writes_from_its_ring() -> None:
    model, ids = with_lora(converted("llama")), tokens(1, 6)
    learn(model)
    how = {"max_new_tokens": 20, "do_sample": False, "eos_token_id": None, "pad_token_id": 0}
    found = model.generate(input_ids=ids, past_key_values=RingCache(model), **how)
    assert torch.equal(found, model.generate(input_ids=ids, **how))
    assert torch.equal(found, model.generate(input_ids=ids, use_cache=False, **how))


@pytest.mark.parametrize("base", [unconverted, converted])
def test_a_model_with_adapters_in_it_is_not_converted(base: type) -> None:
    config = LoraConfig(target_modules=["q_proj"])
    model = get_peft_model(base("llama"), config)
    for part in (model, model.get_base_model()):
        with pytest.raises(InputError, match="convert it before get_peft_model, or merge them") as refusal:
            gaincell.convert_(part, CONFIG)
        assert str(refusal.value).endswith(".")
