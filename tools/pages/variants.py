"""The shipped adapters with one thing changed at a time: docs/adaptation.md, docs/circuit.md, docs/hardware.md.

gaincell characterize --mismatch 200 --out runs/cells/generic.yaml
gaincell characterize --card sky130 --mismatch 200 --out runs/cells/sky130.yaml
python -m tools.pages variants runs/cells   # without the folder, what was measured is shown, and nothing measured

Perplexities are of 4,096 tokens at length 1,024, kept in docs/data/variants.json. What is there is not measured again,
but what another adapter or cell file has changed. An hour on two cores, with a process on each.
"""

import hashlib
import json
import os
import statistics
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

import gaincell
from gaincell.adapt import AdaptSettings
from gaincell.atomic import written_aside
from gaincell.cell import load_cell
from gaincell.evaluate import default_training_text, load_text
from gaincell.hardware import estimate
from gaincell.hardware.decoder import SMOLLM2_135M
from gaincell.models import adapter_info, adapter_names, convert_
from gaincell.models.adapter import adapter_checksum
from gaincell.study.models import load_model
from tools.pages.data import DATA, kept
from tools.pages.markdown import table

#: One loss switched off at a time, and how the page calls it.
SWITCHED = {
    "as it ships": {},
    "keys and values with 256 levels in place of 8 (`stored_levels: 256`)": {"stored_levels": 256},
    "with 16 levels": {"stored_levels": 16},
    "queries unquantised (`query_levels: null`)": {"query_levels": None},
    "read-outs unquantised (`output_levels: null`)": {"output_levels": None},
    "no leak (`leak_per_token: 0`)": {"leak_per_token": 0.0},
    "all four, 256 levels": {"stored_levels": 256, "query_levels": None, "output_levels": None, "leak_per_token": 0.0},
}
SUBTILES = {64: "64, as it was adapted", 128: "128", 256: "256", 1024: "1,024, one read-out for the whole window"}
#: Cells that `gaincell characterize` made, and what the published one is given in place of a mismatch of its own.
CELLS = ("sky130", "generic")
ASSUMED = {"mismatch_gain": 0.03, "mismatch_zero_v": 0.004}
SEEDS = (1, 2, 3)
#: What circuits do besides their law, one at a time, by the column of the page.
OFFSET = "`charge_to_pulse: cell`"
CIRCUITS = {
    OFFSET: {"charge_to_pulse": "cell"},
    "`pulse_law: cell`": {"pulse_law": "cell"},
    "`feedthrough`": {"feedthrough": True},
    "`retention: table`": {"leak_per_token": None, "retention": "table"},
    "`readout_noise=0.02, score_noise=0.005`": {"readout_noise": 0.02, "score_noise": 0.005, "noise_seed": 0},
}


def contents(cells: str | None = None) -> dict[str, str]:
    """What was measured; with a folder of cell files, what is missing is measured first."""
    if cells is not None:
        missing = [f"{cell}.yaml" for cell in CELLS if not (Path(cells) / f"{cell}.yaml").is_file()]
        if missing:
            raise SystemExit(f"{cells} lacks {' and '.join(missing)}; make them with gaincell characterize:\n{__doc__}")
        measure(Path(cells))
    record = kept("variants.json")
    return tables(record["perplexities"], {cell: one["tau_s"] for cell, one in record["cells"].items()})


