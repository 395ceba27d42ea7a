"""`gaincell cost`."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from gaincell.cli import options, screen
from gaincell.errors import InputError

if TYPE_CHECKING:
    from gaincell.config import GainCellConfig
    from gaincell.hardware import Activity, Estimate, HardwareParameters, Row
    from gaincell.hardware.decoder import DecoderShape
    from gaincell.hardware.roofline import WholeToken

#: Tokens of a text that the arrays are watched on, at most: what they show takes memory with the square of it.
WATCHED = 1024


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
            help="Design point: a preset's name, or a file. Default: an adapted model's own, else 'leroux2025'.",
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
    device: Annotated[
        str | None, typer.Option("--device", help="With --activity TEXT: where the model runs; the CPU by default.")
    ] = None,
    json: options.Json = False,
) -> None:
    """Estimate latency, energy and area of attention.

    For one token of one sequence, over all layers, from the parts of the hardware and what they do.
    """
    from gaincell.cli.cost_against import as_json, energy_note, find_opponents, show_opponents
    from gaincell.config import GainCellConfig
    from gaincell.hardware import HardwareParameters, estimate
    from gaincell.hardware.gpu import CAVEAT
    from gaincell.hardware.roofline import ROOFLINE_CAVEAT
    from gaincell.hardware.throughput import OPERATIONS_CAVEAT, throughput

    if out is not None:
        options.check_out(out)
    elif export is not None:
        raise InputError("--export writes files; say with --out into which folder.")
    if device is not None:
        if activity is None or activity.endswith(".json"):
            raise InputError("--device is where --activity runs a model on a text; leave it out.")
        options.check_device(device)
    known = _find(model)
    point = known.design_point if known.design_point is not None and config is None else None
    point = point or GainCellConfig.load(config or "leroux2025")
    parameters = HardwareParameters() if hardware is None else HardwareParameters.load(hardware)
    chosen = {"kv_sharing": kv_sharing, "refresh": "rewrite" if refresh else None}
    parameters = parameters.model_copy(update={name: value for name, value in chosen.items() if value is not None})

    if sweep:
        if activity or rest or batch or compare or export or against:
            raise InputError(
                "--sweep goes with --config, --hardware, --kv-sharing, --refresh and --out only; drop the others."
            )
        from gaincell.cli.cost_sweep import show_sweep

        show_sweep(sweep, model, known.fields, point, parameters, json, out)
        return
    watched = None if activity is None else _activity(activity, known, point, device or "cpu")
    whole = None
    if rest is None:
        found = estimate(known.fields, point, parameters, watched)
    else:
        found, whole = _whole(known, point, parameters, watched, rest, batch or 1)
    rows = found.table()
    if watched is not None:
        rows += _measured_rows(found, estimate(known.fields, found.config, parameters))
    notes = [*found.notes, *([CAVEAT] if found.gpu_ratios else [])]
    if whole is not None:
        rows += _whole_rows(whole)
        notes += [note for note in (ROOFLINE_CAVEAT, energy_note(whole)) if note]
        if not whole.fits:
            notes.append(
                f"One {whole.accelerator.name} cannot hold this model and its cache: its figures are of a fiction."
            )
    if batch is not None:
        served = throughput(found, batch)
        if whole is not None and batch > 1 and served.shared:
            raise InputError("--batch beside --rest is for users with arrays of their own; leave array_pairs out.")
        if whole is not None:
            notes.append("Times of the whole token are of a step that gives every user one; energies are of one token.")
        rows += served.table()
        notes.append(OPERATIONS_CAVEAT)
    if compare is not None:
        rows += _compared_rows(compare, point, parameters)
    rivals = find_opponents(found, against or ["h100"])
    told = {"rows": [row._asdict() for row in rows], "notes": notes, "opponents": as_json(found, rivals)}
    told = {**found.to_dict(), **told}
    if out is not None:
        from gaincell.cli.cost_against import COLUMNS as AGAINST
        from gaincell.cli.cost_against import opponent_row
        from gaincell.cli.cost_files import write_cost
        from gaincell.hardware.export import write_hwcomponents
        from gaincell.report.cost_page import render_cost

        beside_rows = [opponent_row(found, each) for each in rivals]
        page = render_cost(model, found, rows, notes, rivals, (AGAINST, beside_rows))
        written = write_cost(out, told, page, found, rows, watched)
        screen.say(f"wrote {', '.join(written)} into {out}; open {out / 'cost.html'} in a browser")
        if export is not None:
            write_hwcomponents(found, out / "hwcomponents")
    if json:
        screen.show_json(told)
        return
    title = f"Attention of {model} at '{point.name}', one token; activity: {found.activity}"
    screen.show_table(COLUMNS, cost_rows(rows), title)
    for note in notes:
        screen.show(note)
    show_opponents(found, rivals)


COLUMNS = ("", "estimate", "unit", "published", "estimate / published", "")


def cost_rows(rows: "list[Row]") -> list[tuple[str, ...]]:
    """Rows of an estimate as text."""
    from gaincell.report.numbers import number, unit

    return [
        (row.name, number(row.value), unit(row.unit), number(row.published), number(row.ratio, 3), row.basis)
        for row in rows
    ]


@dataclass(frozen=True)
class _Model:
    """What the command line named.

    Attributes:
        name: as it was named.
        fields: what `estimate` takes.
        decoder: the whole decoder's shape, where it is known by name.
        design_point: an adapted model's own.
        loads: what `gaincell.models` loads it by; None for a shape alone.
    """

    name: str
    fields: Any
    decoder: "DecoderShape | None" = None
    design_point: "GainCellConfig | None" = None
    loads: str | None = None


def _find(model: str) -> _Model:
    from gaincell.config import GainCellConfig
    from gaincell.hardware import decoder
    from gaincell.hardware.find_config import find_config

    demo = decoder.SMOLLM2_135M
    if model in GainCellConfig.presets():
        return _Model(model, demo.attention, demo, GainCellConfig.preset(model), model)
    shapes = {
        "gpt2": (decoder.GPT2, None),
        "smollm2": (demo, "demo"),
        "demo": (demo, "demo"),
        "llama3-8b": (decoder.LLAMA3_8B, None),
        "llama3-70b": (decoder.LLAMA3_70B, None),
    }
    if model in shapes:
        shape, loads = shapes[model]
        return _Model(model, shape.attention, shape, None, loads)
    fields = find_config(model, ", ".join((*shapes, *GainCellConfig.presets())))
    section = fields.get("quantization_config")
    point = section.get("design_point") if isinstance(section, dict) else None
    own = GainCellConfig(**point) if isinstance(point, dict) else None
    return _Model(model, fields, None, own, model)


def _activity(spec: str, model: _Model, point: "GainCellConfig", device: str) -> "Activity":
    """A file of activity, or what a text makes the model's arrays do at the design point."""
    from gaincell.cell.cell import read_json
    from gaincell.hardware import Activity

    if spec.endswith(".json"):
        return Activity.from_dict(read_json(Path(spec)))
    if model.loads is None:
        raise InputError(
            f"--activity runs the model, but '{model.name}' is a shape without weights; name a model folder or a "
            "shipped adapter."
        )
    import torch

    from gaincell.evaluate import load_text
    from gaincell.evaluate.perplexity import encode
    from gaincell.evaluate.prefix import prefix_of

    words = load_text(spec)
    network, tokenizer = options.load_model(model.loads, device)
    from gaincell.models import attention_activity, convert_, design_point

    if design_point(network) != point:
        convert_(network, point)
    ids = (prefix_of(tokenizer) + encode(tokenizer, words, WATCHED))[: min(WATCHED, point.window)]
    screen.say(f"watching the arrays over {len(ids)} tokens of '{spec}'")
    return attention_activity(network, torch.tensor([ids]), f"{len(ids)} tokens of '{spec}'")


