"""How a model's layers lie on arrays: each with arrays of its own window, its own time and its own refreshing."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from gaincell.config import GainCellConfig
from gaincell.errors import InputError
from gaincell.hardware.chip_hops import Hops, hops
from gaincell.hardware.components import Components
from gaincell.hardware.geometry import Geometry, geometry
from gaincell.hardware.kept_digital import KeptDigital
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
        heads: which of the layer's query heads attend in them.
        digital_s: one token in its digital heads, which work beside; counted in `latency_s`.
    """

    layer: Layer
    config: GainCellConfig
    geometry: Geometry
    timeline: Timeline
    spread: Hops
    latency_s: float
    retention: RetentionBudget
    refilled: bool
    heads: tuple[int, ...]
    digital_s: float = 0.0

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
        interval_s = self.timeline.interval_s + (self.geometry.turns - 1) * self.timeline.query_interval_s
        return max(interval_s, self.digital_s)


class _Served(NamedTuple):
    """A layer as arrays serve it: with the window that it has there, its analog heads, and its digital ones' time."""

    layer: Layer
    heads: tuple[int, ...]
    digital_s: float


def placed(
    workload: Workload,
    config: GainCellConfig,
    parameters: HardwareParameters,
    parts: Components,
    kept: Sequence[KeptDigital],
) -> tuple[Arrays, ...]:
    """The arrays of every layer that has some; layers that are served alike get the same object.

    Args:
        workload, config, parameters, parts: as of `estimate`.
        kept: the digital heads of every layer that attends, whose time counts towards the token's.

    Raises:
        InputError: a window that is no multiple of `subtile_columns` or outlives the cell, or too few arrays for layers
            that need them of several sizes.
    """
    p = parameters
    served = [
        _Served(replace(x, kind="attention", window=x.attends_to(config.window)), digital.analog, digital.latency_s)
        for x, digital in zip(workload.attending, kept, strict=True)
        if not digital.whole
    ]
    points = {layer: _point(layer.layer, config) for layer in served}
    lying = {layer: _laid(layer, point, p) for layer, point in points.items()}
    phases = {layer: timeline(point, p, lying[layer].lines) for layer, point in points.items()}
    spread = {layer: hops(lying[layer], point, p, parts) for layer, point in points.items()}
    refilled = p.array_pairs is not None and p.array_pairs < sum(lying[layer].pairs for layer in served)
    if refilled and len({replace(at, pairs=1, turns=1) for at in lying.values()}) > 1:
        raise InputError(
            f"array_pairs {p.array_pairs} are too few for this model, and arrays that are filled anew for every layer "
            "are of one size, but its layers need several (window, head_dim); leave array_pairs out."
        )

    def latency_s(layer: _Served) -> float:
        at, line = lying[layer], phases[layer]
        once_s = line.latency_s + (at.turns - 1) * line.query_interval_s + spread[layer].latency_s
        if not refilled or p.array_pairs is None:
            return max(once_s, layer.digital_s)
        refilled_s = math.ceil(at.pairs / p.array_pairs) * (once_s + at.window * line.phases[0].duration_s)
        return max(refilled_s, layer.digital_s)

    took = {layer: latency_s(layer) for layer in points}
    all_s = sum(took[layer] for layer in served) + sum(each.latency_s for each in kept if each.whole)

    def budget(layer: _Served, period_s: float | None) -> RetentionBudget:
        point = points[layer] if period_s is None else points[layer].replace(token_period_s=period_s)
        write_s = phases[layer].phases[0].duration_s
        return retention_budget(point, p, all_s, took[layer], write_s, refilled)

    # A layer whose rewrites take longer than the others' time makes every layer's token wait.
    alone = {layer: budget(layer, None) for layer in points}
    period_s = max(held.token_period_s for held in alone.values())
    held = {layer: x if x.token_period_s == period_s else budget(layer, period_s) for layer, x in alone.items()}
    arrays = {
        x: Arrays(x.layer, points[x], lying[x], phases[x], spread[x], took[x], held[x], refilled, x.heads, x.digital_s)
        for x in points
    }
    return tuple(arrays[layer] for layer in served)


def _laid(served: _Served, point: GainCellConfig, parameters: HardwareParameters) -> Geometry:
    """How the analog heads of a layer lie: a key/value head that none of them reads has no arrays."""
    layer, heads = served.layer, served.heads
    at = geometry(layer, point, parameters)
    if len(heads) == layer.heads:
        return at
    sharing = Counter(head // layer.group for head in heads)
    in_turn = parameters.kv_sharing == "in_turn"
    pairs = len(sharing) if in_turn else len(heads)
    return replace(at, pairs=pairs, turns=max(sharing.values()) if in_turn else 1)


def _point(layer: Layer, config: GainCellConfig) -> GainCellConfig:
    if layer.window is None or layer.window == config.window:
        return config
    if layer.window % config.subtile_columns:
        raise InputError(
            f"model config: a layer's window of {layer.window} tokens is not a multiple of subtile_columns "
            f"{config.subtile_columns}; choose subtile_columns that divides it."
        )
    return config.replace(window=layer.window)
