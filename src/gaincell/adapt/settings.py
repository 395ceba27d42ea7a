"""The knobs of adaptation."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gaincell.errors import one_sentence


class AdaptSettings(BaseModel):
    """How much text and how many steps adaptation takes, and how fast it learns.

    Raises:
        InputError: a value out of range.
    """

    model_config = ConfigDict(extra="forbid")

    sequences: int = Field(64, ge=1, description="Sequences of calibration text.")
    length: int = Field(256, ge=8, description="Tokens of a sequence.")
    seed: int = Field(0, ge=0, description="Seed of the text and of the order in which layers see it.")
    statistics_sequences: int = Field(4, ge=1, description="Sequences that `statistics` looks at.")
    batch: int = Field(4, ge=1, description="Sequences of a learning step.")
    steps: int = Field(48, ge=1, description="Learning steps of a layer.")
    inputs: Literal["student", "teacher"] = Field(
        "student",
        description="What `transfer` learns on: the adapted layers' hidden states, or the original's.",
    )
    projection_lr: float = Field(3e-3, gt=0, description="Peak learning rate of the attention's projections (Adam).")
    scaler_lr: float = Field(1e-2, gt=0, description="Peak learning rate of a scaler relative to its size (Adam).")

    def __init__(self, **fields: object) -> None:
        try:
            super().__init__(**fields)
        except ValidationError as error:
            raise one_sentence(error, "adaptation settings") from None
