"""A model whose weights are quantised keeps that it is, whatever it attends with."""

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from model_cases import CONFIG, logits, tokens, unconverted
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.quantizers.auto import AUTO_QUANTIZATION_CONFIG_MAPPING, AUTO_QUANTIZER_MAPPING
from transformers.quantizers.base import HfQuantizer
from transformers.utils.quantization_config import QuantizationConfigMixin

import gaincell
from gaincell import InputError
from gaincell.models import design_point, scalers_of


class ByteConfig(QuantizationConfigMixin):
    """Weights of the MLPs as bytes, in steps of `step`."""

    def __init__(self, step: float = 0.01, **kwargs: Any) -> None:
        self.quant_method: Any = "bytes"
        self.step = step


class ByteLinear(nn.Module):
    def __init__(self, outputs: int, inputs: int, step: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(outputs, inputs, dtype=torch.int8), requires_grad=False)
        self.step = step

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x, self.weight.to(x.dtype) * self.step)


class ByteQuantizer(HfQuantizer):
    """The smallest quantiser that transformers' own interface takes."""

    quantization_config: ByteConfig

    def _process_model_before_weight_loading(self, model: PreTrainedModel, **kwargs: Any) -> PreTrainedModel:
        for name, module in list(model.named_modules()):
            if isinstance(module, nn.Linear) and ".mlp." in name:
                with torch.device("meta"):
                    byte = ByteLinear(module.out_features, module.in_features, self.quantization_config.step)
                model.set_submodule(name, byte)
        return model

    def is_serializable(self, **kwargs: Any) -> bool:
        return True

    @property
    def is_trainable(self) -> bool:
        return False


@pytest.fixture
def quantised(tmp_path: Path) -> Iterator[PreTrainedModel]:
    AUTO_QUANTIZATION_CONFIG_MAPPING["bytes"] = ByteConfig
    AUTO_QUANTIZER_MAPPING["bytes"] = ByteQuantizer
    model = unconverted("llama")
    for layer in model.model.layers:
        for name in ("gate_proj", "up_proj", "down_proj"):
            weight = getattr(layer.mlp, name).weight
            byte = ByteLinear(*weight.shape, step=0.02)
            byte.weight.data = (weight / 0.02).round().clamp(-127, 127).to(torch.int8)
            setattr(layer.mlp, name, byte)
    model.config.quantization_config = ByteConfig(step=0.02)
    model.save_pretrained(tmp_path / "base")
    yield AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    del AUTO_QUANTIZATION_CONFIG_MAPPING["bytes"], AUTO_QUANTIZER_MAPPING["bytes"]


def test_a_quantised_base_is_converted_saved_and_loaded_as_one(quantised: PreTrainedModel, tmp_path: Path) -> None:
    ids, section = tokens(1, 20), quantised.config.quantization_config.to_dict()
    assert section["quant_method"] == "bytes"
    original = logits(quantised, ids)
    gaincell.convert_(quantised, CONFIG)
    expected = logits(quantised, ids)
    assert (expected - original).abs().max() > 1e-3
    for folder in (tmp_path / "once", tmp_path / "twice"):
        quantised.save_pretrained(folder)
        stored = json.loads((folder / "config.json").read_text("utf-8"))["quantization_config"]
        assert stored["quant_method"] == "gaincell"
        assert stored["base"] == section
        quantised = AutoModelForCausalLM.from_pretrained(folder)
        assert design_point(quantised) == CONFIG.for_layers(3)
        assert len(scalers_of(quantised)) == 3
        assert quantised.model.layers[0].mlp.up_proj.weight.dtype == torch.int8
        assert torch.equal(logits(quantised, ids), expected)
    torch.save(quantised, tmp_path / "whole.pt")
    for twin in (copy.deepcopy(quantised), torch.load(tmp_path / "whole.pt", weights_only=False)):
        assert torch.equal(logits(twin, ids), expected)
        assert twin.hf_quantizer.section.base == section


def test_a_section_that_could_not_be_read_back_is_refused(quantised: PreTrainedModel) -> None:
    quantised.config.quantization_config = object()
    with pytest.raises(InputError, match="quantization_config cannot be kept"):
        gaincell.convert_(quantised, CONFIG)
    assert not scalers_of(quantised)
