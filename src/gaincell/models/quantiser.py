"""Loading: the design point travels in `config.json` as a registered quantisation config."""

from collections.abc import Sequence
from typing import Any

import torch
from transformers import PreTrainedModel
from transformers.quantizers.auto import AUTO_QUANTIZATION_CONFIG_MAPPING, AUTO_QUANTIZER_MAPPING, AutoHfQuantizer
from transformers.quantizers.base import HfQuantizer

from gaincell.models.config_section import METHOD, GainCellCheckpointConfig, check_scalers
from gaincell.models.convert import convert_untried_


class GainCellQuantizer(HfQuantizer):
    """Builds the scalers before `from_pretrained` fills them in; weights themselves stay what they are.

    Where they are quantised, it is the quantiser of their own kind besides.
    """

    def __new__(cls, quantization_config: Any = None, **kwargs: Any) -> Any:
        """The quantiser of the base's weights, which converts, too; this one where they are not quantised.

        Without a section, an empty one, which copies and pickles fill.
        """
        if not getattr(quantization_config, "base", None):
            return super().__new__(cls)
        inner = AutoHfQuantizer.from_config(dict(quantization_config.base), **kwargs)
        quantiser: Any = _converting(type(inner))
        quantiser.__init__(inner.quantization_config, **kwargs)
        quantiser.section = quantization_config
        return quantiser

    def _process_model_before_weight_loading(
        self, model: PreTrainedModel, checkpoint_files: Sequence[str] | None = None, **kwargs: Any
    ) -> PreTrainedModel:
        section = self.quantization_config
        assert isinstance(section, GainCellCheckpointConfig)
        check_scalers(checkpoint_files or (), section)
        return convert_untried_(model, section)

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


class _Converting:
    """Before a quantiser of weights, in its order of methods: what it did, and conversion."""

    section: GainCellCheckpointConfig

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        """Pickled as what makes its class, which has no name that could be looked up."""
        return _converting, (type(self).__bases__[1],), vars(self)

    def _process_model_before_weight_loading(
        self, model: PreTrainedModel, checkpoint_files: Sequence[str] | None = None, **kwargs: Any
    ) -> PreTrainedModel:
        parent: Any = super()
        model = parent._process_model_before_weight_loading(model, checkpoint_files=checkpoint_files, **kwargs) or model
        check_scalers(checkpoint_files or (), self.section)
        return convert_untried_(model, self.section)

    def _process_model_after_weight_loading(self, model: PreTrainedModel, **kwargs: Any) -> PreTrainedModel:
        parent: Any = super()
        model = parent._process_model_after_weight_loading(model, **kwargs) or model
        model.config.quantization_config = self.section  # where transformers has just put that of the weights alone
        return model


def _converting(kind: type) -> _Converting:
    """A quantiser of weights, still empty, that converts, too."""
    return object.__new__(type(f"GainCell{kind.__name__}", (_Converting, kind), {}))


def register_quantiser() -> None:
    """Let `from_pretrained` know the section, and what builds the scalers that it asks for."""
    # Assigned, not registered, which would refuse: `gaincell.autoload` may have put its place holder there.
    AUTO_QUANTIZATION_CONFIG_MAPPING[METHOD] = GainCellCheckpointConfig  # pyright: ignore[reportArgumentType]
    AUTO_QUANTIZER_MAPPING[METHOD] = GainCellQuantizer  # pyright: ignore[reportArgumentType]
