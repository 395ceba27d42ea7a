"""What an adaptation is asked for, whatever its stages."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

from torch import Tensor
from transformers import PreTrainedModel

from gaincell.adapt.settings import AdaptSettings
from gaincell.config import GainCellConfig
from gaincell.models import positions_of
from gaincell.progress import Progress


class Further(TypedDict, total=False):
    """What `gaincell.adapt` and `gaincell.adapt.paper_recipe` take besides, each by its name.

    Attributes:
        calibration: (N, T) token ids to learn from instead of text; stages before `distill` take the first
            `settings.rows` rows.
        calibration_of: what these ids are, for the run's `config.json`.
        validation: text, not to be learned from, whose perplexity training end to end logs every now and then.
        learn: False puts on the model what the folder holds up to the last checkpoint, of a run that was cut short or
            is still going on, and leaves the folder as it is.
    """

    calibration: Tensor | None
    calibration_of: Mapping[str, Any] | None
    validation: str | None
    learn: bool


class FurtherOfStages(Further, total=False):
    """What `gaincell.adapt` alone takes besides.

    Attributes:
        distill_calibration: (M, L) token ids that `distill` learns on, where they are others than `calibration`.
        teacher: the model that `distill` learns from; by default the original.
    """

    distill_calibration: Tensor | None
    teacher: PreTrainedModel | None


@dataclass(frozen=True)
class Request:
    """A model, what it is to fit, and what it is to learn from.

    Attributes:
        model: an unconverted causal decoder.
        config: the design point.
        tokenizer: the model's.
        out: the run folder.
        settings: amounts and rates, whose `length` fits the window and the model (`fit_length`).
        text: text to learn from.
        start: an adapter to go on from.
        progress: called with (stage, done, total).

    The others are as in `Further` and `FurtherOfStages`.
    """

    model: PreTrainedModel
    config: GainCellConfig
    tokenizer: Any
    out: Path | str
    settings: AdaptSettings
    text: str | None = None
    start: str | Path | None = None
    progress: Progress | None = None
    calibration: Tensor | None = None
    calibration_of: Mapping[str, Any] | None = None
    distill_calibration: Tensor | None = None
    teacher: PreTrainedModel | None = None
    validation: str | None = None
    learn: bool = True

    @property
    def writes(self) -> bool:
        """Whether the model writes the text that it learns from."""
        return self.text is None and self.calibration is None


def fit_length(settings: AdaptSettings, model: PreTrainedModel, config: GainCellConfig) -> AdaptSettings:
    """Settings whose `length`, where it was not given, is what the window and the model's positions hold."""
    return settings.fitted(min(config.window, positions_of(model) or config.window))
