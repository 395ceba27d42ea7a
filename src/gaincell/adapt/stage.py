"""Stages of adaptation, and what they work on."""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from accelerate import Accelerator
from torch import Tensor, nn
from transformers import PreTrainedModel

from gaincell.adapt.distil.step_rows import Permuted
from gaincell.adapt.distil.teacher import Teacher
from gaincell.adapt.outcome import Outcome
from gaincell.adapt.request import Request
from gaincell.adapt.run.folder import Run
from gaincell.adapt.settings import AdaptSettings
from gaincell.config import GainCellConfig
from gaincell.progress import Progress


@dataclass(frozen=True)
class AdaptResult:
    """An adapted model and what every layer of every stage reached.

    Attributes:
        model: the model that was given, converted and adapted in place.
        metrics: of the stages that the model has been through: one entry per layer of `statistics`, `transfer` and
            `matching`, with its relative error; one per step of `distill`, `linear` and `cubic`.
        folder: the run directory.
        outcome: how near the model came to the original, on rows that were held back; None where nothing was learned
            in this call or `AdaptSettings.held_back` is 0, without a tokenizer, and in all processes but the first.
    """

    model: PreTrainedModel
    metrics: list[dict[str, Any]]
    folder: Path
    outcome: Outcome | None = None


@dataclass(frozen=True)
class Lessons:
    """What training end to end learns on.

    Attributes:
        rows: the rows of each step.
        teacher: what it learns from.
        validate: what else to measure of the model every now and then.
    """

    rows: Permuted
    teacher: Teacher
    validate: Callable[[nn.Module], dict[str, float]] | None


@dataclass
class Work:
    """What the stages of a run work on.

    Attributes:
        request: what was asked for.
        settings: its settings, with the precision that the run computes in.
        run: its folder.
        stages: all stages that the model goes through, in their order.
        accelerator: processes and device of training end to end; None without.
        calibration: (N, T) token ids for stages that go layer by layer; None where there are none.
        rows: (M, L) token ids for training end to end; None without.
        lessons: what that learns on; None where nothing is learned.
        reached: metrics up to the checkpoint that was put on the model, where nothing is learned.
    """

    request: Request
    settings: AdaptSettings
    run: Run
    stages: tuple["Stage", ...]
    accelerator: Accelerator | None
    calibration: Tensor | None
    rows: Tensor | None
    lessons: Lessons | None = None
    reached: list[dict[str, Any]] | None = None

    @property
    def model(self) -> PreTrainedModel:
        """The model."""
        return self.request.model

    @property
    def config(self) -> GainCellConfig:
        """The design point that it is to fit."""
        return self.request.config

    @property
    def progress(self) -> Progress | None:
        """Called with (stage, done, total)."""
        return self.request.progress

    @property
    def names(self) -> tuple[str, ...]:
        """Of all stages that the model goes through."""
        return tuple(stage.name for stage in self.stages)

    @property
    def first(self) -> bool:
        """Whether this process is the first, which writes."""
        return self.accelerator is None or self.accelerator.is_main_process

    @property
    def trained(self) -> int:
        """Tokens of the rows that the last stage learns on."""
        learned_on = self.calibration if self.accelerator is None else self.rows
        assert learned_on is not None
        return learned_on.shape[1]


class Stage(Protocol):
    """One stage of adaptation.

    Attributes:
        name: what metrics, progress and the run's folder call it.
        by_layer: whether it learns on `Work.calibration`, layer by layer.
        trains: whether it trains end to end, on `Work.rows` and on all processes at once.
        computes: whether it takes long in the precision that the run computes in.
    """

    name: str
    by_layer: bool = False
    trains: bool = False
    computes: bool = False

    def check(self, request: Request) -> None:
        """Raise InputError for what this stage cannot do, before anything is computed."""

    @abstractmethod
    def run(self, work: Work) -> None:
        """Do it, or read back what of it is done already."""
