"""Measurements of machines: docs/speed.md.

python -m tools.pages speed benchmarks/results/*.json
"""

import json
from pathlib import Path

from benchmarks.report import SECTIONS, STEP, tables

#: By mark, what a file has to hold to stand there.
KINDS = {"attention": SECTIONS, "adaptation": STEP}


def contents(*paths: str) -> dict[str, str]:
    """The tables of every file, by its kind; where there is no file of a kind, its tables stay."""
    records = [json.loads(Path(path).read_text("utf-8")) for path in paths]
    if not records:
        raise SystemExit("usage: python -m tools.pages speed PATH.json ...")
    found: dict[str, list[str]] = {}
    for path, record in zip(paths, records, strict=True):
        marks = [mark for mark, sections in KINDS.items() if record["results"].keys() <= sections.keys()]
        if not marks:
            raise SystemExit(f"{path} is no file of benchmarks.attention or benchmarks.adaptation.")
        found.setdefault(marks[0], []).append(tables(record))
    return {mark: "\n\n".join(parts) for mark, parts in found.items()}
