"""A decoder's weights, counted against the models themselves (built on the meta device), and what is refused."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from tools.model_configs import CONFIGS
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    Gemma3Config,
    Gemma3TextConfig,
    GemmaConfig,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    MistralConfig,
    MixtralConfig,
    PretrainedConfig,
    Qwen2Config,
    Qwen3Config,
    Qwen3MoeConfig,
    SmolLM3Config,
)
from transformers.pytorch_utils import Conv1D

from gaincell.errors import InputError
from gaincell.hardware.decoder import GPT2, LLAMA3_8B, LLAMA3_70B, SMOLLM2_135M, DecoderShape, read_decoder

SMALL: dict[str, Any] = {
    "vocab_size": 99,
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
WIDE_HEADS = {**SMALL, "head_dim": 32}
GPT2_SMALL: dict[str, Any] = {"vocab_size": 99, "n_embd": 48, "n_layer": 3, "n_head": 6}

LLAMA: dict[str, Any] = {"rms_norm_eps": 1e-5, "vocab_size": 128256, "num_key_value_heads": 8}
PUBLISHED: list[tuple[DecoderShape, PretrainedConfig, int]] = [
    (GPT2, GPT2Config(), 124_439_808),
    (
        SMOLLM2_135M,
        LlamaConfig(
            vocab_size=49152,
            hidden_size=576,
            intermediate_size=1536,
            num_hidden_layers=30,
            num_attention_heads=9,
            num_key_value_heads=3,
            tie_word_embeddings=True,
        ),
        134_515_008,
    ),
    (
        LLAMA3_8B,
        LlamaConfig(**LLAMA, hidden_size=4096, intermediate_size=14336, num_hidden_layers=32, num_attention_heads=32),
        8_030_261_248,
    ),
    (
        LLAMA3_70B,
        LlamaConfig(**LLAMA, hidden_size=8192, intermediate_size=28672, num_hidden_layers=80, num_attention_heads=64),
        70_553_706_496,
    ),
]


def built(config: PretrainedConfig) -> nn.Module:
    """The model that transformers makes of a config, without memory for its weights."""
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config)


def matrix_weights(model: nn.Module) -> int:
    """Weights of everything that a token is multiplied by."""
    return sum(part.weight.numel() for part in model.modules() if isinstance(part, nn.Linear | Conv1D))


@pytest.mark.parametrize(
    ("name", "shape"), [("gpt2", GPT2), ("Llama-3.1-8B", LLAMA3_8B), ("Llama-3.1-70B", LLAMA3_70B)]
)
def test_the_shapes_known_by_name_are_those_of_published_configs(name: str, shape: DecoderShape) -> None:
    assert read_decoder(CONFIGS[name]) == shape


@pytest.mark.parametrize(
    "config",
    [
        GPT2Config(**GPT2_SMALL),
        GPT2Config(**GPT2_SMALL, n_inner=100),
        LlamaConfig(**SMALL),
        LlamaConfig(**WIDE_HEADS, tie_word_embeddings=True),
        SmolLM3Config(**SMALL),
        MistralConfig(**SMALL),
        Qwen2Config(**SMALL),
        Qwen3Config(**WIDE_HEADS),
        GemmaConfig(**WIDE_HEADS),
        Gemma2Config(**WIDE_HEADS),
        Gemma3TextConfig(**WIDE_HEADS),
    ],
    ids=lambda config: config.model_type,
)
def test_weights_are_those_of_the_models_matrices(config: PretrainedConfig) -> None:
    found = read_decoder(config)
    assert found.weights == matrix_weights(built(config))
    assert found.weights == found.projection_weights + found.mlp_weights + found.head_weights == found.multiply_adds
    assert read_decoder(config.to_dict()) == found


@pytest.mark.parametrize(("decoder", "config", "parameters"), PUBLISHED, ids=["gpt2", "smollm2", "8b", "70b"])
def test_named_decoders_are_the_published_models(
    decoder: DecoderShape, config: PretrainedConfig, parameters: int
) -> None:
    assert read_decoder(config) == decoder
    model = built(config)
    assert sum(p.numel() for p in model.parameters()) == parameters
    assert matrix_weights(model) == decoder.weights
    matrices = {id(part.weight) for part in model.modules() if isinstance(part, nn.Linear | Conv1D | nn.Embedding)}
    left_out = sum(p.numel() for p in model.parameters() if id(p) not in matrices)
    assert left_out < 0.0011 * parameters


def test_a_multi_modal_model_gives_its_text_model() -> None:
    text = Gemma3TextConfig(**WIDE_HEADS)
    whole = Gemma3Config(text_config=text.to_dict())
    assert read_decoder(whole) == read_decoder(whole.to_dict()) == read_decoder(text)


def test_a_shape_of_ones_own_is_taken_as_it_is() -> None:
    mine = replace(GPT2, gated_mlp=True)
    assert read_decoder(mine) is mine
    assert mine.mlp_weights == GPT2.mlp_weights * 3 / 2


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (MixtralConfig(**SMALL), ["'mixtral'", "experts"]),
        (Qwen3MoeConfig(**SMALL), ["'qwen3_moe'", "experts"]),
        (GPTNeoXConfig(), ["'gpt_neox'", "DecoderShape"]),
        (SMALL, ["model_type", "DecoderShape"]),
        ({**SMALL, "model_type": ["llama"]}, ["model_type", "DecoderShape"]),
        ({**SMALL, "model_type": "llama", "intermediate_size": None}, ["intermediate_size", "expected int"]),
        ({**SMALL, "model_type": "llama", "vocab_size": -1}, ["vocab_size", "-1"]),
        ({**SMALL, "model_type": "llama", "hidden_size": None, "head_dim": 8}, ["hidden_size", "expected int"]),
        ({**SMALL, "model_type": "llama", "num_key_value_heads": 4}, ["num_key_value_heads"]),
        ({}, ["num_hidden_layers"]),
    ],
    ids=str,
)
def test_refused(config: object, words: list[str]) -> None:
    with pytest.raises(InputError) as refused:
        read_decoder(config)
    for word in words:
        assert word in str(refused.value)
