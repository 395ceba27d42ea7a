"""The HTML page: one file that needs nothing from elsewhere."""

import math
from pathlib import Path
from typing import Any

from gaincell.atomic import written_aside
from gaincell.config import GainCellConfig
from gaincell.report import curves, energy, heads, tasks
from gaincell.report.numbers import number
from gaincell.report.results import Report, Results
from gaincell.report.template import filled

#: In the order in which each needs those before.
_SCRIPTS = ("core.js", "charts.js", "heads.js", "tables.js", "page.js", "theme.js")


def write_report(report: Report, path: str | Path) -> int:
    """Write a run as one self-contained HTML file; written beside and renamed, so that it is never half a page.

    Args:
        report: what the page shows.
        path: the file to write.

    Returns:
        The file's size in bytes.

    Raises:
        OSError: the file cannot be written.
    """
    text = render(report).encode("utf-8")
    with written_aside(Path(path)) as aside:
        aside.write_bytes(text)
    return len(text)


def render(report: Report) -> str:
    """The page's text."""
    results, found = report["results"], report["tasks"]
    data = page_data(report)
    watched = [each["activity"] for each in report["heads"].values()]
    return filled(
        "page.html",
        _SCRIPTS,
        data,
        kind=f"gaincell report · {results['model']}",
        title=results["title"],
        summary=results["summary"],
        note=results["note"],
        r=results,
        headline=headline(report),
        adaptation=data["curves"] or data["layers"],
        intervals=any(row.get("interval") for row in results["perplexities"]),
        tasks=found,
        task_rows=_task_rows(found),
        watched=watched[0]["text"] if watched else "",
        sinks=any(point["sinks"] != "none" for point in results["design_points"].values()),
        fields=_fields(results),
        names=list(results["design_points"]),
        cells=_cells(results),
        about=results["about"],
        command=report["command"],
    )


def page_data(report: Report) -> dict[str, Any]:
    """What the page's script draws from."""
    points = report["results"]["design_points"]
    maps = report["maps"]
    return {
        "perplexity": _perplexity(report["results"]),
        "tasks": None if report["tasks"] is None else tasks.page_data(report["tasks"]),
        "curves": curves.page_data(report["curves"]),
        "layers": curves.layer_data(report["curves"]) or None,
        "heads": heads.page_data(report["heads"], maps),
        "maps": maps if report["heads"] else None,
        "cost": energy.page_data(report["shape"], points, report["heads"]),
    }


def _perplexity(results: Results) -> dict[str, Any]:
    kinds = list(dict.fromkeys(row["attention"] for row in results["perplexities"]))
    original = results["perplexities"][0]["perplexity"]
    rows = []
    for row in results["perplexities"]:
        low, high = (original * bound for bound in row.get("interval") or (math.nan, math.nan))
        label = f"{row['attention']}: {row['stage']}"
        words = f"{label}\nperplexity {number(row['perplexity'])}, {number(row['ratio'], 3)} times the original"
        if not math.isnan(low):
            words += f"\n95 %: {number(low)} to {number(high)}, if the original's is taken as given"
        at = kinds.index(row["attention"]) - 1
        rows.append({"label": label, "value": row["perplexity"], "low": low, "high": high, "point": at, "words": words})
    return {"rows": rows, "original": original}


def headline(report: Report) -> list[dict[str, str]]:
    """Few large numbers, of the design point that the samples are of."""
    results, point = report["results"], report["results"]["adapted"]
    first = results["perplexities"][0]
    last = [row for row in results["perplexities"] if row["attention"] == point][-1]
    interval = last.get("interval")
    sure = "" if not interval else f" (95 %: {number(interval[0], 3)} to {number(interval[1], 3)})"
    items = [
        {
            "label": "Perplexity, adapted",
            "value": number(last["perplexity"]),
            "unit": f"×{number(last['ratio'], 3)}",
            "about": f"original: {number(first['perplexity'])}{sure}",
        }
    ]
    items += _tasks_headline(report["tasks"], point)
    column = results["costs"]["design_points"].index(point)
    for name, label in (("latency, all layers", "Latency of a token"), ("energy, all layers", "Energy of a token")):
        for row in results["costs"]["rows"]:
            value = row["values"][column]
            if row["name"] == name and value is not None:
                large = {"ns": "µs", "nJ": "µJ"}[row["unit"]]
                about = "attention, all layers; estimate"
                items.append({"label": label, "value": number(value / 1e3, 3), "unit": large, "about": about})
    if point in report["heads"]:
        state = heads.page_data({point: report["heads"][point]}, None)
        assert state is not None
        digital = state["digital"][point]
        silent = [share for i, share in enumerate(state["values"][point]["silent"]) if i not in digital]
        items += [
            {
                "label": "Silent pulses",
                "value": number(100 * sum(silent) / len(silent), 3),
                "unit": "%",
                "about": "of all between the two products",
            },
            {
                "label": "Dead heads",
                "value": str(len(state["dead"][point])),
                "unit": f"of {len(silent)}",
                "about": f"saturated: {len(state['saturated'][point])}"
                + (f"; digital: {len(digital)}" * bool(digital)),
            },
        ]
    return items


def _tasks_headline(found: tasks.Tasks | None, point: str) -> list[dict[str, str]]:
    """The adapted model's accuracy, where it is one of those that were scored."""
    adapted = [] if found is None else found.models[1:]
    name = point if point in adapted else adapted[0] if len(adapted) == 1 else None
    score = None if found is None or name is None else found.average.get(name)
    if score is None or score.difference is None:
        return []
    low, high = (None, None) if score.interval is None else score.interval
    bounds = "" if low is None or high is None else f" (95 %: {100 * low:+.1f} to {100 * high:+.1f})"
    about = f"{100 * score.difference:+.1f} points{bounds}"
    return [{"label": "Tasks, on average", "value": f"{100 * score.accuracy:.1f}", "unit": "%", "about": about}]


def _task_rows(found: tasks.Tasks | None) -> list[tuple[str, dict[str, tasks.Score]]]:
    if found is None:
        return []
    rows = [(task.title, task.models) for task in found.tasks.values()]
    return [*rows, ("Average", found.average)] if found.average else rows


def _fields(results: Results) -> list[dict[str, Any]]:
    rows = []
    for name, field in GainCellConfig.model_fields.items():
        about: Any = field.json_schema_extra
        values = [_value(point.get(name)) for point in results["design_points"].values()]
        known = {"unit": str(about["unit"]), "source": str(about["source"]), "description": field.description or ""}
        rows.append({"name": name, "values": values, **known})
    return rows


def _cells(results: Results) -> list[dict[str, str]]:
    """Law and retention of the cells, with their sources."""
    rows = []
    for cell in {point["cell"]["name"]: point["cell"] for point in results["design_points"].values()}.values():
        law, kept = cell["law"], cell["retention"]
        rows.append(
            {
                "name": cell["name"],
                "coefficients": ", ".join(f"{c:.6g}" for c in law["coefficients"]),
                "unit": law["unit"],
                "law_source": law["source"],
                "tau": f"{kept['tau']:g} {kept['unit']}",
                "retention_source": kept["source"],
            }
        )
    return rows


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return str(value.get("name", ""))
    if value is None:
        return "null"
    if isinstance(value, list):
        return ", ".join(map(_value, value))
    return f"{value:.6g}" if isinstance(value, float) else str(value)
