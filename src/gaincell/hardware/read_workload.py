"""A model's layers, read from its config."""

from collections.abc import Mapping

from gaincell.errors import InputError
from gaincell.hardware.model_config import (
    check_causal,
    completed,
    field_of,
    knows,
    layer_configs,
    positive_field,
    required_field,
    text_config,
)
from gaincell.hardware.workload import Layer, Workload

#: Kinds of layers that attend, and those that keep no keys and values.
_FULL = {"full_attention", "attention", "hybrid", "global"}
_SLIDING = {"sliding_attention", "hybrid_sliding", "local"}
_CHUNKED = {"chunked_attention"}
_OTHERS = {"linear_attention", "conv", "mamba", "recurrent", "mlp", "moe"}
#: Fields that list the kinds of layers, in the order in which they are looked for.
_KINDS = ("layer_types", "layers_block_type", "attention_layers")
#: What a config has only if its layers are of several kinds, so that these must be listed.
_OF_SEVERAL = (
    *("mamba_d_state", "ssm_state_size", "lru_width", "conv_L_cache", "linear_conv_kernel_dim", "attn_layer_period"),
    *("attn_layer_indices", "hybrid_override_pattern", "full_attention_interval", "block_types", "attention_types"),
    *("sliding_window_pattern", "global_attn_every_n_layers", "attention_chunk_size"),
)
#: What does something else than one attention over keys and values of a layer's own, and why that has no price here.
_REFUSED = {
    "num_kv_shared_layers": "keys and values that layers share are not estimated",
    "index_topk": "attention to tokens that an index chooses is not estimated",
    "lambda_std_dev": "differential attention, which attends twice in every layer, is not estimated",
}
#: Families whose layers that slide have so many times the key/value heads, in their code.
_SLIDING_KV_HEADS = {"mimo_v2_flash": 2}
#: What to know where keys and values are made from a latent.
_LATENT = (
    "Latent attention is priced as transformers computes it: arrays hold the keys and values of every head, where a "
    "digital cache keeps the latent that they are made from."
)
#: What to know where layers attend in chunks.
_CHUNKS = (
    "Layers that attend in chunks are priced as if a chunk were full, which is the most that a token takes: on average "
    "it finds half of its chunk. What keeps the chunk before out of the arrays takes nothing here."
)


def read_workload(model_config: object) -> Workload:
    """Take the layers from a model config: any object or mapping with transformers' (or GPT-2's) names.

    A mapping with a `model_type`, such as a config.json, gets the defaults that transformers has for it. A multi-modal
    config gives its text model's layers. A `Workload`, or what `dataclasses.asdict` made of one, is taken as it is.
    Without a model type, `num_key_value_heads` may be missing (one per query head), and so may `head_dim`
    (hidden_size / num_attention_heads).

    Raises:
        InputError: a field is missing or not a positive whole number, heads do not divide, or a layer does something
            other than causal self-attention over keys and values of its own (cross-attention, keys shared between
            layers, kinds that are not known here); the sentence names the field.
    """
    if isinstance(model_config, Workload):
        return model_config
    if isinstance(inner := getattr(model_config, "attention", None), Workload):  # of a `DecoderShape`
        return inner
    if isinstance(model_config, Mapping) and isinstance(model_config.get("layers"), list | tuple):
        return Workload.from_dict(model_config)
    whole = completed(model_config)
    config = completed(text_config(whole))
    check_causal(whole, config)
    for name, why in _REFUSED.items():
        if field_of(config, name):
            raise InputError(f"model config: {name} is set, but {why}.")
    kinds = _kinds(config)
    each = layer_configs(config, len(kinds))
    layers = tuple(_layer(one, kind, number) for number, (kind, one) in enumerate(zip(kinds, each, strict=True)))
    if not any(layer.heads for layer in layers):
        raise InputError(f"model config: none of its {len(layers)} layers attends ({', '.join(sorted(set(kinds)))}).")
    kind = field_of(config, "model_type")
    notes = [_LATENT] if any(layer.latent for layer in layers) else []
    notes += [_CHUNKS] if _CHUNKED.intersection(kinds) else []
    if isinstance(kind, str) and kind and not knows(config):
        notes.append(f"transformers does not know model_type '{kind}', so its config's fields are taken as they stand.")
    return Workload(layers, positive_field(config, "max_position_embeddings"), tuple(notes))


