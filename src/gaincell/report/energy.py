"""Energy of every layer by part, and the phases of one token, for the page."""

from typing import Any

from gaincell.config import GainCellConfig
from gaincell.hardware import Activity, Estimate, estimate
from gaincell.hardware.energy import total
from gaincell.report.results import Heads


def page_data(shape: dict[str, Any], points: dict[str, dict[str, Any]], heads: dict[str, Heads]) -> dict[str, Any]:
    """By design point: with the activity that was measured where one was, else with the one assumed by default."""
    bars, assumed, phases, parts = {}, {}, {}, {}
    for name, fields in points.items():
        config = GainCellConfig(**fields)
        activity = Activity.from_dict(heads[name]["activity"]) if name in heads else None
        found, default = estimate(shape, config, activity=activity), estimate(shape, config)
        parts |= dict.fromkeys(part for layer in found.layers for part, of in layer.items() if any(of.values()))
        bars[name] = {"layers": layer_bars(found), "basis": _basis(found, activity, default)}
        assumed[name] = None if activity is None else _short(1e9 * total(default.layers[default.numbers[0]]))
        phases[name] = phase_bars(found)
    return {"points": list(points), "colours": list(parts), "bars": bars, "assumed": assumed, "phases": phases}


def phase_bars(found: Estimate) -> list[dict[str, Any]]:
    """The phases of one token in one head, in nanoseconds, with what to tell of each."""
    return [
        {
            "name": phase.name,
            "start": 1e9 * phase.start_s,
            "end": 1e9 * (phase.start_s + phase.duration_s),
            "words": f"{phase.name}: {1e9 * phase.duration_s:.3g} ns\nbusy: {', '.join(phase.busy)}",
        }
        for phase in found.timeline.phases
    ]


def layer_bars(found: Estimate) -> list[dict[str, float]]:
    """Energy of every layer by part, in nanojoule; parts that take nothing left out."""
    return [
        {part: _short(1e9 * sum(of.values())) for part, of in layer.items() if any(of.values())}
        for layer in found.layers
    ]


def _basis(found: Estimate, activity: Activity | None, default: Estimate) -> str:
    if activity is None:
        return "With the activity that is assumed by default, the same in every layer."
    share = found.energy_j / default.energy_j
    return (
        f"With what the arrays did on {activity.text}: {1e9 * found.energy_j:,.0f} nJ for all layers, {share:.2f} "
        "times the figure with the activity assumed by default."
    )


def _short(value: float) -> float:
    return float(f"{value:.4g}")
