"""What pages are made from and took long to measure, kept in docs/data."""

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from gaincell.models import adapter_names
from gaincell.models.adapter import adapter_checksum
from tools.pages.marks import ROOT

DATA = ROOT / "docs" / "data"


def shipped(models: Collection[str] | None = None) -> dict[str, str]:
    """A checksum of every adapter that ships, or of those among some models."""
    return {name: adapter_checksum(name) for name in adapter_names() if models is None or name in models}


def kept(name: str, folder: str | None = None) -> dict[str, Any]:
    """What docs/data/NAME holds; a run's folder replaces the file by its own first, with the adapters that it is of."""
    if folder is not None:
        found = json.loads((Path(folder) / name).read_text("utf-8"))
        found = {"adapters": shipped(found["models"]), **found}
        (DATA / name).write_text(json.dumps(found) + "\n", "utf-8")
    return json.loads((DATA / name).read_text("utf-8"))
