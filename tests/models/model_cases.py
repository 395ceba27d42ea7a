"""Small random decoders of several families, and the design point that they are converted to."""

from collections.abc import Callable
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from torch import Tensor
from transformers import (
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

import gaincell
from gaincell import GainCellConfig
from gaincell.models import scalers_of

VOCABULARY = 97
LAYERS = 3

#: A window that a short text passes, and scales small enough that pulses and read-outs are spread.
CONFIG = GainCellConfig.named("extended").replace(
    window=16, subtile_columns=4, leak_per_token=None, score_saturation=3.7, output_scale=2.3
)

SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 256,
    "initializer_range": 0.1,  # wide enough that keys and values take all their levels
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
GPT2: dict[str, Any] = {"vocab_size": VOCABULARY, "n_embd": 32, "n_layer": LAYERS, "n_head": 4, "n_positions": 256}


def gemma3(head_dim: int) -> PreTrainedModel:
    sizes = {**SIZES, "head_dim": head_dim, "sliding_window": 8}
    kinds = ["sliding_attention", "sliding_attention", "full_attention"]
    return Gemma3ForCausalLM(Gemma3TextConfig(**sizes, layer_types=kinds))


FAMILIES: dict[str, Callable[[], PreTrainedModel]] = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**SIZES)),
    "gpt2": lambda: GPT2LMHeadModel(GPT2Config(**GPT2, initializer_range=0.1, bos_token_id=1, eos_token_id=2)),
    "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**SIZES)),
    "qwen3": lambda: Qwen3ForCausalLM(Qwen3Config(**SIZES)),
    "gemma3": lambda: gemma3(head_dim=16),
    "gemma3, head_dim 256": lambda: gemma3(head_dim=256),
    "mistral": lambda: MistralForCausalLM(MistralConfig(**{**SIZES, "sliding_window": 12})),
}


def unconverted(family: str, dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    torch.manual_seed(0)
    return FAMILIES[family]().to(dtype).eval()


def converted(family: str, dtype: torch.dtype = torch.float64, config: GainCellConfig = CONFIG) -> PreTrainedModel:
    """Converted, with scalers that differ from head to head as after adaptation."""
    model = gaincell.convert_(unconverted(family, dtype), config)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".gaincell." in name:
                parameter += 0.05 * torch.randn(parameter.shape, generator=generator)
        for scalers in scalers_of(model).values():
            if scalers.sinks is not None:  # sinks that count, and some beside the first token
                scalers.sinks.share.bias -= 8.0
                scalers.sinks.shortest.fill_(1.3)
    return model


def tokens(rows: int, length: int, seed: int = 2) -> Tensor:
    return torch.randint(3, VOCABULARY, (rows, length), generator=torch.Generator().manual_seed(seed))


def positions(mask: Tensor) -> Tensor:
    """As transformers counts them in `generate`: pads take none."""
    return (mask.cumsum(1) - 1).clamp(min=0)


def logits(model: PreTrainedModel, ids: Tensor, **inputs: Any) -> Tensor:
    with torch.no_grad():
        return model(input_ids=ids, **{"use_cache": False, **inputs}).logits


def byte_tokenizer() -> PreTrainedTokenizerFast:
    """A real byte-level BPE without merges: one token a byte; it reads any text."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    special = ["<pad>", "<s>", "</s>"]
    vocabulary = {token: i for i, token in enumerate([*special, *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<s>", eos_token="</s>", padding_side="left"
    )
