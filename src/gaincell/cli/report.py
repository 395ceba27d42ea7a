"""`gaincell report`."""

from pathlib import Path
from typing import Annotated

import typer

from gaincell.cli import options, screen
from gaincell.errors import InputError


def report(
    run: Annotated[
        str,
        typer.Argument(
            metavar="RUN",
            help="A run folder of 'gaincell adapt' or 'gaincell demo'; or an adapter, by its shipped name or file.",
        ),
    ],
    out: Annotated[
        Path | None, typer.Option("--out", help="The page, *.html. Default: RUN/report.html; of an adapter in runs/.")
    ] = None,
    sentence: Annotated[
        str | None, typer.Option("--sentence", help="Draw the attention maps of this text.", show_default="one of ours")
    ] = None,
    tasks: Annotated[
        Path | None, typer.Option("--tasks", help="Accuracy on tasks, a tasks.json. Default: RUN/tasks.json, if any.")
    ] = None,
    base: Annotated[
        str, typer.Option("--base", help="The original that RUN was adapted from: 'demo', or a model folder.")
    ] = "demo",
    device: options.Device = "cpu",
    json: options.Json = False,
) -> None:
    """Write a run as one HTML page, to look at and to pass on.

    Quality against the original, how it adapted, health of every head, attention maps, latency and energy, samples. The
    page needs no network. Runs both models; what it measured stays beside the page, so that a second time is quick.
    """
    options.check_out_file(out)
    if out is not None and out.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"--out {out} must be a file whose name ends in .html.")
    if sentence is not None and not sentence.strip():
        raise InputError("--sentence is empty; give some words to draw attention maps of.")
    options.check_device(device)
    from gaincell.study.report import report_run

    found, page = report_run(
        run,
        out,
        sentence=sentence,
        tasks=tasks,
        base=base,
        device=device,
        load=options.loads(device),
        listener=screen,
    )
    if json:
        screen.show_json(
            {"report": str(page), "bytes": page.stat().st_size, **found["results"], "heads": found["heads"]}
        )
        return
    screen.show(found["results"]["summary"])
    screen.show(f"report: {page} ({page.stat().st_size / 1e6:.1f} MB)")
