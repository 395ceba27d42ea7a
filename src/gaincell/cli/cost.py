"""`gaincell cost`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from gaincell.cli import options, screen
from gaincell.errors import InputError

if TYPE_CHECKING:
    from gaincell.config import GainCellConfig
    from gaincell.hardware import Activity
    from gaincell.hardware.named import NamedModel
    from gaincell.hardware.pricing import Priced
    from gaincell.study.models import Load


def cost(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="gpt2, smollm2, llama3-8b, llama3-70b, a shipped adapter, a model folder, or 'owner/name' of one in "
            "the hub's local cache (only config.json is read unless --activity runs it).",
        ),
    ] = "gpt2",
    config: Annotated[
        str | None,
        typer.Option(
            "--config",
            help="Design point: a shipped one's name, or a file. Default: an adapted model's own, else 'leroux2025'.",
        ),
    ] = None,
    hardware: Annotated[
        Path | None, typer.Option("--hardware", help="A YAML or JSON file of hardware parameters and components.")
    ] = None,
    kv_sharing: Annotated[
        Literal["copied", "in_turn"] | None,
        typer.Option(
            "--kv-sharing",
            help="Query heads that share keys and values: a copy of the arrays each, or the same ones in turn.",
        ),
    ] = None,
    refresh: Annotated[bool, typer.Option("--refresh", help="Rewrite tokens that outlive the cell.")] = False,
    activity: Annotated[
        str | None,
        typer.Option(
            "--activity",
            metavar="TEXT",
            help="Energy from what a text makes the arrays do: speeches, novel, a text file, or an activity.json.",
        ),
    ] = None,
    rest: Annotated[
        str | None,
        typer.Option("--rest", help="The rest of the model on an accelerator, as for --against: the whole token."),
    ] = None,
    against: Annotated[
        list[str] | None,
        typer.Option(
            "--against",
            metavar="NAME",
            help="Beside attention on h100 (default), h200, b200, a100, rtx4090, jetson, tpuv4, or what a YAML file of "
            "your own says; digital at the same node always. May be repeated.",
        ),
    ] = None,
    batch: Annotated[
        int | None,
        typer.Option("--batch", min=1, help="So many users at once: tokens per second, per watt and per area."),
    ] = None,
    compare: Annotated[
        Path | None, typer.Option("--compare", help="A file of 'gaincell measure-gpu' to compare attention with.")
    ] = None,
    sweep: Annotated[
        list[str] | None,
        typer.Option(
            "--sweep",
            metavar="NAME=FROM:TO",
            help="Double a number from one value to another; given twice, every pair of two. With --out, as a page.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Folder for cost.html, cost.json, cost.csv, plots and a measured activity.json."),
    ] = None,
    export: Annotated[
        Literal["hwcomponents"] | None,
        typer.Option("--export", help="Also write the design point for another tool, into the folder of --out."),
    ] = None,
    digital: options.Digital = None,
    device: Annotated[
        str | None, typer.Option("--device", help="With --activity TEXT: where the model runs; the CPU by default.")
    ] = None,
    json: options.Json = False,
) -> None:
    """Estimate latency, energy and area of attention.

    For one token of one sequence, over all layers, from the parts of the hardware and what they do.
    """
    from gaincell.config import GainCellConfig
    from gaincell.hardware import HardwareParameters
    from gaincell.hardware.datasheets import find_accelerator
    from gaincell.hardware.measure_gpu import load_measurement
    from gaincell.hardware.named import find_model
    from gaincell.hardware.pricing import Beside, price

    if out is not None:
        options.check_out(out)
    elif export is not None:
        raise InputError("--export writes files; say with --out into which folder.")
    if device is not None:
        if activity is None or activity.endswith(".json"):
            raise InputError("--device is where --activity runs a model on a text; leave it out.")
        options.check_device(device)
    known = find_model(model)
    own = known.design_point if config is None else None
    point = own or GainCellConfig.load(config or "leroux2025")
    if digital is not None:
        point = point.replace(digital=options.split(digital))
    parameters = HardwareParameters() if hardware is None else HardwareParameters.load(hardware)
    chosen = {"kv_sharing": kv_sharing, "refresh": "rewrite" if refresh else None}
    parameters = parameters.model_copy(update={name: value for name, value in chosen.items() if value is not None})

    if sweep:
        if activity or rest or batch or compare or export or against:
            raise InputError(
                "--sweep goes with --config, --hardware, --kv-sharing, --refresh and --out only; drop the others."
            )
        from gaincell.cli.cost_sweep import show_sweep

        show_sweep(sweep, known, point, parameters, json, out)
        return
    beside = Beside(
        rest=None if rest is None else find_accelerator(rest),
        batch=batch,
        measured=None if compare is None else load_measurement(compare),
        against=[find_accelerator(name) for name in against or ["h100"]],
    )
    watched = None if activity is None else _activity(activity, known, point, options.loads(device or "cpu", digital))
    priced = price(known, point, parameters, watched, beside)
    if out is not None:
        from gaincell.hardware.export import write_hwcomponents
        from gaincell.report.cost_files import write_cost

        written = write_cost(out, model, priced, watched)
        screen.say(f"wrote {', '.join(written)} into {out}; open {out / 'cost.html'} in a browser")
        if export is not None:
            write_hwcomponents(priced.found, out / "hwcomponents")
    if json:
        screen.show_json(priced.to_dict())
    else:
        _show(f"Attention of {model} at '{point.name}', one token; activity: {priced.found.activity}", priced)


def _activity(spec: str, model: "NamedModel", point: "GainCellConfig", load: "Load") -> "Activity":
    """A file of activity, or what a text makes the model's arrays do at the design point."""
    from gaincell.cell.cell import read_json
    from gaincell.hardware import Activity
    from gaincell.study.watch_arrays import watch_arrays

    if spec.endswith(".json"):
        return Activity.from_dict(read_json(Path(spec)))
    return watch_arrays(model, spec, point, load, screen)


def _show(title: str, priced: "Priced") -> None:
    """Both tables, each with what to know of it."""
    from gaincell.hardware.opponents import opponent_notes
    from gaincell.report.cost_table import COST_COLUMNS, OPPONENT_COLUMNS, cost_rows, opponent_row

    found, rivals = priced.found, priced.rivals
    screen.show_table(COST_COLUMNS, cost_rows(priced.rows), title)
    for note in priced.notes:
        screen.show(note)
    elsewhere = [opponent_row(found, each) for each in rivals]
    screen.show_table(OPPONENT_COLUMNS, elsewhere, "The same attention elsewhere, batch 1")
    for note in opponent_notes(found, rivals):
        screen.show(note)
