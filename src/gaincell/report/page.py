"""The HTML page: one file, no script, nothing fetched."""

from collections.abc import Sequence
from html import escape
from importlib import resources
from pathlib import Path
from typing import Any

from gaincell.aside import written_aside
from gaincell.config import GainCellConfig
from gaincell.report import plots
from gaincell.report.numbers import number, unit
from gaincell.report.results import Results

NO_PLOTS = "the report has no plots, since matplotlib is not installed; pip install matplotlib."


def write_report(results: Results, path: str | Path) -> str | None:
    """Write a run as one self-contained HTML file; written beside and renamed, so that it is never half a page.

    Args:
        results: what the run found.
        path: the file to write.

    Returns:
        One sentence on what the report lacks, or None if it is complete.

    Raises:
        OSError: the file cannot be written.
    """
    with written_aside(Path(path)) as aside:
        aside.write_text(render(results), "utf-8")
    return None if plots.can_plot() else NO_PLOTS


def render(results: Results) -> str:
    """The page's text."""
    style = (resources.files("gaincell.report") / "style.css").read_text("utf-8")
    sections = (
        _head(results),
        _perplexity(results),
        _samples(results),
        _cost(results),
        _design_points(results),
        _about(results),
    )
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<link rel="icon" href="data:,">\n'
        f"<title>{escape(results['title'])}</title>\n<style>\n{style}</style>\n</head>\n<body>\n"
        + "\n".join(sections)
        + "\n</body>\n</html>\n"
    )


def _head(results: Results) -> str:
    note = f'<p class="note">{escape(results["note"])}</p>' if results["note"] else ""
    plain = "" if plots.can_plot() else f'<p class="note">{escape(NO_PLOTS[0].upper() + NO_PLOTS[1:])}</p>'
    return f'<h1>{escape(results["title"])}</h1>\n<p class="summary">{escape(results["summary"])}</p>\n{note}{plain}'


def _perplexity(results: Results) -> str:
    rows = [
        (row["attention"], row["stage"], number(row["perplexity"]), number(row["ratio"], 3), f"{row['seconds']:.0f}")
        for row in results["perplexities"]
    ]
    return "\n".join(
        (
            "<h2>Perplexity</h2>",
            f"<p>{escape(results['evaluation'])}</p>",
            _figure(plots.perplexity_plot(results["perplexities"]) if plots.can_plot() else ""),
            _table(("attention", "stage", "perplexity", "times the original", "seconds"), rows, text=2),
        )
    )


def _samples(results: Results) -> str:
    parts = ["<h2>Samples</h2>", f"<p>{escape(results['sampling'])}</p>"]
    for sample in results["samples"]:
        parts.append('<div class="sample">')
        for who, text in (("original", sample["original"]), (results["adapted"], sample["adapted"])):
            parts.append(
                f'<div><span class="who">{escape(who)}</span><span class="prompt">{escape(sample["prompt"])}</span>'
                f"{escape(text)}</div>"
            )
        parts.append("</div>")
    return "\n".join(parts)


def _cost(results: Results) -> str:
    costs = results["costs"]
    rows = [(row["name"], *map(number, row["values"]), unit(row["unit"])) for row in costs["rows"]]
    published = [
        (row["name"], number(row["estimate"]), number(row["published"]), unit(row["unit"]), number(row["ratio"], 3))
        for row in results["published"]
    ]
    return "\n".join(
        (
            "<h2>Latency, energy and area</h2>",
            f"<p>Attention of {escape(costs['model'])}, one token of one sequence; the rest of the model is not in it. "
            "Estimates from the published parts of one head.</p>",
            _figure(plots.energy_plot(costs) if plots.can_plot() else ""),
            _table(("", *costs["design_points"], "unit"), rows, text=1, last_is_text=True),
            "<h3>The paper's own model</h3>",
            "<p>GPT-2 at the published design point. The published parts are inputs of the estimate, so this checks "
            "sums and scaling, not the parts.</p>",
            _table(("", "estimate", "published", "unit", "estimate / published"), published, text=1, unit_column=3),
            f'<p class="faint">{escape(results["caveat"])}</p>',
        )
    )


def _design_points(results: Results) -> str:
    points = results["design_points"]
    rows = []
    for name, field in GainCellConfig.model_fields.items():
        about: Any = field.json_schema_extra
        meaning = f"{escape(field.description or '')}<span class='source'>{escape(str(about['source']))}</span>"
        values = (_value(point.get(name)) for point in points.values())
        rows.append((f"<code>{escape(name)}</code>", *map(escape, values), escape(unit(str(about["unit"]))), meaning))
    head = ("field", *map(escape, points), "unit", "meaning and source")
    return f"<h2>Design points</h2>\n{_raw_table(head, rows, numbers=())}\n{_cells(points)}"


def _cells(points: dict[str, dict[str, Any]]) -> str:
    """Law and retention of the cells, with their sources."""
    rows = []
    for cell in {point["cell"]["name"]: point["cell"] for point in points.values()}.values():
        law, kept = cell["law"], cell["retention"]
        coefficients = ", ".join(f"{c:.6g}" for c in law["coefficients"])
        tau = f"{kept['tau']:g} {kept['unit']}"
        rows.append(tuple(map(escape, (cell["name"], coefficients, law["unit"], law["source"], tau, kept["source"]))))
    head = ("cell", "charge law: coefficients of 1, y, y², …", "unit", "source", "τ", "source")
    return _raw_table(head, rows, numbers=())


def _about(results: Results) -> str:
    rows = [(escape(label), escape(text)) for label, text in results["about"].items()]
    return f"<h2>About this run</h2>\n{_raw_table(('', ''), rows, numbers=())}"


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return str(value.get("name", ""))
    if value is None:
        return "null"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _figure(svg: str) -> str:
    return f"<figure>{svg}</figure>" if svg else ""


def _table(
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    text: int,
    last_is_text: bool = False,
    unit_column: int | None = None,
) -> str:
    """A table whose first `text` columns are text and whose others are numbers, but for a column of units."""
    columns = set(range(text, len(head))) - {unit_column} - ({len(head) - 1} if last_is_text else set())
    return _raw_table([escape(cell) for cell in head], [[escape(cell) for cell in row] for row in rows], tuple(columns))


def _raw_table(head: Sequence[str], rows: Sequence[Sequence[str]], numbers: Sequence[int]) -> str:
    def line(cells: Sequence[str], tag: str) -> str:
        inside = (
            f'<{tag} class="number">{cell}</{tag}>' if index in numbers else f"<{tag}>{cell}</{tag}>"
            for index, cell in enumerate(cells)
        )
        return f"<tr>{''.join(inside)}</tr>"

    top = f"<thead>{line(head, 'th')}</thead>" if any(head) else ""
    body = "\n".join(line(row, "td") for row in rows)
    return f'<div class="scroll"><table>{top}<tbody>\n{body}\n</tbody></table></div>'
