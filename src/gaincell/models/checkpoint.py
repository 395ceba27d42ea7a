"""Save and load: the design point travels in `config.json` as a registered quantisation config."""

import hashlib
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from transformers import PreTrainedModel
from transformers.quantizers.auto import AUTO_QUANTIZATION_CONFIG_MAPPING, AUTO_QUANTIZER_MAPPING, AutoHfQuantizer
from transformers.quantizers.base import HfQuantizer
from transformers.utils.quantization_config import QuantizationConfigMixin

from gaincell.aside import written_aside
from gaincell.config import GainCellConfig
from gaincell.errors import InputError
from gaincell.models.fingerprint import CONVERTED

logger = logging.getLogger("gaincell")

METHOD = "gaincell"


class GainCellCheckpointConfig(QuantizationConfigMixin):
    """The section of `config.json` that says at which design point a checkpoint attends.

    Args:
        design_point: the fields of a `GainCellConfig`, cell included.
        base: the section that stood there before, of a model whose weights are quantised; else None.
        scalers_sha256: of the scalers beside it, in a saved folder; None in memory, where they may change.
    """

    def __init__(
        self,
        design_point: dict[str, Any] | None = None,
        base: dict[str, Any] | None = None,
        scalers_sha256: str | None = None,
        **kwargs: Any,
    ) -> None:
        self.quant_method = METHOD  # pyright: ignore[reportAttributeAccessIssue]
        self.design_point = design_point or {}
        self.base = base
        self.scalers_sha256 = scalers_sha256

    def to_dict(self) -> dict[str, Any]:
        """What goes into `config.json`."""
        left_out = {name for name in ("base", "scalers_sha256") if getattr(self, name) is None}
        return {key: value for key, value in super().to_dict().items() if key not in left_out}


def base_section(section: Any) -> dict[str, Any] | None:
    """What conversion has to keep of a model's section on quantisation: that of its weights, or None.

    Raises:
        InputError: a section that could not be written and read back.
    """
    if section is None or isinstance(section, GainCellCheckpointConfig):
        return None if section is None else section.base
    found = section.to_dict() if isinstance(section, QuantizationConfigMixin) else section
    if not isinstance(found, dict) or "quant_method" not in found:
        raise InputError("the model's quantization_config cannot be kept beside a design point; give the plain model.")
    return found


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
        from gaincell.models.convert import convert_untried_

        section = self.quantization_config
        assert isinstance(section, GainCellCheckpointConfig)
        _check_scalers(checkpoint_files or (), section)
        return convert_untried_(model, GainCellConfig(**section.design_point))

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


def save_pretrained(self: PreTrainedModel, save_directory: str | Path, *args: Any, **kwargs: Any) -> None:
    """`save_pretrained` of a converted model: as any model's; then `config.json` gets a hash of the scalers."""
    type(self).save_pretrained(self, save_directory, *args, **kwargs)
    folder = Path(save_directory)
    path = folder / "config.json"
    if not kwargs.get("is_main_process", args[0] if args else True) or not path.is_file():
        return
    config = json.loads(path.read_text("utf-8"))
    section = config.get("quantization_config")
    found = _scalers_hash(sorted(folder.glob("*.safetensors")))
    if found is None or not isinstance(section, dict) or section.get("quant_method") != METHOD:
        return
    section["scalers_sha256"] = found
    with written_aside(path) as aside:
        aside.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", "utf-8")


def _check_scalers(names: Sequence[str], section: GainCellCheckpointConfig) -> None:
    """Raise InputError if the scalers in these files are not those that the hash is of; note that there is none."""
    files = [Path(name) for name in names]
    found, said = _scalers_hash(files), section.scalers_sha256
    section.scalers_sha256 = None  # in memory they may change
    if found is None:
        return
    if said is None:
        logger.warning("%s was saved without a hash of its scalers, so damage to them cannot be told", files[0].parent)
    elif said != found:
        raise InputError(
            f"{files[0].parent}: the scalers are not those that config.json has the hash of, so they are damaged; save "
            "or adapt the model again."
        )


def _scalers_hash(files: Sequence[Path]) -> str | None:
    """SHA-256 of name, shape and float32 value of every scaler in safetensors files; None where there are none."""
    digest, found = hashlib.sha256(), {}
    for path in files:
        if path.suffix != ".safetensors":
            continue
        try:
            with safe_open(path, framework="pt") as file:
                names = [name for name in file.keys() if CONVERTED in name]  # noqa: SIM118 - not a dictionary
                found |= {name: file.get_tensor(name) for name in names}
        except SafetensorError as error:
            raise InputError(f"{path} is damaged or truncated ({error}); save the model again.") from None
    for name in sorted(found):
        values = found[name].float().contiguous()
        digest.update(f"{name} {tuple(values.shape)}\n".encode())
        digest.update(values.numpy().reshape(-1).data)
    return digest.hexdigest() if found else None


class _Converting:
    """Before a quantiser of weights, in its order of methods: what it did, and conversion."""

    section: GainCellCheckpointConfig

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        """Pickled as what makes its class, which has no name that could be looked up."""
        return _converting, (type(self).__bases__[1],), vars(self)

    def _process_model_before_weight_loading(
        self, model: PreTrainedModel, checkpoint_files: Sequence[str] | None = None, **kwargs: Any
    ) -> PreTrainedModel:
        from gaincell.models.convert import convert_untried_

        parent: Any = super()
        model = parent._process_model_before_weight_loading(model, checkpoint_files=checkpoint_files, **kwargs) or model
        _check_scalers(checkpoint_files or (), self.section)
        return convert_untried_(model, GainCellConfig(**self.section.design_point))

    def _process_model_after_weight_loading(self, model: PreTrainedModel, **kwargs: Any) -> PreTrainedModel:
        parent: Any = super()
        model = parent._process_model_after_weight_loading(model, **kwargs) or model
        model.config.quantization_config = self.section  # where transformers has just put that of the weights alone
        return model


def _converting(kind: type) -> _Converting:
    """A quantiser of weights, still empty, that converts, too."""
    return object.__new__(type(f"GainCell{kind.__name__}", (_Converting, kind), {}))


# Assigned, not registered, which would refuse: `gaincell.autoload` may have put its place holder there.
AUTO_QUANTIZATION_CONFIG_MAPPING[METHOD] = GainCellCheckpointConfig  # pyright: ignore[reportArgumentType]
AUTO_QUANTIZER_MAPPING[METHOD] = GainCellQuantizer  # pyright: ignore[reportArgumentType]
