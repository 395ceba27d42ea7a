"""`gaincell evaluate --panel`."""

import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from gaincell.cli import screen

if TYPE_CHECKING:
    from gaincell.evaluate.panel import GenreResult, ModelResult
    from gaincell.study.models import Load


def evaluate_panel(
    models: Sequence[str], *, tokens: int, length: int, out: Path | None, load: "Load", json: bool
) -> None:
    """Measure models on the panel beside their original, and show how they compare."""
    from gaincell.study.models import labels, original_first

    began = time.monotonic()
    names = original_first(labels(models), load)
    from gaincell.evaluate.panel import measure_panel

    if out is None and len(names) > 1:
        screen.say("note: only the original's answers are kept; with --out FOLDER an interrupted run goes on")
    loaders = {label: partial(load, name) for label, name in names.items()}
    with screen.stages() as progress:
        found = measure_panel(loaders, tokens=tokens, length=length, out=out, progress=progress)
    if json:
        screen.show_json({**found.to_dict(), "seconds": time.monotonic() - began})
        return
    original, *others = found.models
    columns = ["genre", "original", *(word for one in others for word in (one.name, "KL"))]
    rows = [
        [genre, _number(base.perplexity), *(word for one in others for word in _beside(one.genres[genre]))]
        for genre, base in original.genres.items()
    ]
    rows.append(["geometric mean", "", *(word for one in others for word in _beside(one))])
    screen.show_table(columns, rows)
    screen.show(
        f"Perplexity on the first {tokens} tokens of each text in windows of {length}; of the others, times the "
        "original's (95 % interval), and KL(original || model) in nats per token."
    )
    for one in others:
        screen.show(f"{one.name}: worst genre {one.worst}, {_ratio(one.genres[str(one.worst)].ratio)}")
    screen.show_table(
        ["what attention keeps", *(one.name for one in found.models)],
        [
            ["repeated 4-grams, greedy", *(f"{one.repeated:.1%}" for one in found.models)],
            *(
                [f"copied over {of.distance} tokens", *(f"{one.copying[place].accuracy:.1%}" for one in found.models)]
                for place, of in enumerate(original.copying)
            ),
        ],
    )


def _beside(one: "ModelResult | GenreResult") -> tuple[str, str]:
    low_high = "" if one.interval is None else f" ({one.interval[0]:.3f} to {one.interval[1]:.3f})"
    return f"{_ratio(one.ratio)}{low_high}", f"{one.divergence:.3f}"


def _ratio(value: float | None) -> str:
    assert value is not None  # it is not the original's
    return f"×{value:.3f}" if value < 100 else f"×{_number(value)}"


def _number(value: float) -> str:
    from gaincell.report.numbers import number

    return number(value)