def _kinds(config: object) -> list[str]:
    """The kind of every layer: as listed, else attention, which slides if the config has a window for all."""
    name = next((name for name in _KINDS if isinstance(field_of(config, name), list | tuple)), None)
    if name is None:
        for several in _OF_SEVERAL:
            if field_of(config, several) is not None:
                raise InputError(
                    f"model config: {several} says that layers are of several kinds, but layer_types is missing; add "
                    "it, with the kind of every layer."
                )
        slides = field_of(config, "sliding_window") and field_of(config, "use_sliding_window") is not False
        if slides and field_of(config, "max_window_layers") is not None and not knows(config):
            raise InputError("model config: max_window_layers is set, but layer_types is missing; add it.")
        kind = "sliding_attention" if slides else "full_attention"
        return [kind] * required_field(config, "num_hidden_layers")
    kinds = [str(kind) for kind in field_of(config, name)]
    unknown = sorted(set(kinds) - _FULL - _SLIDING - _CHUNKED - _OTHERS)
    if unknown:
        raise InputError(f"model config: {name} has '{unknown[0]}', which cannot be estimated.")
    layers = required_field(config, "num_hidden_layers")
    if len(kinds) != layers:
        raise InputError(f"model config: {name} lists {len(kinds)} layers, but num_hidden_layers is {layers}.")
    return kinds


def _layer(config: object, kind: str, number: int) -> Layer:
    """One layer, from its config."""
    without = field_of(config, "skip") or ()
    if not isinstance(without, list | tuple | set | frozenset):
        raise InputError(
            f"model config: skip is {without!r:.60}, but must be a list of the parts that a layer goes without."
        )
    skipped = [str(part) for part in without]
    if kind in _OTHERS or any("attention" in part or "attn" in part for part in skipped):
        return Layer(kind if kind in _OTHERS else "skipped")
    window = None
    if kind in _SLIDING:
        window = required_field(config, "window_size" if kind == "local" else "sliding_window")
    elif kind in _CHUNKED:
        window = required_field(config, "attention_chunk_size")
    elif field_of(config, "attention_window_size") is not None:
        window = required_field(config, "attention_window_size")

    # Some families have other heads in layers that slide, under names of their own.
    def own(field: str) -> int | None:
        return (positive_field(config, f"swa_{field}") if kind in _SLIDING else None) or positive_field(config, field)

    listed = field_of(config, "num_attention_heads_per_layer")
    if isinstance(listed, list | tuple) and number < len(listed):
        heads = required_field({"num_attention_heads": listed[number]}, "num_attention_heads")
    else:
        heads = own("num_attention_heads") or required_field(config, "num_attention_heads")
    latent = positive_field(config, "kv_lora_rank")
    if latent is not None:  # keys have a part that is made from the latent, and one that all heads share
        shared = required_field(config, "qk_rope_head_dim")
        key_dim, value_dim = required_field(config, "qk_nope_head_dim") + shared, required_field(config, "v_head_dim")
        return Layer(kind, heads, heads, key_dim, value_dim, window, latent + shared)
    kv_heads = own("num_key_value_heads")
    if kv_heads and kind in _SLIDING and field_of(config, "swa_num_key_value_heads") is None:
        kv_heads *= _SLIDING_KV_HEADS.get(str(field_of(config, "model_type")), 1)
    kv_heads = _kv_heads(config, heads, kv_heads)
    key_dim = positive_field(config, "attention_head_dim") or own("head_dim") or _split_width(config, heads)
    return Layer(kind, heads, kv_heads, key_dim, own("v_head_dim") or key_dim, window)


def _kv_heads(config: object, heads: int, given: int | None) -> int:
    """Key/value heads: under the names that families have for them, else one per query head."""
    grouped = positive_field(field_of(config, "attn_config") or {}, "kv_n_heads")
    if field_of(config, "multi_query") and not field_of(config, "new_decoder_architecture"):
        kv_heads = 1
    else:
        kv_heads = given or grouped or positive_field(config, "num_kv_heads") or heads
    if heads % kv_heads:
        raise InputError(
            f"model config: num_attention_heads {heads} is not a multiple of num_key_value_heads {kv_heads}."
        )
    return kv_heads


def _split_width(config: object, heads: int) -> int:
    hidden = positive_field(config, "hidden_size")
    if hidden is None:
        raise InputError("model config: neither head_dim nor hidden_size (n_embd) is set; set one of them.")
    if hidden % heads:
        raise InputError(
            f"model config: hidden_size {hidden} is not a multiple of num_attention_heads {heads}; set head_dim."
        )
    return hidden // heads
