"""A model's config as a file or transformers has it: its defaults filled in, its text model, and single fields."""

import re
from collections.abc import Mapping
from operator import index
from typing import Any, SupportsIndex

from gaincell.errors import InputError

# Older names, as in GPT-2's config.json, for the same thing.
_NAMES = {
    "num_hidden_layers": ("num_hidden_layers", "n_layer"),
    "num_attention_heads": ("num_attention_heads", "n_head"),
    "hidden_size": ("hidden_size", "n_embd"),
    "intermediate_size": ("intermediate_size", "n_inner"),
    "max_position_embeddings": ("max_position_embeddings", "n_positions"),
}
#: What a config has only if something is attended to beside the text before.
_ACROSS = (
    *("add_cross_attention", "cross_attention_layers", "cross_layer_interval", "cross_attention_hidden_size"),
    *("encoder_layers", "num_encoder_layers"),
)
#: Families that transformers lists under no masked language model, though they attend in both directions.
_BOTH_WAYS = ("bert-generation",)
#: What the model types of a multi-modal model's text part end with.
_TEXT_PARTS = ("_text_model", "_text")


def completed(model_config: object) -> object:
    """A config.json with the defaults that transformers has for its `model_type`, as an object of transformers'.

    Anything else is returned as it is: an object has its defaults already, and of a mapping without a model type, or
    with one that transformers does not know, nothing more is known.

    Raises:
        InputError: transformers refuses a field.
    """
    if not knows(model_config) or not isinstance(model_config, Mapping):
        return model_config
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    kind = str(model_config["model_type"])
    try:
        return CONFIG_MAPPING[kind].from_dict(dict(model_config))
    except Exception as error:  # whatever a model's own config class makes of the fields
        lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
        said = re.sub(r"^\w+Error: ", "", lines[-1]).rstrip(".").replace(". ", "; ")
        raise InputError(f"model config: transformers cannot read it as '{kind}': {said:.200}.") from None


def knows(model_config: object) -> bool:
    """Whether transformers is here, and knows the config's model type."""
    kind = field_of(model_config, "model_type")
    if not isinstance(kind, str) or not kind:
        return False
    try:
        from transformers.models.auto.configuration_auto import CONFIG_MAPPING
    except ImportError:  # installed without it
        return False
    return kind in CONFIG_MAPPING


def check_causal(model_config: object, text: object) -> None:
    """Refuse what transformers has no causal language model of: encoders, and models of images or sound alone.

    Args:
        model_config: the whole config.
        text: its text model's part, which may be all of it.

    Raises:
        InputError: it is not causal, or attends across to something else.
    """
    for config in (model_config, text):
        if field_of(config, "is_encoder_decoder"):
            raise InputError("model config: is_encoder_decoder is set, but cross-attention is not estimated.")
        for name in _ACROSS:
            if field_of(config, name):
                raise InputError(f"model config: {name} is set, but cross-attention is not estimated.")
    if not knows(text):
        return
    from transformers.models.auto import modeling_auto as auto

    kind, whole = (str(field_of(config, "model_type")) for config in (text, model_config))
    both_ways = kind in auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES or kind in _BOTH_WAYS
    if both_ways and not field_of(text, "is_decoder"):
        raise InputError(
            f"model config: model_type '{kind}' attends in both directions unless is_decoder is true; gain cells serve "
            "causal decoders only."
        )
    causal = {*auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, *auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES}
    parts = {kind, *(kind.removesuffix(end) for end in _TEXT_PARTS)}
    if not (parts & causal or (whole != kind and whole in causal)):
        raise InputError(
            f"model config: transformers has no causal language model of model_type '{kind}'; gain cells serve causal "
            "decoders only."
        )


def text_config(config: object) -> object:
    """The text model's part of a model config, which may be all of it.

    Raises:
        InputError: the config holds several text models.
    """
    if isinstance(config, Mapping):
        inner = config.get("text_config")
        return inner if isinstance(inner, Mapping) else config
    choose = getattr(config, "get_text_config", None)
    if choose is None:
        return config
    try:
        return choose()
    except ValueError as error:
        first = str(error).split(". ")[0].rstrip(".")
        raise InputError(f"model config: its text model cannot be told: {first}.") from None


def layer_configs(config: object, layers: int) -> list[Any]:
    """The config of every layer: transformers keeps one of each where layers differ."""
    if not getattr(config, "is_heterogeneous", False):
        return [config] * layers
    return [config.per_layer_config[number] for number in range(layers)]  # pyright: ignore[reportAttributeAccessIssue]


def field_of(config: object, name: str) -> Any:
    """A field of a mapping or an object, None if it is not there."""
    return config.get(name) if isinstance(config, Mapping) else getattr(config, name, None)


def positive_field(config: object, field: str) -> int | None:
    """The field under the first of its names that is set, None if none is.

    Raises:
        InputError: it is not a positive whole number.
    """
    for name in _NAMES.get(field, (field,)):
        value = field_of(config, name)
        if value is None:
            continue
        if isinstance(value, SupportsIndex) and not isinstance(value, bool) and index(value) > 0:
            return index(value)
        raise InputError(f"model config: {name} is {value!r:.60}, but must be a positive whole number.")
    return None


def required_field(config: object, field: str) -> int:
    """`positive_field`, of a field that must be there.

    Raises:
        InputError: it is missing, or not a positive whole number.
    """
    value = positive_field(config, field)
    if value is None:
        raise InputError(f"model config: {' or '.join(_NAMES.get(field, (field,)))} is missing; add it.")
    return value
