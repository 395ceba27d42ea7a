"""Draw perplexity against tokens, as `record_reproduction.py` kept it, into docs/images/curve.svg.

python docs/generate_curve.py
"""

import json

from generate_results import ROOT

import gaincell
from gaincell.report.plots import as_file, curve_plot

RECORD = ROOT / "src" / "gaincell" / "reproduce" / "record.json"


def main() -> None:
    """Measure the original as the runs measured their students, and draw."""
    found = json.loads(RECORD.read_text("utf-8"))["distilled"]
    ((length, tokens),) = {(one["length"], one["tokens"]) for one in found.values()}
    original = gaincell.perplexity(*gaincell.load_demo_model(), length=length, tokens=tokens).perplexity
    plot = curve_plot({name: one["points"] for name, one in found.items()}, original)
    (ROOT / "docs" / "images" / "curve.svg").write_text(as_file(plot), "utf-8")


if __name__ == "__main__":
    main()
