"""The four numbers of a model that the cost of its attention depends on, and how a model config is read."""

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
    "intermediate_size": ("intermediate_size", "n_inner"),
    "vocab_size": ("vocab_size",),
    "sliding_window": ("sliding_window",),
    "max_position_embeddings": ("max_position_embeddings", "n_positions"),
}
_ATTENTION = {"full_attention", "sliding_attention", "attention", "hybrid", "hybrid_sliding"}
#: Kinds of layers that keep no keys and values.
_OTHERS = {"linear_attention", "conv", "mamba", "recurrent", "mlp", "moe"}
#: What a config has only if some of its layers are of those.
_OF_OTHERS = ("mamba_d_state", "ssm_state_size", "lru_width", "conv_L_cache", "linear_conv_kernel_dim")


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

    A multi-modal config gives its text model's shape. Of a hybrid the layers that attend are counted.
    `num_key_value_heads` may be missing or None (one per query head), and so may `head_dim` (hidden_size /
    num_attention_heads).

    Raises:
        InputError: a field is missing or not a positive whole number, heads do not divide, or the model has
            something other than causal self-attention over keys and values of one width (encoder-decoder, latent
            attention, layers of kinds that are not known here); a hybrid that does not list its layers' kinds.
    """
    model_config = getattr(model_config, "attention", model_config)  # of a `DecoderShape`
    if isinstance(inner := getattr(model_config, "attention", None), AttentionShape):  # of a `DecoderShape`
        return inner
    config = text_config(model_config)
    if field_of(config, "is_encoder_decoder"):
        raise InputError("model config: encoder-decoder models have cross-attention, which is not estimated.")
    if field_of(config, "kv_lora_rank"):
        raise InputError("model config: latent attention (kv_lora_rank) does not keep keys and values per head.")
    layers = _attending_layers(config)
    heads = required_field(config, "num_attention_heads")
    kv_heads = positive_field(config, "num_key_value_heads") or heads
    if heads % kv_heads:
        raise InputError(
            f"model config: num_attention_heads {heads} is not a multiple of num_key_value_heads {kv_heads}."
        )
    head_dim = positive_field(config, "head_dim")
    if head_dim is None:
        hidden = positive_field(config, "hidden_size")
        if hidden is None:
            raise InputError("model config: neither head_dim nor hidden_size (n_embd) is set; set one of them.")
        if hidden % heads:
            raise InputError(
                f"model config: hidden_size {hidden} is not a multiple of num_attention_heads {heads}; set head_dim."
            )
        head_dim = hidden // heads
    return AttentionShape(layers, heads, kv_heads, head_dim)


def _attending_layers(config: object) -> int:
    """How many layers attend: of those whose kinds a config lists, else all."""
    layers = required_field(config, "num_hidden_layers")
    kinds = field_of(config, "layer_types") or field_of(config, "layers_block_type")
    if not isinstance(kinds, list | tuple):
        for name in _OF_OTHERS:
            if field_of(config, name) is not None:
                raise InputError(f"model config: {name} is of layers that do not attend, but layer_types is missing.")
        return layers
    unknown = sorted({str(kind) for kind in kinds} - _ATTENTION - _OTHERS)
    if unknown:
        raise InputError(f"model config: layer_types has '{unknown[0]}', which cannot be estimated.")
    attending = sum(str(kind) in _ATTENTION for kind in kinds)
    if attending == len(kinds):
        return layers
    if len(kinds) != layers or not attending:
        raise InputError(
            f"model config: {attending} of {len(kinds)} layer_types attend, of {layers} num_hidden_layers."
        )
    return attending


def window_notes(model_config: object, window: int) -> tuple[str, ...]:
    """What an estimate at one window for all layers leaves out of a model that says more about them, in sentences.

    Raises:
        InputError: a window of the model, or its number of positions, is not a positive whole number.
    """
    if isinstance(model_config, AttentionShape) or hasattr(model_config, "attention"):
        return ()
    config, notes = text_config(model_config), []
    local, positions = positive_field(config, "sliding_window"), positive_field(config, "max_position_embeddings")
    kinds = field_of(config, "layer_types")
    if isinstance(kinds, list | tuple):
        narrow = sum("sliding" in str(kind) for kind in kinds)
    else:
        narrow = 0 if field_of(config, "use_sliding_window") is False else required_field(config, "num_hidden_layers")
    if local is not None and local < window and narrow:
        notes.append(
            f"{narrow} layers of this model look back {local:,} tokens only, and are given the design point's window "
            f"of {window:,} all the same: their time, energy and area are too large; window {local} prices them."
        )
    if positions is not None and positions < window:
        notes.append(f"This model has {positions:,} positions, so a window of {window:,} is never full.")
    return tuple(notes)


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


def field_of(config: object, name: str) -> object:
    """A field of a mapping or an object, None if it is not there."""
    return config.get(name) if isinstance(config, Mapping) else getattr(config, name, None)


def positive_field(config: object, field: str) -> int | None:
    """The field under the first of its names that is set, None if none is.

    Raises:
        InputError: it is not a positive whole number.
    """
    for name in _NAMES[field]:
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
        raise InputError(f"model config: {' or '.join(_NAMES[field])} is missing; add it.")
    return value