def variants() -> dict[str, dict[str, Any]]:
    """What is measured, by the name it has in the record: adapter, text, cell, fields of the design point."""
    cells: dict[str, dict[str, Any]] = {"published, leak": {"leak_per_token": None}}
    for cell in CELLS:
        on = {"cell": cell}
        cells |= {cell: on, f"{cell}, leak": {**on, "leak_per_token": None}}
        cells |= {f"{cell}, matched": {**on, "matched": True}}
        cells |= {f"{cell}, {name}": {**on, **fields} for name, fields in CIRCUITS.items()}
        cells |= {f"leroux2025, {cell}": {**on, "adapter": "leroux2025"}}
        cells |= {f"leroux2025, {cell}, matched": {**on, "adapter": "leroux2025", "matched": True}}
    cells[f"sky130, {OFFSET} matched"] = {"cell": "sky130", **CIRCUITS[OFFSET], "matched": True}
    for cell, fields in {"published": ASSUMED, **{cell: {"cell": cell} for cell in CELLS}}.items():
        cells |= {f"{cell}, seed {seed}": {**fields, "mismatch_seed": seed} for seed in SEEDS}
    return {
        "softmax": {"adapter": None},
        "softmax, novel": {"adapter": None, "text": "novel"},
        "extended, novel": {"text": "novel"},
        "leroux2025": {"adapter": "leroux2025"},
        "leroux2025, novel": {"adapter": "leroux2025", "text": "novel"},
        **SWITCHED,
        **{f"subtile {columns}": {"subtile_columns": columns} for columns in SUBTILES if columns != 64},
        **cells,
    }


def measure(cells: Path) -> None:
    """Every perplexity that the record has not, with the cell files of a folder."""
    now = {
        "adapters": {name: adapter_checksum(name) for name in adapter_names()},
        "cells": {cell: figures(cells / f"{cell}.yaml") for cell in CELLS},
    }
    record = kept("variants.json")
    before = record["perplexities"]
    # By adapter (none: the original) and cell file.
    other = {cell for cell in CELLS if record["cells"].get(cell) != now["cells"][cell]}
    other |= {name for name in adapter_names() if record["adapters"].get(name) != now["adapters"][name]}
    found = {
        name: before[name]
        for name, one in variants().items()
        if name in before and other.isdisjoint({one.get("adapter", "extended"), one.get("cell")})
    }
    pool = ProcessPoolExecutor(len(os.sched_getaffinity(0)), get_context("spawn"), torch.set_num_threads, (1,))
    try:
        todo = {pool.submit(perplexity, cells, **one): name for name, one in variants().items() if name not in found}
        for done in as_completed(todo):
            found[todo[done]] = done.result()
            print(todo[done], found[todo[done]], flush=True)
            in_order = {name: found[name] for name in variants() if name in found}
            with written_aside(DATA / "variants.json") as aside:
                aside.write_text(json.dumps({**now, "perplexities": in_order}, indent=2) + "\n", "utf-8")
    finally:
        pool.shutdown(cancel_futures=True)


