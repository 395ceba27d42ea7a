"""`gaincell adapt`."""

import os
import shlex
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from gaincell.cli import options, screen
from gaincell.errors import InputError

STAGES = ("matching", "statistics", "transfer", "distill")
DEFAULT_STAGES = ("statistics", "distill")

#: How much `--quick` takes: enough to see that everything works, too little to judge by.
QUICK = {
    "rows": 16,
    "length": 128,
    "transfer.batch": 4,
    "transfer.steps": 8,
    "distill.tokens": 4096,
    "distill.batch": 4,
    "held_back": 1,
}


def adapt(
    out: Annotated[Path, typer.Option("--out", help="Run folder; a run in it that was cut short goes on.")],
    model: options.Model = "demo",
    config: options.Config = "extended",
    text: Annotated[
        str | None,
        typer.Option(
            "--text",
            help="A UTF-8 text file; 'packaged' prose, or a 'library' of it; 'mixture' for text of every kind, or a "
            "mixture file (.yaml); or a data set: a folder or a hub's name.",
        ),
    ] = None,
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="Of a mixture: go on without the sources that cannot be fetched.")
    ] = False,
    tokens: Annotated[
        Path | None, typer.Option("--tokens", help="Token ids instead of a text: a .npy file of rows, as int32.")
    ] = None,
    validate: Annotated[
        str | None,
        typer.Option("--validate", help="Text whose perplexity `distill` logs: a file; speeches; or novel."),
    ] = None,
    stages: Annotated[
        str | None,
        typer.Option(
            help=f"Some of {', '.join(STAGES)}, separated by commas; they run in this order.",
            show_default=",".join(DEFAULT_STAGES),
        ),
    ] = None,
    statistics: Annotated[
        Literal["least-squares", "matching"] | None,
        typer.Option(help="How the stage 'statistics' finds the scalers.", show_default="least-squares"),
    ] = None,
    recipe: Annotated[
        Literal["paper"] | None,
        typer.Option(help="'paper': the published linear-model-first training instead of stages."),
    ] = None,
    start: Annotated[
        str | None,
        typer.Option("--from", help="An adapter to go on from with the stages matching or distill, by name or file."),
    ] = None,
    seed: options.Seed = 0,
    sensitive: Annotated[
        bool,
        typer.Option(
            "--sensitivity",
            help="Learn nothing: with --from, put each layer of that adapter back to softmax, and say which to keep "
            "digital.",
        ),
    ] = False,
    budget: Annotated[
        int | None, typer.Option("--digital-budget", min=0, help="With --sensitivity: choose so many, one by one.")
    ] = None,
    digital: Annotated[
        str | None,
        typer.Option(
            help="Layers and heads to keep digital, such as 24,18,20.3; else the design point's. With --sensitivity: "
            "those to try; else all layers."
        ),
    ] = None,
    rank: Annotated[
        int | None, typer.Option(min=1, help="Rank of the adapter's matrices; a few MB instead of exact differences.")
    ] = None,
    save: Annotated[
        Path | None,
        typer.Option(
            "--save-adapter",
            metavar="FILE",
            help="With the options of a run in OUT: make an adapter of its last checkpoint, and learn nothing more.",
        ),
    ] = None,
    given: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="NAME=VALUE", help="A setting, such as distill.tokens=200000; as often as needed."
        ),
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Fewer tokens and steps: a trial.")] = False,
    json: options.Json = False,
) -> None:
    """Adapt a pre-trained model to a design point.

    It learns from text that it writes itself, or from --text, and is saved in OUT/model; what it learned, without the
    weights that it had, in OUT/adapter.safetensors. It ends with perplexity and KL beside the original's, on text
    of the original's own that was held back.
    """
    from gaincell.config import GainCellConfig
    from gaincell.study.adapt_model import Asked, adapt_model, is_mixture, told

    began = time.monotonic()
    if sensitive or budget is not None:
        unread = (text if tokens is None else None, validate, stages, statistics, recipe, rank, save)
        if not sensitive or start is None or tokens is not None or allow_missing or quick or any(unread[1:]):
            raise InputError(
                "--sensitivity measures an adapter: give it with --from, and of other options MODEL, --out, --text, "
                "--digital-budget, --digital, --seed, --set and --json alone."
            )
        _measure(out, model, start, text, budget or 0, digital, {"seed": seed, **parse_settings(given or [])}, json)
        return
    design_point = GainCellConfig.load(config)
    if digital is not None:
        design_point = design_point.replace(digital=options.split(digital))
    if recipe is not None and (stages, statistics, start) != (None, None, None):
        raise InputError(f"--recipe {recipe} has stages of its own; leave --stages, --statistics and --from out.")
    if text is not None and tokens is not None:
        raise InputError("--text and --tokens are both what to learn from; give one of them.")
    if allow_missing and not is_mixture(text):
        raise InputError("--allow-missing is for a mixture's sources; give one by --text, or leave it out.")
    default = DEFAULT_STAGES if start is None else ("distill",)
    chosen = () if recipe else parse_stages(",".join(default) if stages is None else stages)
    fields = parse_settings(given or [])
    if save is None:  # whose options are those of the run, whatever it has reached
        goes_on = start is None and (out / "config.json").is_file()
        check_stages(chosen, fields, recipe=recipe, validate=validate, statistics=statistics, goes_on=goes_on)
    options.check_out(out)
    if save is not None and (save.suffix != ".safetensors" or save.is_dir()):
        raise InputError(f"--save-adapter {save} must be a file whose name ends in .safetensors.")
    how = {"config": config, "text": text, "tokens": tokens, "from": start, "recipe": recipe}
    how |= {"stages": ",".join(chosen) or None, "statistics": statistics, "seed": seed, "rank": rank}
    how |= {"digital": digital}
    asked = Asked(
        out,
        design_point,
        model,
        text=text,
        allow_missing=allow_missing,
        tokens=tokens,
        validate=validate,
        stages=chosen,
        statistics=statistics,
        recipe=recipe,
        start=start,
        settings={"seed": seed, **(QUICK if quick else {}), **fields},
        rank=rank,
        save=save,
        notes=as_command(model, how, given or [], quick) + " --allow-missing" * allow_missing,
    )
    found = adapt_model(asked, options.load_model, screen)
    if found is None:
        return  # one of several processes under `accelerate launch`; the first one tells
    seconds = time.monotonic() - began
    if json:
        about = {"out": str(out), "design_point": design_point.name}
        ran = {"stages": list(chosen)} if chosen else {}
        screen.show_json({**about, **found.to_dict(), **ran, "seconds": seconds})
    elif found.model is None:
        screen.show(f"saved {found.reached or 'what the stages reached'}: {found.adapter}")
    else:
        screen.show(f"adapted to '{design_point.name}' in {seconds:.0f} s: {found.model}")
        for line in [] if found.result.outcome is None else told(found.result.outcome):
            screen.show(line)
        screen.say(f"evaluate it: gaincell evaluate {found.model}")


