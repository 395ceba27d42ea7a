"""The panel's short form, which the demo and the report score their models on."""

import math
import platform
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gaincell.progress import Progress
from gaincell.study.models import Loaded

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from gaincell.report.results import PerplexityRow

ORIGINAL = "original"


class ShortPanel:
    """Scores a model and its original on the start of every text of the panel.

    Args:
        original: gives the original model and its tokenizer; called only if something is left to score.
        tokens: of each text.
        length: tokens of a window.
        kept: a folder that keeps the original's losses, genre by genre; None: in the user's cache.
    """

    def __init__(self, original: Callable[[], Loaded], tokens: int, length: int, kept: Path | None = None) -> None:
        self._original, self.tokens, self.length, self._kept = original, tokens, length, kept

    def original(self, progress: Progress) -> dict[str, Any]:
        """What `perplexity_row` takes of the original model, with the versions that it was scored with."""
        import torch
        import transformers

        found = self._measure({ORIGINAL: self._original}, progress)
        versions = {
            "Python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        }
        how = {"tokens": self.tokens, "length": self.length}
        return {**found, **how, "versions": versions, "threads": torch.get_num_threads()}

    def beside(self, name: str, model: "PreTrainedModel", progress: Progress) -> dict[str, Any]:
        """What `perplexity_row` takes of another model beside its original."""
        return self._measure({ORIGINAL: self._original, name: lambda: (model, self._original()[1])}, progress)

    def _measure(self, models: dict[str, Callable[[], Loaded]], progress: Progress) -> dict[str, Any]:
        from gaincell.evaluate.panel import measure_panel

        how = {"prompts": 0, "rows": 0, "divergence": False, "cache": self._kept, "progress": progress}
        *_, found = measure_panel(models, tokens=self.tokens, length=self.length, **how).models
        return found.to_dict()


def perplexity_row(attention: str, stage: str, found: Any, seconds: float) -> "PerplexityRow":
    """A model's row in a table: geometric means over the genres, and the genre that it does worst."""
    genres = {name: genre["perplexity"] for name, genre in found["genres"].items()}
    worst = found["worst"]
    row: PerplexityRow = {
        "attention": attention,
        "stage": stage,
        "perplexity": math.exp(math.fsum(map(math.log, genres.values())) / len(genres)),
        "ratio": found["ratio"] or 1.0,
        "seconds": seconds,
        "interval": None if found["interval"] is None else list(found["interval"]),
        "worst": None if worst is None else {"genre": _title(worst), "ratio": found["genres"][worst]["ratio"]},
    }
    return row


def how_scored(original: Any) -> str:
    """One sentence on how the rows came about."""
    return (
        f"Perplexity on {len(original['genres'])} kinds of text that nothing was learned from, the first "
        f"{original['tokens']} tokens of each in windows of {original['length']}: the geometric mean, and the kind "
        "that a model does worst. Lower is better."
    )


def _title(name: str) -> str:
    from gaincell.evaluate.panel import GENRES

    return next(genre.title for genre in GENRES if genre.name == name)
