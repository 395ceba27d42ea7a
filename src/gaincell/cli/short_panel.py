"""The panel's short form, which the demo and the report score their models on."""

import math
import platform
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gaincell.cli.screen import Stages

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from gaincell.report.results import PerplexityRow

    Loaded = tuple[PreTrainedModel, Any]

ORIGINAL = "original"


def score_original(
    original: "Callable[[], Loaded]", tokens: int, length: int, kept: Path | None, progress: Stages
) -> Any:
    """What `perplexity_row` takes of the original model, with the versions that it was scored with.

    Args:
        original: gives the original model and its tokenizer.
        tokens: of each text of the panel.
        length: tokens of a window.
        kept: a folder that keeps the original's losses, genre by genre; None: in the user's cache.
        progress: of the command.
    """
    import torch
    import transformers

    found = _measure({ORIGINAL: original}, tokens, length, kept, progress)
    versions = {
        "Python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }
    return {**found, "tokens": tokens, "length": length, "versions": versions, "threads": torch.get_num_threads()}


def score_beside(
    original: "Callable[[], Loaded]",
    name: str,
    model: "PreTrainedModel",
    tokens: int,
    length: int,
    kept: Path | None,
    progress: Stages,
) -> Any:
    """What `perplexity_row` takes of another model beside its original; arguments as in `score_original`."""

    def load() -> "Loaded":
        return model, original()[1]

    return _measure({ORIGINAL: original, name: load}, tokens, length, kept, progress)


def _measure(models: Any, tokens: int, length: int, kept: Path | None, progress: Stages) -> dict[str, Any]:
    from gaincell.evaluate.panel import measure_panel

    *_, found = measure_panel(
        models, tokens=tokens, length=length, prompts=0, rows=0, divergence=False, cache=kept, progress=progress
    ).models
    return found.to_dict()


def perplexity_row(attention: str, stage: str, found: Any, seconds: float) -> "PerplexityRow":
    """A model's row in a table: geometric means over the genres, and the genre that it does worst."""
    genres = {name: genre["perplexity"] for name, genre in found["genres"].items()}
    row: PerplexityRow = {
        "attention": attention,
        "stage": stage,
        "perplexity": math.exp(math.fsum(map(math.log, genres.values())) / len(genres)),
        "ratio": found["ratio"] or 1.0,
        "seconds": seconds,
        "interval": None if found["interval"] is None else list(found["interval"]),
        "worst": None if found["worst"] is None else {"genre": _title(found["worst"]), "ratio": _worst(found)},
    }
    return row


def how_scored(original: Any) -> str:
    """One sentence on how the rows came about."""
    return (
        f"Perplexity on {len(original['genres'])} kinds of text that nothing was learned from, the first "
        f"{original['tokens']} tokens of each in windows of {original['length']}: the geometric mean, and the kind "
        "that a model does worst. Lower is better."
    )


def _worst(found: Any) -> float:
    return found["genres"][found["worst"]]["ratio"]


def _title(name: str) -> str:
    from gaincell.evaluate.panel import GENRES

    return next(genre.title for genre in GENRES if genre.name == name)
