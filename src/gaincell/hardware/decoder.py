"""What a decoder computes for one token beside attention: its weights, each used once."""

from collections.abc import Iterable
from dataclasses import dataclass

from gaincell.errors import InputError
from gaincell.hardware import workload
from gaincell.hardware.model_config import completed, field_of, positive_field, required_field, text_config
from gaincell.hardware.read_workload import read_workload
from gaincell.hardware.workload import Workload

#: Model types of transformers whose MLP has two matrices, and those where a third gates the first.
_PLAIN = ("gpt2",)
_GATED = ("gemma", "gemma2", "gemma3_text", "llama", "mistral", "qwen2", "qwen3", "smollm3")
_EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts")


@dataclass(frozen=True)
class DecoderShape:
    """A dense decoder: attention, projections, MLP and LM head.

    Weights are those of the matrices that every token is multiplied by. The look-up of an embedding, biases and norms
    are left out (about 0.1 % of the parameters or less), and so is what a token does with the cache: that is attention.

    Attributes:
        attention: its attention.
        hidden_size: width between layers.
        intermediate_size: width inside the MLP.
        gated_mlp: whether the MLP has three matrices (gate, up, down) or two.
        vocab_size: rows of the LM head.
    """

    attention: Workload
    hidden_size: int
    intermediate_size: int
    gated_mlp: bool
    vocab_size: int

    @property
    def projection_weights(self) -> int:
        """Of query, key, value and output projections, all layers."""
        return self.hidden_size * self.attention.carried

    @property
    def mlp_weights(self) -> int:
        """Of the MLPs, all layers."""
        matrices = 3 if self.gated_mlp else 2
        return len(self.attention.layers) * matrices * self.hidden_size * self.intermediate_size

    @property
    def head_weights(self) -> int:
        """Of the LM head, which is read for every token also where it is tied to the embedding."""
        return self.vocab_size * self.hidden_size

    @property
    def weights(self) -> int:
        """All that a token needs."""
        return self.projection_weights + self.mlp_weights + self.head_weights

    @property
    def multiply_adds(self) -> int:
        """Per token, without attention: one per weight."""
        return self.weights


#: Source of each: the config.json published with the model (openai-community/gpt2, HuggingFaceTB/SmolLM2-135M,
#: meta-llama/Meta-Llama-3-8B and -70B).
GPT2 = DecoderShape(workload.GPT2, hidden_size=768, intermediate_size=3072, gated_mlp=False, vocab_size=50257)
SMOLLM2_135M = DecoderShape(Workload.uniform(30, 9, 3, 64), 576, 1536, gated_mlp=True, vocab_size=49152)
LLAMA3_8B = DecoderShape(Workload.uniform(32, 32, 8, 128), 4096, 14336, gated_mlp=True, vocab_size=128256)
LLAMA3_70B = DecoderShape(Workload.uniform(80, 64, 8, 128), 8192, 28672, gated_mlp=True, vocab_size=128256)


def read_decoder(model_config: object) -> DecoderShape:
    """Take the shape from a model config: any object or mapping with transformers' names, with its `model_type`.

    Known are GPT-2, Llama (SmolLM2 is one), SmolLM3, Mistral, Qwen 2 and 3, and Gemma 1 to 3; a multi-modal config
    gives its text model's shape. A `DecoderShape` is returned as it is.

    Raises:
        InputError: as `read_workload`, and for a mixture of experts, another model type, or a missing width.
    """
    if isinstance(model_config, DecoderShape):
        return model_config
    config = completed(text_config(completed(model_config)))
    attention = read_workload(model_config)
    kind = field_of(config, "model_type")
    if any(_above_one(field_of(config, name)) for name in _EXPERTS):
        raise InputError(
            f"model config: '{kind}' is a mixture of experts, whose share of weights per token is not estimated."
        )
    if kind not in (*_PLAIN, *_GATED):
        raise InputError(
            f"model config: model_type {kind!r:.60} is none of {_listed((*_PLAIN, *_GATED))}; "
            "pass a gaincell.hardware.decoder.DecoderShape instead."
        )
    hidden = required_field(config, "hidden_size")
    if kind in _PLAIN:
        intermediate = positive_field(config, "intermediate_size") or 4 * hidden  # what GPT-2's n_inner = None means
    else:
        intermediate = required_field(config, "intermediate_size")
    return DecoderShape(attention, hidden, intermediate, kind in _GATED, required_field(config, "vocab_size"))


def _above_one(value: object) -> bool:
    return isinstance(value, int) and value > 1


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))