def _whole(
    model: _Model,
    point: "GainCellConfig",
    parameters: "HardwareParameters",
    watched: "Activity | None",
    rest: str,
    batch: int,
) -> "tuple[Estimate, WholeToken]":
    from gaincell.hardware.accelerators import find_accelerator
    from gaincell.hardware.decoder import read_decoder
    from gaincell.hardware.whole import estimate_whole

    accelerator = find_accelerator(rest)
    decoder = model.decoder or read_decoder(model.fields)
    return estimate_whole(decoder, point, parameters, watched, accelerator, batch)


def _measured_rows(found: "Estimate", reference: "Estimate") -> "list[Row]":
    from gaincell.hardware import Row
    from gaincell.hardware.energy import total

    energies = sorted(total(layer) for layer in found.layers)
    return [
        Row("energy, the layer that takes least", energies[0] * 1e9, "nJ", None, None),
        Row("energy, the layer that takes most", energies[-1] * 1e9, "nJ", None, None),
        Row("energy, all layers, with the activity assumed by default", reference.energy_j * 1e9, "nJ", None, None),
    ]


def _whole_rows(whole: "WholeToken") -> "list[Row]":
    from gaincell.hardware import Row

    name = whole.accelerator.name
    figures = [
        (f"whole token, all on {name} (roofline)", whole.digital_latency_s * 1e6, "us"),
        ("whole token, attention in gain cells", whole.latency_s * 1e6, "us"),
        (f"share of attention in it, all on {name}", whole.attention_share, "-"),
        ("whole token, times faster", whole.latency_gain, "x"),
        ("whole token, times faster if attention took no time", whole.latency_bound, "x"),
        (f"energy of the whole token, all on {name}, at rated power", whole.digital_energy_j * 1e3, "mJ"),
        ("energy of the whole token, attention in gain cells, at rated power", whole.energy_j * 1e3, "mJ"),
        ("whole token, times less energy, at rated power", whole.energy_gain, "x"),
        (f"energy of the whole token, all on {name}, idle-free", whole.digital_idle_free_j * 1e3, "mJ"),
        ("energy of the whole token, attention in gain cells, idle-free", whole.idle_free_j * 1e3, "mJ"),
        ("whole token, times less energy, idle-free", whole.idle_free_gain, "x"),
    ]
    return [Row(text, value, unit, None, None) for text, value, unit in figures]


def _compared_rows(path: Path, point: "GainCellConfig", parameters: "HardwareParameters") -> "list[Row]":
    from gaincell.hardware import Row, estimate
    from gaincell.hardware.measure import compare, load_measurement

    measured = load_measurement(path)
    ours = estimate(measured.shape, point.replace(window=measured.window), parameters)
    rows = []
    for ratio in compare(ours.latency_s, ours.energy_j, measured):
        rows.append(Row(f"{ratio.name}, measured: latency / ours", ratio.latency, "x", None, None))
        rows.append(Row(f"{ratio.name}, measured: energy / ours", ratio.energy, "x", None, None))
    return rows
