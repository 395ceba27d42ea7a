"""What `convert_` changes in a model, and which models it refuses."""

import logging
from collections.abc import Callable
from typing import Any

import pytest
import torch
from model_cases import CONFIG, FAMILIES, GPT2, LAYERS, SIZES, converted, logits, tokens, unconverted
from transformers import (
    BertConfig,
    BertModel,
    BloomConfig,
    BloomForCausalLM,
    FalconConfig,
    FalconForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    Gemma3nForCausalLM,
    Gemma3nTextConfig,
    GPT2Config,
    GPT2LMHeadModel,
    Llama4ForCausalLM,
    Llama4TextConfig,
    MptConfig,
    MptForCausalLM,
    PreTrainedModel,
    T5Config,
    T5ForConditionalGeneration,
)

import gaincell
from gaincell import GainCellConfig, InputError
from gaincell.models import attention_modules, design_point, scalers_of


@pytest.mark.parametrize("family", FAMILIES)
def test_conversion_adds_scalers_and_touches_no_weight(family: str) -> None:
    model = unconverted(family)
    before = {name: p.detach().clone() for name, p in model.state_dict().items()}
    assert gaincell.convert_(model, CONFIG) is model
    after = model.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    added = set(after) - set(before)
    kinds = {f"{kind}_{letter}" for kind in ("q", "k", "v", "out") for letter in ("scale", "bias")}
    predicted = {f"{of}.{part}" for of in ("preset", "sinks.share") for part in ("weight", "log_weight", "bias")}
    kinds |= predicted | {"sinks.shortest"}
    assert added == {f"{name}.gaincell.{kind}" for name in attention_modules(model) for kind in kinds}
    heads, kv_heads = model.config.num_attention_heads, getattr(model.config, "num_key_value_heads", 4)
    head_dim = getattr(model.config, "head_dim", 8)
    for name, module in attention_modules(model).items():
        scalers = scalers_of(model)[name]
        assert scalers.q_scale.shape == scalers.out_bias.shape == (heads, head_dim)
        assert scalers.k_scale.shape == scalers.v_bias.shape == (kv_heads, head_dim)
        start = {"q_scale": module.scaling, "out_scale": 1.0, "k_scale": 1.0, "v_scale": 1.0}
        start |= {"q_bias": 0.0, "out_bias": 0.0, "k_bias": CONFIG.zero_v, "v_bias": CONFIG.zero_v}
        # Neither preset nor sinks do anything yet, but keep the first token out of the arrays.
        start |= {"preset.weight": 0.0, "preset.bias": 0.0, "sinks.share.weight": 0.0, "sinks.share.bias": 8.0}
        for kind, value in start.items():
            parameter = scalers.get_parameter(kind)
            assert parameter.requires_grad
            torch.testing.assert_close(parameter.data, torch.full_like(parameter, value))
        assert scalers.sinks is not None
        assert not scalers.sinks.shortest.any()
    assert design_point(model) == CONFIG.for_layers(LAYERS)


def test_a_published_design_point_has_a_scaler_per_head_and_nothing_more() -> None:
    model = gaincell.convert_(unconverted("llama"), "leroux2025")
    heads = model.config.num_attention_heads
    for scalers in scalers_of(model).values():
        assert scalers.q_scale.shape == (heads,)
        assert len(scalers.state_dict()) == 8


def test_another_digital_side_is_refused_because_its_parameters_do_not_carry_over() -> None:
    model = gaincell.convert_(unconverted("llama"), CONFIG)
    with pytest.raises(InputError, match="another equalisation and score_preset and sinks"):
        gaincell.convert_(model, "leroux2025")
    assert design_point(model) == CONFIG.for_layers(LAYERS)


def test_a_shipped_design_point_may_be_named() -> None:
    model = gaincell.convert_(unconverted("llama"), "leroux2025-linear")
    assert design_point(model) == GainCellConfig.named("leroux2025-linear").for_layers(LAYERS)
    with pytest.raises(InputError, match="unknown design point 'nothing'"):
        gaincell.convert_(unconverted("llama"), "nothing")


def test_an_unconverted_model_has_no_design_point() -> None:
    assert design_point(unconverted("llama")) is None
    assert scalers_of(unconverted("llama")) == {}


