"""`convert_`: a transformers decoder attends in gain cells, in place."""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import nn
from transformers import PretrainedConfig, PreTrainedModel

from gaincell.config import GainCellConfig
from gaincell.digital_heads import whole_layers
from gaincell.errors import InputError
from gaincell.models.attention_modules import attention_modules, design_point, scalers_of
from gaincell.models.config_section import GainCellCheckpointConfig, base_section, save_pretrained
from gaincell.models.intake import HookNumbers, hand_on
from gaincell.models.interface import IMPLEMENTATION
from gaincell.models.packed_refused import watch_rows
from gaincell.models.ring_cache import RingCache
from gaincell.models.scalers import HeadScalers, scalers_in
from gaincell.models.trial import LONGEST, Call, can_run, dry_run, implementations, restore, softmax_calls
from gaincell.models.use_cache import check_cache, watch_caches
from gaincell.ops.check import check_design

logger = logging.getLogger("gaincell")


def convert_(
    model: PreTrainedModel, config: GainCellConfig | str, digital: Iterable[int | str] | None = None
) -> PreTrainedModel:
    """Replace softmax attention by gain-cell attention, in place; weights are untouched.

    Every attention module gets `HeadScalers` (trainable, float32, in the state dict) under the name `gaincell`;
    `generate`, and a call with `use_cache=True`, take a `RingCache` without being told; `save_pretrained` stores the
    design point in `config.json`. A model that is converted already keeps its scalers and moves to the new design
    point, which is logged, unless that keeps other heads digital and is the same otherwise. Layers and heads that are
    digital attend with softmax as the model did: with its scale, its sliding window and its learned sinks, and with
    keys and values as they are. They have scalers all the same.

    The model is tried, in evaluation mode and without gradients: it reads two tokens with softmax, which shows how each
    layer calls attention (heads, head_dim, scale, window) and whether it computes anything beside; converted, it reads
    the two into a ring, then a third, each layer in float64 beside the oracle. Layers that do not attend (state spaces,
    convolutions) stay what they are; they are seen to read a text token by token, and after pads, as they read it
    whole. Learned sinks (gpt-oss) are a term of the sum that softmax divides by, and go where it goes. That takes a few
    short forward passes, leaves parameters, buffers, modes and random numbers as they are, and where it fails the model
    is again what it was. Weights that accelerate offloads are fetched for it, quantised ones run as they do. Those that
    are not here (on `meta`, or parted over machines) cannot be tried: heads and windows are then what the
    modules' fields say.

    Args:
        model: a causal decoder that uses transformers' attention interface.
        config: the design point, or a shipped one's name. Where it leaves the token period open, the period follows
            from the model's number of layers.
        digital: layers and heads to keep digital, as in the design point's field of that name, in whose place they
            come; None: those of the design point. A layer whose heads are all named is digital as a whole.

    Returns:
        The same model.

    Raises:
        InputError: a model that gain cells cannot serve: encoder, cross-attention, additive position bias, soft cap,
            sparse attention, keys and values of different head_dim, a cache of its own, two attentions a layer, layers
            that do not go on from their states; with PEFT's adapters in it; layers or heads to keep digital that it has
            not; or a `quantization_config` that cannot be kept.
    """
    config = _checked(model, config)
    return _converted(model, config if digital is None else config.replace(digital=digital), tried=True)


def convert_untried_(model: PreTrainedModel, section: GainCellCheckpointConfig) -> PreTrainedModel:
    """`convert_` of a model whose weights are still to be loaded: what its config and this section of it tell."""
    config = _checked(model, GainCellConfig(**section.design_point))
    return _converted(model, config, tried=False, own_windows=section.own_windows)


def _checked(model: PreTrainedModel, config: GainCellConfig | str) -> GainCellConfig:
    """The design point, if both are what `convert_` takes."""
    if not isinstance(model, nn.Module) or not hasattr(model, "config"):
        raise InputError(f"convert_ takes a transformers model, not {type(model).__name__}; load one first.")
    if hasattr(model, "peft_config"):
        raise InputError(
            "convert_ takes a model without PEFT's adapters; convert it before get_peft_model, or merge them "
            "(merge_and_unload)."
        )
    if isinstance(config, str):
        config = GainCellConfig.named(config)
    if not isinstance(config, GainCellConfig):
        kind = type(config).__name__
        raise InputError(f"convert_ takes a GainCellConfig or the name of a shipped one, not {kind}.")
    return config


