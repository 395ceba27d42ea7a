"""What an export says of the parts of an estimate: figures at its design point, how many act, and how many stand."""

from typing import Any

from gaincell.hardware.components import Component, Components
from gaincell.hardware.energy import Parts, components
from gaincell.hardware.estimation import Estimate


def parts_in_use(estimate: Estimate) -> dict[str, Component]:
    """The parts that act or stand somewhere, by name, at the design point's node, supply and pulse."""
    parts = components(estimate.config, estimate.parameters)
    cell = parts.cell.model_copy(update={"latency_s": estimate.config.pulse_max_s})
    parts = parts.model_copy(update={"cell": cell})
    used = by_component(estimate.energy_components) | by_component(estimate.area)
    return {name: getattr(parts, name) for name in Components.model_fields if name in used}


def by_component(parts: Parts) -> dict[str, float]:
    """Sums over the parts of the sum, by component; what is of no single one has its part's name."""
    result: dict[str, float] = {}
    for part, of_part in parts.items():
        for component, value in of_part.items():
            name = part.replace(" ", "_") if component == "all" else component
            result[name] = result.get(name, 0.0) + value
    return result


def over(value: float, figure: float) -> float:
    """How often a figure is in a value; 0 if it is 0."""
    return value / figure if figure else 0.0


def figures(estimate: Estimate) -> dict[str, Any]:
    """Everything an export says, in SI units, ready for JSON.

    `components` have their figures, `actions_per_token` and `instances`, both of the whole model. `beside_j` is energy
    that belongs to no component: `memory` that arrays are filled from, `link`, the hops between chips of a pair that is
    larger than one, and `static_power`.
    """
    parts, energy, area = parts_in_use(estimate), by_component(estimate.energy_components), by_component(estimate.area)
    return {
        "design_point": estimate.config.name,
        "activity": estimate.activity,
        "energy_j": estimate.energy_j,
        "latency_s": estimate.latency_s,
        "area_m2": estimate.area_m2,
        "components": {
            name: {
                **part.model_dump(exclude={"scaling"}),
                "actions_per_token": over(energy.get(name, 0.0), part.energy_j),
                "instances": over(area.get(name, 0.0), part.area_m2),
            }
            for name, part in parts.items()
        },
        "beside_j": {name: value for name, value in energy.items() if name not in parts},
    }
