"""`gaincell evaluate --panel`."""

import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from gaincell.cli import screen

if TYPE_CHECKING:
    from gaincell.study.models import Load


def evaluate_panel(
    models: Sequence[str], *, tokens: int, length: int, out: Path | None, load: "Load", json: bool
) -> None:
    """Measure models on the panel beside their original, and show how they compare."""
    from gaincell.report import tables
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
    genres, kept = tables.panel(found)
    screen.show_table(*genres)
    screen.show(
        f"Perplexity on the first {tokens} tokens of each text in windows of {length}; of the others, times the "
        "original's (95 % interval), and KL(original || model) in nats per token."
    )
    for one in found.models[1:]:
        screen.show(f"{one.name}: worst genre {one.worst}, {tables.times(one.genres[str(one.worst)].ratio)}")
    screen.show_table(*kept)
