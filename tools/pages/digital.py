"""Layers and heads kept digital: docs/digital-layers.md.

gaincell adapt demo --from extended --sensitivity --digital-budget 6 --out runs/digital
python -m tools.pages digital runs/digital   # without the folder, what was measured is shown, and nothing measured

The folder's measurements are taken into docs/data/digital.json; then the same layers, and others that are given, are
measured one after the other on a second text. Half an hour on two cores.
"""

import json
from pathlib import Path
from typing import Any

from gaincell import GainCellConfig
from gaincell.adapt.outcome import HeldBack
from gaincell.adapt.sensitivity import Sensitivity, Tried, measure_digital
from gaincell.adapt.text.cut import read_rows
from gaincell.hardware import HardwareParameters, estimate
from gaincell.hardware.decoder import SMOLLM2_135M
from gaincell.models import load_adapter, load_demo_model
from gaincell.models.adapter import adapter_checksum
from gaincell.models.fingerprint import own_weights
from gaincell.report.digital import sensitivities
from tools.pages.data import DATA, kept
from tools.pages.markdown import table
from tools.pages.marks import ROOT

#: The second text, which nothing was chosen or learned on, and which is not the panel's: pages of this package.
PAGES = ("hardware", "circuit", "models")
#: Found to be the best on documentation by trying all layers there, in this order.
KNOWN = (24, 18, 20, 2, 23, 16)
ROWS, LENGTH = 4, 512
#: What is priced: how many of KNOWN, and bits of what is kept.
PRICED = ((0, 16), (1, 16), (3, 16), (6, 16), (6, 8), (6, 4))


def contents(folder: str | None = None) -> dict[str, str]:
    """The tables; with a folder, after its measurements were taken over."""
    if folder is not None:
        measure(Path(folder))
    record = kept("digital.json")
    own = _read(record["own"])
    alone, *chosen = sensitivities(own)
    tables = {"digital-alone": table(alone.columns, alone.rows)}
    tables["digital-chosen"] = "\n\n".join(table(each.columns, each.rows) for each in chosen)
    steps = [_row(before, after) for before, after in zip([None, *record["second"]], record["second"], strict=False)]
    tables["digital-second"] = table(("digital", "KL", "perplexity / the original's"), steps)
    tables["digital-cost"] = _cost()
    return tables


def measure(folder: Path) -> None:
    """Take a folder of `gaincell adapt --sensitivity`, and measure KNOWN on the second text."""
    tried = json.loads((folder / "sensitivity.json").read_text("utf-8"))["tried"]
    model, tokenizer = load_demo_model()
    text = "".join((ROOT / "docs" / f"{page}.md").read_text("utf-8") for page in PAGES)
    held = HeldBack(model.eval(), read_rows(tokenizer, text, ROWS, LENGTH, 0), [LENGTH], 0, 0)
    original = {name: value.clone() for name, value in own_weights(model).items()}
    load_adapter(model, "extended")
    choices = [KNOWN[:count] for count in range(len(KNOWN) + 1)]
    second = measure_digital(model, held, original, choices, kept=folder / "second.json")
    record = {"adapter": adapter_checksum("extended"), "own": tried, "second": [vars(each) for each in second]}
    (DATA / "digital.json").write_text(json.dumps(record) + "\n", "utf-8")


def _read(tried: list[dict[str, Any]]) -> Sensitivity:
    """What `gaincell adapt --sensitivity` measured: the model as it came, each layer alone, and those chosen."""
    found = [
        Tried(tuple(each["digital"]), *(each[n] for n in ("divergence", "perplexity", "original"))) for each in tried
    ]
    before, chosen = found[0], []
    last = before
    while beside := [each for each in found if _is_one_more(last, each)]:
        last = min(beside, key=lambda each: each.divergence)
        chosen.append(last)
    return Sensitivity(before, tuple(each for each in found if len(each.digital) == 1), tuple(chosen))


def _is_one_more(before: Tried, after: Tried) -> bool:
    return len(after.digital) == len(before.digital) + 1 and {*before.digital} < {*after.digital}


def _row(before: dict[str, Any] | None, after: dict[str, Any]) -> tuple[str, str, str]:
    new = [entry for entry in after["digital"] if before is None or entry not in before["digital"]]
    name = "none" if not after["digital"] else f"+ {new[0]}"
    return name, f"{after['divergence']:.3f}", f"×{after['perplexity'] / after['original']:.2f}"


def _cost() -> str:
    """Of SmolLM2-135M at `extended`, with more and more digital layers."""
    rows = []
    for count, bits in PRICED:
        point = GainCellConfig.named("extended").replace(digital=KNOWN[:count])
        found = estimate(SMOLLM2_135M.attention, point, HardwareParameters(digital={"kept_bits": bits}))
        figures = (
            f"{found.latency_s * 1e9:,.0f} ns",
            f"{found.energy_j * 1e9:,.0f} nJ",
            f"{found.area_m2 * 1e6:.0f} mm²",
        )
        rows.append((str(count), str(bits) if count else "–", *figures, f"{found.retention_ratio:.2f}"))
    return table(("digital layers", "bits", "latency", "energy", "area", "age of the oldest token / tau"), rows)
