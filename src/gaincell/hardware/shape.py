"""The four numbers of a model that the cost of its attention depends on."""

from collections.abc import Mapping
from dataclasses import dataclass
from operator import index
from typing import SupportsIndex

from gaincell.errors import InputError

# Older names, as in GPT-2's config.json, for the same thing.
_NAMES = {
    "num_hidden_layers": ("num_hidden_layers", "n_layer"),
    "num_attention_heads": ("num_attention_heads", "n_head"),
    "num_key_value_heads": ("num_key_value_heads",),
    "head_dim": ("head_dim",),
    "hidden_size": ("hidden_size", "n_embd"),
}
_ATTENTION = {"full_attention", "sliding_attention", "attention"}


@dataclass(frozen=True)
class AttentionShape:
    """Attention of a whole decoder. It has transformers' names, so it can stand for a model config itself.

    Attributes:
        num_hidden_layers: attention layers.
        num_attention_heads: query heads of a layer.
        num_key_value_heads: key/value heads of a layer; divides the query heads.
        head_dim: width of a head.
    """

    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int

    @property
    def group(self) -> int:
        """Query heads that share one key/value head."""
        return self.num_attention_heads // self.num_key_value_heads


#: GPT-2 (small), the model of the paper.
GPT2 = AttentionShape(num_hidden_layers=12, num_attention_heads=12, num_key_value_heads=12, head_dim=64)


def read_shape(model_config: object) -> AttentionShape:
    """Take the shape from a model config: any object or mapping with transformers' (or GPT-2's) names.

    A multi-modal config gives its text model's shape. `num_key_value_heads` may be missing or None (one per query
    head), and so may `head_dim` (hidden_size / num_attention_heads).

    Raises:
        InputError: a field is missing or not a positive whole number, heads do not divide, or the model has
            something other than causal self-attention over keys and values of one width (encoder-decoder, latent
            or linear attention).
    """
    config = _text_config(model_config)
    if _get(config, "is_encoder_decoder"):
        raise InputError("model config: encoder-decoder models have cross-attention, which is not estimated.")
    if _get(config, "kv_lora_rank"):
        raise InputError("model config: latent attention (kv_lora_rank) does not keep keys and values per head.")
    layer_types = _get(config, "layer_types")
    other = sorted({str(kind) for kind in layer_types} - _ATTENTION) if isinstance(layer_types, list | tuple) else []
    if other:
        raise InputError(f"model config: layer_types has '{other[0]}', but only layers of attention can be estimated.")

    layers = _required(config, "num_hidden_layers")
    heads = _required(config, "num_attention_heads")
    kv_heads = _positive(config, "num_key_value_heads") or heads
    if heads % kv_heads:
        raise InputError(
            f"model config: num_attention_heads {heads} is not a multiple of num_key_value_heads {kv_heads}."
        )
    head_dim = _positive(config, "head_dim")
    if head_dim is None:
        hidden = _positive(config, "hidden_size")
        if hidden is None:
            raise InputError("model config: neither head_dim nor hidden_size (n_embd) is set; set one of them.")
        if hidden % heads:
            raise InputError(
                f"model config: hidden_size {hidden} is not a multiple of num_attention_heads {heads}; set head_dim."
            )
        head_dim = hidden // heads
    return AttentionShape(layers, heads, kv_heads, head_dim)


def _text_config(config: object) -> object:
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


def _get(config: object, name: str) -> object:
    return config.get(name) if isinstance(config, Mapping) else getattr(config, name, None)


def _positive(config: object, field: str) -> int | None:
    """The field under the first of its names that is set, None if none is."""
    for name in _NAMES[field]:
        value = _get(config, name)
        if value is None:
            continue
        if isinstance(value, SupportsIndex) and not isinstance(value, bool) and index(value) > 0:
            return index(value)
        raise InputError(f"model config: {name} is {value!r:.60}, but must be a positive whole number.")
    return None


def _required(config: object, field: str) -> int:
    value = _positive(config, field)
    if value is None:
        raise InputError(f"model config: {' or '.join(_NAMES[field])} is missing; add it.")
    return value
