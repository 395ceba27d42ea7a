"""How a model's layers lie on arrays: each with arrays of its own window, its own time and its own refreshing."""

import math
from dataclasses import dataclass, replace

from gaincell.config import GainCellConfig
from gaincell.errors import InputError
from gaincell.hardware.chip_hops import Hops, hops
from gaincell.hardware.components import Components
from gaincell.hardware.geometry import Geometry, geometry
from gaincell.hardware.parameters import HardwareParameters
from gaincell.hardware.refresh import RetentionBudget, retention_budget
from gaincell.hardware.timeline import Timeline, timeline
from gaincell.hardware.workload import Layer, Workload


@dataclass(frozen=True)
class Arrays:
    """The arrays of one layer that attends.

    Attributes:
        layer: heads, widths and window as they are served: the smaller of its own and the design point's.
        config: the design point with that window.
        geometry: how the layer lies on its arrays.
        timeline: the phases of one token in one head.
        spread: what it takes that a pair of arrays is larger than a chip.
        latency_s: one token, all heads of the layer, with filling the arrays where there are too few.
        retention: how old a token gets, and how often it is refreshed.
        refilled: whether arrays are too few, so that each token fills them anew.
    """

    layer: Layer
    config: GainCellConfig
    geometry: Geometry
    timeline: Timeline
    spread: Hops
    latency_s: float
    retention: RetentionBudget
    refilled: bool

    @property
    def write_s(self) -> float:
        """Time that writing one column takes."""
        return self.timeline.phases[0].duration_s

    @property
    def prompt_interval_s(self) -> float:
        """Least time between two tokens of a prompt, with all the queries that share the layer's arrays.

        Where each token fills the arrays anew, the next one waits until the layer is done with them.
        """
        if self.refilled:
            return self.latency_s
        return self.timeline.interval_s + (self.geometry.turns - 1) * self.timeline.query_interval_s


def placed(
    workload: Workload, config: GainCellConfig, parameters: HardwareParameters, parts: Components
) -> tuple[Arrays, ...]:
    """The arrays of every layer that attends; layers that are served alike get the same object.

    Raises:
        InputError: a window that is no multiple of `subtile_columns` or outlives the cell, or too few arrays for layers
            that need them of several sizes.
    """
    p = parameters
    served = [replace(x, kind="attention", window=x.attends_to(config.window)) for x in workload.attending]
    points = {layer: _point(layer, config) for layer in served}
    lying = {layer: geometry(layer, point, p) for layer, point in points.items()}
    phases = {layer: timeline(point, p, lying[layer].lines) for layer, point in points.items()}
    spread = {layer: hops(lying[layer], point, p, parts) for layer, point in points.items()}
    refilled = p.array_pairs is not None and p.array_pairs < sum(lying[layer].pairs for layer in served)
    if refilled and len({replace(at, pairs=1, turns=1) for at in lying.values()}) > 1:
        raise InputError(
            f"array_pairs {p.array_pairs} are too few for this model, and arrays that are filled anew for every layer "
            "are of one size, but its layers need several (window, head_dim); leave array_pairs out."
        )

    def latency_s(layer: Layer) -> float:
        at, line = lying[layer], phases[layer]
        once_s = line.latency_s + (at.turns - 1) * line.query_interval_s + spread[layer].latency_s
        if not refilled or p.array_pairs is None:
            return once_s
        return math.ceil(at.pairs / p.array_pairs) * (once_s + at.window * line.phases[0].duration_s)

    took = {layer: latency_s(layer) for layer in points}
    all_s = sum(took[layer] for layer in served)

    def budget(layer: Layer, period_s: float | None) -> RetentionBudget:
        point = points[layer] if period_s is None else points[layer].replace(token_period_s=period_s)
        write_s = phases[layer].phases[0].duration_s
        return retention_budget(point, p, all_s, took[layer], write_s, refilled)

    # A layer whose rewrites take longer than the others' time makes every layer's token wait.
    alone = {layer: budget(layer, None) for layer in points}
    period_s = max(held.token_period_s for held in alone.values())
    held = {layer: x if x.token_period_s == period_s else budget(layer, period_s) for layer, x in alone.items()}
    arrays = {x: Arrays(x, points[x], lying[x], phases[x], spread[x], took[x], held[x], refilled) for x in points}
    return tuple(arrays[layer] for layer in served)


def _point(layer: Layer, config: GainCellConfig) -> GainCellConfig:
    if layer.window is None or layer.window == config.window:
        return config
    if layer.window % config.subtile_columns:
        raise InputError(
            f"model config: a layer's window of {layer.window} tokens is not a multiple of subtile_columns "
            f"{config.subtile_columns}; choose subtile_columns that divides it."
        )
    return config.replace(window=layer.window)
