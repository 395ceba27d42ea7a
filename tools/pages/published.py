"""Published gain cells beside that of the paper: docs/published-cells.md.

python -m tools.pages published measure   # half an hour on one core; without the word, what was measured is shown

`extended` on every cell, matched to it where it did not learn with it. Perplexities are of 2,048 tokens at length
1,024, kept in docs/data/published.json. What is there is not measured again, but what another adapter or cell's law or
retention has changed.
"""

import hashlib
import json
import math
from dataclasses import dataclass
from typing import Any

import gaincell
from gaincell.atomic import written_aside
from gaincell.cell import Cell, load_cell
from gaincell.evaluate import load_text
from gaincell.hardware import estimate
from gaincell.hardware.decoder import SMOLLM2_135M
from gaincell.hardware.parameters import HardwareParameters
from gaincell.hardware.refresh import time_constant_s
from gaincell.models import convert_
from gaincell.study.models import load_model
from tools.pages.data import DATA, kept, shipped
from tools.pages.markdown import table
from tools.pages.variants import digits, match
from tools.published_cells import CURVE

ADAPTER = "extended"
LEARNED_WITH = "leroux2025"
#: Gate areas of the read transistor, width x length in m^2: of oxide and PMOS that of tools/published_cells.py.
GATE_M2 = {"ito-2t0c": 120e-9 * 60e-9, "pmos-3t": 120e-9 * 65e-9}
#: Assumed of the cells with these gates: Pelgrom's coefficient, that of our generic card, in V m; a gain for all.
PELGROM_V_M = 1.5e-3 * 1e-6
#: Assumed of every cell's gain, and of the zero of the published cell, as docs/circuit.md has them.
GAIN, ZERO_V = 0.03, 0.004
SEED = 1


@dataclass(frozen=True)
class Case:
    """One row: a cell, whether it leaks, and whether it stands beside a reference, whatever its file says."""

    cell: str
    leaks: bool = True
    reference: bool = False

    @property
    def about(self) -> str:
        """What is other than in the cell's file."""
        return ("" if self.leaks else ", as if it did not leak") + (", beside a reference" if self.reference else "")

    @property
    def name(self) -> str:
        """As the record has it."""
        return f"{self.cell}{self.about}"

    @property
    def point(self) -> gaincell.GainCellConfig:
        """The design point."""
        cell = load_cell(self.cell)
        if self.reference:
            cell = cell.model_copy(update={"polarity": "reference"})
        leak = None if self.leaks else 0.0
        return gaincell.GainCellConfig.named(ADAPTER).replace(cell=cell, leak_per_token=leak)


CASES = (
    Case(LEARNED_WITH),
    Case("ito-2t0c"),
    Case("ito-2t0c", reference=True),
    Case("pmos-3t"),
    Case("pmos-3t", leaks=False),
)
STAGES = ("as it is", "matched", "spread")


def contents(word: str | None = None) -> dict[str, str]:
    """What was measured, after measuring what is missing where the word asks for it."""
    if word not in (None, "measure"):
        raise SystemExit(f"published takes no word but 'measure', not {word!r}.\n\n{__doc__}")
    if word is not None:
        measure()
    record = kept("published.json")
    curve = CURVE.read_text("utf-8")
    return {
        "published-law": laws(),
        "published-perplexity": perplexities(record["perplexities"], record["softmax"]),
        "published-cost": costs(),
        "published-curve": f"```bash\ncat > ito.csv <<'EOF'\n{curve}EOF\ngaincell fit ito.csv --tau 1004s "
        "--decays-to 0 --out ito.yaml\n```",
    }


def measure() -> None:
    """Every perplexity that the record has not."""
    cells = {case.cell: content(load_cell(case.cell)) for case in CASES}
    now: dict[str, Any] = {"adapters": shipped([ADAPTER]), "cells": cells}
    before = kept("published.json") if (DATA / "published.json").exists() else {"perplexities": {}}
    now["softmax"] = before.get("softmax") or score(*load_model("demo"))
    same = before.get("adapters") == now["adapters"]
    stays = {cell for cell in cells if same and before["cells"].get(cell) == cells[cell]}
    found: dict[str, dict[str, float]] = {
        case.name: before["perplexities"][case.name]
        for case in CASES
        if case.cell in stays and case.name in before["perplexities"]
    }
    for case in CASES:
        if case.name in found:
            continue
        found[case.name] = measured(case)
        print(case.name, found[case.name], flush=True)
        in_order = {one.name: found[one.name] for one in CASES if one.name in found}
        with written_aside(DATA / "published.json") as aside:
            aside.write_text(json.dumps({**now, "perplexities": in_order}, indent=2) + "\n", "utf-8")


