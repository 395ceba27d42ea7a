"""A small random model of every causal family that the installed transformers knows, by its model type."""

import copy
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
from model_cases import CONFIG, logits, positions
from torch import Tensor
from transformers import PreTrainedModel
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

import gaincell
from gaincell import InputError
from gaincell.models import RingCache, design_point

VOCABULARY = 97
LAYERS = 2

#: Sizes by every name that families give them; a config gets those that it has.
_SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "initializer_range": 0.1,  # wide enough that keys and values take all their levels
    **dict.fromkeys(("hidden_size", "d_model", "n_embd", "word_embed_proj_dim"), 32),
    **dict.fromkeys(("intermediate_size", "ffn_dim", "d_ff", "decoder_ffn_dim", "ffn_hidden_size"), 48),
    **dict.fromkeys(("num_hidden_layers", "n_layer", "n_layers", "num_layers", "decoder_layers"), LAYERS),
    **dict.fromkeys(("num_attention_heads", "n_head", "n_heads", "num_heads", "decoder_attention_heads"), 4),
    "num_key_value_heads": 2,
    **dict.fromkeys(("head_dim", "kv_channels", "qk_nope_head_dim", "qk_rope_head_dim", "index_head_dim"), 8),
    **dict.fromkeys(("qk_head_dim", "v_head_dim", "q_lora_rank", "kv_lora_rank"), 16),
    **dict.fromkeys(("max_position_embeddings", "n_positions"), 256),
    **dict.fromkeys(("moe_intermediate_size", "shared_expert_intermediate_size"), 16),
    **dict.fromkeys(("num_experts", "n_routed_experts", "num_local_experts", "index_topk"), 4),
    **dict.fromkeys(("num_experts_per_tok", "moe_topk", "index_n_heads", "laurel_rank"), 2),
    **dict.fromkeys(("n_group", "topk_group", "n_shared_experts", "first_k_dense_replace"), 1),
    **dict.fromkeys(("rotary_dim", "hidden_size_per_layer_input"), 4),
    "vocab_size_per_layer_input": VOCABULARY,
}
_MAMBA: dict[str, Any] = {
    **{"mamba_n_heads": 4, "mamba_d_head": 16, "mamba_expand": 2, "mamba_d_state": 8, "mamba_n_groups": 1},
    **{"mamba_num_heads": 4, "mamba_head_dim": 16, "ssm_state_size": 8, "n_groups": 1, "expand": 2},
}
_DELTA: dict[str, Any] = {
    **dict.fromkeys(("linear_num_key_heads", "linear_num_value_heads"), 2),
    **dict.fromkeys(("linear_key_head_dim", "linear_value_head_dim"), 8),
}
_FULL = {"layer_types": ["full_attention"] * LAYERS}
_LINEAR = {"layer_types": ["linear_attention", "full_attention"]}
_CONVOLUTION = {"layer_types": ["conv", "full_attention"]}
#: Where a family wants other values, or its defaults would hide what it is about.
_OWN: dict[str, dict[str, Any]] = {
    "bailing_hybrid": _LINEAR,
    "bamba": {**_MAMBA, "attn_layer_indices": [1]},
    "falcon_h1": {**_MAMBA, "mamba_d_ssm": 64},
    "granitemoehybrid": {**_MAMBA, **_LINEAR},
    "gpt_neo": {"attention_types": [[["global"], LAYERS]]},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1, "mamba_d_state": 8, "use_mamba_kernels": False},
    "kimi_linear": {**_LINEAR, "linear_head_dim": 8, "linear_num_heads": 4},
    "lfm2": _CONVOLUTION,
    "lfm2_moe": _CONVOLUTION,
    "lfm3": {"layer_types": ["conv", "sliding_attention"], "sliding_window": 8},
    "llama4_text": {**_FULL, "attn_temperature_tuning": False},
    "mimo_v2_flash": {"v_head_dim": 8, "layer_types": ["sliding_attention", "full_attention"], "sliding_window": 8},
    "minimax": _LINEAR,
    "nemotron_h": {
        **{key: value for key, value in _MAMBA.items() if not key.startswith("mamba_n_") and key != "mamba_d_head"},
        "layers_block_type": ["linear_attention", "full_attention", "mlp"],
        "use_mamba_kernels": False,
    },
    "olmo_hybrid": {**_DELTA, **_LINEAR},
    **{f"qwen3_{name}": {**_DELTA, **_LINEAR} for name in ("5", "5_text", "5_moe", "5_moe_text", "next")},
    "recurrent_gemma": {"block_types": ["recurrent", "attention"], "attention_window_size": 8},
    "zaya": {"num_experts_per_tok": 1},
    "zamba2": {
        **{"n_mamba_heads": 4, "mamba_d_state": 8, "mamba_headdim": 16, "use_mamba_kernels": False},
        "layers_block_type": ["mamba", "hybrid"],
    },
}
_LARGEST = 3_000_000


