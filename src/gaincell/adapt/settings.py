"""The knobs of adaptation."""

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic.fields import FieldInfo

from gaincell.errors import InputError, one_sentence

#: Settings that say how a run goes, not what it learns (but for rounding), as pydantic takes what to leave out.
MANNER: dict[str, Any] = {
    "held_back": True,
    "distill": {"checkpoint_every", "accumulation", "validate_every", "validate_tokens"},
}

#: Settings that had another name, by that name, which is still taken.
OLDER_NAMES = {"sequences": "rows", "statistics_sequences": "statistics_rows"}
OLDER_NAMES |= {"distill_precision": "precision", "distill_leak": "learning_leak"}
OLDER_NAMES |= {
    name: f"transfer.{name}"
    for name in ("batch", "steps", "inputs", "projection_lr", "scaler_lr", "predictor_lr", "tries", "sink_weight")
}
OLDER_NAMES |= {
    f"distill_{name}": f"distill.{name}"
    for name in (
        *("loss", "tokens", "repeats", "batch", "length", "train", "lora_rank", "relative", "lr", "scaler_factor"),
        *("betas", "weight_decay", "warmup", "clip", "positions", "temperature", "hidden_weight", "teacher"),
        *("cached_tokens", "accumulation", "validate_every", "validate_tokens", "checkpoint_every"),
    )
}


