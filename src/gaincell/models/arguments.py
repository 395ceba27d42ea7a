"""What transformers may hand an attention function beside queries, keys and values, and what gain cells make of it."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from gaincell.errors import InputError

#: Served elsewhere: windows by the ring, positions and masks by `rows`, maps on demand, the scale by the scalers.
_SERVED = {"attention_mask", "dropout", "is_causal", "output_attentions", "position_ids", "scaling", "sliding_window"}
#: About the model around an attention, not about what attends to what.
_ELSEWHERE = {
    "cache_position",
    "layer_idx",
    "logits_to_keep",
    "num_items_in_batch",
    "num_logits_to_keep",
    "output_hidden_states",
    "output_router_logits",
    "past_key_values",
    "position_embeddings",
    "return_dict",
    "tokenizer",
    "use_cache",
}
_KNOWN = frozenset(_SERVED | _ELSEWHERE)


def learned_sinks(module: nn.Module, arguments: Mapping[str, Any]) -> Tensor | None:
    """(Hq,): the module's own learned logits that take part in its softmax's sum and in nothing else; None without.

    Such a sink (gpt-oss) belongs to the sum that softmax divides by. Gain cells have no such sum, so it goes where
    softmax goes, and adaptation learns what the heads put out with it.
    """
    sinks = arguments.get("s_aux")
    return sinks if isinstance(sinks, nn.Parameter) and sinks is getattr(module, "sinks", None) else None


def unserved_argument(module: nn.Module, arguments: Mapping[str, Any]) -> str | None:
    """The name of an argument that gain cells do not know, which to drop would be to answer something else; or None."""
    known = _KNOWN if learned_sinks(module, arguments) is None else _KNOWN | {"s_aux"}
    return next((name for name in sorted(arguments.keys() - known) if arguments[name] is not None), None)


def check_arguments(module: nn.Module, arguments: Mapping[str, Any]) -> None:
    """Refuse an attention call of a module with arguments that gain cells do not know.

    Raises:
        InputError: an argument that is not known and not None, or `is_causal=False`.
    """
    name = unserved_argument(module, arguments)
    if name is not None:
        raise InputError(f"gain cells cannot serve an attention with {name}; use another model, or do not pass it.")
    if arguments.get("is_causal") is False:
        raise InputError("is_causal=False lets tokens see their future; gain cells attend causally.")
