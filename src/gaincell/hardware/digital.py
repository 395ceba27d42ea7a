"""The same attention in digital, at the same node and bits: the opponent that gain cells have to beat."""

import math
from dataclasses import dataclass
from typing import Literal

from gaincell.config import GainCellConfig
from gaincell.hardware.actions import Count, value_bits
from gaincell.hardware.energy import Parts, summed, total
from gaincell.hardware.parameters import HardwareParameters
from gaincell.hardware.shape import AttentionShape

CACHE = "cache"
PRODUCTS = "products"
SOFTMAX = "softmax"
OVERHEAD = "clock, control and registers"


@dataclass(frozen=True)
class DigitalAttention:
    """Attention of one token of one sequence over a full window, all layers, in digital.

    Attributes:
        memory: where keys and values are.
        latency_s: all layers, one after the other.
        energy: by part and component, in joule.
        area: the same in square metre, memory included.
        fits: whether the memory that is built holds the cache; of SRAM as much is built as is needed.
    """

    memory: Literal["sram", "dram"]
    latency_s: float
    energy: Parts
    area: Parts
    fits: bool

    @property
    def energy_j(self) -> float:
        """All of it."""
        return total(self.energy)

    @property
    def area_m2(self) -> float:
        """All of it."""
        return total(self.area)


def digital_attention(
    shape: AttentionShape,
    config: GainCellConfig,
    parameters: HardwareParameters,
    memory: Literal["sram", "dram"] = "sram",
    token_period_s: float = 0.0,
) -> DigitalAttention:
    """Softmax attention with queries, keys and values of the design point's bits.

    Keys and values of a key/value head are read once for all the query heads that share it. Every bank of SRAM has as
    many multipliers as its port gives numbers, and all are read at once, so a layer takes as long as a bank; from DRAM,
    as long as the stacks take to give the layer. Nothing leaks but what parts say in `static_w`, DRAM is not refreshed,
    and wires between banks take nothing: all in the opponent's favour.

    Args:
        shape: the model's attention.
        config: the design point; of it window and levels.
        parameters: parts, clock, node, and `digital`.
        memory: where keys and values are.
        token_period_s: time for which static power is charged, if it is longer than the token's own.

    Raises:
        InputError: a part has no rule that brings it to the node or supply.
    """
    p, design, parts = parameters, parameters.digital, parameters.parts
    layers, heads, kv_heads = shape.num_hidden_layers, shape.num_attention_heads, shape.num_key_value_heads
    window, dim = config.window, shape.head_dim
    query = value_bits(config.query_levels, p.reference_query_levels)
    stored = value_bits(config.stored_levels, p.reference_levels)
    token_bits = 2 * dim * stored
    head_bits = window * token_bits
    score_sum, output_sum = (
        query + stored + _bits_to_count(dim),
        design.probability_bits + stored + _bits_to_count(window),
    )
    softmax = window * design.softmax_multiply_adds + p.division_multiply_adds + dim
    actions = [
        Count(PRODUCTS, "product", heads * window * dim * (query + design.probability_bits) * stored / 64),
        Count(PRODUCTS, "adder", heads * window * dim * (score_sum + output_sum) / 8),
        Count(SOFTMAX, "multiply_add", heads * softmax),
    ]
    moved_bits = kv_heads * (head_bits + token_bits)  # all read, and one token written

    if memory == "sram":
        banks = math.ceil(head_bits / design.bank_bits)
        read_cycles = math.ceil(min(head_bits, design.bank_bits) / design.port_bits)
        layer_s = (read_cycles + _bits_to_count(banks) + design.fill_cycles) / p.clock_hz  # banks add up in a tree
        lanes, copies = kv_heads * banks * design.port_bits / stored, layers  # every bank has its own
        cache_j = {"buffer": moved_bits * parts.buffer.energy_j}
        cache_m2 = {"buffer": layers * kv_heads * head_bits * parts.buffer.area_m2}
        static_w, fits = layers * kv_heads * head_bits * parts.buffer.static_w, True
    else:
        bits_per_s = 8 * design.dram_stacks * design.dram_bandwidth
        layer_s = design.dram_access_s + kv_heads * head_bits / bits_per_s + design.fill_cycles / p.clock_hz
        lanes, copies = bits_per_s / p.clock_hz / stored, 1  # one set, which serves layer after layer
        cache_j = {"dram": moved_bits * p.memory_j_per_bit}
        cache_m2 = {"dram": layers * kv_heads * head_bits * design.dram_bit_area_m2}
        static_w, fits = 0.0, layers * kv_heads * head_bits <= design.dram_stacks * design.dram_stack_bits

    units = math.ceil(lanes) * shape.group
    instances = [
        Count(PRODUCTS, "product", units * max(query, design.probability_bits) * stored / 64),
        Count(PRODUCTS, "adder", units * max(score_sum, output_sum) / 8),
        Count(SOFTMAX, "multiply_add", math.ceil(lanes / dim) * shape.group * max(design.softmax_multiply_adds, 1)),
    ]
    energy = _with_overhead(summed(actions, parts, "energy_j", layers), design.overhead)
    energy = {CACHE: {name: layers * value for name, value in cache_j.items()}, **energy}
    area = _with_overhead(summed(instances, parts, "area_m2", copies), design.overhead)
    static_w += total(summed(instances, parts, "static_w", copies))
    if static_w:
        energy["static power"] = {"all": static_w * max(token_period_s, layers * layer_s)}
    return DigitalAttention(memory, layers * layer_s, energy, {CACHE: cache_m2, **area}, fits)


def _with_overhead(parts: Parts, overhead: float) -> Parts:
    return {**parts, OVERHEAD: {"all": overhead * total(parts)}}


def _bits_to_count(terms: int) -> int:
    """Bits by which a sum of so many terms is wider than each."""
    return math.ceil(math.log2(terms))
