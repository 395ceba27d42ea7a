"""A cell as one HTML page: plots, figures with units and sources, and what to mind."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from importlib import resources
from pathlib import Path

from gaincell.atomic import written_aside
from gaincell.report import plots
from gaincell.report.palette import variables

NO_PLOTS = "the cell's report has no plots, since matplotlib is not installed; pip install matplotlib."

_MARK = '<meta name="generator" content="gaincell, cell page">'

# Beside the run report's style sheet: panels side by side, and on paper one page.
_STYLE = """\
body { max-width: 78rem; margin: 0 auto; padding: 1.5rem 1.25rem; }
.panels { display: grid; grid-template-columns: repeat(auto-fill, minmax(20rem, 1fr)); gap: 0 1.25rem; }
.panels figure { margin: .75rem 0 0; break-inside: avoid; }
figcaption { font-size: .85rem; line-height: 1.35; }
.note ul { margin: .2rem 0; padding-left: 1.1rem; }
.note p { max-width: none; margin: 0; }
.figures { columns: 22rem; column-gap: 2rem; }
.figures table { break-inside: avoid; margin: 0 0 1rem; font-size: .85rem; }
.figures caption { text-align: left; font-weight: 600; }
.figures caption .source { display: block; font-weight: 400; font-size: .85em; line-height: 1.3; }
.figures td { padding-top: .12rem; padding-bottom: .12rem; }
.figures td:first-child { width: 50%; }
.figures td.number { white-space: normal; }
pre { overflow-x: auto; background: var(--tint); padding: .6rem .9rem; font-size: .8rem; line-height: 1.35; }
@media print {
  @page { size: A4; margin: 9mm; }
  :root {
    color-scheme: light; --paper: #fff; --ink: #1d2129; --faint: #555c66; --line: #d9dde3; --tint: #f4f6f8;
    --series-1: #0072b2; --series-2: #d55e00; --series-3: #009e73; --series-4: #b07aa1; --series-5: #8a8f98;
  }
  body { font-size: 8.3pt; line-height: 1.3; max-width: none; padding: 0; }
  h1 { font-size: 13pt; margin: 0 0 2pt; }
  h2 { font-size: 9.5pt; margin: 5pt 0 0; }
  p, .summary { margin: 2pt 0; font-size: 8.3pt; max-width: none; }
  .note { padding: 2pt 6pt; margin: 3pt 0; font-size: 7.4pt; }
  .panels { grid-template-columns: repeat(3, 1fr); gap: 0 6pt; }
  .panels figure { margin: 3pt 0 0; }
  .panels svg { height: 35mm; }
  figcaption { font-size: 6.6pt; line-height: 1.2; }
  .figures { columns: 3; column-gap: 10pt; margin-top: 4pt; }
  .figures table { font-size: 6.8pt; margin: 0 0 4pt; }
  .figures td { padding-top: 0; padding-bottom: 0; }
  details { display: none; }
}
"""


@dataclass(frozen=True)
class Panel:
    """One plot (SVG; empty without matplotlib) under its title, with a sentence on what it shows."""

    title: str
    text: str
    svg: str


@dataclass(frozen=True)
class Group:
    """Figures of one kind: rows of name, value and unit, and where they come from."""

    title: str
    source: str
    rows: Sequence[tuple[str, str, str]]


@dataclass(frozen=True)
class CellPage:
    """What the page says.

    Attributes:
        title: the cell's name.
        summary: one sentence on where it comes from.
        warnings: what to mind, each a sentence or two.
        panels: plots.
        groups: all figures.
        netlist: of the cell, where there is one to show.
    """

    title: str
    summary: str
    warnings: Sequence[str]
    panels: Sequence[Panel]
    groups: Sequence[Group]
    netlist: str = ""


def write_cell_page(page: CellPage, path: Path) -> str | None:
    """Write the page as one self-contained file; it is there whole or not at all.

    Returns:
        One sentence on what it lacks, or None if it is complete.

    Raises:
        OSError: the file cannot be written.
    """
    with written_aside(path) as aside:
        aside.write_text(render_cell_page(page), "utf-8")
    return None if plots.can_plot() else NO_PLOTS


def is_cell_page(path: Path) -> bool:
    """Whether a file was written by `write_cell_page`, so that a newer one may take its place."""
    with path.open("rb") as file:
        return _MARK.encode() in file.read(1000)


def render_cell_page(page: CellPage) -> str:
    """The page's text."""
    style = (resources.files("gaincell.report") / "style.css").read_text("utf-8")
    panels = "".join(
        f"<figure>{panel.svg}<figcaption><b>{escape(panel.title)}.</b> {escape(panel.text)}</figcaption></figure>\n"
        for panel in page.panels
    )
    netlist = f"<details><summary>Netlist of the cell</summary><pre>{escape(page.netlist)}</pre></details>\n"
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n<link rel="icon" href="data:,">\n'
        f"{_MARK}\n"
        f"<title>{escape(page.title)}</title>\n<style>\n{variables()}\n{style}{_STYLE}</style>\n</head>\n<body>\n"
        f'<h1>{escape(page.title)}</h1>\n<p class="summary">{escape(page.summary)}</p>\n{_warnings(page)}'
        f'<div class="panels">\n{panels}</div>\n<h2>Figures, with units and sources</h2>\n<div class="figures">\n'
        f"{''.join(map(_group, page.groups))}</div>\n{netlist if page.netlist else ''}</body>\n</html>\n"
    )


def _warnings(page: CellPage) -> str:
    given = [*page.warnings, *([] if plots.can_plot() else [NO_PLOTS[0].upper() + NO_PLOTS[1:]])]
    if not given:
        return '<p class="faint">Nothing stands out.</p>\n'
    items = "".join(f"<li>{escape(text)}</li>" for text in given)
    return f'<div class="note"><p><b>To mind</b></p><ul>{items}</ul></div>\n'


def _group(group: Group) -> str:
    rows = "\n".join(
        f'<tr><td>{escape(name)}</td><td class="number">{escape(value)}</td><td>{escape(unit)}</td></tr>'
        for name, value, unit in group.rows
    )
    source = f'<span class="source">{escape(group.source)}</span>' if group.source else ""
    return f"<table><caption>{escape(group.title)}{source}</caption><tbody>\n{rows}\n</tbody></table>\n"
