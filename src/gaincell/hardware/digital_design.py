"""How the same attention is built in digital: every choice and assumption, by name."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from gaincell.errors import one_sentence
from gaincell.hardware.components.units import in_si
from gaincell.hardware.parameter_field import described

_ASSUMED = "assumption"
_HBM2 = "JEDEC JESD235A, HBM2: 1,024 lines of 2 Gb/s"


class DigitalDesign(BaseModel):
    """The opponent: keys and values in memory, multiply-adds beside it, and a softmax. Its parts are in `components`.

    Layers and heads that a design point keeps digital are built likewise, with the `kept_` fields.

    Frozen; unknown fields are refused.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    bank_bits: int = described(
        65536, "bits", "the SRAM that the buffer's energy is for", "Size of one bank of SRAM: 8 KB.", ge=1
    )
    port_bits: int = described(
        64, "bits", "the SRAM that the buffer's energy is for", "Bits that a bank gives in a period of clock_hz.", ge=1
    )
    probability_bits: int = described(
        8, "bits", _ASSUMED, "Bits of what softmax gives, for the product with the values.", ge=1
    )
    softmax_multiply_adds: int = described(
        4,
        "multiply-adds",
        f"{_ASSUMED}; the polynomial is that of I-BERT (Kim et al., ICML 2021)",
        "16-bit operations for each score: scale, take off the largest, a polynomial of second order. The sum's "
        "reciprocal takes division_multiply_adds, and every output one more.",
        ge=0,
    )
    kept_bits: int = described(
        16,
        "bits",
        f"{_ASSUMED}: as wide as weights in bfloat16, which keep what was simulated",
        "Bits of a query, key, value and softmax's result in layers and heads that the design point keeps digital; "
        "products are counted as those of integers.",
        ge=1,
    )
    kept_memory: Literal["sram", "dram"] = described(
        "sram", "-", "choice", "Where layers and heads that are kept digital have their keys and values."
    )
    kept_bank_bits: int = described(
        8192,
        "bits",
        f"choice: read out in 128 periods; {_ASSUMED}: with the buffer's energy and area of a bit",
        "Size of one bank of their SRAM: smaller than bank_bits, lest arrays wait for them.",
        ge=1,
    )
    overhead: float = described(
        1.0,
        "-",
        _ASSUMED,
        "Energy and area of clock, control and registers over those of the operations: as much again.",
        ge=0,
    )
    fill_cycles: int = described(
        20, "periods", _ASSUMED, "Periods of clock_hz from the last bit that is read to the output.", ge=0
    )
    dram_stacks: int = described(1, "stacks", "choice", "Stacks of DRAM, which share every layer.", ge=1)
    dram_bandwidth: float = described(256e9, "B/s", _HBM2, "Bandwidth of one stack.", gt=0)
    dram_stack_bits: float = described(
        8 * 8 * 2**30, "bits", "8 GB: Samsung's HBM2, eight dies of 8 Gb", "Bits of one stack.", gt=0
    )
    dram_access_s: float = described(100e-9, "s", _ASSUMED, "Time from asking a layer's first bit to its coming.", ge=0)
    dram_bit_area_m2: float = described(
        0.0107e-12,
        "m2",
        f"{_ASSUMED}: a die of 8 Gb takes about 92 mm2",
        "Area of a bit of DRAM, all dies added.",
        ge=0,
    )

    _read_units = field_validator("*", mode="before")(in_si)

    def __init__(self, /, **fields: Any) -> None:
        try:
            super().__init__(**fields)
        except ValidationError as error:
            raise one_sentence(error, "digital design", type(self).model_fields) from None

    # Within `HardwareParameters` pydantic goes on by itself, so that the sentence there names the field in full.
    __init__.__pydantic_base_init__ = True  # pyright: ignore[reportFunctionMemberAccess]
