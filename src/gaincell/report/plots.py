"""Plots as inline SVG. Their colours are the page's CSS variables, so they follow a light or dark page."""

import io
import re
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, NamedTuple

from gaincell.atomic import written_aside
from gaincell.report.numbers import number
from gaincell.report.palette import variables
from gaincell.report.results import PerplexityRow

# Colours that stand for a CSS variable while matplotlib draws; no two the same, none used by matplotlib itself.
_VARIABLES = {
    "#010203": "--ink",
    "#010204": "--line",
    "#010205": "--series-1",
    "#010206": "--series-2",
    "#010207": "--series-3",
    "#010208": "--series-4",
    "#010209": "--series-5",
}
_INK, _LINE, *_SERIES = _VARIABLES

_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 10,
    "text.color": _INK,
    "axes.edgecolor": _LINE,
    "axes.labelcolor": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "grid.color": _LINE,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "ytick.major.size": 0,
    "axes.axisbelow": True,
}


def can_plot() -> bool:
    """Whether matplotlib is installed."""
    return find_spec("matplotlib") is not None


def perplexity_plot(rows: list[PerplexityRow]) -> str:
    """Perplexities as bars from 1, which is the least there can be, on a logarithmic axis."""
    kinds = list(dict.fromkeys(row["attention"] for row in rows))
    labels = [f"{row['attention']}: {row['stage']}" for row in rows]
    values = [row["perplexity"] for row in rows]
    colours = [_SERIES[kinds.index(row["attention"]) % len(_SERIES)] for row in rows]

    def draw(axes: Any) -> None:
        bars = axes.barh(range(len(rows)), values, color=colours, height=0.62)
        axes.set_xscale("log")
        axes.set_xlim(1, max(values) ** 1.18)  # room for the numbers
        axes.set_yticks(range(len(rows)), labels)
        axes.invert_yaxis()
        axes.bar_label(bars, [number(value) for value in values], padding=5)
        axes.grid(axis="x")
        axes.minorticks_off()
        axes.set_xlabel("perplexity (logarithmic)")

    return _svg("perplexity", draw, 0.34 * len(rows) + 0.8)


def curve_plot(
    curves: dict[str, list[tuple[float, float]]], original: float, what: str = "perplexity (logarithmic)"
) -> str:
    """Perplexity, or `what` else, against tokens learned on, a line per run, and the original's as a dashed one."""

    def draw(axes: Any) -> None:
        for index, (name, points) in enumerate(curves.items()):
            tokens, values = zip(*points, strict=True)
            colour = _SERIES[index % len(_SERIES)]
            axes.plot([n / 1e3 for n in tokens], values, "o-", color=colour, markersize=4, label=name)
            axes.annotate(number(values[-1]), (tokens[-1] / 1e3, values[-1]), (0, 7), textcoords="offset points")
        axes.axhline(original, color=_INK, linestyle="--", linewidth=1, label=f"original: {number(original)}")
        axes.set_yscale("log")
        axes.set_xlim(left=0)
        axes.grid(axis="y", which="both", linewidth=0.5)
        axes.yaxis.set_major_formatter(lambda value, _: number(value))
        axes.yaxis.set_minor_formatter(lambda value, _: number(value))
        axes.set_xlabel("thousand tokens of distillation")
        axes.set_ylabel(what)
        axes.legend(frameon=False)

    return _svg("curve", draw, 3.4)


def layers_plot(layers: list[dict[str, float]], reference: dict[str, float] | None = None) -> str:
    """Energy of one token by part, in joule, as a stacked bar per layer; a dashed line where `reference` adds up to."""
    parts = list(dict.fromkeys(part for layer in layers for part in layer))

    def draw(axes: Any) -> None:
        bottom = [0.0] * len(layers)
        for index, part in enumerate(parts):
            heights = [1e9 * layer.get(part, 0.0) for layer in layers]
            colour = _SERIES[index % len(_SERIES)]
            axes.bar(range(1, len(layers) + 1), heights, bottom=bottom, color=colour, width=0.8, label=part)
            bottom = [a + b for a, b in zip(bottom, heights, strict=True)]
        if reference is not None:
            axes.axhline(
                1e9 * sum(reference.values()), color=_INK, linestyle="--", linewidth=1, label="with assumed activity"
            )
        axes.set_xlim(0.3, len(layers) + 0.7)
        axes.set_ylim(0, 1.05 * max(*bottom, 1e9 * sum((reference or {}).values())))
        axes.grid(axis="y")
        axes.set_xlabel("layer")
        axes.set_ylabel("energy of one token (nJ)")
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False, borderaxespad=0.2)

    return _svg("layers", draw, 3.6)


def sensitivity_plot(gains: Mapping[str, float], steps: Sequence[float]) -> str:
    """KL in nats that each layer or head takes off alone, as bars; what is left of it with none, one, ... as a line."""

    def draw(axes: Any) -> None:
        axes.bar(list(gains), list(gains.values()), color=_SERIES[0], width=0.8, label="taken off by this one alone")
        if len(steps) > 1:
            axes.plot(range(len(steps)), steps, color=_SERIES[1], marker="o", label="left with 0, 1, ... of the best")
        axes.axhline(0.0, color=_INK, linewidth=1)
        axes.grid(axis="y")
        axes.set_xlabel("kept digital")
        axes.set_ylabel("KL from the original (nats a token)")
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False, borderaxespad=0.2)

    return _svg("sensitivity", draw, 3.6)


