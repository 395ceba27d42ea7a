"""`gaincell explore`."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from gaincell.cli import options, screen
from gaincell.errors import InputError

if TYPE_CHECKING:
    from gaincell.explore import Point, Study

#: Of --quick: what is varied, and on how much text.
QUICK = {"output_levels": "8,32", "stored_levels": "4,8"}
QUICK_ROWS, QUICK_LENGTH = 1, 128


def explore(
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="MODEL",
            help="A shipped adapter; an original model's folder, with --from; or a shape, as 'gaincell cost' takes it, "
            "for cost alone. Default: extended.",
        ),
    ] = None,
    adapter: Annotated[
        str | None, typer.Option("--from", help="What the model learned: a shipped adapter's name, or a file.")
    ] = None,
    vary: Annotated[
        list[str] | None,
        typer.Option(
            "--vary",
            metavar="FIELD=VALUES",
            help="A field of the design point or of the hardware: A,B,C, or A:B, which doubles a whole number and "
            "takes any other from the range. May be repeated.",
        ),
    ] = None,
    objective: Annotated[
        list[str] | None,
        typer.Option(
            "--objective",
            metavar="FIGURE",
            help="What is to be small, twice or more: kl, perplexity_ratio, energy_j, head_energy_j, latency_s, "
            "area_m2.",
        ),
    ] = None,
    limit: Annotated[
        list[str] | None,
        typer.Option("--limit", metavar="FIGURE=MOST", help="The most that a figure may be. May be repeated."),
    ] = None,
    points: Annotated[
        int | None,
        typer.Option("--points", min=0, help="Design points; 0 shows what is there. Default: all, 64 at most."),
    ] = None,
    config: Annotated[
        str | None,
        typer.Option("--config", help="Design point for what is not varied. Default: the adapter's, else leroux2025."),
    ] = None,
    hardware: Annotated[
        Path | None, typer.Option("--hardware", help="A YAML or JSON file of hardware parameters, likewise.")
    ] = None,
    fidelity: Annotated[
        list[str] | None,
        typer.Option(
            "--fidelity",
            help="as_is (default), matched, distilled: what no other beats goes on to the next. May be repeated.",
        ),
    ] = None,
    tokens: Annotated[int, typer.Option("--tokens", min=0, help="That 'distilled' learns on.")] = 0,
    text: Annotated[
        str | None,
        typer.Option("--text", help="Measured on: 'library' (default), 'mixture' or a mixture file, or a text file."),
    ] = None,
    rows: Annotated[int | None, typer.Option("--rows", min=1, help="Rows of it. Default: 4.")] = None,
    length: Annotated[int | None, typer.Option("--length", min=16, help="Tokens of a row. Default: 512.")] = None,
    out: Annotated[
        Path, typer.Option("--out", help="Folder for the report, tables, picked points, and the journal.")
    ] = Path("explore"),
    storage: Annotated[
        str | None,
        typer.Option("--storage", help="A journal file elsewhere, or postgresql://..., for many workers."),
    ] = None,
    join: Annotated[
        str | None, typer.Option("--join", help="One more worker for the study in this storage, which says the rest.")
    ] = None,
    pick: Annotated[
        list[str] | None,
        typer.Option("--pick", help="Write a design point of the front: knee, or the best with 'energy_j<2e-6'."),
    ] = None,
    sampler: Annotated[
        Literal["tpe", "nsga2"], typer.Option("--sampler", help="Chooses points where there are more than asked for.")
    ] = "tpe",
    seed: options.Seed = 0,
    device: options.Device = "cpu",
    quick: Annotated[bool, typer.Option("--quick", help="Four points on 128 tokens: a first look.")] = False,
    json: options.Json = False,
) -> None:
    """Search for the front between quality and cost.

    Between what a model can still do at a design point and what that costs: of every other point, some point of the
    front is nowhere worse and somewhere better.
    """
    from gaincell.explore.picking import check_pick
    from gaincell.explore.storage import check_installed

    for word in pick or ():
        check_pick(word)
    check_installed(join or storage or "")
    options.check_out(out)
    options.check_device(device)
    of_study = {
        "--vary": vary,
        "--objective": objective,
        "--limit": limit,
        "--fidelity": fidelity,
        "--config": config,
        "--hardware": hardware,
        "--text": text,
        "--rows": rows,
        "--length": length,
        "--tokens": tokens,
        "--storage": storage,
        "--quick": quick,
    }
    how: dict[str, Any] = {"load": options.loads(device), "listener": screen, "sampler": sampler, "seed": seed}
    if join is not None:
        from gaincell.explore import join as joined

        given = [name for name, value in of_study.items() if (value or value == "") and name != "--text"]
        if given:
            raise InputError(f"--join goes by what its storage says; leave {', '.join(given)} out.")
        with _journal("--join", join, join):
            study = joined(join, model, adapter, text, **how)
    else:
        named, place = model or ("demo" if adapter else "extended"), out / "journal.log" if storage is None else storage
        with _journal("--out" if storage is None else "--storage", out if storage is None else storage, place):
            study = _begun(named, place, of_study, {"adapter": adapter, **how})
    for word in pick or ():
        check_pick(word, runs=study.bench.runs)
    study.run(points)
    _tell(study, out, pick or [], json)


@contextmanager
def _journal(option: str, given: str | Path, place: str | Path) -> Iterator[None]:
    """Say in one sentence, which names an option, where a journal cannot be kept; other errors pass."""
    from gaincell.explore.storage import is_url

    path = Path(place)
    if not str(place) or (not is_url(place) and path.exists() and not path.is_file()):
        raise InputError(f"{option} '{given}' is no journal of a study; give the path of a file, or postgresql://...")
    try:
        yield
    except OSError as error:
        # What lies at the journal (its locks do), or is a folder above it.
        at = "" if error.filename is None else str(error.filename)
        if is_url(place) or not (at.startswith(str(path)) or at in map(str, path.parents)):
            raise
        raise InputError(
            f"{option} {given}: no journal can be kept there ({error.strerror}); choose another."
        ) from None


def _begun(model: str, storage: str | Path, given: dict[str, Any], how: dict[str, Any]) -> "Study":
    from gaincell.explore import begin
    from gaincell.explore.rows import RowsAsked
    from gaincell.hardware import HardwareParameters
    from gaincell.hardware.named import SHAPES

    vary: dict[str, str] = dict(QUICK) if given["--quick"] and not given["--vary"] else {}
    for spec in given["--vary"] or ():
        name, equals, values = spec.partition("=")
        if not equals or name in vary:
            raise InputError(f"--vary '{spec}' is not FIELD=VALUES, each field once, as in output_levels=16,32.")
        vary[name] = values
    named = {"text": given["--text"], "rows": given["--rows"], "length": given["--length"]}
    if given["--quick"] and (model not in SHAPES or how["adapter"]):
        named = {**named, "rows": named["rows"] or QUICK_ROWS, "length": named["length"] or QUICK_LENGTH}
    asked = {name: value for name, value in named.items() if value is not None}
    return begin(
        model,
        vary,
        storage,
        config=given["--config"],
        hardware=None if given["--hardware"] is None else HardwareParameters.load(given["--hardware"]),
        objectives=given["--objective"] or (),
        limits=given["--limit"] or (),
        fidelities=given["--fidelity"] or (),
        tokens=given["--tokens"],
        rows=RowsAsked(**asked) if asked else None,
        **how,
    )


def _tell(study: "Study", out: Path, picks: list[str], json: bool) -> None:
    """Report and tables into the folder, picked design points, and the front on the screen."""
    from gaincell.explore import pick
    from gaincell.explore.picking import why_empty
    from gaincell.report.explore_files import study_data, write_explore

    points = study.points
    if not points:
        for word in picks:
            pick(points, study.objectives, word)  # refuses
        raise InputError("there is no point yet; let --points be 1 or more.")
    written = write_explore(out, study)
    screen.say(f"wrote {', '.join(written)} into {out}; open {out / 'report.html'} in a browser")
    chosen = {word: pick(points, study.objectives, word) for word in picks}
    files = _write_picks(study, out, chosen)
    if json:
        screen.show_json({**study_data(study), "picked": {x: {**p.to_dict(), **files[x]} for x, p in chosen.items()}})
        return
    from gaincell.report.explore_table import front_table

    table = front_table(study)
    if table.rows:
        screen.show_table(table.columns, table.rows, table.title, table.text_columns)
    else:
        screen.show(f"There is no front: {why_empty(points)}.")
    for note in (*study.asked.space.notes, *study.notes):
        screen.show(f"note: {note}")
    refused = [point for point in points if point.refused is not None]
    for point in refused[:3]:
        screen.show(f"refused: {point}: {point.refused}")
    if len(refused) > 3:
        screen.show(f"refused: {len(refused) - 3} more, see points.csv")
    for word, point in chosen.items():
        screen.show(f"{word}: {point}; written to {' and '.join(files[word].values())}")


def _write_picks(study: "Study", out: Path, chosen: "dict[str, Point]") -> dict[str, dict[str, str]]:
    """By pick the files of its design point, which 'adapt --config' and 'cost --config' take, and of its hardware.

    Hardware that is the default, and not varied, needs no file; one of an earlier pick goes, lest it be taken for this
    one's.
    """
    from gaincell.atomic import written_aside
    from gaincell.explore.picking import file_stem
    from gaincell.hardware import HardwareParameters

    files = {}
    varied = any(axis.home == "hardware" for axis in study.asked.space.axes)
    for word, point in chosen.items():
        path = out / f"{file_stem(word)}.yaml"
        config, parameters = study.asked.space.design(point.values)
        files[word] = {"file": str(path)}
        with written_aside(path) as aside:
            aside.write_text(config.replace(name=path.stem).to_yaml(), "utf-8")
        hardware = path.with_suffix(".hardware.json")
        if parameters == HardwareParameters() and not varied:
            hardware.unlink(missing_ok=True)
            continue
        files[word]["hardware_file"] = str(hardware)
        with written_aside(hardware) as aside:
            aside.write_text(parameters.model_dump_json(indent=2) + "\n", "utf-8")
    return files
