"""How the published parts carry over to other shapes and options: cost of one layer, one token."""

from gaincell.config import GainCellConfig
from gaincell.hardware.parameters import HardwareParameters
from gaincell.hardware.shape import AttentionShape


def reads(config: GainCellConfig, parameters: HardwareParameters) -> int:
    """Times a query is put on the first array."""
    return parameters.differential_reads if config.query_sign == "differential" else 1


def query_latency_s(config: GainCellConfig, parameters: HardwareParameters) -> float:
    """One query through both arrays, write included. Window and head_dim do not enter: all lines work at once."""
    extra = parameters.extra_read_latency_s
    extra = config.pulse_max_s if extra is None else extra
    return config.layer_latency_s + (reads(config, parameters) - 1) * extra


def layer_latency_s(shape: AttentionShape, config: GainCellConfig, parameters: HardwareParameters) -> float:
    """One token through one layer: heads run side by side, but queries that share arrays take turns."""
    turns = shape.group if parameters.kv_sharing == "in_turn" else 1
    return turns * query_latency_s(config, parameters)


def array_pairs(shape: AttentionShape, parameters: HardwareParameters) -> int:
    """Pairs of arrays in one layer."""
    return shape.num_key_value_heads if parameters.kv_sharing == "in_turn" else shape.num_attention_heads


def layer_energy_j(shape: AttentionShape, config: GainCellConfig, parameters: HardwareParameters) -> dict[str, float]:
    """Energy of one token in one layer, in joule, by part."""
    p, heads, pairs = parameters, shape.num_attention_heads, array_pairs(shape, parameters)
    extra = _normaliser_columns(config)
    value_columns = shape.head_dim + extra
    offset = _offset_rows(shape, config, p)
    window = config.window / p.reference_window
    width = shape.head_dim / p.reference_head_dim
    key_width = (shape.head_dim + offset) / p.reference_head_dim
    value_width = value_columns / p.reference_head_dim
    readouts = config.tiles * value_columns / _reference_readouts(p)
    # Reference columns of normaliser "column" are tied to a bias line: no DAC writes them.
    written = (2 * shape.head_dim + offset + extra * (config.normaliser != "column")) / (2 * p.reference_head_dim)
    converted = heads * p.dac_query_share * width + pairs * (1 - p.dac_query_share) * written
    parts = {
        "first array and charge-to-pulse": heads * reads(config, p) * p.first_array_j * window * key_width,
        "second array": heads * p.second_array_j * window * value_width,
        "DACs": p.dacs_j * converted,
        "digital control and routing": heads * p.digital_power_w * p.digital_active_s * readouts,
    }
    if extra:
        parts["normaliser division"] = heads * p.division_j * shape.head_dim
    digital = _multiply_adds(shape, config)
    if digital:
        parts["digital side of the options"] = p.multiply_add_j * digital
    return parts


def layer_area_m2(shape: AttentionShape, config: GainCellConfig, parameters: HardwareParameters) -> dict[str, float]:
    """Area of one layer, in square metre, by part."""
    # Where head_dim does not fill the last sub-tile, cells are absent, lines are not.
    lines = config.tiles * (_stacked(shape, config) * config.subtile_rows + _normaliser_columns(config))
    pairs = array_pairs(shape, parameters)
    return {
        "cells": layer_cells(shape, config, parameters) * parameters.cell_area_m2,
        "digital control": pairs * parameters.control_area_m2 * lines / _reference_readouts(parameters),
    }


def layer_cells(shape: AttentionShape, config: GainCellConfig, parameters: HardwareParameters) -> int:
    """Gain cells in one layer."""
    lines = 2 * shape.head_dim + _offset_rows(shape, config, parameters) + _normaliser_columns(config)
    return array_pairs(shape, parameters) * config.window * lines


def _stacked(shape: AttentionShape, config: GainCellConfig) -> int:
    """Sub-tiles that head_dim is cut over."""
    return -(-shape.head_dim // config.subtile_rows)


def _offset_rows(shape: AttentionShape, config: GainCellConfig, parameters: HardwareParameters) -> int:
    """Rows of one first array that hold the offset of offset-binary queries."""
    return _stacked(shape, config) * parameters.offset_rows if config.query_sign == "offset_binary" else 0


def _normaliser_columns(config: GainCellConfig) -> int:
    return {"none": 0, "ideal": 1, "column": len(config.normaliser_ranges)}[config.normaliser]


def _multiply_adds(shape: AttentionShape, config: GainCellConfig) -> int:
    """Digital multiply-adds of one token in one layer that the options take beside the arrays."""
    heads, dim = shape.num_attention_heads, shape.head_dim
    hidden = heads * dim
    preset = heads * hidden if config.score_preset else 0
    sinks = heads * (hidden + 2 * dim) if config.sinks == "digital" else 0
    scaling = (heads + shape.num_key_value_heads) * dim if config.equalisation else 0
    return preset + sinks + scaling


def _reference_readouts(parameters: HardwareParameters) -> float:
    p = parameters
    return p.reference_window / p.reference_subtile_columns * p.reference_head_dim
