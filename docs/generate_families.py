"""Write the table of families in docs/models.md: every causal family of the installed transformers, tried.

    python docs/generate_families.py

A small random model of each is converted and held against itself: text read at once and token by token, rows padded on
the left, generation, and saved and loaded. Those that it cannot make, because sizes go by other names or parts are
missing, it names. Some two minutes.
"""

import sys
import tempfile
import warnings
from pathlib import Path

import torch
import transformers
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tests" / "models"))

from every_family import FEATURES, outcome  # noqa: E402

START, END = "<!-- families -->\n", "<!-- /families -->"


def table() -> str:
    """All families, the served ones feature by feature, the others with the sentence that refuses them."""
    rows, unmade = [], []
    for name in sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES):
        with tempfile.TemporaryDirectory() as folder:
            found = outcome(name, Path(folder))
        print(name, found, file=sys.stderr)
        if isinstance(found, str):
            rows.append((name, [f"refused: {found}", *[""] * (len(FEATURES) - 1)]))
        elif found is None:
            unmade.append(name)
        else:
            rows.append((name, [found[feature] for feature in FEATURES]))
    served = sum(not cells[0].startswith("refused") for _, cells in rows)
    counts = f"{len(rows)} families tried, {served} served, {len(rows) - served} refused"
    lines = [
        f"transformers {transformers.__version__}: {counts}.",
        "",
        "| family | " + " | ".join(FEATURES) + " |",
        "| --- |" + " --- |" * len(FEATURES),
        *(f"| `{name}` | " + " | ".join(cells) + " |" for name, cells in rows),
        "",
        "Not tried, for want of a small random model: " + ", ".join(f"`{name}`" for name in unmade) + ".",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    transformers.logging.set_verbosity_error()
    torch.set_num_threads(1)
    page = HERE / "models.md"
    text = page.read_text("utf-8")
    before, rest = text.split(START)
    page.write_text(before + START + table() + END + rest.split(END)[1], "utf-8")
