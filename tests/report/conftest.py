"""A page's content, small and made up, with everything that a page can show."""

import shutil
from collections.abc import Iterator
from typing import Any

import pytest
from page_cases import LAYERS, NASTY, SHAPE, TOKENS, made_up_heads, made_up_map

from gaincell import GainCellConfig
from gaincell.hardware import estimate, paper_table
from gaincell.report import Report, Results
from gaincell.report.curves import Curve
from gaincell.report.tasks import Tasks


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        pytest.skip("no chromium here; install it, for example apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=found)
        yield opened
        opened.close()


@pytest.fixture
def results() -> Results:
    points = {name: GainCellConfig.named(name).for_layers(LAYERS) for name in ("extended", "leroux2025")}
    found = {name: estimate(SHAPE, point) for name, point in points.items()}
    stages = (
        ("softmax", "as it came", 27.9),
        ("extended", "mapped as it is", 512345.6),
        ("extended", "layer-wise transfer", 60.0),
        ("leroux2025", "mapped as it is", 498765.4),
    )
    return {
        "title": "A title",
        "summary": "One sentence.",
        "note": "",
        "model": "a-model",
        "evaluation": "Perplexity of 8192 tokens.",
        "perplexities": [
            {"attention": kind, "stage": stage, "perplexity": value, "ratio": value / 27.9, "seconds": 12.0}
            for kind, stage, value in stages
        ],
        "sampling": "Greedily.",
        "samples": [{"prompt": "Who", "original": f" {NASTY}", "adapted": " goes there?"}],
        "adapted": "extended",
        "costs": {
            "model": "a-model",
            "design_points": list(points),
            "rows": [
                {"name": "latency, all layers", "unit": "ns", "values": [960.0, 780.0]},
                {"name": "energy, all layers: normaliser division", "unit": "nJ", "values": [0.0, None]},
            ],
            "energy_parts_j": {name: e.parts for name, e in found.items()},
        },
        "published": [
            {
                "name": row.name,
                "unit": row.unit,
                "estimate": row.value,
                "published": row.published,
                "ratio": row.ratio or 0.0,
            }
            for row in paper_table()
            if row.published is not None
        ],
        "caveat": "A caveat.",
        "design_points": {name: point.model_dump(mode="json") for name, point in points.items()},
        "about": {"gaincell": "0.1.0"},
    }


@pytest.fixture
def tasks() -> Tasks:
    def scores(accuracy: float, difference: float) -> dict[str, object]:
        return {
            "original": {"accuracy": accuracy, "stderr": 0.02},
            "extended": {
                "accuracy": accuracy + difference,
                "stderr": 0.02,
                "difference": difference,
                "interval": [difference - 0.02, difference + 0.02],
                "mcnemar_p": 0.4,
                "only_original": 12,
                "only_this": 7,
            },
        }

    about = {"metric": "acc", "items": 500}
    return Tasks.model_validate(
        {
            "version": 1,
            "items_asked": 500,
            "online": False,
            "seed": 0,
            "models": ["original", "extended"],
            "tasks": {
                "hellaswag": {"title": "HellaSwag", "chance": 0.25, "models": scores(0.41, -0.01), **about},
                "lambada": {"title": "LAMBADA", "chance": None, "models": scores(0.33, -0.09), **about},
            },
            "average": scores(0.37, -0.05),
        }
    )


@pytest.fixture
def report(results: Results, tasks: Tasks) -> Report:
    curve = Curve("extended")
    curve.steps = {"perplexity": [(0.0, 80.0), (1.0, 60.0)], "loss": [(i / 100, 1.0 / (1 + i)) for i in range(100)]}
    curve.layers = {"statistics": [(1, 0.5), (2, 0.4), (3, 0.3)], "transfer": [(1, 0.2), (2, 0.2), (3, 0.1)]}
    points = {"extended": made_up_map(1), "leroux2025": made_up_map(2)}
    return {
        "results": results,
        "shape": SHAPE,
        "tasks": tasks,
        "curves": [curve],
        "heads": {"extended": made_up_heads(0), "leroux2025": made_up_heads(1)},
        "maps": {"tokens": TOKENS, "original": made_up_map(0), "points": points},
        "command": "gaincell report here",
    }
