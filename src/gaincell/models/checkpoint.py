"""Save and load: the design point travels in `config.json` as a registered quantisation config."""

from typing import Any

import torch
from transformers import PreTrainedModel
from transformers.quantizers.auto import AUTO_QUANTIZATION_CONFIG_MAPPING, AUTO_QUANTIZER_MAPPING
from transformers.quantizers.base import HfQuantizer
from transformers.utils.quantization_config import QuantizationConfigMixin

from gaincell.config import GainCellConfig

METHOD = "gaincell"


class GainCellCheckpointConfig(QuantizationConfigMixin):
    """The section of `config.json` that says at which design point a checkpoint attends.

    Args:
        design_point: the fields of a `GainCellConfig`, cell included.
    """

    def __init__(self, design_point: dict[str, Any] | None = None, **kwargs: Any) -> None:
        self.quant_method = METHOD  # pyright: ignore[reportAttributeAccessIssue]
        self.design_point = design_point or {}


class GainCellQuantizer(HfQuantizer):
    """Builds the scalers before `from_pretrained` fills them in; weights themselves stay what they are."""

    def _process_model_before_weight_loading(self, model: PreTrainedModel, **kwargs: Any) -> PreTrainedModel:
        from gaincell.models.convert import convert_

        config = GainCellConfig(**self.quantization_config.design_point)  # pyright: ignore[reportAttributeAccessIssue]
        return convert_(model, config)

    def _process_model_after_weight_loading(self, model: PreTrainedModel, **kwargs: Any) -> PreTrainedModel:
        # The weights are ordinary floating point: let `.half()`, `.to()` and Trainer treat them so.
        model.is_quantized = False  # pyright: ignore[reportArgumentType]
        return model

    def update_dtype(self, dtype: torch.dtype) -> torch.dtype:
        """Any dtype will do."""
        return dtype

    def is_serializable(self, **kwargs: Any) -> bool:  # pyright: ignore[reportIncompatibleMethodOverride]
        """A converted model saves like any other."""
        return True

    @property
    def is_trainable(self) -> bool:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Gradients reach scalers and projections."""
        return True

    @property
    def is_qat_trainable(self) -> bool:
        """Training passes straight through the quantisers."""
        return True


# Assigned, not registered, which would refuse: `gaincell.autoload` may have put its place holder there.
AUTO_QUANTIZATION_CONFIG_MAPPING[METHOD] = GainCellCheckpointConfig  # pyright: ignore[reportArgumentType]
AUTO_QUANTIZER_MAPPING[METHOD] = GainCellQuantizer  # pyright: ignore[reportArgumentType]
