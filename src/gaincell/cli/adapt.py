"""`gaincell adapt`."""

import time
from pathlib import Path
from typing import Annotated, Literal

import typer

from gaincell.cli import options, screen
from gaincell.errors import InputError

STAGES = ("statistics", "transfer")

#: How much `--quick` takes: enough to see that everything works, too little to judge by.
QUICK = {"sequences": 16, "length": 128, "steps": 8}


def adapt(
    out: Annotated[Path, typer.Option("--out", help="Run folder; a run in it that was cut short goes on.")],
    model: options.Model = "demo",
    config: options.Config = "extended",
    text: Annotated[
        str | None, typer.Option("--text", help="A UTF-8 text file, or a data set: a folder, or a name on the hub.")
    ] = None,
    stages: Annotated[str, typer.Option(help="Stages in order, separated by commas.")] = ",".join(STAGES),
    statistics: Annotated[
        Literal["least-squares", "matching"], typer.Option(help="How the stage 'statistics' finds the scalers.")
    ] = "least-squares",
    seed: options.Seed = 0,
    rank: Annotated[
        int | None, typer.Option(min=1, help="Rank of the adapter's matrices; a few MB instead of exact differences.")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Fewer tokens and steps: a trial.")] = False,
    json: options.Json = False,
) -> None:
    """Adapt a pre-trained model to a design point.

    It learns from text that it writes itself, or from --text, and is saved in OUT/model; what it learned, without the
    weights that it had, in OUT/adapter.safetensors.
    """
    from gaincell.config import GainCellConfig

    began = time.monotonic()
    design_point = GainCellConfig.load(config)
    chosen = parse_stages(stages)
    options.check_out(out)
    from gaincell.adapt import load_source

    words = None if text is None else load_source(text)
    network, tokenizer = options.load_model(model)
    from gaincell.adapt import AdaptSettings
    from gaincell.adapt import adapt as run_adapt
    from gaincell.models import save_adapter
    from gaincell.models.load import save_model

    settings = AdaptSettings(seed=seed, **(QUICK if quick else {}))
    options.check_positions(network, settings.length, "adaptation")
    with screen.stages() as progress:
        result = run_adapt(
            network,
            design_point,
            tokenizer=tokenizer,
            out=out,
            text=words,
            stages=chosen,
            statistics=statistics,
            settings=settings,
            progress=progress,
        )
    saved = save_model(result.model, tokenizer, out / "model")
    adapter = out / "adapter.safetensors"
    # The model was adapted in place: its weights as they were are read again rather than held all the while.
    save_adapter(result.model, options.load_model(model)[0], adapter, rank=rank)
    seconds = time.monotonic() - began
    if json:
        screen.show_json(
            {
                "out": str(out),
                "model": str(saved),
                "adapter": str(adapter),
                "design_point": design_point.name,
                "stages": list(chosen),
                "metrics": result.metrics,
                "seconds": seconds,
            }
        )
        return
    screen.show(f"adapted to '{design_point.name}' in {seconds:.0f} s: {saved}")
    screen.say(f"evaluate it: gaincell evaluate {saved}")


def parse_stages(text: str) -> tuple[str, ...]:
    """Stages from "statistics,transfer".

    Raises:
        InputError: an unknown stage, one twice, or none.
    """
    stages = tuple(part.strip() for part in text.split(",") if part.strip())
    for stage in stages:
        if stage not in STAGES:
            raise InputError(f"unknown stage '{stage}'; choose from {', '.join(STAGES)}.")
    if not stages or len(set(stages)) < len(stages):
        raise InputError(f"--stages '{text}' must name each stage once at most, and one at least.")
    return stages