def _converted(
    model: PreTrainedModel, config: GainCellConfig, *, tried: bool, own_windows: Sequence[int | None] | None = None
) -> PreTrainedModel:
    modules = check_servable(model)
    config = config.for_layers(len(modules))
    check_design(config.for_layer(0))
    before, fresh = design_point(model), not scalers_of(model)
    if before is not None and before != config:
        _check_same_digital_side(before, config)
    tried = tried and can_run(model)
    calls = softmax_calls(model, modules, max(config.window, LONGEST)) if tried and fresh else {}
    layers = {
        name: _layer(name, module, model, config.for_layer(layer), calls.get(name))
        for layer, (name, module) in enumerate(modules.items())
    }
    for layer, scalers in enumerate(layers.values()):
        scalers.digital = config.digital_heads(layer, scalers.heads)
        if own_windows is not None:
            scalers.own_window = own_windows[layer]
    config = config.replace(digital=whole_layers(config.digital, [scalers.heads for scalers in layers.values()]))
    with _all_or_nothing(model, modules) as undo:
        for name, module in modules.items():
            present = scalers_in(module)
            if present is not None:
                present.config, present.digital = layers[name].config, layers[name].digital
                continue
            module.gaincell = layers[name]
        if fresh:
            hooks = [hook for module in modules.values() for hook in hand_on(module)]
            hooks += watch_rows(model) + watch_caches(model)
            undo += [handle.remove for handle in hooks]
            for scalers in layers.values():
                scalers.hook_numbers = HookNumbers()
        _attend_here(model, modules)
        base = base_section(getattr(model.config, "quantization_config", None))
        section = GainCellCheckpointConfig(config.model_dump(mode="json"), base, own_windows=_unsaid(model, modules))
        model.config.quantization_config = section
        # Not bound methods: pickle finds those by their names, which are the class's own.
        model._prepare_cache_for_generation = partial(_prepare_ring, model)  # pyright: ignore[reportArgumentType]
        # What accelerate shards by itself (FSDP2): float32 in a shard of its own, beside weights that may be bfloat16.
        model._no_split_modules = {*(model._no_split_modules or ()), HeadScalers.__name__}
        if tried:
            dry_run(model, modules)
    model.save_pretrained = partial(save_pretrained, model)  # pyright: ignore[reportAttributeAccessIssue]
    if before is not None and before.replace(digital=config.digital) != config:
        logger.warning("design point changed from %s to %s", before.name, config.name)
    return model


def _attend_here(model: PreTrainedModel, modules: dict[str, nn.Module]) -> None:
    """Let the model's own attention, and no other tower's, be the gain cells'."""
    others = _other_towers(model, modules)
    model.set_attn_implementation(IMPLEMENTATION)
    restore(others)
    if model.config._attn_implementation != IMPLEMENTATION:
        raise InputError(f"{type(model).__name__} does not use transformers' attention interface; use another model.")


@contextmanager
def _all_or_nothing(model: PreTrainedModel, modules: dict[str, nn.Module]) -> Iterator[list[Callable[[], None]]]:
    """Where what is done in here fails, the model is again what it was; gives a list to put more steps back into."""
    attended, own = implementations(model), vars(model)
    holders = [(vars(model.config), "quantization_config")]
    holders += [(own, "_prepare_cache_for_generation"), (own, "_no_split_modules")]
    kept = [(holder, field, holder[field]) for holder, field in holders if field in holder]
    scalers = {module: scalers_in(module) for module in modules.values()}
    configs = {m: (present.config, present.digital) for m, present in scalers.items() if present is not None}
    undo: list[Callable[[], None]] = []
    try:
        yield undo
    except BaseException:
        for step in undo:
            step()
        restore(attended)
        for holder, field in holders:
            holder.pop(field, None)
        for holder, field, value in kept:
            holder[field] = value
        for module in modules.values():
            present = scalers_in(module)
            if present is not None and module in configs:
                present.config, present.digital = configs[module]
            elif present is not None:
                del module.gaincell
        raise