def test_converting_again_keeps_scalers_and_says_that_the_design_point_changed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    model, ids = converted("gemma3"), tokens(1, 30)
    parameters = {name: (p, p.detach().clone()) for name, p in model.named_parameters()}
    narrow = CONFIG.replace(name="narrow", window=4, subtile_columns=2)
    with caplog.at_level(logging.WARNING, "gaincell"):
        gaincell.convert_(model, CONFIG)
        assert not caplog.records
        wide = logits(model, ids)
        gaincell.convert_(model, narrow)
    assert [record.getMessage() for record in caplog.records] == ["design point changed from extended to narrow"]
    for name, parameter in model.named_parameters():
        assert parameter is parameters[name][0]
        assert torch.equal(parameter, parameters[name][1])
    assert [s.config.window for s in scalers_of(model).values()] == [4, 4, 4]
    assert design_point(model) == narrow.for_layers(LAYERS)
    assert (logits(model, ids) - wide).abs().max() > 1e-3
    gaincell.convert_(model, CONFIG)
    torch.testing.assert_close(logits(model, ids), wide)


def bert() -> PreTrainedModel:
    return BertModel(BertConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8))


SMALL = {**SIZES, "num_hidden_layers": 1, "vocab_size": 20}
MOE = {"num_local_experts": 2, "num_experts_per_tok": 1}
REFUSED: dict[str, tuple[Callable[[], PreTrainedModel], str]] = {
    "encoder": (bert, "BertModel attends in both directions"),
    "encoder-decoder": (
        lambda: T5ForConditionalGeneration(
            T5Config(vocab_size=20, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2)
        ),
        "T5ForConditionalGeneration uses cross-attention",
    ),
    "decoder with cross-attention": (
        lambda: GPT2LMHeadModel(GPT2Config(**{**GPT2, "n_layer": 1}, add_cross_attention=True)),
        "GPT2LMHeadModel uses cross-attention",
    ),
    "soft cap": (lambda: Gemma2ForCausalLM(Gemma2Config(**SMALL)), "Gemma2ForCausalLM caps its attention scores"),
    "alibi, own code": (
        lambda: BloomForCausalLM(BloomConfig(vocab_size=20, hidden_size=16, n_layer=1, n_head=2)),
        "BloomForCausalLM does not use transformers' attention interface",
    ),
    "alibi of MPT": (
        lambda: MptForCausalLM(MptConfig(vocab_size=20, d_model=16, n_layers=1, n_heads=2)),
        "MptForCausalLM does not use transformers' attention interface",
    ),
    "alibi in its config": (
        lambda: FalconForCausalLM(
            FalconConfig(vocab_size=20, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, alibi=True)
        ),
        "FalconForCausalLM adds a position bias",
    ),
    "chunks": (
        lambda: Llama4ForCausalLM(Llama4TextConfig(**SMALL, **MOE, layer_types=["chunked_attention"])),
        "Llama4ForCausalLM attends in chunks",
    ),
    "shared keys": (
        lambda: Gemma3nForCausalLM(
            Gemma3nTextConfig(
                **{**SMALL, "num_hidden_layers": 2, "intermediate_size": [8, 8]},
                layer_types=["full_attention"] * 2,
                num_kv_shared_layers=1,
                vocab_size_per_layer_input=20,
                hidden_size_per_layer_input=4,
                activation_sparsity_pattern=[0.0, 0.0],
                laurel_rank=2,
            )
        ),
        "Gemma3nForCausalLM shares keys and values between layers",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_models_that_gain_cells_cannot_serve_are_refused_untouched(name: str) -> None:
    build, said = REFUSED[name]
    model = build()
    before, implementation = set(model.state_dict()), model.config._attn_implementation
    with pytest.raises(InputError, match=said) as refusal:
        gaincell.convert_(model, CONFIG)
    assert str(refusal.value).endswith(".")
    assert set(model.state_dict()) == before
    assert model.config._attn_implementation == implementation


@pytest.mark.parametrize("model", [None, 3, torch.nn.Linear(2, 2)])
def test_what_is_no_model_is_refused(model: Any) -> None:
    with pytest.raises(InputError, match="takes a transformers model"):
        gaincell.convert_(model, "extended")


def test_a_dict_is_no_design_point() -> None:
    with pytest.raises(InputError, match="not dict"):
        gaincell.convert_(unconverted("llama"), {"window": 64})  # pyright: ignore[reportArgumentType]
