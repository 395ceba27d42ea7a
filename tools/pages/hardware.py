"""The tables and pictures of docs/hardware.md, from the code, so that the page cannot disagree with it.

python -m tools.pages hardware                      # with the activity that was recorded last
python -m tools.pages hardware runs/cost-extended   # record it anew, from a folder of `gaincell cost ... --out`
"""

import json
from dataclasses import astuple
from pathlib import Path
from typing import NamedTuple

from gaincell.config import GainCellConfig
from gaincell.errors import InputError
from gaincell.hardware import GPT2, Activity, Components, Estimate, HardwareParameters, estimate, paper_table
from gaincell.hardware.datasheets import ACCELERATORS, H100_SXM
from gaincell.hardware.decoder import GPT2 as GPT2_DECODER
from gaincell.hardware.decoder import LLAMA3_8B, LLAMA3_70B, SMOLLM2_135M
from gaincell.hardware.digital_design import DigitalDesign
from gaincell.hardware.opponents import OURS, opponents
from gaincell.hardware.timeline import timeline
from gaincell.hardware.whole_token import estimate_whole
from gaincell.report.cost_table import OPPONENT_COLUMNS, opponent_row
from gaincell.report.numbers import number, scaled, unit
from gaincell.report.plots import as_file, layers_plot, timeline_plot
from tools.pages.data import DATA, kept
from tools.pages.markdown import table

PUBLISHED = GainCellConfig.named("leroux2025")
MODELS = {
    "GPT-2": GPT2_DECODER,
    "SmolLM2-135M": SMOLLM2_135M,
    "Llama-3-8B": LLAMA3_8B,
    "Llama-3-70B": LLAMA3_70B,
}
WINDOWS = (1024, 8192, 32768, 131072)
REFRESHED = HardwareParameters(refresh="rewrite")


def contents(folder: str | None = None) -> dict[str, str]:
    """All tables; a folder's activity is recorded first."""
    if folder is not None:
        record(folder)
    return {
        "parts": parts(),
        "published": published(),
        "models": models(),
        "sharing": sharing(),
        "wires": lines(),
        "options": options(),
        "elsewhere": elsewhere(),
        "digital": digital(),
        "accelerators": accelerators(),
        "whole": whole(),
        "activity": activity(),
        "parameters": fields(),
    }


def pictures(folder: str | None = None) -> dict[str, str]:
    """The phases of a token, and the energy of layers."""
    phases = [astuple(phase) for phase in timeline(PUBLISHED, HardwareParameters()).phases]
    _, _, assumed, layers = watched()
    each = {part: sum(values.values()) for part, values in assumed.layers[0].items()}
    return {
        "timeline.svg": as_file(timeline_plot(phases)),
        "energy-layers.svg": as_file(layers_plot(layers, each)),
    }


def parts() -> str:
    """Every component."""
    rows = []
    for name, part in Components():
        energy, area = f"{number(part.energy_j * 1e15)} fJ", f"{number(part.area_m2 * 1e12)} µm²"
        node = f"{part.node_m * 1e9:g} nm" + (", scales" if part.scaling == "digital" else "")
        rows.append((f"`{name}`", part.action, energy, area if part.area_m2 else "–", node, part.kind, part.source))
    return table(("part", "one action", "energy", "area", "node", "known by", "source"), rows)


def published() -> str:
    """The paper's figures beside ours."""
    rows = [
        (row.name, number(row.value), number(row.published), unit(row.unit), number(row.ratio, 3), row.basis)
        for row in paper_table()
        if row.published is not None
    ]
    return table(("GPT-2 at `leroux2025`", "ours", "published", "", "ours / published", "ours is"), rows)


