"""Latency, energy and area of a whole model's attention, one token, at a design point."""

import math
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from gaincell.config import GainCellConfig
from gaincell.hardware import gpu, layer
from gaincell.hardware.parameters import HardwareParameters
from gaincell.hardware.shape import GPT2, AttentionShape, read_shape

# Published results [Leroux et al. 2025], for a head of PUBLISHED_WINDOW x PUBLISHED_HEAD_DIM. Only ever shown beside
# ours, never computed with.
PUBLISHED_WINDOW = 1024
PUBLISHED_HEAD_DIM = 64
PUBLISHED_LATENCY_NS = 65.0
PUBLISHED_HEAD_ENERGY_NJ = 6.1
PUBLISHED_HEAD_AREA_MM2 = 0.5
PUBLISHED_OXIDE_MM2 = 15.7e-3
PUBLISHED_STACKED_MM2 = 36.7e-3


class Row(NamedTuple):
    """A line of a table, in a unit for people; `published` and `ratio` (ours over published) may be None."""

    name: str
    value: float
    unit: str
    published: float | None
    ratio: float | None


class Cost(NamedTuple):
    """What one token takes: seconds, joules, and the square metres that serve it."""

    latency_s: float
    energy_j: float
    area_m2: float


class GpuRatio(NamedTuple):
    """A published GPU baseline over our estimate for the same single layer, and the ratios the paper quotes."""

    name: str
    latency: float
    energy: float
    quoted_latency: float
    quoted_energy: float