def _other_towers(model: PreTrainedModel, modules: dict[str, nn.Module]) -> list[tuple[PretrainedConfig, str | None]]:
    """What the configs of parts that nothing is converted in (an image's encoder) name as their attention."""
    converted = set(modules.values())
    parts = [part for part in model.modules() if isinstance(part, PreTrainedModel) and converted & set(part.modules())]
    theirs = {id(getattr(part, "config", None)) for part in (*parts, *converted)}
    return [(config, name) for config, name in implementations(model) if id(config) not in theirs]


def check_servable(model: PreTrainedModel) -> dict[str, nn.Module]:
    """Raise InputError if gain cells cannot serve this model; else its attention modules, as `attention_modules`."""
    modules = attention_modules(model)
    kind, config = type(model).__name__, model.config
    text_config = config.get_text_config(decoder=True)
    if getattr(config, "is_encoder_decoder", False) or getattr(text_config, "add_cross_attention", False):
        raise InputError(f"{kind} uses cross-attention; gain cells serve causal decoders only.")
    for field in ("attn_logit_softcapping", "attn_logit_softcap"):
        if getattr(text_config, field, None):
            raise InputError(f"{kind} caps its attention scores ({field}); gain cells cannot serve a soft cap.")
    if getattr(text_config, "alibi", False):
        raise InputError(f"{kind} adds a position bias to its scores (alibi); gain cells cannot serve it.")
    if not modules or not (model._supports_attention_backend or model._can_set_attn_implementation()):
        raise InputError(f"{kind} does not use transformers' attention interface; gain cells cannot serve it.")
    if getattr(text_config, "num_kv_shared_layers", 0):
        raise InputError(f"{kind} shares keys and values between layers; gain cells hold a layer's own.")
    if "chunked_attention" in (getattr(text_config, "layer_types", None) or ()):
        raise InputError(f"{kind} attends in chunks of fixed position; gain cells serve a window that slides.")
    layers = [module.layer_idx for module in modules.values()]
    if len(set(layers)) < len(layers):
        raise InputError(f"{kind} has several attentions in one layer; gain cells serve one a layer.")
    for name, module in modules.items():
        if not module.is_causal:
            raise InputError(f"{kind} attends in both directions ({name}); gain cells serve causal decoders only.")
    return modules


