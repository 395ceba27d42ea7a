"""`gaincell evaluate`."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gaincell.cli import options, screen
from gaincell.cli.evaluate_panel import evaluate_panel
from gaincell.cli.evaluate_tasks import evaluate_tasks
from gaincell.errors import InputError

if TYPE_CHECKING:
    from gaincell.study.score_model import Scored


def evaluate(
    context: typer.Context,
    model: options.Model = "demo",
    config: options.OptionalConfig = None,
    text: Annotated[
        str,
        typer.Option(
            "--text",
            help="A UTF-8 text file; speeches: State of the Union; novel: Persuasion; or the split 'test' of a data "
            "set on the hub, such as Salesforce/wikitext:wikitext-2-raw-v1.",
        ),
    ] = "speeches",
    length: Annotated[
        int | None, typer.Option(min=2, help="Tokens of a window; 512 by default, of the panel 1024.")
    ] = None,
    stride: Annotated[
        int | None, typer.Option(min=1, help="Tokens between windows; half the length by default.")
    ] = None,
    tokens: Annotated[int, typer.Option(min=1, help="Tokens to score at most; of the panel, of each text.")] = 8192,
    mismatch_seed: Annotated[
        int | None,
        typer.Option(min=0, help="Draw arrays whose cells differ, by the design point's figures; a seed, an array."),
    ] = None,
    tasks: Annotated[
        str | None,
        typer.Option(
            help="In place of perplexity, accuracy on tasks: paper (all of them), or some of arc_easy, arc_challenge, "
            "winogrande, hellaswag, lambada, piqa, and with --online wikitext; an adapter beside its original."
        ),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Items of a task at most, drawn at random.")] = None,
    panel: Annotated[
        bool,
        typer.Option(
            "--panel",
            help="In place of one text, the panel: texts of nine kinds, what the model writes, and what it finds in "
            "its context; beside its original.",
        ),
    ] = False,
    also: Annotated[
        list[str] | None,
        typer.Option(metavar="MODEL", help="With --tasks or --panel: a further model on the same; repeatable."),
    ] = None,
    online: Annotated[
        bool, typer.Option("--online", help="The harness's own tasks, from the hub, WikiText-2 among them.")
    ] = False,
    batch: Annotated[int, typer.Option(min=1, help="Requests of tasks in one forward pass.")] = 16,
    out: Annotated[
        Path | None,
        typer.Option(help="A folder for tasks.json or panel.json, and the answers on the way; the same one goes on."),
    ] = None,
    digital: options.Digital = None,
    device: options.Device = "cpu",
    json: options.Json = False,
) -> None:
    """Measure a model: a text's perplexity, a panel, or tasks.

    With --config, an unconverted model is mapped as it is, without adaptation, and a converted one moves there.

    Example: gaincell evaluate extended --tasks paper --limit 60 --out runs/tasks
    """
    options.check_device(device)
    _check_together(context, "tasks" if tasks is not None else "panel" if panel else "text")
    if out is not None:
        options.check_out(out)
    load, models = options.loads(device, digital), (model, *(also or []))
    if digital is not None and config is None and not any(map(options.in_gain_cells, models)):
        raise InputError("--digital is of models that attend in gain cells; add --config, or name an adapted model.")
    if tasks is not None:
        evaluate_tasks(models, tasks, limit=limit, online=online, batch=batch, out=out, load=load, json=json)
        return
    if panel:
        evaluate_panel(models, tokens=tokens, length=length or 1024, out=out, load=load, json=json)
        return
    from gaincell.config import GainCellConfig

    began = time.monotonic()
    wanted = None if config is None else GainCellConfig.load(config)
    if wanted is not None and digital is not None:
        wanted = wanted.replace(digital=options.split(digital))
    from gaincell.study.score_model import score_text

    how = {"mismatch_seed": mismatch_seed, "length": length or 512, "stride": stride, "tokens": tokens}
    with screen.stages() as progress:
        found = score_text(model, text, config=wanted, **how, load=load, progress=progress)
    if found.learned:
        screen.say(
            f"note: at least {found.learned:.0%} of what is scored is among what {Path(model).resolve().parent} "
            "learned from; take another text"
        )
    if json:
        about = {"model": model, "attention": found.attention, "text": text, "learned": found.learned}
        seconds = time.monotonic() - began
        screen.show_json({**about, **found.perplexity.to_dict(), **found.heads, "seconds": seconds})
        return
    _show(model, text, found)


def _show(model: str, text: str, found: "Scored") -> None:
    from gaincell.report.numbers import number

    taken, heads = found.perplexity, found.heads
    screen.show(f"perplexity {number(taken.perplexity)}")
    screen.show(
        f"{model}, attention: {found.attention}; {taken.tokens} tokens of '{text}', "
        f"windows of {taken.length}, stride {taken.stride}"
    )
    if heads:
        screen.show(
            f"heads: {heads['heads']}, of which {heads['dead_heads']} dead (no pulse at all) and "
            f"{heads['saturated_heads']} saturated; {heads['silent_pulses']:.0%} of all pulses have zero width"
        )


#: What does not go with what is measured: options, and what to do; {} is the first of them that is given.
_APART = {
    "tasks": (
        (("panel",), "--tasks and --panel measure different things; give one of them at a time."),
        (
            ("config", "mismatch_seed"),
            "--tasks scores models as they are; leave {} out, or save a model at that point.",
        ),
        (
            ("text", "length", "stride", "tokens"),
            "{} is of perplexity, and tasks have texts and lengths of their own; leave it out.",
        ),
    ),
    "panel": (
        (("limit", "online", "batch"), "{} goes with --tasks; leave it out."),
        (
            ("config", "mismatch_seed"),
            "--panel measures models as they are; leave {} out, or save a model at that point.",
        ),
        (("text", "stride"), "--panel has texts of its own, in windows that do not overlap; leave {} out."),
    ),
    "text": (
        (("limit", "online", "batch"), "{} goes with --tasks; add that."),
        (("also", "out"), "{} goes with --tasks or --panel; add one of them."),
    ),
}


def _check_together(context: typer.Context, measured: str) -> None:
    """Raise InputError for an option that does not go with what is measured, be it what it is by default."""
    for names, what in _APART[measured]:
        for name in names:
            source = context.get_parameter_source(name)
            if source is not None and source.name == "COMMANDLINE":
                raise InputError(what.format(f"--{name.replace('_', '-')}"))