@dataclass(frozen=True)
class Estimate:
    """Attention of a whole model, one token of one sequence, at a design point.

    Attributes:
        shape: the model's attention.
        config: the design point.
        parameters: what the estimate was computed from.
        parts: energy of the whole model by part, in joule; they add up to `energy_j`.
        area_parts: area of the whole model by part, in square metre; they add up to `area_m2`.
        latency_s: all layers, one after the other; attention alone, not the rest of the model.
    """

    shape: AttentionShape
    config: GainCellConfig
    parameters: HardwareParameters
    latency_s: float
    parts: dict[str, float]
    area_parts: dict[str, float]

    @property
    def energy_j(self) -> float:
        """Energy of one token, whole model."""
        return sum(self.parts.values())

    @property
    def area_m2(self) -> float:
        """Area of all layers' arrays with their digital control: each layer has its own."""
        return sum(self.area_parts.values())

    @property
    def per_layer(self) -> Cost:
        """One layer's share."""
        layers = self.shape.num_hidden_layers
        return Cost(self.latency_s / layers, self.energy_j / layers, self.area_m2 / layers)

    @property
    def per_head(self) -> Cost:
        """One query head's share of energy and area, and the time that its own query takes."""
        one_layer, heads = self.per_layer, self.shape.num_attention_heads
        latency_s = layer.query_latency_s(self.config, self.parameters)
        return Cost(latency_s, one_layer.energy_j / heads, one_layer.area_m2 / heads)

    @property
    def head_cells_m2(self) -> dict[str, float]:
        """One query head's share of the cells alone, by kind of cell; only 'cmos' is part of `area_m2`.

        'stacked' has all of the model's layers over each other, so a head takes 1/layers of its cells.
        """
        heads, p = self.shape.num_attention_heads, self.parameters
        cells = layer.layer_cells(self.shape, self.config, p) / heads
        return {
            "cmos": cells * p.cell_area_m2,
            "oxide": cells * p.oxide_cell_area_m2,
            "stacked": cells * p.stacked_cell_area_m2 / self.shape.num_hidden_layers,
        }

    @property
    def token_period_s(self) -> float:
        """Time from one token to the next: the design point's, but never less than attention takes."""
        return max(self.config.token_period_s or 0.0, self.latency_s)

    @property
    def retention_ratio(self) -> float:
        """Age at which a token is overwritten, over the cell's time constant; well below 1 for a cell that holds."""
        return self.config.window * self.token_period_s / self.config.cell.retention.tau_s

    @property
    def remaining_fraction(self) -> float:
        """exp(-window leak): what the oldest token keeps of its voltage in simulation.

        With `leak_per_token` set, the simulated leak is the design point's, however long this model's token takes;
        exp(-`retention_ratio`) is what the cell's time constant says.
        """
        set_leak = self.config.leak_per_token is not None or self.config.token_period_s is not None
        config = self.config if set_leak else self.config.replace(token_period_s=self.token_period_s)
        return math.exp(-config.window * config.leak)

    @property
    def gpu_ratios(self) -> tuple[GpuRatio, ...]:
        """Published GPU figures over ours, for one GPT-2 layer at this design point, whatever the model.

        Empty unless the window is the baselines' 1024: they are for that shape alone. See `gpu.CAVEAT`.
        """
        if self.config.window != gpu.BASELINE_WINDOW:
            return ()
        ours = estimate(gpu.BASELINE_LAYER, self.config, self.parameters)
        return tuple(
            GpuRatio(
                g.name,
                g.latency_s / ours.latency_s,
                g.energy_j / ours.energy_j,
                g.quoted_latency_ratio,
                g.quoted_energy_ratio,
            )
            for g in gpu.BASELINES
        )

    def table(self) -> list[Row]:
        """Rows to print; 'published' only where the paper has a figure for this window and head_dim."""
        s = self.shape
        known = self.config.window == PUBLISHED_WINDOW and s.head_dim == PUBLISHED_HEAD_DIM

        def row(name: str, value: float, unit: str, published: float | None = None) -> Row:
            published = published if known else None
            return Row(name, value, unit, published, value / published if published else None)

        head, one_layer, cells = self.per_head, self.per_layer, self.head_cells_m2
        rows = [
            row("latency, one layer", one_layer.latency_s * 1e9, "ns", PUBLISHED_LATENCY_NS),
            row("latency, all layers", self.latency_s * 1e9, "ns"),
            row("energy, one head", head.energy_j * 1e9, "nJ", PUBLISHED_HEAD_ENERGY_NJ),
            row("energy, one layer", one_layer.energy_j * 1e9, "nJ"),
            row("energy, all layers", self.energy_j * 1e9, "nJ"),
            *(row(f"energy, all layers: {name}", part * 1e9, "nJ") for name, part in self.parts.items()),
            row("area, one head", head.area_m2 * 1e6, "mm2", PUBLISHED_HEAD_AREA_MM2),
            row("area, all layers", self.area_m2 * 1e6, "mm2"),
            *(row(f"area, all layers: {name}", part * 1e6, "mm2") for name, part in self.area_parts.items()),
            row("cells of one head: CMOS", cells["cmos"] * 1e6, "mm2"),
            row("cells of one head: oxide", cells["oxide"] * 1e6, "mm2", PUBLISHED_OXIDE_MM2),
            row(
                "cells of one head: all layers stacked",
                cells["stacked"] * 1e6,
                "mm2",
                PUBLISHED_STACKED_MM2 / s.num_hidden_layers,
            ),
            row("age of the oldest token / time constant", self.retention_ratio, "-"),
            row("left of the oldest token, by time constant", math.exp(-self.retention_ratio), "-"),
            row("left of the oldest token, as simulated", self.remaining_fraction, "-"),
        ]
        for g in self.gpu_ratios:
            for what, ours, quoted in (
                ("latency", g.latency, g.quoted_latency),
                ("energy", g.energy, g.quoted_energy),
            ):
                rows.append(Row(f"{g.name} {what} / ours, one GPT-2 layer", ours, "x", quoted, ours / quoted))
        return rows

    def to_dict(self) -> dict[str, Any]:
        """Everything in SI units, ready for JSON."""
        return {
            "model": asdict(self.shape),
            "design_point": self.config.name,
            "window": self.config.window,
            "latency_s": self.latency_s,
            "energy_j": self.energy_j,
            "area_m2": self.area_m2,
            "energy_parts_j": dict(self.parts),
            "area_parts_m2": dict(self.area_parts),
            "per_layer": self.per_layer._asdict(),
            "per_head": self.per_head._asdict(),
            "cells_per_head_m2": self.head_cells_m2,
            "token_period_s": self.token_period_s,
            "retention_ratio": self.retention_ratio,
            "remaining_fraction": self.remaining_fraction,
            "gpu_ratios_one_gpt2_layer": [g._asdict() for g in self.gpu_ratios],
            "gpu_caveat": gpu.CAVEAT,
            "parameters": self.parameters.model_dump(mode="json"),
        }


def estimate(model_config: object, config: GainCellConfig, parameters: HardwareParameters | None = None) -> Estimate:
    """Estimate latency, energy and area of a model's attention for one token, from the published parts of one head.

    Args:
        model_config: any object or mapping with transformers' names for layers, heads and widths; see `read_shape`.
        config: the design point. Every layer gets arrays of its window, and every token finds the window full.
        parameters: what a head costs and how that scales; None: as published.

    Raises:
        InputError: `model_config` lacks a field, or has one that cannot be used.
    """
    parameters = parameters or HardwareParameters()
    shape = read_shape(model_config)
    layers = shape.num_hidden_layers

    def all_layers(parts: dict[str, float]) -> dict[str, float]:
        return {name: layers * part for name, part in parts.items()}

    return Estimate(
        shape=shape,
        config=config,
        parameters=parameters,
        latency_s=layers * layer.layer_latency_s(shape, config, parameters),
        parts=all_layers(layer.layer_energy_j(shape, config, parameters)),
        area_parts=all_layers(layer.layer_area_m2(shape, config, parameters)),
    )


def paper_table(config: GainCellConfig | None = None, parameters: HardwareParameters | None = None) -> list[Row]:
    """The paper's own figures beside ours: GPT-2 (12 layers, 12 heads x 64) at a design point, None: as published."""
    return estimate(GPT2, config or GainCellConfig.preset("leroux2025"), parameters).table()
