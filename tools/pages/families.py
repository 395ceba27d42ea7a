"""Every causal family of the installed transformers, tried: docs/models.md.

    python -m tools.pages families

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

from tools.pages.markdown import table
from tools.pages.marks import ROOT


def contents() -> dict[str, str]:
    """All families, the served ones feature by feature, the others with the sentence that refuses them."""
    sys.path.insert(0, str(ROOT / "tests" / "models"))
    from every_family import FEATURES, outcome  # pyright: ignore[reportMissingImports]

    warnings.simplefilter("ignore")
    transformers.logging.set_verbosity_error()
    torch.set_num_threads(1)
    rows, unmade = [], []
    for name in sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES):
        with tempfile.TemporaryDirectory() as folder:
            found = outcome(name, Path(folder))
        print(name, found, file=sys.stderr)
        if isinstance(found, str):
            rows.append((f"`{name}`", f"refused: {found}", *[""] * (len(FEATURES) - 1)))
        elif found is None:
            unmade.append(f"`{name}`")
        else:
            rows.append((f"`{name}`", *(found[feature] for feature in FEATURES)))
    served = sum(not cells[1].startswith("refused") for cells in rows)
    counts = f"{len(rows)} families tried, {served} served, {len(rows) - served} refused"
    parts = (
        f"transformers {transformers.__version__}: {counts}.",
        table(("family", *FEATURES), rows),
        f"Not tried, for want of a small random model: {', '.join(unmade)}.",
    )
    return {"families": "\n\n".join(parts)}