def _measure(
    out: Path,
    model: str,
    adapter: str,
    text: str | None,
    budget: int,
    digital: str | None,
    settings: dict[str, Any],
    json: bool,
) -> None:
    """`gaincell adapt --sensitivity`."""
    from gaincell.report.digital import sensitivities
    from gaincell.study.find_digital import AskedDigital, find_digital

    unread = sorted(settings.keys() - {"seed", "held_back", "length", "precision"})
    if unread:
        raise InputError(f"--set {unread[0]} is not read by --sensitivity; of settings it reads held_back and length.")
    options.check_out(out)
    entries = None if digital is None else options.split(digital)
    asked = AskedDigital(out, adapter, model, text, budget, entries, settings)
    found = find_digital(asked, options.load_model, screen)
    if json:
        screen.show_json({"adapter": adapter, **found.to_dict()})
        return
    for table in sensitivities(found.found):
        screen.show_table(*table)
    if found.found.chosen:
        screen.show(f"digital: {options.joined(found.found.chosen[-1].digital)}")
    for path in found.files:
        screen.say(f"wrote {path}")


def check_stages(
    stages: tuple[str, ...],
    fields: Mapping[str, Any],
    *,
    recipe: str | None,
    validate: str | None,
    statistics: str | None,
    goes_on: bool,
) -> None:
    """Raise InputError for what would be ignored, since the stage that it is for is not among those that run.

    A run that `goes_on` in its folder is told by the settings of its earlier stages, too.
    """
    distilled = ["--validate"] if validate is not None else []
    distilled += [f"--set {name}" for name in fields if name.startswith("distill.")]
    if recipe is None and "distill" not in stages and distilled:
        raise InputError(
            f"{distilled[0]} is for the stage distill, which is not among {','.join(stages)}; add it to --stages."
        )
    transferred = [f"--set {name}" for name in fields if name.startswith("transfer.")]
    if transferred and "transfer" not in stages and not goes_on:
        among = f"is not among {','.join(stages)}" if recipe is None else "no recipe has"
        raise InputError(f"{transferred[0]} is for the stage transfer, which {among}; leave it out.")
    if statistics is not None and "statistics" not in stages:
        raise InputError(f"--statistics is for that stage, which is not among {','.join(stages)}; leave it out.")


def as_command(model: str, how: Mapping[str, object], given: list[str], quick: bool) -> str:
    """The command that adapts so again, for an adapter's header; local folders and files by their last name."""

    def word(value: object) -> str:
        text = str(value)
        return shlex.quote(Path(text).name if os.sep in text and Path(text).exists() else text)

    parts = ["gaincell adapt", word(model), *(f"--{k} {word(v)}" for k, v in how.items() if v is not None)]
    return " ".join([*parts, *(f"--set {shlex.quote(part)}" for part in given), *["--quick"] * quick])


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


def parse_settings(given: list[str]) -> dict[str, Any]:
    """Settings by their full names, from "name=value".

    A value is read as YAML, so that numbers, null and lists are what they look like; but "no" and the like are words,
    as of `precision`, and no booleans.

    Raises:
        InputError: no "=", no name, a setting twice, or a value that YAML cannot read.
    """
    from gaincell.cell.cell import read_yaml

    fields: dict[str, Any] = {}
    for part in given:
        name, equals, value = part.partition("=")
        if not equals or not name or name in fields or len(part.splitlines()) > 1:
            raise InputError(f"--set '{part}' must be NAME=VALUE, and each name given once.")
        word = value.strip().lower() in ("yes", "no", "on", "off")
        fields |= {name: value.strip()} if word else read_yaml(f"{name}: {value}", f"--set '{part}'")
    if not fields:
        return {}
    from gaincell.adapt.settings import named  # what cannot be read is told without waiting for torch

    return named(fields)
