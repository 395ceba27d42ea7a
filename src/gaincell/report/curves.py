"""`metrics.jsonl` of a run of `gaincell adapt`: how adaptation went, as curves."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gaincell.cell.cell import read_text
from gaincell.errors import InputError

#: Points of a curve at most; of more steps, means of neighbours.
POINTS = 600
#: Share of the steps that a running mean is taken over.
_SMOOTH = 0.05

Points = list[tuple[float, float]]


@dataclass(frozen=True)
class Kind:
    """One quantity that a step logs: its key, a title for the choice, what a line and the axis are called."""

    key: str
    title: str
    short: str
    label: str
    log: bool = True


KINDS = (
    Kind("perplexity", "perplexity on held-out text", "perplexity", "perplexity"),
    Kind("loss", "loss", "loss", "loss", log=False),
    Kind("kl", "divergence from the original (KL)", "KL", "KL divergence (nats a token)", log=False),
    Kind("hidden_error", "error of the last hidden state", "hidden state", "squared error over power", log=False),
    Kind("gradient_norm", "norm of the gradient, before clipping", "gradient", "norm of the gradient"),
    Kind("lr", "learning rate", "learning rate", "learning rate", log=False),
)


@dataclass
class Curve:
    """One run.

    Attributes:
        name: what it is called.
        steps: by `Kind.key`, against tokens.
        layers: by stage and what of it, the error of every layer: (layer from 1, error).
    """

    name: str
    steps: dict[str, Points] = field(default_factory=dict)
    layers: dict[str, Points] = field(default_factory=dict)


def read_curve(folder: Path, name: str) -> Curve:
    """Read what a run logged; a curve without points where it logged nothing.

    Raises:
        InputError: a line that is damaged.
    """
    path, curve = folder / "metrics.jsonl", Curve(name)
    lines = read_text(path).splitlines() if path.is_file() else []
    before, last, stage = 0.0, 0.0, None
    for number, text in enumerate(lines, 1):
        try:
            line: dict[str, Any] = json.loads(text)
            if "layer" in line:
                layer = int(line["layer"]) + 1
                if "relative_error_before" in line:
                    _add(curve.layers, f"{line['stage']}, before", layer, line["relative_error_before"])
                _add(curve.layers, f"{line['stage']}", layer, line["relative_error"])
                continue
            if line["stage"] != stage:  # a later stage counts its tokens anew
                stage, before = line["stage"], last
            last = before + float(line.get("tokens", 0))
            for kind in KINDS:
                if line.get(kind.key) is not None:
                    _add(curve.steps, kind.key, last / 1e3, line[kind.key])
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
            raise InputError(f"{path}, line {number}, is damaged; remove the line, or adapt again.") from None
    return curve


def _add(into: dict[str, Points], key: str, x: float, y: Any) -> None:
    into.setdefault(key, []).append((x, float(y)))


def page_data(curves: Sequence[Curve]) -> dict[str, Any] | None:
    """Curves against tokens for the page; a curve of many points gets a running mean besides."""
    curves = [curve for curve in curves if curve.steps]
    kinds = [kind for kind in KINDS if any(kind.key in curve.steps for curve in curves)]
    if not kinds:
        return None
    runs = []
    for curve in curves:
        thinned = {key: _thinned(points) for key, points in curve.steps.items()}
        means = {key: _running(points) for key, points in thinned.items() if len(points) >= 60 and key != "lr"}
        runs.append({"name": curve.name, "series": thinned, "means": means})
    about = [{"key": k.key, "title": k.title, "short": k.short, "label": k.label, "log": k.log} for k in kinds]
    return {"kinds": about, "runs": runs}


def layer_data(curves: Sequence[Curve]) -> list[dict[str, Any]]:
    """Errors of the layers for the page, a line per stage."""
    several = sum(bool(curve.layers) for curve in curves) > 1
    return [
        {"name": f"{curve.name}: {stage}" if several else stage, "points": points, "before": stage.endswith("before")}
        for curve in curves
        for stage, points in curve.layers.items()
    ]


def _thinned(points: Points) -> Points:
    every = -(-len(points) // POINTS)
    groups = [points[i : i + every] for i in range(0, len(points), every)]
    return [(group[-1][0], float(f"{sum(y for _, y in group) / len(group):.5g}")) for group in groups]


def _running(points: Points) -> Points:
    """Means over the neighbours on both sides, fewer at the ends."""
    reach, found = max(1, round(_SMOOTH * len(points) / 2)), []
    for i, (x, _) in enumerate(points):
        near = [y for _, y in points[max(0, i - reach) : i + reach + 1]]
        found.append((x, float(f"{sum(near) / len(near):.5g}")))
    return found