def models() -> str:
    """Real models at several windows: how long attention takes, where it lies, and whether it lasts."""
    rows = []
    for name, decoder in MODELS.items():
        for window in WINDOWS:
            point = PUBLISHED.replace(window=window)
            found = estimate(decoder, point, REFRESHED)
            try:
                slow, _ = estimate_whole(decoder, point, REFRESHED)
                lasting = scaled(window * slow.token_period_s, "s")
                beside = f"{slow.retention.refreshes:,}, {scaled(slow.energy_j, 'J')}"
            except InputError:
                beside, lasting = "impossible", "–"
            needed_s = window * found.token_period_s
            rows.append(
                (
                    name,
                    f"{window:,}",
                    scaled(found.latency_s, "s"),
                    scaled(found.energy_j, "J"),
                    f"{number(found.area_m2 * 1e4, 3)} cm²",
                    f"{found.chips:,}",
                    f"{number(found.retention_ratio, 3)}",
                    f"{found.retention.refreshes}, {found.retention.busy:.0%}" if found.retention.refreshes else "–",
                    scaled(needed_s, "s"),
                    beside,
                    lasting,
                )
            )
    return table(
        (
            "model",
            "window",
            "attention, one token",
            "energy",
            "area",
            "chips",
            "age / τ",
            "refreshed, share of time",
            "τ that needs none",
            "with the rest on an H100: refreshed, energy",
            "τ that needs none",
        ),
        rows,
    )


def sharing() -> str:
    """What sharing arrays, stacking them, or building too few, does to a large model."""
    shape, point = LLAMA3_8B.attention, PUBLISHED
    choices = {
        "a pair of arrays per query head (`copied`)": {},
        "a pair per key/value head (`in_turn`)": {"kv_sharing": "in_turn"},
        "12 tiers over each other": {"stacked_layers": 12},
        "the arrays of one layer, filled anew for each": {"array_pairs": 32},
    }
    rows = []
    for name, fields in choices.items():
        found = estimate(shape, point, HardwareParameters(refresh="rewrite", **fields))
        rows.append(
            (
                name,
                scaled(found.latency_s, "s"),
                scaled(found.energy_j, "J"),
                f"{number(found.area_m2 * 1e4, 3)} cm²",
                f"{found.pairs_built:,}",
            )
        )
    return table(("Llama-3-8B, window 1,024", "latency", "energy", "area", "pairs of arrays"), rows)


def lines() -> str:
    """Word lines of GPT-2's arrays: in one piece, and as they are built."""
    rows, lasting = [], HardwareParameters(refresh="rewrite")
    still = HardwareParameters(refresh="rewrite", line_resistivity=0)
    for window in (1024, 4096, 8192, 32768, 131072):
        found, without = (estimate(GPT2, PUBLISHED.replace(window=window), p) for p in (lasting, still))
        word = found.geometry.lines.word
        rows.append(
            (
                f"{window:,}",
                scaled(word.undriven_s, "s"),
                f"{word.segments}",
                scaled(word.delay_s, "s"),
                scaled(without.timeline.latency_s, "s"),
                scaled(found.timeline.latency_s, "s"),
                _more(found.energy_j, without.energy_j),
                _more(found.area_m2, without.area_m2),
            )
        )
    columns = (
        "window",
        "in one piece",
        "segments",
        "with drivers",
        "one layer without wires",
        "with",
        "energy",
        "area",
    )
    return table(columns, rows)


def _more(ours: float, before: float) -> str:
    return "0" if abs(ours / before - 1) < 5e-5 else f"{ours / before - 1:+.1%}"


