"""The section of `config.json` that says at which design point a model attends, and what saving does about it."""

import hashlib
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from transformers import PreTrainedModel
from transformers.utils.quantization_config import QuantizationConfigMixin

from gaincell.atomic import written_aside
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
        own_windows: by layer, tokens that softmax looks back to (None: all), where the model's fields tell of others.
    """

    def __init__(
        self,
        design_point: dict[str, Any] | None = None,
        base: dict[str, Any] | None = None,
        scalers_sha256: str | None = None,
        own_windows: list[int | None] | None = None,
        **kwargs: Any,
    ) -> None:
        self.quant_method = METHOD  # pyright: ignore[reportAttributeAccessIssue]
        self.design_point = design_point or {}
        self.base = base
        self.scalers_sha256 = scalers_sha256
        self.own_windows = own_windows

    def to_dict(self) -> dict[str, Any]:
        """What goes into `config.json`."""
        left_out = {name for name in ("base", "scalers_sha256", "own_windows") if getattr(self, name) is None}
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


def check_scalers(names: Sequence[str], section: GainCellCheckpointConfig) -> None:
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
