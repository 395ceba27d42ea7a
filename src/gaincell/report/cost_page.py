"""An estimate as one HTML page: energy by part and layer, the phases of a token, area, and the same work elsewhere."""

from collections.abc import Sequence
from typing import Any

from gaincell.hardware import Estimate
from gaincell.hardware.energy import Parts, components
from gaincell.hardware.opponents import DIGITAL_CAVEAT, OURS, Opponent
from gaincell.hardware.pricing import Priced
from gaincell.hardware.roofline import ROOFLINE_CAVEAT
from gaincell.report.cost_table import OPPONENT_COLUMNS, opponent_row
from gaincell.report.energy import layer_bars, phase_bars
from gaincell.report.numbers import number, scaled
from gaincell.report.template import filled

_SCRIPTS = ("core.js", "charts.js", "cost.js", "theme.js")


def render_cost(model: str, priced: Priced) -> str:
    """The page's text.

    Args:
        model: what it is called.
        priced: what is told of it.
    """
    found, rivals = priced.found, priced.rivals
    figures = components(found.config, found.parameters)
    sram = rivals[0]
    return filled(
        "cost.html",
        _SCRIPTS,
        page_data(found, rivals),
        kind="gaincell cost",
        title=f"Attention of {model} at '{found.config.name}'",
        summary=f"One token of one sequence over a full window of {found.config.window:,}, all layers; the rest of the "
        "model is not in it.",
        headline=[
            _item("Latency", scaled(found.latency_s, "s"), "all layers"),
            _item("Energy", scaled(found.energy_j, "J"), "all layers"),
            _item("Area", f"{number(found.area_m2 * 1e6)} mm²", f"chips: {found.chips:,}"),
            _item("Digital takes", f"×{number(sram.thriftier(found)[0], 3)} energy", "same node and bits, in SRAM"),
            _item("and", f"×{number(sram.faster(found), 3)} time", "same node and bits, in SRAM"),
        ],
        activity=found.activity,
        elsewhere_notes=[DIGITAL_CAVEAT, ROOFLINE_CAVEAT],
        rivals={"columns": OPPONENT_COLUMNS, "rows": [opponent_row(found, each) for each in rivals]},
        notes=priced.notes,
        rows=priced.rows,
        catalogue=[
            {
                "name": name,
                "action": part.action,
                "energy": scaled(part.energy_j, "J"),
                "area": f"{number(part.area_m2 * 1e12)} µm²" if part.area_m2 else "–",
                "kind": part.kind,
                "source": part.source,
            }
            for name, part in figures
        ],
    )


def page_data(found: Estimate, rivals: Sequence[Opponent]) -> dict[str, Any]:
    """What the page's script draws from: nJ, mm², ns, and elsewhere µJ and µs."""
    ours = (OURS, found.latency_s, (found.energy_j, found.energy_j))
    everyone = [ours, *((each.name, each.latency_s, each.energy_j) for each in rivals)]
    return {
        "layers": layer_bars(found),
        "parts": [part for part, of in found.energy_components.items() if any(of.values())],
        "phases": phase_bars(found),
        "energy": _shares(found.energy_components, 1e9, "nJ"),
        "area": _shares(found.area, 1e6, "mm²"),
        "elsewhere": {
            "energy": [
                {
                    "name": name,
                    "low": 1e6 * least,
                    "high": 1e6 * most,
                    "words": f"{name}\n{scaled(least, 'J')}" + (f" to {scaled(most, 'J')}" if most > least else ""),
                }
                for name, _, (least, most) in everyone
            ],
            "time": [
                {"name": name, "low": 1e6 * time_s, "high": 1e6 * time_s, "words": f"{name}\n{scaled(time_s, 's')}"}
                for name, time_s, _ in everyone
            ],
        },
    }


def _shares(parts: Parts, factor: float, unit: str) -> list[dict[str, Any]]:
    """A row for every component of every part, with its share of all."""
    whole = sum(sum(of.values()) for of in parts.values()) or 1.0
    return [
        {
            "name": f"{part}: {component}",
            "value": factor * value,
            "words": f"{part}: {component}\n{number(factor * value)} {unit}, {value / whole:.1%} of all",
        }
        for part, of in parts.items()
        for component, value in of.items()
        if value
    ]


def _item(label: str, figure: str, about: str) -> dict[str, str]:
    value, _, unit = figure.partition(" ")
    return {"label": label, "value": value, "unit": unit, "about": about}
