"""What pages are made from and took long to measure, kept in docs/data."""

import json
from pathlib import Path
from typing import Any

from tools.pages.marks import ROOT

DATA = ROOT / "docs" / "data"


def kept(name: str, folder: str | None = None) -> dict[str, Any]:
    """What docs/data/NAME holds; a run's folder replaces the file by its own first."""
    if folder is not None:
        (DATA / name).write_bytes((Path(folder) / name).read_bytes())
    return json.loads((DATA / name).read_text("utf-8"))
