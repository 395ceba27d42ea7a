"""Which of transformers' classes a model folder is of, and whether that is one which gain cells can serve."""

from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoModelForCausalLM, AutoModelForImageTextToText, PreTrainedModel
from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES  # pyright: ignore[reportPrivateImportUsage]
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES,
)

from gaincell.errors import InputError


def auto_class(folder: Path, config: dict[str, Any]) -> Any:
    """What loads a model: `AutoModelForCausalLM`, or of one that reads images too, `AutoModelForImageTextToText`.

    Many a type has both, such as Gemma 3's; the class in "architectures" then tells which of them was saved.

    Args:
        folder: told in errors.
        config: its config.json, which names "model_type".

    Raises:
        InputError: a type that this transformers does not know, or a model of another kind.
    """
    kind = str(config["model_type"])
    if kind not in CONFIG_MAPPING_NAMES:
        raise InputError(f"{folder}: model type '{kind:.40}' is unknown to transformers {transformers.__version__}.")
    made_for = config.get("architectures")
    named = [str(name) for name in made_for] if isinstance(made_for, list) else []
    of_text = config.get("text_config")
    parts = (config, of_text if isinstance(of_text, dict) else {})
    if not any(part.get("is_encoder_decoder") for part in parts):
        text_alone = not named or any(name.endswith(("ForCausalLM", "LMHeadModel")) for name in named)
        if kind in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES and text_alone:
            return AutoModelForCausalLM
        seeing = MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES.get(kind)
        if seeing is not None and (not named or seeing in named):
            return AutoModelForImageTextToText
    raise InputError(
        f"{folder} holds {named[0] if named else kind}, which is no causal language model; gain cells serve causal "
        "decoders only."
    )


def check_reads_text(folder: Path, model: PreTrainedModel) -> None:
    """Refuse a model that reads images, and no text without one.

    Raises:
        InputError: it is such a model.
    """
    try:
        with torch.no_grad():
            model(torch.zeros(1, 2, dtype=torch.long, device=model.device), use_cache=False)
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # whatever a family's own code asks for
        raise InputError(
            f"{folder} holds {type(model).__name__}, which reads no text without an image; commands give it text alone."
        ) from error
