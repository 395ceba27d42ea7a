"""What a decoder is made of, as far as attention goes: its modules, their scalers, its design point."""

from torch import nn
from transformers import PreTrainedModel

from gaincell.config import GainCellConfig
from gaincell.models.scalers import HeadScalers, scalers_in


def attention_modules(model: nn.Module) -> dict[str, nn.Module]:
    """Self-attention modules of a decoder by name, in layer order."""
    return {
        name: module
        for name, module in model.named_modules()
        if type(module).__name__.endswith("Attention") and hasattr(module, "layer_idx") and hasattr(module, "is_causal")
    }


def scalers_of(model: nn.Module) -> dict[str, HeadScalers]:
    """The scalers of a converted model by attention module's name; empty if it is not converted."""
    found = {name: scalers_in(module) for name, module in attention_modules(model).items()}
    return {name: scalers for name, scalers in found.items() if scalers is not None}


def blocks_of(model: nn.Module) -> list[str]:
    """What the names of all parameters of a layer begin with, its attention's and others', for each that attends.

    A layer is the deepest entry of a list of modules that its attention lies in, however deep (BERT's lies two down).
    """
    lists = {name for name, module in model.named_modules() if isinstance(module, nn.ModuleList)}

    def block(name: str) -> str:
        holders = [name[:end] for end, letter in enumerate(name) if letter == "."]
        entries = [holder for holder in holders if holder.rpartition(".")[0] in lists]
        return f"{(entries or holders)[-1]}."

    return [block(name) for name in attention_modules(model)]


def design_point(model: PreTrainedModel) -> GainCellConfig | None:
    """The design point of a converted model, or None."""
    saved = getattr(model.config, "quantization_config", None)
    fields = getattr(saved, "design_point", None)
    return GainCellConfig(**fields) if isinstance(fields, dict) else None


def positions_of(model: PreTrainedModel) -> int | None:
    """How many tokens in a row a model has positions for; None where it does not say."""
    positions = getattr(model.config.get_text_config(decoder=True), "max_position_embeddings", None)
    return positions if isinstance(positions, int) else None
