"""Measure the shipped adapters with one thing changed at a time, and write the tables that show it.

python docs/generate_variants.py

Perplexities are of 4,096 tokens at length 1,024, kept in docs/variants.json. What is there is not measured again; other
adapters are.
"""

import json
from pathlib import Path
from typing import Any

from generate_hardware import table
from generate_results import ROOT, fill

import gaincell
from gaincell.aside import written_aside
from gaincell.cli.options import load_model
from gaincell.evaluate import load_text
from gaincell.hardware import estimate
from gaincell.hardware.decoder import SMOLLM2_135M
from gaincell.models import adapter_info, adapter_names, convert_
from gaincell.models.adapter import adapter_checksum

RECORD = ROOT / "docs" / "variants.json"
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


def variants() -> dict[str, dict[str, Any]]:
    """What is measured, by the name it has in the record: the adapter, the text, fields of the design point."""
    return {
        "softmax": {"adapter": None},
        "softmax, novel": {"adapter": None, "text": "novel"},
        "extended, novel": {"text": "novel"},
        "leroux2025": {"adapter": "leroux2025"},
        "leroux2025, novel": {"adapter": "leroux2025", "text": "novel"},
        **SWITCHED,
        **{f"subtile {columns}": {"subtile_columns": columns} for columns in SUBTILES if columns != 64},
    }


def measure() -> None:
    """Every perplexity that the record has not."""
    adapters = {name: adapter_checksum(name) for name in adapter_names()}
    record = json.loads(RECORD.read_text("utf-8")) if RECORD.is_file() else {}
    if record.get("adapters") != adapters:
        record = {"adapters": adapters, "perplexities": {}}
    for name, variant in variants().items():
        if name not in record["perplexities"]:
            record["perplexities"][name] = perplexity(**variant)
            print(name, record["perplexities"][name], flush=True)
            with written_aside(RECORD) as aside:
                aside.write_text(json.dumps(record, indent=2) + "\n", "utf-8")


def perplexity(*, adapter: str | None = "extended", text: str = "speeches", **fields: Any) -> float:
    """Of one variant."""
    if adapter is None:
        model, tokenizer = gaincell.load_demo_model()
    else:
        model, tokenizer = load_model(adapter)
        convert_(model, gaincell.GainCellConfig.preset(adapter).replace(**fields))
    return gaincell.perplexity(model, tokenizer, load_text(text), length=1024, tokens=4096).perplexity


def tables(found: dict[str, float]) -> dict[str, dict[str, str]]:
    """By page, the tables between its marks."""
    shown = {name: f"{value:.4g}" if value >= 100 else f"{value:.2f}" for name, value in found.items()}
    reached = [("softmax", shown["softmax"], shown["softmax, novel"])]
    for adapter, name in (("extended", "as it ships"), ("leroux2025", "leroux2025")):
        both = (name, "softmax"), (f"{adapter}, novel", "softmax, novel")
        cells = [f"{shown[one]} (×{found[one] / found[original]:.3g})" for one, original in both]
        reached.append((f"`{adapter}`, at rank {adapter_info(adapter).rank}", *cells))
    point = gaincell.GainCellConfig.preset("extended")
    subtiles = []
    for columns, name in SUBTILES.items():
        cost = estimate(SMOLLM2_135M, point.replace(subtile_columns=columns))
        value = shown["as it ships" if columns == 64 else f"subtile {columns}"]
        subtiles.append((name, value, f"{cost.energy_j * 1e6:.4g} µJ", f"{cost.area_m2 * 1e6:.3g} mm²"))
    return {
        "adaptation.md": {
            "shipped": table(("", "speeches", "novel"), reached),
            "switched": table(("", "perplexity"), [(name, shown[name]) for name in SWITCHED]),
        },
        "hardware.md": {"subtiles": table(("`subtile_columns`", "perplexity", "energy of a token", "area"), subtiles)},
    }


def pages() -> dict[Path, str]:
    """Every page's text with its tables anew."""
    found = json.loads(RECORD.read_text("utf-8"))["perplexities"]
    made = {}
    for name, parts in tables(found).items():
        page = ROOT / "docs" / name
        made[page] = page.read_text("utf-8")
        for mark, content in parts.items():
            made[page] = fill(made[page], mark, content)
    return made


def main() -> None:
    """Measure what is missing, then write."""
    measure()
    for page, text in pages().items():
        page.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
