"""`gaincell reproduce table1 --full`."""

import subprocess
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from gaincell.cli import options, screen
from gaincell.cli.adapt import parse_settings
from gaincell.cli.record import Record, Step, run_steps

if TYPE_CHECKING:
    from gaincell.cli.screen import Stages
    from gaincell.reproduce.full import FullScale


def reproduce_full(
    folder: Path,
    items: int,
    model: str | None,
    text: str | None,
    processes: int | None,
    given: list[str],
    *,
    go: bool,
    json: bool,
) -> None:
    """Tell what the paper's own scale takes; with `go`, do it in `folder`.

    Raises:
        InputError: settings that cannot be, or a model or text that is not at hand.
    """
    from gaincell.adapt import AdaptSettings
    from gaincell.reproduce.full import FullScale

    fields = {"model": model, "text": text, "processes": processes, "given": parse_settings(given)}
    scale = FullScale(**{name: value for name, value in fields.items() if value is not None})
    AdaptSettings(**scale.settings)  # refuses what cannot be, before hours of work
    if not go:
        _tell(scale, folder, json)
        return
    record = Record(
        folder / "results.json", {"items": items, "model": scale.model, "text": scale.text, **scale.settings}
    )
    steps = [
        Step("tokens", "text as tokens", partial(_write_tokens, scale, folder), (folder / "tokens.npy",)),
        Step(
            "learn", "the paper's recipe", partial(_learn, scale, folder), (folder / "run" / "model" / "config.json",)
        ),
        Step("tasks", "tasks", partial(_tasks, scale, folder, items)),
    ]
    run_steps(steps, record)
    found = {"out": str(folder), "model": str(folder / "run" / "model"), **record.result("tasks")}
    if json:
        screen.show_json(found)
        return
    from gaincell.cli.reproduce import show
    from gaincell.reproduce.table1 import ENTRY

    seconds = sum(record.seconds(step.name) for step in steps)
    title = f"{ENTRY.title}, {scale.model}"
    show({"name": ENTRY.name, "title": title, "compares": ENTRY.compares, "seconds": seconds, **found})
    screen.show(f"adapted model: {found['model']}")


def _tell(scale: "FullScale", folder: Path, json: bool) -> None:
    command = scale.command(folder)
    if json:
        keys = ("what", "amount", "source")
        screen.show_json(
            {
                "scale": [dict(zip(keys, row, strict=True)) for row in scale.table()],
                "cost": [dict(zip(keys, row, strict=True)) for row in scale.cost()],
                "settings": scale.settings,
                "command": command,
            }
        )
        return
    columns = ("", "", "source")
    screen.show_table(columns, scale.table(), "table1 at the paper's own scale", text_columns=3)
    screen.show_table(columns, scale.cost(), "What it takes, by estimate", text_columns=3)
    screen.show("Nothing was run. With --run: the text becomes tokens, then this learns, then the tasks follow:")
    screen.show(" ".join(command))


def _write_tokens(scale: "FullScale", folder: Path, progress: "Stages") -> dict[str, Any]:
    from gaincell.adapt.sources import read_documents
    from gaincell.reproduce.full import write_tokens

    _, tokenizer = options.load_model(scale.model)
    length, report = scale.settings["distill_length"], progress.of("rows of text")
    rows = write_tokens(read_documents(scale.text), tokenizer, folder / "tokens.npy", length, scale.rows, report)
    return {"rows": rows, "tokens": rows * length}


def _learn(scale: "FullScale", folder: Path, progress: "Stages") -> dict[str, Any]:
    progress("starting", 1, 1)
    ended = subprocess.run(scale.command(folder), check=False, stdout=subprocess.DEVNULL)
    if ended.returncode:
        raise typer.Exit(ended.returncode if ended.returncode > 0 else 1)  # it has said why
    return {}


def _tasks(scale: "FullScale", folder: Path, items: int, progress: "Stages") -> dict[str, Any]:
    from gaincell.reproduce.table1 import evaluate, findings

    learned = f"{scale.settings['distill_tokens']:,} tokens"
    models = {"original": scale.model, "adapted": str(folder / "run" / "model")}
    return findings(evaluate(models, items, folder / "tasks", progress), scale.model, learned).to_dict()