def content(cell: Cell) -> str:
    """A checksum of what counts here of a cell file: its law and its retention, whatever they are said to be from."""
    counts = (cell.polarity, cell.law.coefficients, cell.law.unit, cell.retention.tau_s, cell.retention.ends_at_v)
    return hashlib.sha256(repr(counts).encode()).hexdigest()


def measured(case: Case) -> dict[str, float]:
    """Perplexities of a case: as it is, matched where its cell is another than the adapter learned with, spread."""
    model, tokenizer = load_model(ADAPTER)
    convert_(model, case.point)
    found = {"as it is": score(model, tokenizer)}
    if case.cell != LEARNED_WITH:
        model, tokenizer = load_model("demo")
        match(model, tokenizer, case.point, ADAPTER)
        found["matched"] = score(model, tokenizer)
    convert_(model, case.point.replace(mismatch_seed=SEED, **spread(case.cell)))
    return found | {"spread": score(model, tokenizer)}


def score(model: Any, tokenizer: Any) -> float:
    """Perplexity of the page's text."""
    return gaincell.perplexity(model, tokenizer, load_text("speeches"), length=1024, tokens=2048).perplexity


def spread(cell: str) -> dict[str, float]:
    """How cells differ: fields of a design point, all of them assumed."""
    zero_v = PELGROM_V_M / math.sqrt(GATE_M2[cell]) if cell in GATE_M2 else ZERO_V
    return {"mismatch_gain": GAIN, "mismatch_zero_v": round(zero_v, 4)}


def laws() -> str:
    """What the files say: charge, its shape, retention, spread."""
    rows = []
    for name in (LEARNED_WITH, *GATE_M2):
        cell = load_cell(name)
        point = Case(name).point
        full, whole = cell.coulomb_per_second, cell.model_law
        charge = "" if full is None else f"{full * whole(0.45) * point.pulse_max_s * 1e15:.3g} fC"
        ends = f"{point.zero_v + cell.retention.ends_at_v:g} V"
        holds = time_constant_s(point, HardwareParameters().retention_limit)
        rows.append(
            (
                f"`{name}`",
                cell.polarity.replace("_", "-"),
                charge,
                f"{whole(0.225) / whole(0.45):.0%}",
                f"{cell.retention.tau:g} {cell.retention.unit}, to {ends}",
                seconds(holds),
                f"{spread(name)['mismatch_zero_v'] * 1e3:g} mV",
            )
        )
    columns = ("Cell", "Polarity", "Full pulse at +0.45 V", "of it at +0.225 V", "tau", "holds", "zero, assumed")
    return table(columns, rows)


def seconds(value: float) -> str:
    """A time in a unit that fits."""
    return f"{value:.3g} s" if value >= 1 else f"{value * 1e3:.3g} ms"


def perplexities(found: dict[str, dict[str, float]], softmax: float) -> str:
    """Rows of cells, as they are, matched, and with cells that differ."""
    rows: list[tuple[str, ...]] = [("softmax", digits(softmax), "", "")]
    for case in CASES:
        one: dict[str, Any] = found[case.name]
        rows.append((f"`{case.cell}`{case.about}", *(digits(one[stage]) if stage in one else "" for stage in STAGES)))
    return table(("`extended` on", "as it is", "matched", "and cells that differ"), rows)


def costs() -> str:
    """Attention of one token in SmolLM2-135M, with refresh where a cell needs it."""
    rows = []
    parameters = HardwareParameters(refresh="rewrite")
    for name in (LEARNED_WITH, *GATE_M2):
        cost = estimate(SMOLLM2_135M, Case(name).point, parameters=parameters)
        budget = cost.retention
        rows.append(
            (
                f"`{name}`",
                f"{cost.latency_s * 1e9:,.0f} ns",
                f"{cost.energy_j * 1e9:,.0f} nJ",
                f"{budget.age_ratio:.3g}",
                f"{budget.refreshes}",
            )
        )
    return table(("`extended` on", "latency", "energy", "age of the oldest token / time it holds", "refreshed"), rows)