def _layer(
    name: str, module: nn.Module, model: PreTrainedModel, config: GainCellConfig, call: Call | None
) -> HeadScalers:
    """The scalers of a module, of the shape that it calls attention with; as its fields say where it was not tried."""
    text_config = model.config.get_text_config(decoder=True)
    heads = _query_heads(module, text_config)
    kv_heads = heads // int(getattr(module, "num_key_value_groups", 1))
    head_dim = int(_field(module, "qk_head_dim", "head_dim") or text_config.hidden_size // heads)
    scaling, own_window, asked = softmax_scale(module), _own_window(module, text_config), config.window
    config = _layer_config(name, own_window, config)
    if call is not None:
        if config.window != min(call.window or asked, asked):
            raise InputError(
                f"{type(model).__name__} attends to {call.window or 'all'} tokens in {name}, where its config tells of "
                f"{config.window}; gain cells cannot serve it."
            )
        heads, kv_heads, head_dim, scaling = call.heads, call.kv_heads, call.head_dim, call.scaling
        # The fields may tell of a window that the code never applies; one beyond the reach of the trial was not seen.
        if call.seen is not None or (own_window or 0) < max(asked, LONGEST):
            own_window = call.seen
    device, hidden = _device(module), text_config.hidden_size
    scalers = HeadScalers(heads, kv_heads, config, scaling, device, head_dim=head_dim, hidden=hidden)
    scalers.own_window = own_window
    return scalers


def query_heads(model: PreTrainedModel) -> list[int]:
    """How many query heads each layer that attends has, as their fields say; those of a converted one as it attends."""
    text_config = model.config.get_text_config(decoder=True)
    found = [(module, scalers_in(module)) for module in attention_modules(model).values()]
    return [scalers.heads if scalers else _query_heads(module, text_config) for module, scalers in found]


def _query_heads(module: nn.Module, text_config: Any) -> int:
    return int(getattr(module, "num_heads", None) or text_config.num_attention_heads)


def _device(module: nn.Module) -> torch.device:
    """Where a module computes: where its weights are, or where accelerate fetches them to."""
    device = next(module.parameters()).device
    hooks = [getattr(part, "_hf_hook", None) for part in module.modules()] if device.type == "meta" else []
    fetched_to = (getattr(hook, "execution_device", None) for hook in hooks)
    return next((torch.device(found) for found in fetched_to if found is not None), device)


def _field(module: nn.Module, *names: str) -> Any:
    return next((value for value in (getattr(module, name, None) for name in names) if value), None)


def _check_same_digital_side(before: GainCellConfig, after: GainCellConfig) -> None:
    differing = [n for n in ("equalisation", "score_preset", "sinks") if getattr(before, n) != getattr(after, n)]
    if differing:
        raise InputError(
            f"the model was converted with another {' and '.join(differing)}, whose parameters do not carry over; "
            "convert the original model to this design point."
        )


def softmax_scale(module: nn.Module) -> float:
    """What the attention module lets its scores be multiplied with: as it was tried, else as it says itself."""
    scalers = scalers_in(module)
    if scalers is not None:
        return scalers.scaling
    scaling = getattr(module, "scaling", None)
    return float(scaling) if isinstance(scaling, float | int) else float(getattr(module, "head_dim", 1)) ** -0.5


def _own_window(module: nn.Module, text_config: Any) -> int | None:
    """The layer's own sliding window, as its fields say; None without."""
    # Mistral and its kin keep one window for all layers in the model's config, and none in the module.
    sliding = getattr(module, "sliding_window", getattr(text_config, "sliding_window", None))
    slides = getattr(module, "is_sliding", True) and isinstance(sliding, int) and sliding > 0
    return sliding if slides else None


def _unsaid(model: PreTrainedModel, modules: dict[str, nn.Module]) -> list[int | None] | None:
    """Each layer's own window, where the fields of some tell of another; else None."""
    text_config, present = model.config.get_text_config(decoder=True), map(scalers_in, modules.values())
    own = [scalers.own_window for scalers in present if scalers is not None]
    return None if own == [_own_window(module, text_config) for module in modules.values()] else own


def _layer_config(name: str, sliding: int | None, config: GainCellConfig) -> GainCellConfig:
    """The ring has the smaller of the design point's window and the layer's own sliding window."""
    if sliding is None or sliding >= config.window:
        return config
    if sliding % config.subtile_columns:
        raise InputError(
            f"{name} has a sliding window of {sliding}, not a multiple of subtile_columns {config.subtile_columns}; "
            "choose subtile_columns that divides it."
        )
    return config.replace(window=sliding)


def _prepare_ring(
    self: PreTrainedModel,
    generation_config: Any,
    model_kwargs: dict[str, Any],
    *args: Any,
    **kwargs: Any,
) -> None:
    """transformers' hook before generation: the cache of a converted model is its ring."""
    if generation_config.use_mtp or generation_config.speculation_type is not None:
        raise InputError("drafts of layers beside the model's own are not served; pass an assistant_model, or none.")
    asked = generation_config.cache_implementation
    default = getattr(self.generation_config, "cache_implementation", None)
    if asked is not None and asked != default:
        raise InputError(f"cache_implementation='{asked}' is not served: a converted model generates from its ring.")
    if generation_config.use_cache is not False and model_kwargs.get("past_key_values") is None:
        model_kwargs["past_key_values"] = RingCache(self)
    if model_kwargs.get("past_key_values") is not None:
        check_cache(model_kwargs["past_key_values"])
        if generation_config.is_assistant:  # the model that it drafts for takes tokens back
            model_kwargs["past_key_values"].activate_past_recording()
