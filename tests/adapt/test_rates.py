"""Rates follow the size of what they change, however a model is scaled."""

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from transformers import AutoModelForCausalLM

import gaincell
from gaincell import GainCellConfig
from gaincell.adapt.distil.trainable import groups, training_only
from gaincell.adapt.settings import AdaptSettings
from gaincell.adapt.stages.rates import BIAS_SHARE, UNKNOWN, UNKNOWN_PREDICTOR, is_predictor, is_scaler, sizes


def converted(path: Path, design: GainCellConfig) -> nn.Module:
    return gaincell.convert_(AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32), design)


def test_a_factor_on_a_tensor_is_one_on_its_size(small_llama: Path, small_design: GainCellConfig) -> None:
    torch.manual_seed(0)
    model = converted(small_llama, small_design)
    before = sizes(model)
    weights = [name for name in before if not is_scaler(name)]
    scales = [name for name in before if name.endswith("_scale")]
    assert len(weights) > 10
    assert len(scales) == 8
    with torch.no_grad():
        for factor, (name, p) in zip((0.01, 8.0, 1e-6) * 20, model.named_parameters(), strict=False):
            p.mul_(factor)
            if name in weights + scales:
                torch.testing.assert_close(sizes(model)[name], factor * before[name], msg=name)


@given(seed=st.integers(0, 1000), rows=st.integers(1, 6), columns=st.integers(1, 6))
def test_factors_of_rows_and_columns_are_ones_on_their_sizes(seed: int, rows: int, columns: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    linear = nn.Linear(columns, rows, bias=False)
    with torch.no_grad():
        linear.weight.uniform_(0.2, 1.0, generator=generator)
        before = sizes(linear)["weight"]
        by = [torch.rand(n, generator=generator) * 10 + 0.1 for n in (rows, columns)]
        linear.weight.mul_(by[0][:, None] * by[1])
    torch.testing.assert_close(sizes(linear)["weight"], before * by[0][:, None] * by[1], rtol=1e-3, atol=0)
    balanced = (linear.weight / sizes(linear)["weight"]).detach().square()
    torch.testing.assert_close(balanced.mean(0), torch.ones(columns), rtol=1e-3, atol=0)
    torch.testing.assert_close(balanced.mean(1), torch.ones(rows), rtol=1e-3, atol=0)


def test_what_is_zero_or_small_may_still_move(small_llama: Path, small_design: GainCellConfig) -> None:
    model = converted(small_llama, small_design)
    found = sizes(model)
    predictors = [float(found[name]) for name in found if is_predictor(name)]
    assert predictors == pytest.approx([UNKNOWN_PREDICTOR] * 4)
    scalers = "model.layers.0.self_attn.gaincell."
    with torch.no_grad():
        model.get_parameter(f"{scalers}out_scale").fill_(-4.0)
    found = sizes(model)
    assert float(found[f"{scalers}q_bias"]) == pytest.approx(0.1)
    assert found[f"{scalers}out_bias"].flatten().tolist() == pytest.approx([4.0 * BIAS_SHARE] * 32)
    linear = nn.Linear(3, 3)
    nn.init.constant_(linear.weight, 2.0)
    nn.init.constant_(linear.bias, 1e-3)
    assert float(sizes(linear)["bias"]) == pytest.approx(2.0 * BIAS_SHARE)
    nn.init.zeros_(linear.weight)
    nn.init.zeros_(linear.bias)
    assert [float(size) for size in sizes(linear).values()] == pytest.approx([UNKNOWN, UNKNOWN])
    with torch.no_grad():
        linear.weight[0, 1] = 1.0  # rows and columns of zeros may move, too
    assert float(sizes(linear)["weight"].min()) > 0


def test_adapters_of_low_rank_move_as_the_weights_that_they_add_to(
    small_llama: Path, small_design: GainCellConfig
) -> None:
    pytest.importorskip("peft")
    model = converted(small_llama, small_design)
    weight = model.get_parameter("model.layers.1.self_attn.o_proj.weight")
    with torch.no_grad():
        weight.mul_(50)
    settings = AdaptSettings(distill={"train": "lora", "lr": 1e-3})
    with training_only(model, settings):  # pyright: ignore[reportArgumentType]
        named = dict(model.named_parameters())
        peaks = {id(p): group["peak"] for group in groups(model, settings.distill) for p in group["params"]}
        large = float(weight.detach().square().mean().sqrt())
        adapters = [p for name, p in named.items() if "layers.1.self_attn.o_proj.lora_" in name]
        assert len(adapters) == 2
        assert [peaks[id(p)] for p in adapters] == pytest.approx([1e-3 * large] * 2)
