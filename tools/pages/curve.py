"""Perplexity against tokens, as `tools/record_reproduction.py` kept it: docs/images/curve.svg.

python -m tools.pages curve
"""

import json

import gaincell
from gaincell.report.plots import as_file, curve_plot
from tools.record_reproduction import RECORD


def pictures() -> dict[str, str]:
    """The original, measured as the runs measured their students, and they."""
    found = json.loads(RECORD.read_text("utf-8"))["distilled"]
    ((length, tokens),) = {(one["length"], one["tokens"]) for one in found.values()}
    original = gaincell.perplexity(*gaincell.load_demo_model(), length=length, tokens=tokens).perplexity
    return {"curve.svg": as_file(curve_plot({name: one["points"] for name, one in found.items()}, original))}
