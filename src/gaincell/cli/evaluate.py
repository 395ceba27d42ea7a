"""`gaincell evaluate`."""

import time
from pathlib import Path
from typing import Annotated

import typer

from gaincell.cli import options, screen


def evaluate(
    model: options.Model = "demo",
    config: options.OptionalConfig = None,
    text: Annotated[
        Path | None, typer.Option("--text", help="A UTF-8 text file; State of the Union addresses by default.")
    ] = None,
    length: Annotated[int, typer.Option(min=2, help="Tokens of a window.")] = 512,
    stride: Annotated[
        int | None, typer.Option(min=1, help="Tokens between windows; half the length by default.")
    ] = None,
    tokens: Annotated[int, typer.Option(min=1, help="Tokens to score at most.")] = 8192,
    json: options.Json = False,
) -> None:
    """Measure a model's perplexity.

    With --config, an unconverted model is mapped as it is, without adaptation, and a converted one moves there.
    """
    from gaincell.config import GainCellConfig

    began = time.monotonic()
    wanted = None if config is None else GainCellConfig.load(config)
    from gaincell.evaluate import load_text, perplexity
    from gaincell.report.numbers import number

    words = load_text(text)
    network, tokenizer = options.load_model(model)
    from gaincell.models import convert_, design_point

    options.check_positions(network, length, "--length")
    if wanted is not None:
        convert_(network, wanted)
    point = design_point(network)
    with screen.stages() as progress:
        found = perplexity(
            network, tokenizer, words, length=length, stride=stride, tokens=tokens, progress=progress.of("perplexity")
        )
    attends = "softmax" if point is None else point.name
    if json:
        seconds = time.monotonic() - began
        screen.show_json({"model": model, "attention": attends, **found.to_dict(), "seconds": seconds})
        return
    screen.show(f"perplexity {number(found.perplexity)}")
    screen.show(
        f"{model}, attention: {attends}; {found.tokens} tokens of {text or 'State of the Union addresses'}, "
        f"windows of {found.length}, stride {found.stride}"
    )
