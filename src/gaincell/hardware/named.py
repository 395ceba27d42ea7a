"""A model by the name that a user gives it, as far as its cost needs it."""

from dataclasses import dataclass

from gaincell.config import GainCellConfig
from gaincell.hardware.decoder import GPT2, LLAMA3_8B, LLAMA3_70B, SMOLLM2_135M, DecoderShape, read_decoder
from gaincell.hardware.find_config import find_config

#: Models that are known without a folder: their shapes, and what `gaincell.models` loads them by, where it can.
SHAPES: dict[str, tuple[DecoderShape, str | None]] = {
    "gpt2": (GPT2, None),
    "smollm2": (SMOLLM2_135M, "demo"),
    "demo": (SMOLLM2_135M, "demo"),
    "llama3-8b": (LLAMA3_8B, None),
    "llama3-70b": (LLAMA3_70B, None),
}


@dataclass(frozen=True)
class NamedModel:
    """What a name stands for.

    Attributes:
        name: as it was given.
        fields: what `estimate` takes.
        decoder: the whole decoder's shape, where it is known by name.
        design_point: an adapted model's own.
        loads: what `gaincell.models` loads it by; None for a shape alone.
    """

    name: str
    fields: object
    decoder: DecoderShape | None = None
    design_point: GainCellConfig | None = None
    loads: str | None = None

    @property
    def shape(self) -> DecoderShape:
        """The whole decoder's shape.

        Raises:
            InputError: as `read_decoder`.
        """
        return self.decoder or read_decoder(self.fields)


def find_model(name: str) -> NamedModel:
    """One of `SHAPES`, a shipped adapter, a model's folder, or one in the hub's local cache; nothing is fetched.

    Raises:
        InputError: it is none of these, or its config cannot be read.
    """
    if name in GainCellConfig.names():
        return NamedModel(name, SMOLLM2_135M.attention, SMOLLM2_135M, GainCellConfig.named(name), name)
    if name in SHAPES:
        shape, loads = SHAPES[name]
        return NamedModel(name, shape.attention, shape, None, loads)
    fields = find_config(name, ", ".join((*SHAPES, *GainCellConfig.names())))
    section = fields.get("quantization_config")
    point = section.get("design_point") if isinstance(section, dict) else None
    return NamedModel(name, fields, None, GainCellConfig(**point) if isinstance(point, dict) else None, name)
