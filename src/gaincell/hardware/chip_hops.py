"""A pair of arrays that is larger than a chip: from chip to chip."""

import math
from typing import NamedTuple

from gaincell.config import GainCellConfig
from gaincell.hardware.action_counts import area_ratios, pair_instances, value_bits
from gaincell.hardware.components import Components
from gaincell.hardware.energy import summed, total
from gaincell.hardware.geometry import Geometry
from gaincell.hardware.parameters import HardwareParameters

HOP = "between chips"


class Hops(NamedTuple):
    """What it takes that a pair of arrays lies on several chips; nothing where it lies on one.

    Attributes:
        chips: chips of one pair.
        latency_s: to all of them, and back through a tree of sums.
        energy_j: one query's, to all of them, and their partial outputs back.
    """

    chips: int
    latency_s: float
    energy_j: float


def hops(at: Geometry, config: GainCellConfig, parameters: HardwareParameters, parts: Components) -> Hops:
    """From the area of a pair and that of a chip.

    Between the arrays of different heads or layers nothing goes from chip to chip: queries come from, and outputs go
    to, what computes the rest of the model, which `whole_token` has a link for.
    """
    p = parameters
    area_m2 = total(summed(pair_instances(at, config, p), parts, "area_m2", 1.0, area_ratios(config, p)))
    chips = max(math.ceil(area_m2 / p.chip_area_m2), 1)
    if chips == 1:
        return Hops(1, 0.0, 0.0)
    output = value_bits(config.output_levels, p.reference_output_levels) + math.ceil(math.log2(at.tiles))
    bits = at.key_dim * value_bits(config.query_levels, p.reference_query_levels) + at.value_columns * output
    return Hops(chips, (1 + math.ceil(math.log2(chips))) * p.chip_hop_s, (chips - 1) * bits * p.chip_hop_j_per_bit)
