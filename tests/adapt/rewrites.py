"""A model written otherwise: other weights, the same function."""

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel

Rewrite = Callable[[PreTrainedModel], PreTrainedModel]


def _attentions(model: Any) -> list[Any]:
    return [layer.self_attn for layer in model.model.layers]


@torch.no_grad()
def sharper_queries(model: PreTrainedModel, factors: tuple[float, ...] = (8.0,)) -> PreTrainedModel:
    """Queries times, and keys over, a factor per rotary pair; `factors` take turns over the pairs of a head."""
    model = copy.deepcopy(model)
    for attention in _attentions(model):
        pairs = attention.head_dim // 2
        factor = torch.tensor([factors[i % len(factors)] for i in range(pairs)] * 2)  # channels i and i + D/2
        attention.q_proj.weight.view(-1, 2 * pairs, attention.q_proj.in_features).mul_(factor[:, None])
        attention.k_proj.weight.view(-1, 2 * pairs, attention.k_proj.in_features).div_(factor[:, None])
    return model


@torch.no_grad()
def smaller_values(model: PreTrainedModel, factor: float = 1 / 64) -> PreTrainedModel:
    """Values times a factor, the output projection over it."""
    model = copy.deepcopy(model)
    for attention in _attentions(model):
        attention.v_proj.weight.mul_(factor)
        attention.o_proj.weight.div_(factor)
    return model


@torch.no_grad()
def folded_norms(model: Any) -> Any:
    """The weights of the norms before attention and before the feed-forward part, moved into what reads them."""
    model = copy.deepcopy(model)
    for layer in model.model.layers:
        attention, feed = layer.self_attn, layer.mlp
        for norm, readers in (
            (layer.input_layernorm, (attention.q_proj, attention.k_proj, attention.v_proj)),
            (layer.post_attention_layernorm, (feed.gate_proj, feed.up_proj)),
        ):
            for reader in readers:
                reader.weight.mul_(norm.weight)
            norm.weight.fill_(1.0)
    return model


@torch.no_grad()
def copied_heads(model: Any) -> Any:
    """A key/value head for every query head: each as often as query heads shared it."""
    config = copy.deepcopy(model.config)
    config.num_key_value_heads = config.num_attention_heads
    other: Any = AutoModelForCausalLM.from_config(config, dtype=model.dtype)
    times = config.num_attention_heads // model.config.num_key_value_heads

    def copied(name: str, weight: Tensor) -> Tensor:
        if not name.endswith(("k_proj.weight", "v_proj.weight")):
            return weight
        return weight.unflatten(0, (model.config.num_key_value_heads, -1)).repeat_interleave(times, 0).flatten(0, 1)

    other.load_state_dict({name: copied(name, weight) for name, weight in model.state_dict().items()})
    return other.eval()


#: By what each is called; the second factors differ from pair to pair.
REWRITES: dict[str, Rewrite] = {
    "sharper queries": sharper_queries,
    "uneven queries": lambda model: sharper_queries(model, (8.0, 0.5)),
    "smaller values": smaller_values,
    "tiny values": lambda model: smaller_values(model, 2.0**-24),
    "folded norms": folded_norms,
    "copied heads": copied_heads,
}
