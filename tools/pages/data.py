"""What pages are made from and took long to measure, kept in docs/data."""

import json
from pathlib import Path
from typing import Any

from gaincell.models import adapter_names
from gaincell.models.adapter import adapter_checksum
from tools.pages.marks import ROOT

DATA = ROOT / "docs" / "data"


def shipped() -> dict[str, str]:
    """A checksum of every adapter that ships."""
    return {name: adapter_checksum(name) for name in adapter_names()}


def kept(name: str, folder: str | None = None) -> dict[str, Any]:
    """What docs/data/NAME holds; a run's folder replaces the file by its own first, with the adapters that ship now."""
    if folder is not None:
        found = {"adapters": shipped(), **json.loads((Path(folder) / name).read_text("utf-8"))}
        (DATA / name).write_text(json.dumps(found) + "\n", "utf-8")
    return json.loads((DATA / name).read_text("utf-8"))
