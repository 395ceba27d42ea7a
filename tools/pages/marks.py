"""Marks in pages, `<!-- name -->` and `<!-- /name -->`, and what stands between them."""

from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[2]

#: By page, its marks, and the part that fills each.
MARKS: dict[str, dict[str, str]] = {
    "README.md": {"perplexities": "demo"},
    "docs/adaptation.md": {"shipped": "variants", "switched": "variants"},
    "docs/circuit.md": {"cells": "variants", "circuits": "variants"},
    "docs/comparison.md": {"alone": "comparison", "beside": "comparison", "silicon": "comparison"},
    "docs/conditions.md": {"retention": "conditions", "leakage": "conditions", "published": "conditions"},
    "docs/digital-layers.md": {
        "digital-alone": "digital",
        "digital-chosen": "digital",
        "digital-second": "digital",
        "digital-cost": "digital",
    },
    "docs/explore.md": {"explore-front": "explore", "explore-decides": "explore"},
    "docs/hardware.md": {
        "published": "hardware",
        "parts": "hardware",
        "options": "hardware",
        "models": "hardware",
        "sharing": "hardware",
        "wires": "hardware",
        "elsewhere": "hardware",
        "digital": "hardware",
        "accelerators": "hardware",
        "whole": "hardware",
        "activity": "hardware",
        "subtiles": "variants",
        "parameters": "hardware",
    },
    "docs/models.md": {"families": "families"},
    "docs/panel.md": {"panel": "panel", "beyond": "panel"},
    "docs/parameters.md": {
        "fields": "parameters",
        "design_points": "parameters",
        "cell-file": "parameters",
        "cells": "parameters",
    },
    "docs/published-cells.md": {
        "published-law": "published",
        "published-curve": "published",
        "published-perplexity": "published",
        "published-cost": "published",
    },
    "docs/reproduction.md": {"headlines": "reproduction", "entries": "reproduction"},
    "docs/settings.md": {"settings": "parameters"},
    "docs/samples.md": {"samples": "samples"},
    "docs/speed.md": {"adaptation": "speed", "attention": "speed"},
    "docs/tasks.md": {"scorer": "tasks", "accuracy": "tasks", "differences": "tasks"},
    "docs/texts.md": {"sources": "texts"},
}


def fill(text: str, mark: str, content: str) -> str:
    """A page's text with `content` in place of what stands between a mark."""
    begin, end = f"<!-- {mark} -->", f"<!-- /{mark} -->"
    before, _, rest = text.partition(begin)
    _, found, after = rest.partition(end)
    if not found:
        raise SystemExit(f"The page has no marks {begin} ... {end}; put them where the text of {mark!r} is to stand.")
    return f"{before}{begin}\n{content}\n{end}{after}"


def filled(part: str, contents: Mapping[str, str]) -> dict[Path, str]:
    """Every page of a part, by its path, with what the part makes; marks that it makes nothing for stay as they are."""
    pages: dict[Path, str] = {}
    placed: set[str] = set()
    for name, marks in MARKS.items():
        page = ROOT / name
        for mark in (mark for mark, by in marks.items() if by == part and mark in contents):
            pages[page] = fill(pages.get(page) or page.read_text("utf-8"), mark, contents[mark])
            placed.add(mark)
    if placed != contents.keys():
        raise SystemExit(f"No page has {', '.join(sorted(contents.keys() - placed))} of {part}; add it to MARKS.")
    return pages
