"""Models that look at images: their language model is converted, and what encodes images stays what it was."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from model_cases import CONFIG, SIZES, logits, tokens
from torch import Tensor
from transformers import (
    AutoModelForImageTextToText,
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    LlavaConfig,
    LlavaForConditionalGeneration,
    PreTrainedModel,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    SmolVLMConfig,
    SmolVLMForConditionalGeneration,
)

import gaincell
from gaincell import InputError
from gaincell.models import RingCache, attention_modules, scalers_of

IMAGE = 96  # the token that stands for a part of an image
TEXT = {**SIZES, "model_type": "llama"}
VISION: dict[str, Any] = {
    **{"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2},
    **{"image_size": 8, "patch_size": 4},
}
GREEDY: dict[str, Any] = {"max_new_tokens": 20, "do_sample": False, "eos_token_id": None, "pad_token_id": 0}
EXACT: dict[str, float] = {"rtol": 0, "atol": 1e-5}  # recurrences compute in float32


def llava() -> PreTrainedModel:
    vision = {**VISION, "model_type": "clip_vision_model", "projection_dim": 16}
    config = LlavaConfig(vision_config=vision, text_config=TEXT, image_token_id=IMAGE, vision_feature_layer=-1)
    return LlavaForConditionalGeneration(config)


def qwen() -> PreTrainedModel:
    rotation = {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 1e4}
    vision = {
        **{"depth": 2, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2, "out_hidden_size": 32},
        **{"patch_size": 4, "spatial_merge_size": 2, "temporal_patch_size": 2},
        **{"window_size": 16, "fullatt_block_indexes": [1]},
    }
    ids = {"image_token_id": IMAGE, "video_token_id": 95, "vision_start_token_id": 94, "vision_end_token_id": 93}
    return Qwen2_5_VLForConditionalGeneration(
        Qwen2_5_VLConfig(text_config={**SIZES, "rope_parameters": rotation}, vision_config=vision, **ids)
    )


def hybrid() -> PreTrainedModel:
    """Of layers that keep states beside those that attend."""
    transformers = pytest.importorskip("transformers", "5.23")
    kinds = ["linear_attention", "full_attention", "full_attention", "full_attention"]
    rotation = {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 1e4, "partial_rotary_factor": 1.0}
    text = {**SIZES, "num_hidden_layers": 4, "layer_types": kinds, "rope_parameters": rotation}
    text |= dict.fromkeys(("linear_num_key_heads", "linear_num_value_heads"), 2)
    text |= dict.fromkeys(("linear_key_head_dim", "linear_value_head_dim"), 8)
    vision = {
        **{"depth": 2, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2, "out_hidden_size": 32},
        **{"patch_size": 4, "spatial_merge_size": 2, "temporal_patch_size": 2, "num_position_embeddings": 16},
    }
    ids = {"image_token_id": IMAGE, "video_token_id": 95, "vision_start_token_id": 94, "vision_end_token_id": 93}
    return transformers.Qwen3_5ForConditionalGeneration(
        transformers.Qwen3_5Config(text_config=text, vision_config=vision, **ids)
    )


def smolvlm() -> PreTrainedModel:
    return SmolVLMForConditionalGeneration(
        SmolVLMConfig(vision_config=VISION, text_config=TEXT, image_token_id=IMAGE, scale_factor=2)
    )


def gemma() -> PreTrainedModel:
    text = {**SIZES, "head_dim": 16, "sliding_window": 8, "layer_types": ["sliding_attention"] * 2 + ["full_attention"]}
    ids = {"image_token_index": IMAGE, "boi_token_index": 95, "eoi_token_index": 94}
    vision = {**VISION, "patch_size": 2}
    return Gemma3ForConditionalGeneration(
        Gemma3Config(text_config=text, vision_config=vision, mm_tokens_per_image=4, **ids)
    )


MODELS: dict[str, Callable[[], PreTrainedModel]] = {
    "llava": llava,
    "qwen": qwen,
    "hybrid": hybrid,
    "smolvlm": smolvlm,
    "gemma": gemma,
}


def make(name: str) -> PreTrainedModel:
    torch.manual_seed(0)
    return MODELS[name]().double().eval()


def inputs(name: str) -> dict[str, Tensor]:
    """A text with an image in it."""
    ids, draw = tokens(1, 24) % 90 + 3, torch.Generator().manual_seed(4)
    parts = 1 if name == "smolvlm" else 4
    ids[0, 5 : 5 + parts] = IMAGE
    if name in ("qwen", "hybrid"):
        ids[0, 4] = 94
        return {
            "input_ids": ids,
            "pixel_values": torch.randn(16, 96, generator=draw).double(),
            "image_grid_thw": torch.tensor([[1, 4, 4]]),
            "mm_token_type_ids": (ids == IMAGE).int(),
        }
    shape = (1, 1, 3, 8, 8) if name == "smolvlm" else (1, 3, 8, 8)
    extra = {"token_type_ids": (ids == IMAGE).long()} if name == "gemma" else {}
    return {"input_ids": ids, "pixel_values": torch.randn(shape, generator=draw).double(), **extra}


def read(model: PreTrainedModel, given: dict[str, Tensor], **more: Any) -> Tensor:
    with torch.no_grad():
        return model(**given, **{"use_cache": False, **more}).logits


SEEING = ["llava", "qwen", "hybrid", "smolvlm"]


@pytest.mark.parametrize("name", MODELS)
def test_the_language_model_is_converted_and_nothing_else(name: str) -> None:
    original, model = make(name), gaincell.convert_(make(name), CONFIG)
    assert len(scalers_of(model)) == len(attention_modules(model)) == 3
    assert all("vision" not in path for path in scalers_of(model))
    assert model.config.vision_config._attn_implementation == original.config.vision_config._attn_implementation
    assert model.config.get_text_config()._attn_implementation == "gaincell"
    given = inputs(name)
    about = {key: value for key, value in given.items() if key in ("pixel_values", "image_grid_thw")}
    with torch.no_grad():
        found, expected = (each.model.get_image_features(**about).pooler_output for each in (model, original))
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("name", MODELS)
def test_text_alone_is_read_token_by_token_as_a_whole(name: str) -> None:
    model, ids = gaincell.convert_(make(name), CONFIG), tokens(2, 24) % 90 + 3
    cache = RingCache(model)
    parts = [logits(model, part, past_key_values=cache, use_cache=True) for part in ids.split([17, *[1] * 7], 1)]
    torch.testing.assert_close(torch.cat(parts, 1), logits(model, ids), **EXACT)
    assert torch.equal(model.generate(ids, **GREEDY), model.generate(ids, use_cache=False, **GREEDY))


@pytest.mark.parametrize("name", SEEING)
def test_a_text_with_an_image_is_too_and_the_image_counts(name: str) -> None:
    model, given = gaincell.convert_(make(name), CONFIG), inputs(name)
    whole = read(model, given)
    other = read(model, {**given, "pixel_values": -given["pixel_values"]})
    assert (whole - other)[:, 9:].abs().max() > 1e-3
    cache, ids = RingCache(model), given["input_ids"]
    start = {key: value[:, :17] if key in ("input_ids", "mm_token_type_ids") else value for key, value in given.items()}
    parts = [read(model, start, past_key_values=cache, use_cache=True)]
    parts += [
        read(model, {"input_ids": ids[:, at : at + 1]}, past_key_values=cache, use_cache=True) for at in range(17, 24)
    ]
    torch.testing.assert_close(torch.cat(parts, 1), whole, **EXACT)
    found = model.generate(**given, suppress_tokens=[*range(93, 97)], **GREEDY)
    for at in range(24, 44):  # by the definition: everything read anew for every token
        so_far = {**given, "input_ids": found[:, :at]}
        if "mm_token_type_ids" in given:
            so_far["mm_token_type_ids"] = (found[:, :at] == IMAGE).int()
        assert int(read(model, so_far)[0, -1, :93].argmax()) == int(found[0, at])


def test_an_image_whose_parts_see_each_other_is_refused() -> None:
    model = gaincell.convert_(make("gemma"), CONFIG)
    with pytest.raises(InputError, match="lets tokens see their future; gain cells attend causally") as refusal:
        read(model, inputs("gemma"))
    assert str(refusal.value).endswith(".")
    with pytest.raises(InputError, match="lets tokens see their future"):
        model.generate(**inputs("gemma"), **GREEDY)


@pytest.mark.parametrize("name", SEEING)
def test_it_is_saved_and_loaded(name: str, tmp_path: Path) -> None:
    model = gaincell.convert_(make(name), CONFIG)
    model.save_pretrained(tmp_path)
    again = AutoModelForImageTextToText.from_pretrained(tmp_path, dtype=torch.float64).eval()
    assert torch.equal(read(again, inputs(name)), read(model, inputs(name)))
