"""`gaincell evaluate`."""

import time
from pathlib import Path
from typing import Annotated

import typer

from gaincell.cli import options, screen
from gaincell.errors import InputError

#: Tokens at the start of the text that heads are watched on: what they show takes memory with the square of it.
ACTIVITY = 512


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
    device: options.Device = "cpu",
    json: options.Json = False,
) -> None:
    """Measure a model: a text's perplexity, a panel, or tasks.

    With --config, an unconverted model is mapped as it is, without adaptation, and a converted one moves there.

    Example: gaincell evaluate extended --tasks paper --limit 60 --out runs/tasks
    """
    options.check_device(device)
    if tasks is not None:
        if panel:
            raise InputError("--tasks and --panel measure different things; give one of them at a time.")
        if (option := _given(context, "config", "mismatch_seed")) is not None:
            raise InputError(f"--tasks scores models as they are; leave {option} out, or save a model at that point.")
        if (option := _given(context, "text", "length", "stride", "tokens")) is not None:
            raise InputError(f"{option} is of perplexity, and tasks have texts and lengths of their own; leave it out.")
        from gaincell.cli.evaluate_tasks import evaluate_tasks

        evaluate_tasks(
            model, tasks, also=also or [], limit=limit, online=online, batch=batch, out=out, device=device, json=json
        )
        return
    if (option := _given(context, "limit", "online", "batch")) is not None:
        raise InputError(f"{option} goes with --tasks; {'leave it out' if panel else 'add that'}.")
    if panel:
        if (option := _given(context, "config", "mismatch_seed")) is not None:
            raise InputError(f"--panel measures models as they are; leave {option} out, or save a model at that point.")
        if (option := _given(context, "text", "stride")) is not None:
            raise InputError(f"--panel has texts of its own, in windows that do not overlap; leave {option} out.")
        from gaincell.cli.evaluate_panel import evaluate_panel

        evaluate_panel(model, also=also or [], tokens=tokens, length=length or 1024, out=out, device=device, json=json)
        return
    if (option := _given(context, "also", "out")) is not None:
        raise InputError(f"{option} goes with --tasks or --panel; add one of them.")
    length = length or 512
    from gaincell.config import GainCellConfig

    began = time.monotonic()
    wanted = None if config is None else GainCellConfig.load(config)
    if wanted is not None and mismatch_seed is not None:
        wanted = wanted.replace(mismatch_seed=mismatch_seed)
    import torch

    from gaincell.adapt.sources import load_source
    from gaincell.evaluate import load_text, perplexity
    from gaincell.evaluate.perplexity import encode
    from gaincell.evaluate.prefix import prefix_of
    from gaincell.report.numbers import number

    is_data_set = "/" in text and not Path(text).exists()
    words = load_source(text, split="test") if is_data_set else load_text(text)
    network, tokenizer = options.load_model(model, device)
    from gaincell.models import attention_activity, convert_, design_point

    options.check_positions(network, length, "--length")
    if wanted is None and mismatch_seed is not None:
        stored = design_point(network)
        if stored is None:
            raise InputError("--mismatch-seed draws the cells of a converted model; convert this one with --config.")
        wanted = stored.replace(mismatch_seed=mismatch_seed)
    if wanted is not None:
        convert_(network, wanted)
    point = design_point(network)
    with screen.stages() as progress:
        found = perplexity(
            network, tokenizer, words, length=length, stride=stride, tokens=tokens, progress=progress.of("perplexity")
        )
    attends = "softmax" if point is None else point.name
    heads: dict[str, float] = {}
    if point is not None:
        watched = (prefix_of(tokenizer) + encode(tokenizer, words, ACTIVITY))[: min(length, ACTIVITY)]
        activity = attention_activity(network, torch.tensor([watched]))
        heads = {
            "heads": activity.dead.size,
            "dead_heads": int(activity.dead.sum()),
            "saturated_heads": int(activity.saturated.sum()),
            "silent_pulses": 1.0 - float(activity.phi_active.mean()),
        }
    # A run's model and adapter lie in its folder.
    folder, share = Path(model).resolve().parent, None
    if Path(model).exists() and (folder / "metrics.jsonl").is_file():
        from gaincell.adapt.held_out import share_learned

        share = share_learned(folder, encode(tokenizer, words, tokens)[: tokens + 1])
    if share:
        screen.say(
            f"note: at least {share:.0%} of what is scored is among what {folder} learned from; take another text"
        )
    if json:
        seconds = time.monotonic() - began
        figures = {**found.to_dict(), **heads, "seconds": seconds}
        screen.show_json({"model": model, "attention": attends, "text": text, "learned": share, **figures})
        return
    screen.show(f"perplexity {number(found.perplexity)}")
    screen.show(
        f"{model}, attention: {attends}; {found.tokens} tokens of '{text}', "
        f"windows of {found.length}, stride {found.stride}"
    )
    if heads:
        screen.show(
            f"heads: {heads['heads']}, of which {heads['dead_heads']} dead (no pulse at all) and "
            f"{heads['saturated_heads']} saturated; {heads['silent_pulses']:.0%} of all pulses have zero width"
        )


def _given(context: typer.Context, *names: str) -> str | None:
    """The first of these options that the command line gives, be it what it is by default."""
    for name in names:
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            return f"--{name.replace('_', '-')}"
    return None