class TooLargeError(Exception):
    """A family whose sizes go by names that are not known here."""


def known(model_type: str) -> bool:
    """Whether the installed transformers has this family."""
    return model_type in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES


def build(model_type: str, **fields: Any) -> PreTrainedModel:
    """A causal language model of this type, with its own defaults but for sizes and what is given."""
    name = MODEL_FOR_CAUSAL_LM_MAPPING_NAMES[model_type]
    cls = getattr(transformers, name if isinstance(name, str) else name[0])
    config_class = cls.config_class or CONFIG_MAPPING[model_type]
    parameters = inspect.signature(config_class.__init__).parameters
    names = {*getattr(config_class, "__dataclass_fields__", ()), *parameters}
    sizes = {key: value for key, value in _SIZES.items() if key in names}
    if "kv_lora_rank" in sizes:  # keys of all heads are made of one latent
        sizes["num_key_value_heads"] = 4
    config = config_class(**{**sizes, **_OWN.get(model_type, {}), **fields})
    with torch.device("meta"):
        count = sum(p.numel() for p in cls(copy.deepcopy(config)).parameters())
    if count > _LARGEST:
        raise TooLargeError(f"{model_type} has {count} parameters")
    torch.manual_seed(0)
    return cls(config).eval()


def _ids(rows: int, length: int) -> Tensor:
    return torch.randint(3, VOCABULARY, (rows, length), generator=torch.Generator().manual_seed(2))


def _apart(found: Tensor, expected: Tensor) -> float:
    """How many positions differ, of all: single ones may fall on the other side of a code, in float32."""
    return float(((found - expected).abs().amax(-1) > 1e-4).double().mean())


def _single_tokens(model: PreTrainedModel, folder: Path) -> float:
    ids, cache = _ids(1, 24), RingCache(model)
    parts = ids.split([17, *[1] * 7], 1)
    return _apart(
        torch.cat([logits(model, x, past_key_values=cache, use_cache=True) for x in parts], 1), logits(model, ids)
    )


def _left_pads(model: PreTrainedModel, folder: Path) -> float:
    ids, mask = _ids(2, 14), torch.ones(2, 14, dtype=torch.long)
    mask[1, :5] = 0
    where = {"position_ids": positions(mask)} if "position_ids" in inspect.signature(model.forward).parameters else {}
    return _apart(logits(model, ids, attention_mask=mask, **where)[1:, 5:], logits(model, ids[1:, 5:]))


def _generation(model: PreTrainedModel, folder: Path) -> float:
    options: dict[str, Any] = {"max_new_tokens": 6, "do_sample": False, "pad_token_id": 0, "eos_token_id": None}
    ids = _ids(1, 9)
    found, expected = (model.generate(ids, use_cache=cached, **options) for cached in (True, False))
    return float((found != expected).double().mean())


def _saved(model: PreTrainedModel, folder: Path) -> float:
    model.save_pretrained(folder)
    again = type(model).from_pretrained(folder)
    assert design_point(again) == design_point(model)
    return _apart(logits(again.eval(), _ids(1, 9)), logits(model, _ids(1, 9)))


FEATURES: dict[str, Callable[[PreTrainedModel, Path], float]] = {
    "token by token": _single_tokens,
    "left pads": _left_pads,
    "`generate`": _generation,
    "saved and loaded": _saved,
}


def outcome(model_type: str, folder: Path) -> dict[str, str] | str | None:
    """What comes of a family: each feature "ok" or what is wrong; the sentence it is refused with; None if not made."""
    try:
        model = build(model_type)
        logits(model, _ids(1, 4))
    except Exception:  # a family's own wishes on its config are not what is tried here
        return None
    try:
        gaincell.convert_(model, CONFIG)
    except InputError as error:
        return str(error)
    found = {}
    for name, feature in FEATURES.items():
        try:
            apart = feature(model, folder)
            found[name] = "ok" if apart < 0.1 else f"differs in {apart:.0%}"
        except InputError as error:
            found[name] = f"refused: {error}"
        except Exception as error:
            found[name] = f"fails: {type(error).__name__}"
    return found