def figures(path: Path) -> dict[str, Any]:
    """What the record keeps of a cell file: which it was, and its retention."""
    return {"sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "tau_s": load_cell(path).retention.tau_s}


def perplexity(
    cells: Path,
    *,
    adapter: str | None = "extended",
    text: str = "speeches",
    cell: str | None = None,
    matched: bool = False,
    **fields: Any,
) -> float:
    """Of one variant."""
    model, tokenizer = load_model(adapter if adapter is not None and not matched else "demo")
    if adapter is not None:
        changed = fields if cell is None else {"cell": str(cells / f"{cell}.yaml"), **fields}
        point = gaincell.GainCellConfig.named(adapter).replace(**changed)
        if matched:
            match(model, tokenizer, point, adapter)
        else:
            convert_(model, point)
    return gaincell.perplexity(model, tokenizer, load_text(text), length=1024, tokens=4096).perplexity


def match(model: Any, tokenizer: Any, point: gaincell.GainCellConfig, adapter: str) -> None:
    """Move an adapter to another cell, on two rows of text."""
    with TemporaryDirectory() as folder:
        gaincell.adapt(
            model,
            point,
            tokenizer=tokenizer,
            out=folder,
            text=default_training_text(),
            stages=("matching",),
            settings=AdaptSettings(length=1024, statistics_rows=2, held_back=0),
            start=adapter,
        )


def tables(found: dict[str, float], tau_s: dict[str, float]) -> dict[str, str]:
    """The tables between their marks."""
    shown = {name: digits(value) for name, value in found.items()}
    reached: list[tuple[str, ...]] = [("softmax", shown["softmax"], shown["softmax, novel"])]
    for adapter, name in (("extended", "as it ships"), ("leroux2025", "leroux2025")):
        both = (name, "softmax"), (f"{adapter}, novel", "softmax, novel")
        cells = [f"{shown[one]} (×{found[one] / found[original]:.3g})" for one, original in both]
        reached.append((f"`{adapter}`, at rank {adapter_info(adapter).rank}", *cells))
    point = gaincell.GainCellConfig.named("extended")
    subtiles = []
    for columns, name in SUBTILES.items():
        cost = estimate(SMOLLM2_135M, point.replace(subtile_columns=columns))
        value = shown["as it ships" if columns == 64 else f"subtile {columns}"]
        subtiles.append((name, value, f"{cost.energy_j * 1e6:.4g} µJ", f"{cost.area_m2 * 1e6:.3g} mm²"))
    return {
        "shipped": table(("", "speeches", "novel"), reached),
        "switched": table(("", "perplexity"), [(name, shown[name]) for name in SWITCHED]),
        "subtiles": table(("`subtile_columns`", "perplexity", "energy of a token", "area"), subtiles),
        "cells": laws(shown, tau_s),
        "circuits": circuits(found, shown),
    }


def digits(value: float) -> str:
    """A perplexity as the pages have it."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}" if value >= 100 else f"{value:.2f}"


def laws(shown: dict[str, str], tau_s: dict[str, float]) -> str:
    """Other cells' laws and leaks, with both adapters, as they are and matched."""
    columns = ("Cell", "`extended`", "leak by the cell's retention", "matched", "`leroux2025`", "matched")
    tau_s = {"published": gaincell.GainCellConfig.named("extended").cell.retention.tau_s, **tau_s}
    leaks = {cell: f"{shown[f'{cell}, leak']} ({1e3 * tau:.3g} ms)" for cell, tau in tau_s.items()}
    rows: list[tuple[str, ...]] = [("published", shown["as it ships"], leaks["published"], "", shown["leroux2025"], "")]
    for cell in CELLS:
        names = (cell, None, f"{cell}, matched", f"leroux2025, {cell}", f"leroux2025, {cell}, matched")
        rows.append((f"`{cell}`", *(leaks[cell] if name is None else shown[name] for name in names)))
    return table(columns, rows)


def circuits(found: dict[str, float], shown: dict[str, str]) -> str:
    """Draws of cells that differ, and what circuits do besides their law."""
    named = f"draws of cells (seeds {', '.join(map(str, SEEDS))})"
    columns = ("Cell", "`extended`", named, "their mean ± deviation", *CIRCUITS)
    rows: list[tuple[str, ...]] = []
    for cell in (*CELLS, "published"):
        draws = [f"{cell}, seed {seed}" for seed in SEEDS]
        values = [found[name] for name in draws]
        spread = f"{statistics.mean(values):.2f} ± {statistics.stdev(values):.2f}"
        drawn = (", ".join(shown[name] for name in draws), spread)
        if cell == "published":
            assumed = ", ".join(f"{name}={value}" for name, value in ASSUMED.items())
            title = f"published, deviations assumed (`{assumed}`)"
            rows.append((title, shown["as it ships"], *drawn, *("" for _ in CIRCUITS)))
        else:
            alone = {name: shown[f"{cell}, {name}"] for name in CIRCUITS}
            if f"{cell}, {OFFSET} matched" in shown:
                alone[OFFSET] += f" (matched: {shown[f'{cell}, {OFFSET} matched']})"
            rows.append((f"`{cell}`", shown[cell], *drawn, *alone.values()))
    return table(columns, rows)
