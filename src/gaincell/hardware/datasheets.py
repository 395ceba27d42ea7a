"""Digital hardware as its datasheet tells: GPUs, a TPU, and what a user's own file says."""

from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from gaincell.cell.cell import read_text, read_yaml
from gaincell.errors import InputError, one_sentence
from gaincell.hardware.components.units import in_si


class Accelerator(BaseModel):
    """What a chip can do at most, and two figures of its energy, between which its energy is a range.

    Rated power times time is what a board takes that is busy all over. It is no bound: a kernel that waits for memory
    draws less, and takes longer than the roofline. The lower end is free of idling: operations and bytes at their own
    cost, as if the chip used nothing else, neither caches nor registers nor clocks.

    Attributes:
        name: what it is called.
        flop_per_s: peak of dense matrix products at `precision`, in operations (two per multiply-add) per second.
        precision: of these products.
        bytes_per_s: memory bandwidth.
        memory_bytes: memory.
        board_power_w: rated power.
        flop_j: energy of one operation alone.
        byte_j: energy of one byte from memory alone.
        source: where the numbers come from.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: str = Field(min_length=1)
    flop_per_s: float = Field(gt=0)
    precision: str = Field(min_length=1)
    bytes_per_s: float = Field(gt=0)
    memory_bytes: float = Field(gt=0)
    board_power_w: float = Field(gt=0)
    flop_j: float = Field(ge=0)
    byte_j: float = Field(ge=0)
    source: str = Field(min_length=1)

    _read_units = field_validator("board_power_w", "flop_j", "byte_j", mode="before")(in_si)

    def __init__(self, /, **fields: Any) -> None:
        try:
            super().__init__(**fields)
        except ValidationError as error:
            raise one_sentence(error, "accelerator", type(self).model_fields) from None

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read one from a YAML or JSON file; power and energies may carry units, as in `byte_j: 31 pJ`.

        Raises:
            InputError: no such file, or a field that is missing, unknown or out of range.
        """
        return cls(**read_yaml(read_text(Path(path)), str(path)))


_JOUPPI = "Jouppi et al., ISCA 2021"
_BFLOAT16_J = (0.21e-12 + 0.11e-12) / 2
_BFLOAT16 = f"bfloat16 multiplication 0.21 pJ and addition 0.11 pJ in 7 nm ({_JOUPPI})"
_HBM2_BYTE_J = 8 * 3.9e-12
_HBM2 = "HBM2 3.9 pJ per bit (O'Connor et al., MICRO 2017)"
#: What stands for figures of newer nodes and memories, which are not published.
_STANDS = "; assumption: these stand for {}"


def _nvidia(name: str, flop_per_s: float, bytes_per_s: float, memory: float, power: float, source: str) -> Accelerator:
    return Accelerator(
        name=name,
        flop_per_s=flop_per_s,
        precision="bfloat16, dense",
        bytes_per_s=bytes_per_s,
        memory_bytes=memory,
        board_power_w=power,
        flop_j=_BFLOAT16_J,
        byte_j=_HBM2_BYTE_J,
        source=source,
    )


H100_SXM = _nvidia(
    "H100 SXM",
    989e12,
    3.35e12,
    80e9,
    700,
    f"NVIDIA H100 datasheet: peak, HBM3, maximum TDP; {_BFLOAT16}; {_HBM2}{_STANDS.format('4 nm and HBM3')}",
)
H200_SXM = _nvidia(
    "H200 SXM",
    989e12,
    4.8e12,
    141e9,
    700,
    f"NVIDIA H200 datasheet: peak, HBM3e, maximum TDP; {_BFLOAT16}; {_HBM2}{_STANDS.format('4 nm and HBM3e')}",
)
B200 = _nvidia(
    "B200",
    2.25e15,
    8e12,
    180e9,
    1000,
    "NVIDIA HGX B200 datasheet: peak without sparsity, HBM3e, maximum TDP; "
    f"{_BFLOAT16}; {_HBM2}{_STANDS.format('4 nm and HBM3e')}",
)
A100_SXM = _nvidia(
    "A100 SXM",
    312e12,
    2.039e12,
    80e9,
    400,
    f"NVIDIA A100 80GB datasheet: peak, HBM2e, maximum TDP; {_BFLOAT16}; {_HBM2}{_STANDS.format('HBM2e')}",
)
RTX_4090 = Accelerator(
    name="RTX 4090",
    flop_per_s=165e12,
    precision="float16 summed in float32, dense",
    bytes_per_s=1008e9,
    memory_bytes=24e9,
    board_power_w=450,
    flop_j=(0.34e-12 + 0.16e-12) / 2,
    byte_j=8 * 7.25e-12,
    source="NVIDIA Ada GPU architecture whitepaper: tensor core peak, GDDR6X, total graphics power; float16 "
    f"multiplication 0.34 pJ and addition 0.16 pJ in 7 nm ({_JOUPPI}){_STANDS.format('4 nm')}; GDDR6X 7.25 pJ per bit "
    "(Micron, GDDR6X technical brief, 2020)",
)
JETSON_NANO = Accelerator(
    name="Jetson Nano",
    flop_per_s=472e9,
    precision="float16",
    bytes_per_s=25.6e9,
    memory_bytes=4e9,
    board_power_w=10,
    flop_j=1.5e-12 / 2 * 20 / 45,
    byte_j=_HBM2_BYTE_J,
    source="NVIDIA Jetson Nano module datasheet: peak, LPDDR4, 10 W mode; float16 multiplication 1.1 pJ and addition "
    f"0.4 pJ in 45 nm (Horowitz, ISSCC 2014), with the node to 20 nm; {_HBM2}{_STANDS.format('LPDDR4')}",
)
TPU_V4 = Accelerator(
    name="TPU v4",
    flop_per_s=275e12,
    precision="bfloat16",
    bytes_per_s=1.2e12,
    memory_bytes=32 * 2**30,
    board_power_w=192,
    flop_j=_BFLOAT16_J,
    byte_j=_HBM2_BYTE_J,
    source=f"Jouppi et al., ISCA 2023: peak, HBM2, the most power that was measured; {_BFLOAT16}; {_HBM2}",
)

#: By the name that the command line knows them by.
ACCELERATORS = {
    "h100": H100_SXM,
    "h200": H200_SXM,
    "b200": B200,
    "a100": A100_SXM,
    "rtx4090": RTX_4090,
    "jetson": JETSON_NANO,
    "tpuv4": TPU_V4,
}


def find_accelerator(name: str) -> Accelerator:
    """One of `ACCELERATORS`, or a user's own: a path that ends in .yaml, .yml or .json.

    Raises:
        InputError: neither; or what `Accelerator.load` refuses.
    """
    if Path(name).suffix in {".yaml", ".yml", ".json"}:
        return Accelerator.load(name)
    if name not in ACCELERATORS:
        raise InputError(
            f"accelerator '{name}' is unknown; choose one of {', '.join(ACCELERATORS)}, or name your own YAML file."
        )
    return ACCELERATORS[name]