class _Part(BaseModel):
    """Settings of one stage; frozen, since copies of `AdaptSettings` share them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def __init__(self, /, **fields: Any) -> None:
        try:
            super().__init__(**fields)
        except ValidationError as error:
            raise one_sentence(error, type(self).__name__, type(self).model_fields) from None

    # Within `AdaptSettings` pydantic goes on by itself, so that the sentence there names the field in full.
    __init__.__pydantic_base_init__ = True  # pyright: ignore[reportFunctionMemberAccess]


class TransferSettings(_Part):
    """How the stage `transfer` learns.

    Raises:
        InputError: the constructor is given a value out of range; pydantic's own ways raise its ValidationError.
    """

    batch: int = Field(default=1, ge=1, description="Rows of a learning step of `transfer`.")
    steps: int = Field(default=48, ge=1, description="Learning steps of a layer.")
    inputs: Literal["student", "teacher"] = Field(
        default="student",
        description="What `transfer` learns on: the adapted layers' hidden states, or the original's.",
    )
    projection_lr: float = Field(
        default=1.6e-2,
        gt=0,
        description="Peak learning rate of the attention's projections, and of norms and biases in it, relative to "
        "their size: of a matrix by row and column (Adam).",
    )
    scaler_lr: float = Field(
        default=1e-2, gt=0, description="Peak learning rate of a scaler relative to its size (Adam)."
    )
    predictor_lr: float = Field(
        default=3e-3,
        gt=0,
        description="Peak learning rate of the weights that score preset and sinks are predicted with, relative to "
        "their size (Adam).",
    )
    tries: int = Field(
        default=3,
        ge=1,
        description="How often `transfer` tries a layer: where its error rose, again from its start at a third of the "
        "rates; then it stays as it was.",
    )
    sink_weight: float = Field(
        default=1.0,
        ge=0,
        description="Weight of the relative errors of first tokens, and of others with massive hidden states, each "
        "beside that of all tokens.",
    )


class DistillSettings(_Part):
    """How training end to end learns: the stage `distill`, and both trainings of the paper's recipe.

    Raises:
        InputError: the constructor is given a value out of range; pydantic's own ways raise its ValidationError.
    """

    loss: Literal["kl", "next-token"] = Field(
        default="kl",
        description="What `distill` learns from: the original's distributions and hidden states, or the text's own "
        "next tokens (cross-entropy at all positions; no teacher, and what the settings say of one does not count).",
    )
    tokens: int = Field(default=81_920, ge=1, description="Tokens that `distill` learns on, repeated ones counted.")
    repeats: int = Field(
        default=4,
        ge=1,
        description="How often `distill` meets text that the model wrote itself; it writes as much as that takes.",
    )
    batch: int = Field(
        default=1,
        ge=1,
        description="Rows of a step of `distill`, over all processes and their forward passes. Few tokens teach "
        "more in many small steps.",
    )
    length: int | None = Field(default=None, ge=8, description="Tokens of a row; null: as `length`.")
    train: Literal["attention", "lora", "all"] = Field(
        default="attention",
        description="What learns beside the scalers: the attention modules and norms, adapters of low rank, or all.",
    )
    lora_rank: int = Field(default=16, ge=1, description="Rank of the adapters ('lora').")
    relative: bool = Field(
        default=True,
        description="Whether the learning rates of `distill` are relative to each parameter's size, its root mean "
        "square, or absolute as the paper's.",
    )
    lr: float = Field(
        default=2e-3,
        gt=0,
        description="Peak learning rate of the weights, relative as `distill.relative` says (AdamW).",
    )
    scaler_factor: float = Field(
        default=0.8, gt=0, description="Learning rate of scalers and predictors over `distill.lr`, relative alike."
    )
    betas: tuple[float, float] = Field(default=(0.9, 0.98), description="Decay of AdamW's two averages.")
    weight_decay: float = Field(default=0.0, ge=0, description="Decay of the weights (scalers and norms have none).")
    warmup: float = Field(default=0.05, ge=0, lt=1, description="Share of the steps over which the rate rises.")
    clip: float = Field(default=1.0, gt=0, description="Largest norm of the gradient.")
    positions: int | None = Field(
        default=512, ge=1, description="Positions of a row whose next-token distributions are compared; null: all."
    )
    temperature: float = Field(default=1.0, gt=0, description="Temperature of both distributions.")
    hidden_weight: float = Field(default=1.0, ge=0, description="Weight of the last hidden state's relative error.")
    teacher: Literal["model", "cached"] = Field(
        default="model",
        description="The original model itself, or its most likely tokens, computed once and kept on disk.",
    )
    cached_tokens: int = Field(default=64, ge=1, description="Tokens a position keeps ('cached').")
    accumulation: int = Field(default=1, ge=1, description="Forward passes a process takes for one step.")
    validate_every: int = Field(default=50, ge=1, description="Steps between two looks at the validation text.")
    validate_tokens: int = Field(default=4096, ge=2, description="Tokens of that text, at the length of training.")
    checkpoint_every: int = Field(default=25, ge=1, description="Steps between two checkpoints.")

    @field_validator("betas")
    @classmethod
    def _betas(cls, betas: tuple[float, float]) -> tuple[float, float]:
        if not all(0 <= beta < 1 for beta in betas):
            raise ValueError("both must lie in [0, 1)")
        return betas


_PARTS: dict[str, type[BaseModel]] = {"transfer": TransferSettings, "distill": DistillSettings}


class AdaptSettings(BaseModel):
    """How much text and how many steps adaptation takes, and how fast it learns.

    What one stage alone reads is nested, and given as `distill={"lr": 1e-3}` or by its full name `distill.lr`.

    Raises:
        InputError: a value out of range, or a setting that is given twice.
    """

    model_config = ConfigDict(extra="forbid")

    rows: int = Field(16, ge=1, description="Rows of calibration text.")
    length: int = Field(
        1024,
        ge=8,
        description="Tokens of a row; unless given, no more than window and positions hold. What was learned on "
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
    statistics_rows: int = Field(2, ge=1, description="Rows that `statistics` looks at.")
    precision: Literal["auto", "no", "bf16"] = Field(
        "auto",
        description="What the model's own text, `transfer` and `distill` are computed in: float32 ('no'); bfloat16 "
        "with sums in float32 ('bf16'); or the faster of them where the run begins, which it then stays in. Weights "
        "and conversions are float32 either way.",
    )
    learning_leak: Literal["cell", "factored"] | None = Field(
        "factored",
        description="Form of the leak that `transfer` and `distill` learn with, see `leak_form`: 'factored' takes 0.6 "
        "of the time of 'cell' and stands for a table of retention, too; null: the design point's own. What comes out "
        "attends as the design point says.",
    )
    transfer: TransferSettings = TransferSettings()
    distill: DistillSettings = DistillSettings()

    def __init__(self, /, **fields: Any) -> None:
        nested: dict[str, Any] = {}
        for name, value in named(fields).items():
            part, _, inner = name.partition(".")
            if not inner or part not in _PARTS:
                nested[name] = value
            elif isinstance(nested.setdefault(part, {}), dict):  # pydantic complains of anything else
                nested[part][inner] = value
        try:
            super().__init__(**nested)
        except ValidationError as error:
            raise one_sentence(error, "adaptation settings", every_setting()) from None

    def fitted(self, longest: int) -> "AdaptSettings":
        """These settings with rows no longer than that, unless `length` was given: what was given is never changed."""
        if "length" in self.model_fields_set:
            return self
        return self.model_copy(update={"length": min(self.length, longest)})

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """pydantic's copy, which takes `update` as it is.

        Raises:
            InputError: a name in it that is no field of these settings, such as one of a part's or an older one.
        """
        for name in update or {}:
            if name not in type(self).model_fields:
                raise InputError(f"adaptation settings: model_copy knows no field '{name}'; give a part as a whole.")
        return super().model_copy(update=update, deep=deep)


def every_setting() -> dict[str, FieldInfo]:
    """All settings by their full names, such as `distill.lr`."""
    found = {name: field for name, field in AdaptSettings.model_fields.items() if name not in _PARTS}
    parts = {f"{part}.{name}": field for part, of in _PARTS.items() for name, field in of.model_fields.items()}
    return found | parts


def named(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Settings by their full names: those of a part, nested or not, and those by an older name.

    Raises:
        InputError: one of them is given twice.
    """
    flat: list[tuple[str, Any]] = []
    for name, value in fields.items():
        value = value.model_dump(exclude_unset=True) if isinstance(value, BaseModel) else value
        nested = name in _PARTS and isinstance(value, Mapping)
        flat += [(f"{name}.{inner}", x) for inner, x in value.items()] if nested else [(str(name), value)]
    found: dict[str, Any] = {}
    for name, value in sorted(flat, key=lambda setting: setting[0] in OLDER_NAMES):
        full = OLDER_NAMES.get(name, name)
        if full in found:
            older = f"the older name of the setting {full}" if name != full else "given twice"
            raise InputError(f"{name} is {older}; give one of them.")
        found[full] = value
    return found
