"""Health of every head, for the page: one number a head and metric."""

from typing import Any

from gaincell.hardware import Activity
from gaincell.report.map_bytes import moved
from gaincell.report.results import Heads, Maps

#: key, title, what it is and how to read it, and how: logarithmic, as a share in %, on a ramp from 0 to 1.
_METRICS = (
    (
        "error",
        "error of the output",
        "Squared error of what the head adds to its block's output, over the power of what it adds in the original, "
        "both fed the original's hidden states. 1: as wrong as if it were silent.",
        {"log": True},
    ),
    (
        "power",
        "weight in the original",
        "Power of what the head adds to its block's output in the original, over the power of that output: an error "
        "counts for little where this is small.",
        {"log": True},
    ),
    (
        "silent",
        "pulses of zero width",
        "Share of the columns in use whose pulse between the two products has no width (sparsity of φ): they take no "
        "energy in the second array.",
        {"percent": True, "unit": True},
    ),
    (
        "full",
        "pulses of full width",
        "Share of the columns in use whose pulse has full width (saturation): a larger score changes nothing there.",
        {"percent": True},
    ),
    (
        "phi",
        "mean width of a pulse",
        "Mean of φ over the columns in use, in pulses of full width: what the second array is driven with.",
        {"percent": True},
    ),
    (
        "readout",
        "mean read-out",
        "Mean size of the sub-tiles' read-out codes over the largest code: near 100 %, the read-outs clip; near 0, few "
        "of their levels are used.",
        {"percent": True},
    ),
)
_MOVED = (
    "moved",
    "attention that moved",
    "Share of the attention that lies elsewhere than in the original, on the sentence below: half the sum of the "
    "differences between both maps, mean over the queries; what a silent query looks at lies nowhere, so that all of a "
    "dead head's attention has moved.",
    {"percent": True, "unit": True},
)


def page_data(heads: dict[str, Heads], maps: Maps | None) -> dict[str, Any] | None:
    """Metrics, values and odd heads of every design point."""
    if not heads:
        return None
    metrics = [*_METRICS, _MOVED] if maps is not None else [*_METRICS]
    values: dict[str, dict[str, list[float]]] = {}
    dead, saturated, digital, blocks = {}, {}, {}, {}
    layers = count = 0
    for point, found in heads.items():
        activity = Activity.from_dict(found["activity"])
        layers, count = activity.phi.shape
        errors = found["errors"]
        values[point] = {
            "error": _flat(errors["heads"]),
            "power": _flat(errors["power"]),
            "silent": _flat((1.0 - activity.phi_active).tolist()),
            "full": _flat(activity.phi_full.tolist()),
            "phi": _flat(activity.phi.tolist()),
            "readout": _flat(activity.readout.tolist()),
        }
        if maps is not None:
            values[point]["moved"] = [
                _short(x) for x in moved(maps["original"], maps["points"][point], len(maps["tokens"]))
            ]
        dead[point], saturated[point] = (
            [int(i) for i in which.flatten().nonzero()[0]] for which in (activity.dead, activity.saturated)
        )
        digital[point] = sorted(layer * count + head for layer, head in activity.digital)
        blocks[point] = [_short(x) for x in errors["blocks"]]
    return {
        "points": list(heads),
        "layers": layers,
        "heads": count,
        "metrics": [{"key": key, "title": title, "help": about, **how} for key, title, about, how in metrics],
        "values": values,
        "blocks": blocks,
        "dead": dead,
        "saturated": saturated,
        "digital": digital,
    }


def _flat(rows: list[list[float]]) -> list[float]:
    return [_short(value) for row in rows for value in row]


def _short(value: float) -> float:
    return float(f"{value:.4g}")
