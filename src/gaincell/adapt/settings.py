"""The knobs of adaptation."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from gaincell.errors import InputError, one_sentence

#: Settings that say how a run goes, not what it learns (but for rounding).
MANNER = {
    "held_back",
    "distill_checkpoint_every",
    "distill_accumulation",
    "distill_validate_every",
    "distill_validate_tokens",
}

#: Settings that had another name, by that name, which is still taken.
OLDER_NAMES = {"distill_precision": "precision", "distill_leak": "learning_leak"}


class AdaptSettings(BaseModel):
    """How much text and how many steps adaptation takes, and how fast it learns.

    Raises:
        InputError: a value out of range.
    """

    model_config = ConfigDict(extra="forbid")

    sequences: int = Field(16, ge=1, description="Sequences of calibration text.")
    length: int = Field(
        1024,
        ge=8,
        description="Tokens of a sequence; unless given, no more than window and positions hold. What was learned on "
        "short rows does not hold on long ones.",
    )
    seed: int = Field(0, ge=0, description="Seed of the text and of the order in which layers see it.")
    held_back: int = Field(
        4,
        ge=0,
        description="Rows that the original model writes besides, on which nothing is learned, so that a run ends with "
        "what came out: KL and perplexity beside the original's, at the length trained and at the longest that window "
        "and positions hold (1,024 at most); 0: it does not.",
    )
    statistics_sequences: int = Field(2, ge=1, description="Sequences that `statistics` looks at.")
    batch: int = Field(1, ge=1, description="Sequences of a learning step of `transfer`.")
    steps: int = Field(48, ge=1, description="Learning steps of a layer.")
    precision: Literal["auto", "no", "bf16"] = Field(
        "auto",
        description="What the model's own text, `transfer` and `distill` are computed in: float32 ('no'); bfloat16 "
        "with sums in float32 ('bf16'); or the faster of them where the run begins, which it then stays in. Weights "
        "and conversions are float32 either way. `distill_precision` is its older name.",
    )
    learning_leak: Literal["cell", "factored"] | None = Field(
        "factored",
        description="Form of the leak that `transfer` and `distill` learn with, see `leak_form`: 'factored' takes 0.6 "
        "of the time of 'cell' and stands for a table of retention, too; null: the design point's own. What comes out "
        "attends as the design point says. `distill_leak` is its older name.",
    )
    inputs: Literal["student", "teacher"] = Field(
        "student",
        description="What `transfer` learns on: the adapted layers' hidden states, or the original's.",
    )
    projection_lr: float = Field(
        1.6e-2,
        gt=0,
        description="Peak learning rate of the attention's projections, and of norms and biases in it, relative to "
        "their size: of a matrix by row and column (Adam).",
    )
    scaler_lr: float = Field(1e-2, gt=0, description="Peak learning rate of a scaler relative to its size (Adam).")
    predictor_lr: float = Field(
        3e-3,
        gt=0,
        description="Peak learning rate of the weights that score preset and sinks are predicted with, relative to "
        "their size (Adam).",
    )
    tries: int = Field(
        3,
        ge=1,
        description="How often `transfer` tries a layer: where its error rose, again from its start at a third of the "
        "rates; then it stays as it was.",
    )
    sink_weight: float = Field(
        1.0,
        ge=0,
        description="Weight of the relative errors of first tokens, and of others with massive hidden states, each "
        "beside that of all tokens.",
    )

    distill_loss: Literal["kl", "next-token"] = Field(
        "kl",
        description="What `distill` learns from: the original's distributions and hidden states, or the text's own "
        "next tokens (cross-entropy at all positions; no teacher, and what the settings say of one does not count).",
    )
    distill_tokens: int = Field(65_536, ge=1, description="Tokens that `distill` learns on, repeated ones counted.")
    distill_repeats: int = Field(
        4,
        ge=1,
        description="How often `distill` meets text that the model wrote itself; it writes as much as that takes.",
    )
    distill_batch: int = Field(
        1,
        ge=1,
        description="Sequences of a step of `distill`, over all processes and their forward passes. Few tokens teach "
        "more in many small steps.",
    )
    distill_length: int | None = Field(None, ge=8, description="Tokens of a sequence; null: as `length`.")
    distill_train: Literal["attention", "lora", "all"] = Field(
        "attention",
        description="What learns beside the scalers: the attention modules and norms, adapters of low rank, or all.",
    )
    distill_lora_rank: int = Field(16, ge=1, description="Rank of the adapters ('lora').")
    distill_relative: bool = Field(
        True,
        description="Whether the learning rates of `distill` are relative to each parameter's size, its root mean "
        "square, or absolute as the paper's.",
    )
    distill_lr: float = Field(
        2e-3, gt=0, description="Peak learning rate of the weights, relative as `distill_relative` says (AdamW)."
    )
    distill_scaler_factor: float = Field(
        0.8, gt=0, description="Learning rate of scalers and predictors over `distill_lr`, relative alike."
    )
    distill_betas: tuple[float, float] = Field((0.9, 0.98), description="Decay of AdamW's two averages.")
    distill_weight_decay: float = Field(0.0, ge=0, description="Decay of the weights (scalers and norms have none).")
    distill_warmup: float = Field(0.05, ge=0, lt=1, description="Share of the steps over which the rate rises.")
    distill_clip: float = Field(1.0, gt=0, description="Largest norm of the gradient.")
    distill_positions: int | None = Field(
        512, ge=1, description="Positions of a sequence whose next-token distributions are compared; null: all."
    )
    distill_temperature: float = Field(1.0, gt=0, description="Temperature of both distributions.")
    distill_hidden_weight: float = Field(1.0, ge=0, description="Weight of the last hidden state's relative error.")
    distill_teacher: Literal["model", "cached"] = Field(
        "model", description="The original model itself, or its most likely tokens, computed once and kept on disk."
    )
    distill_cached_tokens: int = Field(64, ge=1, description="Tokens a position keeps ('cached').")
    distill_accumulation: int = Field(1, ge=1, description="Forward passes a process takes for one step.")
    distill_validate_every: int = Field(50, ge=1, description="Steps between two looks at the validation text.")
    distill_validate_tokens: int = Field(4096, ge=2, description="Tokens of that text, at the length of training.")
    distill_checkpoint_every: int = Field(25, ge=1, description="Steps between two checkpoints.")

    @field_validator("distill_betas")
    @classmethod
    def _betas(cls, betas: tuple[float, float]) -> tuple[float, float]:
        if not all(0 <= beta < 1 for beta in betas):
            raise ValueError("both must lie in [0, 1)")
        return betas

    def fitted(self, longest: int) -> "AdaptSettings":
        """These settings with rows no longer than that, unless `length` was given: what was given is never changed."""
        if "length" in self.model_fields_set:
            return self
        return self.model_copy(update={"length": min(self.length, longest)})

    def __init__(self, **fields: object) -> None:
        for older, name in OLDER_NAMES.items():
            if older in fields and name in fields:
                raise InputError(f"{older} is the older name of the setting {name}; give one of them.")
            if older in fields:
                fields[name] = fields.pop(older)
        try:
            super().__init__(**fields)
        except ValidationError as error:
            raise one_sentence(error, "adaptation settings", type(self).model_fields) from None