def options() -> str:
    """What every option adds to the published design point."""
    plain = estimate(GPT2, PUBLISHED)
    changes: dict[str, dict[str, object]] = {
        "`normaliser: ideal`": {"normaliser": "ideal"},
        "`normaliser: column`, three ranges": {"normaliser": "column"},
        "`query_sign: differential`": {"query_sign": "differential"},
        "`query_sign: offset_binary`": {"query_sign": "offset_binary"},
        "`storage: linearised`": {"storage": "linearised"},
        "`equalisation`": {"equalisation": True},
        "`score_preset`": {"score_preset": True},
        "`sinks: digital`": {"sinks": "digital"},
        "`query_levels` 16 → 32": {"query_levels": 32},
        "`stored_levels` 8 → 16": {"stored_levels": 16},
        "`output_levels` 32 → 64": {"output_levels": 64},
        "`subtile_columns` 64 → 32": {"subtile_columns": 32},
        "`subtile_columns` 64 → 128": {"subtile_columns": 128},
        "`subtile_rows` 64 → 128": {"subtile_rows": 128},
        "`window` 1,024 → 2,048": {"window": 2048},
    }
    found = {name: estimate(GPT2, PUBLISHED.replace(**change)) for name, change in changes.items()}
    found["`extended`: six of them"] = estimate(GPT2, GainCellConfig.named("extended"))
    found["`stacked_layers` 1 → 12"] = estimate(GPT2, PUBLISHED, HardwareParameters(stacked_layers=12))

    rows = [
        (
            name,
            _more(e.timeline.latency_s, plain.timeline.latency_s),
            _more(e.energy_j, plain.energy_j),
            _more(e.area_m2, plain.area_m2),
        )
        for name, e in found.items()
    ]
    return table(("GPT-2, one head", "latency", "energy", "area"), rows)


def whole() -> str:
    """The whole token at batch 1."""
    rows = []
    for name, decoder in MODELS.items():
        for window in (1024, 131072):
            _, token = estimate_whole(decoder, PUBLISHED.replace(window=window), REFRESHED)
            rows.append(
                (
                    name if token.fits else f"{name} (one does not hold it)",
                    f"{window:,}",
                    scaled(token.digital_latency_s, "s"),
                    f"{token.attention_share:.1%}",
                    f"×{number(token.latency_gain, 3)}",
                    f"×{number(token.latency_bound, 3)}",
                    f"×{number(token.energy_gain, 3)}",
                    f"×{number(token.idle_free_gain, 3)}",
                    _agreed(token.energy_gain, token.idle_free_gain),
                )
            )
    columns = ("model", "window", "token, all on an H100", "attention's share", "faster", "at most")
    return table((*columns, "less energy at rated power", "idle-free", "who takes less"), rows)


def _agreed(*gains: float) -> str:
    return OURS if min(gains) > 1 else "H100" if max(gains) < 1 else "open"


def elsewhere() -> str:
    """The published layer's model on everything there is to compare with."""
    ours = estimate(GPT2, PUBLISHED)
    rows = [
        (OURS, scaled(ours.latency_s, "s"), scaled(ours.energy_j, "J"), f"{number(ours.area_m2 * 1e6)} mm²", "", "", "")
    ]
    rows += [opponent_row(ours, each) for each in opponents(ours)]
    return table(("GPT-2, window 1,024, attention of one token on", *OPPONENT_COLUMNS[1:]), rows)


def digital() -> str:
    """Models at two windows beside digital at the same node and bits, and beside an H100."""
    rows = []
    for name, decoder in MODELS.items():
        for window in (4096, 131072):
            ours = estimate(decoder, PUBLISHED.replace(window=window), REFRESHED)
            sram, dram, h100 = opponents(ours, [H100_SXM])
            least, most = (f"×{number(ratio, 3)}" for ratio in h100.thriftier(ours))
            winners = {each.energy_winner(ours) for each in (sram, h100)}
            smaller = "" if sram.area_m2 is None else f"×{number(sram.area_m2 / ours.area_m2, 3)}"
            rows.append(
                (
                    name,
                    f"{window:,}",
                    f"{scaled(ours.latency_s, 's')}, {scaled(ours.energy_j, 'J')}, {number(ours.area_m2 * 1e4, 3)} cm²",
                    *(f"×{number(value, 3)}" for value in (sram.faster(ours), sram.thriftier(ours)[0])),
                    smaller,
                    f"×{number(dram.thriftier(ours)[0], 3)}",
                    f"×{number(h100.faster(ours), 3)}",
                    f"{least} to {most}",
                    winners.pop() or "open" if len(winners) == 1 else "open",
                )
            )
    columns = ("model", "window", "gain cells", "SRAM: time", "energy", "area", "DRAM: energy", "H100: time")
    return table((*columns, "energy", "who takes less energy"), rows)