def timeline_plot(phases: list[tuple[str, float, float, tuple[str, ...]]]) -> str:
    """What keeps the parts of a head busy during one token: (phase, start, duration in seconds, parts busy)."""
    rows = list(dict.fromkeys(part for *_, busy in phases for part in busy))

    def draw(axes: Any) -> None:
        for index, (name, start, duration, busy) in enumerate(phases):
            for part in busy:
                place, colour = rows.index(part), _SERIES[index % len(_SERIES)]
                axes.barh(place, 1e9 * duration, left=1e9 * start, color=colour, height=0.6)
            middle = 1e9 * (start + duration / 2)
            axes.text(middle, -0.6, name, rotation=35, rotation_mode="anchor", ha="left", va="bottom", clip_on=False)
        axes.set_yticks(range(len(rows)), rows)
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.grid(axis="x")
        axes.set_xlabel("time since the token's key and value came (ns)")

    return _svg("timeline", draw, 0.32 * len(rows) + 2.2)


class Series(NamedTuple):
    """Points (x, y) of one thing, and how they are drawn."""

    name: str
    x: list[float]
    y: list[float]
    style: Literal["line", "dashes", "points", "marked"] = "line"


def xy_plot(
    name: str, series: list[Series], *, x: str, y: str, log_x: bool = False, beside: bool = False, height: float = 3.4
) -> str:
    """Things against each other, with a legend, which stands `beside` where there is no room inside."""
    styles: dict[str, Any] = {
        "line": {"linestyle": "-"},
        "dashes": {"linestyle": "--"},
        "points": {"linestyle": "", "marker": "o", "markersize": 3.5},
        "marked": {"linestyle": "-", "marker": "o", "markersize": 3.5},
    }

    def draw(axes: Any) -> None:
        for index, one in enumerate(series):
            # a second round of the colours is dotted
            again = {"linestyle": ":"} if index >= len(_SERIES) and one.style == "line" else {}
            how = {**styles[one.style], **again, "color": _SERIES[index % len(_SERIES)]}
            axes.plot(one.x, one.y, label=one.name, linewidth=1.4, **how)
        if log_x:
            axes.set_xscale("log")
        axes.grid(linewidth=0.5)
        axes.set_xlabel(x)
        axes.set_ylabel(y)
        place = {"loc": "lower left", "bbox_to_anchor": (0, 1), "ncols": 2, "borderaxespad": 0.2} if beside else {}
        axes.legend(frameon=False, **place)

    return _svg(name, draw, height)


def grouped_bars_plot(
    name: str, labels: list[str], groups: dict[str, list[float | None]], *, x: str, log: bool = False
) -> str:
    """A bar for each group at every label, where there is a value; from the left, or on a logarithmic axis."""
    width = 0.8 / len(groups)
    values = [value for group in groups.values() for value in group if value is not None]

    def draw(axes: Any) -> None:
        for index, (group, bars) in enumerate(groups.items()):
            places = [at + (index - (len(groups) - 1) / 2) * width for at in range(len(labels))]
            there = [(place, bar) for place, bar in zip(places, bars, strict=True) if bar is not None]
            drawn = axes.barh(*zip(*there, strict=True), color=_SERIES[index % len(_SERIES)], height=width, label=group)
            axes.bar_label(drawn, [number(bar) for _, bar in there], padding=4, fontsize=8.5)
        if log:
            axes.set_xscale("log")
            axes.set_xlim(min(values) / 4, max(values) * (max(values) / min(values)) ** 0.15)  # room for the numbers
            axes.minorticks_off()
        else:
            axes.set_xlim(0, 1.12 * max(values))
        axes.set_yticks(range(len(labels)), labels)
        axes.invert_yaxis()
        axes.grid(axis="x")
        axes.set_xlabel(x)
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=4, frameon=False, borderaxespad=0.2)

    return _svg(name, draw, (0.12 + 0.2 * len(groups)) * len(labels) + 1.2)


def as_file(plot: str) -> str:
    """A plot as an SVG file of its own: the page's colours, light and dark, go with it."""
    head, _, body = plot.partition(">")
    namespace = "" if "xmlns=" in head else ' xmlns="http://www.w3.org/2000/svg"'
    return f"{head}{namespace}><style>{variables()}</style>{body}"


def write_plot(plot: str, path: Path) -> None:
    """Write a plot as an SVG file of its own; it is there whole or not at all."""
    with written_aside(path) as aside:
        aside.write_text(as_file(plot), "utf-8")


def _svg(name: str, draw: Any, height: float, width: float = 7.5) -> str:
    """Draw on one axes of `width` by `height` inches; the same input gives the same text."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # not what a user's matplotlibrc says
        for key, value in {**_STYLE, "svg.hashsalt": name}.items():
            matplotlib.rcParams[key] = value
        figure = Figure(figsize=(width, height), layout="constrained")
        draw(figure.add_subplot())
        buffer = io.StringIO()
        metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(buffer, format="svg", transparent=True, metadata=metadata)
    return _inline(name, buffer.getvalue())


def _inline(name: str, text: str) -> str:
    """An SVG file as part of a page: no prologue, ids that no other plot has, colours of the page."""
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = re.sub(r'((?:xlink:)?href="#|url\(#)', rf"\g<1>{name}-", text)
    for colour, variable in _VARIABLES.items():
        text = text.replace(colour, f"var({variable})")
    return text.replace("<svg ", f'<svg role="img" aria-label="{name}" ', 1)
