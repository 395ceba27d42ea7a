"""The same attention in digital, at the same node and bits: the opponent that gain cells have to beat."""

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

from gaincell.config import GainCellConfig
from gaincell.hardware.action_counts import Count, value_bits
from gaincell.hardware.energy import Parts, added, summed, total
from gaincell.hardware.parameters import HardwareParameters
from gaincell.hardware.workload import Layer, Workload

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
    workload: Workload,
    config: GainCellConfig,
    parameters: HardwareParameters,
    memory: Literal["sram", "dram"] = "sram",
    token_period_s: float = 0.0,
) -> DigitalAttention:
    """Softmax attention with queries, keys and values of the design point's bits.

    Keys and values of a key/value head are read once for all the query heads that share it. Every bank of SRAM has as
    many multipliers as its port gives numbers, and all are read at once, so a layer takes as long as a bank; from DRAM,
    as long as the stacks take to give the layer. Nothing leaks but what parts say in `static_w`, DRAM is not refreshed,
    and wires between banks take nothing: all in the opponent's favour. Where keys and values are made from a latent,
    the cache holds that alone.

    Args:
        workload: the model's layers, each with its own window.
        config: the design point; of it window and levels.
        parameters: parts, clock, node, and `digital`.
        memory: where keys and values are.
        token_period_s: time for which static power is charged, if it is longer than the token's own.

    Raises:
        InputError: a part has no rule that brings it to the node or supply, or no layer attends.
    """
    workload.check_attends()
    p, parts, overhead = parameters, parameters.parts, parameters.digital.overhead
    built_of = BuiltOf(
        value_bits(config.query_levels, p.reference_query_levels),
        value_bits(config.stored_levels, p.reference_levels),
        p.digital.probability_bits,
        p.digital.bank_bits,
        memory,
    )
    work = [layer_work(layer, layer.attends_to(config.window), p, built_of) for layer in workload.attending]
    latency_s, kept_bits = sum(one.latency_s for one in work), sum(one.kept_bits for one in work)
    # Every bank of SRAM has multipliers of its own; from DRAM one set, the largest, serves layer after layer.
    built = [summed(one.instances, parts, "area_m2") for one in work]
    static_w = [total(summed(one.instances, parts, "static_w")) for one in work]
    moved_bits = sum(one.moved_bits for one in work)
    if memory == "sram":
        cache_j, cache_m2 = {"buffer": moved_bits * parts.buffer.energy_j}, {"buffer": kept_bits * parts.buffer.area_m2}
        area, static, fits = added(built), sum(static_w) + kept_bits * parts.buffer.static_w, True
    else:
        design = p.digital
        cache_j, cache_m2 = {"dram": moved_bits * p.memory_j_per_bit}, {"dram": kept_bits * design.dram_bit_area_m2}
        area, static = max(built, key=total), max(static_w)
        fits = kept_bits <= design.dram_stacks * design.dram_stack_bits
    actions = added(summed(one.actions, parts, "energy_j") for one in work)
    energy = {CACHE: cache_j, **with_overhead(actions, overhead)}
    if static:
        energy["static power"] = {"all": static * max(token_period_s, latency_s)}
    return DigitalAttention(memory, latency_s, energy, {CACHE: cache_m2, **with_overhead(area, overhead)}, fits)


class BuiltOf(NamedTuple):
    """What digital attention is built of: bits of queries, of keys and values and of what softmax gives, and memory."""

    query_bits: int
    cached_bits: int
    probability_bits: int
    bank_bits: int
    memory: Literal["sram", "dram"]


@dataclass(frozen=True)
class LayerWork:
    """What one layer does and is built of, beside its cache, and what goes through that."""

    latency_s: float
    actions: list[Count]
    instances: list[Count]
    kept_bits: float
    moved_bits: float


def layer_work(layer: Layer, window: int, p: HardwareParameters, of: BuiltOf) -> LayerWork:
    """What attention of one token over so many takes in a layer, its cache's energy and area apart."""
    design, heads = p.digital, layer.heads
    query, cached_bits, probability_bits, bank_bits, memory = of
    streams = 1 if layer.latent else layer.kv_heads  # what is read side by side
    width = layer.cached / streams
    stream_bits = window * width * cached_bits
    score_sum = query + cached_bits + _bits_to_count(layer.key_dim)
    output_sum = probability_bits + cached_bits + _bits_to_count(window)
    softmax = window * design.softmax_multiply_adds + p.division_multiply_adds + layer.value_dim
    products = layer.key_dim * query + layer.value_dim * probability_bits
    sums = layer.key_dim * score_sum + layer.value_dim * output_sum
    actions = [
        Count(PRODUCTS, "product", heads * window * products * cached_bits / 64),
        Count(PRODUCTS, "adder", heads * window * sums / 8),
        Count(SOFTMAX, "multiply_add", heads * softmax),
    ]
    if memory == "sram":
        banks = math.ceil(stream_bits / bank_bits)
        read_cycles = math.ceil(min(stream_bits, bank_bits) / design.port_bits)
        latency_s = (read_cycles + _bits_to_count(banks) + design.fill_cycles) / p.clock_hz  # banks add up in a tree
        lanes = streams * banks * design.port_bits / cached_bits
    else:
        bits_per_s = 8 * design.dram_stacks * design.dram_bandwidth
        latency_s = design.dram_access_s + streams * stream_bits / bits_per_s + design.fill_cycles / p.clock_hz
        lanes = bits_per_s / p.clock_hz / cached_bits
    units = math.ceil(lanes) * heads * (layer.key_dim + layer.value_dim) / layer.cached  # every number is used so often
    scores = math.ceil(2 * lanes / width) * heads // streams
    instances = [
        Count(PRODUCTS, "product", units * max(query, probability_bits) * cached_bits / 64),
        Count(PRODUCTS, "adder", units * max(score_sum, output_sum) / 8),
        Count(SOFTMAX, "multiply_add", scores * max(design.softmax_multiply_adds, 1)),
    ]
    kept_bits = streams * stream_bits
    written_bits = layer.cached * cached_bits
    return LayerWork(latency_s, actions, instances, kept_bits, kept_bits + written_bits)


def with_overhead(parts: Parts, overhead: float) -> Parts:
    """With what clock, control and registers take beside."""
    return {**parts, OVERHEAD: {"all": overhead * total(parts)}}


def _bits_to_count(terms: int) -> int:
    """Bits by which a sum of so many terms is wider than each."""
    return math.ceil(math.log2(terms))