def accelerators() -> str:
    """What each accelerator's figures are, and where from."""
    rows = [
        (
            f"`{name}`",
            f"{each.flop_per_s / 1e12:,g}",
            f"{each.bytes_per_s / 1e12:,g}",
            f"{each.memory_bytes / 1e9:,.0f}",
            f"{each.board_power_w:g}",
            number(each.flop_j * 1e12, 3),
            number(each.byte_j * 1e12, 3),
            each.source,
        )
        for name, each in ACCELERATORS.items()
    ]
    columns = ("name", "Tflop/s", "TB/s", "GB", "rated W", "pJ an operation", "pJ a byte", "source")
    return table(columns, rows)


def record(folder: str) -> None:
    """Keep a folder's activity, in four digits."""
    cost = json.loads((Path(folder) / "cost.json").read_text("utf-8"))
    text = (Path(folder) / "activity.json").read_text("utf-8")
    measured = json.loads(text, parse_float=lambda figure: float(f"{float(figure):.4g}"))
    found = {**kept("activity.json"), cost["design_point"]: {"model": cost["model"], "activity": measured}}
    (DATA / "activity.json").write_text(json.dumps(found, sort_keys=True) + "\n", "utf-8")


class Watched(NamedTuple):
    """What the arrays of a model at `extended` did, and what that takes; beside it what is assumed of any model."""

    activity: Activity
    found: Estimate
    assumed: Estimate
    layers: list[dict[str, float]]


def watched() -> Watched:
    """The model whose arrays were watched last."""
    record, point = kept("activity.json")["extended"], GainCellConfig.named("extended")
    seen = Activity.from_dict(record["activity"])
    found = estimate(record["model"], point, None, seen)
    layers = [{part: sum(values.values()) for part, values in layer.items()} for layer in found.layers]
    return Watched(seen, found, estimate(record["model"], point), layers)


def activity() -> str:
    """What a text made the arrays do, and what it takes."""
    seen, found, assumed, layers = watched()
    reference = Activity.reference(GainCellConfig.named("extended"))
    means = [
        ("pulse on a query line", "query_pulse"),
        ("charge of a key cell", "key_charge"),
        ("pulse φ", "phi"),
        ("columns with a pulse", "phi_active"),
        ("columns with a full pulse", "phi_full"),
        ("charge of a value cell", "value_charge"),
        ("code of a read-out", "readout"),
    ]
    rows = []
    for text, name in means:
        array = getattr(seen, name)
        by_layer = array.mean(1)
        figures = (array.mean(), by_layer.min(), by_layer.max(), getattr(reference, name).item())
        rows.append((text, *(number(float(x), 3) for x in figures)))
    first = table((f"`extended`, {seen.text}", "mean", "least layer", "most", "assumed"), rows)
    energies = [sum(layer.values()) * 1e9 for layer in layers]
    rows = [
        (
            part,
            f"{number(found.parts[part] * 1e6)} µJ",
            f"{found.parts[part] / found.energy_j:.0%}",
            f"{number(x * 1e6)} µJ",
        )
        for part, x in assumed.parts.items()
    ]
    rows.append(("all", f"{number(found.energy_j * 1e6)} µJ", "", f"{number(assumed.energy_j * 1e6)} µJ"))
    second = table(("energy of one token, all layers", "with this text", "share", "assumed"), rows)
    spread = f"Layers take {number(min(energies))} to {number(max(energies))} nJ."
    return f"{first}\n\n{second}\n\n{spread}"


def fields() -> str:
    """Every parameter."""
    rows = []
    every = {**HardwareParameters.model_fields}
    every |= {f"digital.{name}": field for name, field in DigitalDesign.model_fields.items()}
    for name, field in every.items():
        about = field.json_schema_extra
        if isinstance(about, dict):
            value = f"{field.default:.4g}" if isinstance(field.default, float) else str(field.default)
            rows.append((f"`{name}`", value, str(about["unit"]), field.description or "", str(about["source"])))
    return table(("name", "value", "unit", "meaning", "source"), rows)
