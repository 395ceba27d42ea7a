"""The stages `statistics` and `transfer`: every layer in turn learns to put out what softmax put out there."""

from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import Any, Literal

from torch import nn

from gaincell.adapt.request import Request
from gaincell.adapt.seeds import drawing
from gaincell.adapt.settings import AdaptSettings
from gaincell.adapt.stage import Stage, Work
from gaincell.adapt.stages.layers import LayerWalk, Teaching
from gaincell.adapt.stages.score_preset import fit_layer
from gaincell.adapt.stages.statistics import least_squares_layer, match_layer
from gaincell.adapt.stages.transfer import transfer_layer
from gaincell.adapt.text.held_out import keep_learned
from gaincell.errors import InputError
from gaincell.models import HeadScalers, attention_modules, scalers_of
from gaincell.models.convert import softmax_scale
from gaincell.models.scalers import scalers_in


class LayerStage(Stage):
    """A stage that keeps every layer when it is done, and goes on with the next one."""

    by_layer = True

    @abstractmethod
    def target(self, module: nn.Module) -> nn.Module:
        """What of an attention module the stage decides."""

    @abstractmethod
    def amount(self, settings: AdaptSettings, there: int) -> tuple[int, int]:
        """Of so many rows, how many to learn on, and how many at once."""

    @abstractmethod
    def learn(self, work: Work, walk: LayerWalk, index: int, teaching: Teaching) -> dict[str, Any]:
        """Change one layer, and tell how that went."""

    def follow(self, work: Work, walk: LayerWalk, index: int) -> None:
        """What comes after a layer that is done: nothing, unless a stage says so."""

    def run(self, work: Work) -> None:
        """Every layer in turn; those that the folder holds are read back, and digital ones stay as they are."""
        modules, run = attention_modules(work.model), work.run
        analog = [layer for layer, scalers in enumerate(scalers_of(work.model).values()) if not scalers.is_digital]
        if all(run.finished(self.name, index) for index in analog):
            for index in analog:
                self._load(work, index, list(modules.values())[index])
            return
        assert work.calibration is not None
        ids = work.calibration.to(work.model.device)
        keep_learned(run, ids)
        count, batch = self.amount(work.settings, len(ids))
        walk = LayerWalk(work.model, ids[:count], min(batch, count))
        for index, module in enumerate(walk.modules.values()):
            teaching = walk.advance(index)
            if index in analog and not self._load(work, index, module):
                metrics = {"stage": self.name, "layer": index, **self.learn(work, walk, index, teaching)}
                run.save(self.name, index, self.target(module).state_dict(), metrics)
            self.follow(work, walk, index)
            if work.progress is not None:
                work.progress(self.name, index + 1, len(walk.modules))

    def _load(self, work: Work, index: int, module: nn.Module) -> bool:
        """Put a finished layer's parameters into `module`; whether it is finished."""
        metrics = work.run.load(self.name, index, self.target(module))
        after = "statistics" in work.names
        if metrics is not None and metrics.get("after_statistics", after) != after:
            raise InputError(
                f"{work.run.folder} holds a transfer that did not start from statistics; choose another output folder."
            )
        return metrics is not None


@dataclass(frozen=True)
class Statistics(LayerStage):
    """Chooses the scalers of every head without gradients.

    Attributes:
        how: least squares against softmax's output on the operator itself, or the paper's matching of mean and
            deviation.
    """

    how: Literal["least-squares", "matching"] = "least-squares"
    name = "statistics"

    def check(self, request: Request) -> None:
        """Refuse a design point that these statistics are not for."""
        config = request.config
        if config.score_preset and self.how == "matching":
            raise InputError(
                f"the published matching finds no score preset, which design point '{config.name}' has; use "
                "least-squares."
            )
        if config.score_preset and config.query_sign == "unsigned":
            raise InputError(
                "statistics fits a score preset to signed queries; set query_sign to differential or offset_binary."
            )
        if config.sinks != "none" and not config.score_preset:
            raise InputError("statistics fits digital sinks together with a score preset; set score_preset, too.")

    def target(self, module: nn.Module) -> HeadScalers:
        """The scalers."""
        scalers = scalers_in(module)
        assert scalers is not None
        return scalers

    def amount(self, settings: AdaptSettings, there: int) -> tuple[int, int]:
        """`statistics_rows`, all at once."""
        return min(there, settings.statistics_rows), settings.statistics_rows

    def learn(self, work: Work, walk: LayerWalk, index: int, teaching: Teaching) -> dict[str, Any]:
        """Fit one layer's scalers to what softmax did there."""
        module = list(walk.modules.values())[index]
        heads, scalers = walk.heads(index, teaching), self.target(module)
        with drawing(self.name, work.settings.seed, index):
            if self.how == "matching":
                errors = match_layer(scalers, heads)
            elif scalers.preset is not None:
                errors = fit_layer(scalers, heads, teaching.inputs, softmax_scale(module))
            else:
                errors = least_squares_layer(scalers, heads)
        analog = [head for head in range(len(errors)) if head not in scalers.digital]
        return {"relative_error": float(errors[analog].mean() if analog else errors.mean())}


@dataclass(frozen=True)
class Transfer(LayerStage):
    """Trains each layer's projections and scalers, on the inputs that the adapted layers below give it."""

    name = "transfer"
    computes = True

    def check(self, request: Request) -> None:
        """Refuse fewer rows than a learning step takes."""
        settings, given, batch = request.settings, request.calibration, request.settings.transfer.batch
        rows = settings.rows if given is None else min(len(given), settings.rows)
        if rows < batch:
            raise InputError(f"a learning step takes {batch} rows, but there are {rows}; use a smaller transfer.batch.")

    def target(self, module: nn.Module) -> nn.Module:
        """The whole attention module."""
        return module

    def amount(self, settings: AdaptSettings, there: int) -> tuple[int, int]:
        """Whole batches."""
        batch = settings.transfer.batch
        return there // batch * batch, batch

    def learn(self, work: Work, walk: LayerWalk, index: int, teaching: Teaching) -> dict[str, Any]:
        """Train one layer."""
        settings, module = work.settings, list(walk.modules.values())[index]
        if settings.transfer.inputs == "student":
            teaching = replace(teaching, inputs=walk.student_inputs(index))
        with drawing(self.name, settings.seed, index):
            went = transfer_layer(module, teaching, settings, settings.seed + index)
        errors = {"relative_error_before": went.before, "relative_error": went.after}
        return {**errors, "rate": went.rate, "kept": went.kept, "after_statistics": "statistics" in work.names}

    def follow(self, work: Work, walk: LayerWalk, index: int) -> None:
        """Let the student's hidden states pass through the layer as it is now."""
        if work.settings.transfer.inputs == "student":
            with drawing("follow", work.settings.seed, index):
                walk.follow(index)
