"""The cost estimate: published figures, sums, how it grows, options, and what it refuses."""

import json
import math
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gaincell.cell import CircuitFigures, Retention
from gaincell.cell.figures import Energy
from gaincell.config import GainCellConfig
from gaincell.errors import InputError
from gaincell.hardware import (
    BASELINES,
    GPT2,
    Activity,
    Components,
    Estimate,
    HardwareParameters,
    Workload,
    estimate,
    paper_table,
)
from gaincell.hardware.action_counts import CONVERSION, COPY, DIGITAL, FIRST, OPTIONS, REFRESH, RELOAD, SECOND
from gaincell.hardware.digital import digital_attention
from gaincell.hardware.energy import total
from gaincell.hardware.timeline import timeline

PAPER = GainCellConfig.named("leroux2025")
LASTING = PAPER.replace(
    cell=PAPER.cell.model_copy(update={"retention": Retention(tau=1e9, unit="s", source="a cell that does not leak")})
)
REFERENCE = Path(__file__).parents[3] / "shared" / "reference"

shapes = st.builds(
    lambda layers, kv_heads, group, head_dim: Workload.uniform(layers, kv_heads * group, kv_heads, head_dim),
    st.integers(1, 40),
    st.integers(1, 16),
    st.integers(1, 8),
    st.integers(1, 300),
)
configs = st.builds(
    lambda tiles, **options: LASTING.replace(window=64 * tiles, **options),
    st.integers(1, 64),
    normaliser=st.sampled_from(["none", "ideal", "column"]),
    query_sign=st.sampled_from(["unsigned", "differential", "offset_binary"]),
    storage=st.sampled_from(["uniform", "linearised"]),
    score_preset=st.booleans(),
    equalisation=st.booleans(),
)
parameters = st.builds(
    HardwareParameters,
    kv_sharing=st.sampled_from(["copied", "in_turn"]),
    stacked_layers=st.integers(1, 12),
    array_pairs=st.sampled_from([None, 1, 5]),
)


def larger(workload: Workload, **changes: int) -> Workload:
    """A uniform workload with other numbers of layers, heads, kv_heads or another head_dim."""
    one = workload.layers[0]
    numbers = {"layers": len(workload.layers), "heads": one.heads, "kv_heads": one.kv_heads, "head_dim": one.key_dim}
    return Workload.uniform(**{**numbers, **changes})


def with_part(name: str, **figures: float) -> HardwareParameters:
    """The defaults, but for some figures of one part."""
    parts = Components()
    return HardwareParameters(
        components=parts.model_copy(update={name: getattr(parts, name).model_copy(update=figures)})
    )


# Published figures


def test_published_figures_of_gpt2() -> None:
    cost = estimate(GPT2, PAPER)
    assert cost.per_layer.latency_s == pytest.approx(65e-9)
    assert cost.latency_s == pytest.approx(0.78e-6)
    assert cost.per_head.energy_j == pytest.approx(6.15e-9, rel=0.05)
    assert cost.per_layer.energy_j == pytest.approx(73.8e-9, rel=0.05)
    assert cost.per_head.area_m2 == pytest.approx(0.5e-6)


def test_published_energies_by_part() -> None:
    parts = {name: energy / 144 for name, energy in estimate(GPT2, PAPER).parts.items()}
    # From circuit simulation and what a model's arrays do, not fitted:
    assert parts[FIRST] == pytest.approx(1120e-12, rel=0.2)
    assert parts[SECOND] == pytest.approx(700e-12, rel=0.2)
    # Fitted: by the converters, and by the control.
    assert parts[CONVERSION] == pytest.approx(330e-12, rel=1e-6)
    assert parts[DIGITAL] == pytest.approx(4e-9, rel=1e-6)
    assert list(parts) == [FIRST, SECOND, CONVERSION, DIGITAL]


def test_published_areas_of_cells() -> None:
    cells = estimate(GPT2, PAPER).head_cells_m2
    assert cells["cmos"] == pytest.approx(0.131e-6, rel=0.01)
    assert cells["oxide"] == pytest.approx(15.7e-9, rel=0.01)
    assert cells["stacked"] == pytest.approx(36.7e-9 / 12, rel=0.01)


def test_published_gpu_ratios() -> None:
    rtx, jetson = estimate(GPT2, PAPER).gpu_ratios
    assert (rtx.name, jetson.name) == ("RTX 4090", "Jetson Nano")
    assert rtx.latency == pytest.approx(344, rel=0.01)
    assert rtx.energy == pytest.approx(9.7e4, rel=0.05)  # of 72.1 nJ instead of 73.8
    assert jetson.latency == pytest.approx(7520, rel=0.01)
    assert jetson.energy == pytest.approx(4.4e4, rel=0.05)
    assert rtx.energy * estimate(GPT2, PAPER).per_layer.energy_j / 73.8e-9 == pytest.approx(9.7e4, rel=0.01)
    assert jetson.energy * estimate(GPT2, PAPER).per_layer.energy_j / 73.8e-9 == pytest.approx(4.4e4, rel=0.01)


def test_gpu_ratios_are_for_one_gpt2_layer_or_absent() -> None:
    other = estimate(Workload.uniform(30, 9, 3, 64), PAPER)
    assert other.gpu_ratios == estimate(GPT2, PAPER).gpu_ratios
    assert all("one GPT-2 layer" in row.name for row in other.table() if "RTX" in row.name or "Jetson" in row.name)
    assert estimate(GPT2, PAPER.replace(window=512)).gpu_ratios == ()


@pytest.mark.parametrize(("gpu", "file"), list(zip(BASELINES, ["rtx4090", "jetson_nano"], strict=True)))
def test_gpu_constants_match_the_released_data(gpu, file: str) -> None:
    path = REFERENCE / f"gpu_{file}_attention.json"
    if not path.is_file():
        pytest.skip("reference data are not here")
    data = json.loads(path.read_text("utf-8"))
    assert (data["H"], data["D_h"], data["N_tokens"], data["S"]) == (12, 64, 1024, 64)
    assert gpu.latency_s == pytest.approx(data["mean_latency_per_token"], rel=1e-3)
    assert gpu.energy_j == pytest.approx(data["mean_energy_per_token"], rel=1e-3)


def test_paper_table_shows_ours_beside_published() -> None:
    rows = {row.name: row for row in paper_table()}
    assert rows["latency, one layer"].value == pytest.approx(65)
    assert rows["energy, one head"].published == 6.15
    assert rows["energy, one layer"].published == 73.8
    for row in rows.values():
        assert (row.published is None) == (row.ratio is None)
        assert row.ratio is None or row.ratio == pytest.approx(row.value / row.published)
        assert row.ratio is None or 0.8 < row.ratio < 1.2
        assert bool(row.basis) == (row.published is not None)


@pytest.mark.parametrize(
    "other",
    [
        estimate(larger(GPT2, head_dim=128), PAPER),
        estimate(GPT2, GainCellConfig.named("extended")),
        estimate(GPT2, PAPER.replace(window=2048)),
        estimate(GPT2, PAPER, HardwareParameters(stacked_layers=2)),
        estimate(GPT2, PAPER, None, replace(Activity.reference(PAPER), value_charge=[[0.001]])),
    ],
)
def test_published_column_is_for_the_published_design_only(other: Estimate) -> None:
    assert all(row.published is None for row in other.table() if "GPT-2" not in row.name)
    assert any(row.published is not None for row in estimate(GPT2, PAPER.replace(name="mine", path="naive")).table())


# Sums and growth


@given(shapes, configs, parameters)
def test_parts_add_up_and_shares_multiply_out(shape, config, parameters) -> None:
    cost = estimate(shape, config, parameters)
    layers, heads = len(shape.layers), shape.layers[0].heads
    assert cost.energy_j == pytest.approx(sum(total(layer) for layer in cost.layers))
    assert cost.energy_j == pytest.approx(sum(sum(parts.values()) for parts in cost.energy_components.values()))
    assert cost.area_m2 == pytest.approx(total(cost.area))
    for whole, layer, head in zip((cost.energy_j, cost.area_m2), cost.per_layer[1:], cost.per_head[1:], strict=True):
        assert whole == pytest.approx(layers * layer)
        assert whole == pytest.approx(layers * heads * head)
    assert json.loads(json.dumps(cost.to_dict(), allow_nan=False))["energy_j"] == cost.energy_j
    assert all(math.isfinite(row.value) for row in cost.table())


@given(shapes, configs, parameters, st.integers(1, 5))
def test_energy_and_area_grow(shape, config, parameters, more: int) -> None:
    cost = estimate(shape, config, parameters)
    bigger = [
        estimate(shape, config.replace(window=config.window + 64 * more), parameters),
        estimate(larger(shape, layers=len(shape.layers) + more), config, parameters),
        estimate(larger(shape, head_dim=shape.layers[0].key_dim + more), config, parameters),
        estimate(
            larger(
                shape,
                heads=shape.layers[0].heads + more * shape.layers[0].group,
                kv_heads=shape.layers[0].kv_heads + more,
            ),
            config,
            parameters,
        ),
    ]
    for other in bigger:
        assert other.energy_j > cost.energy_j
        assert other.latency_s >= cost.latency_s
        if parameters.array_pairs is None:
            assert other.area_m2 > cost.area_m2
        else:
            assert other.area_m2 >= cost.area_m2


@given(configs, st.sampled_from(["query_levels", "stored_levels", "output_levels"]), st.integers(1, 3))
def test_finer_levels_never_cost_less(config, levels: str, doublings: int) -> None:
    coarse = estimate(GPT2, config)
    finer = config.replace(**{levels: getattr(config, levels) << doublings})
    codes = Activity.reference(finer)
    driven = replace(Activity.reference(config), key_codes=codes.key_codes, value_codes=codes.value_codes)
    fine = estimate(GPT2, finer, None, driven)
    assert fine.energy_j > coarse.energy_j
    assert fine.latency_s >= coarse.latency_s
    assert fine.area_m2 >= coarse.area_m2


@given(shapes, configs, st.floats(1e-3, 1e3))
def test_joules_are_joules_and_square_metres_square_metres(shape, config, factor: float) -> None:
    """Every energy grows with the unit of energy, every area with that of area, and neither with another's.

    Lines have no resistance here: what they charge, and how far cells stand apart, would be part of their delay. And a
    chip holds any pair of arrays.
    """
    parts = Components()

    def scaled(**figures: float) -> Estimate:
        update = {
            name: part.model_copy(update={field: getattr(part, field) * by for field, by in figures.items()})
            for name, part in parts
        }
        given_parts = parts.model_copy(update=update)
        p = HardwareParameters(components=given_parts, refresh="rewrite", line_resistivity=0, chip_area_m2=1.0)
        return estimate(shape, config.replace(token_period_s=1e8), p)

    plain, dearer, larger_parts = scaled(), scaled(energy_j=factor), scaled(area_m2=factor)
    assert plain.retention.refreshes > 0
    assert dearer.energy_j == pytest.approx(factor * plain.energy_j)
    assert (dearer.area_m2, dearer.latency_s) == (plain.area_m2, plain.latency_s)
    assert larger_parts.area_m2 == pytest.approx(factor * plain.area_m2)
    assert (larger_parts.energy_j, larger_parts.latency_s) == (plain.energy_j, plain.latency_s)


@given(shapes, configs)
def test_sharing_trades_area_for_latency(shape, config) -> None:
    copied = estimate(shape, config, HardwareParameters(kv_sharing="copied"))
    in_turn = estimate(shape, config, HardwareParameters(kv_sharing="in_turn"))
    assert copied.area_m2 == pytest.approx(shape.layers[0].group * in_turn.area_m2)
    interval_s = in_turn.timeline.query_interval_s
    assert in_turn.latency_s == pytest.approx(
        copied.latency_s + len(shape.layers) * (shape.layers[0].group - 1) * interval_s
    )
    if shape.layers[0].group == 1:
        assert in_turn.energy_j == copied.energy_j
    else:
        assert in_turn.energy_j < copied.energy_j
    saved = {name for name, part in copied.parts.items() if in_turn.parts[name] != pytest.approx(part)}
    assert saved <= {CONVERSION, OPTIONS}


# Geometry and options


def test_head_dim_is_cut_over_stacked_subtiles() -> None:
    control = {
        head_dim: estimate(larger(GPT2, head_dim=head_dim), PAPER).area_parts["digital control"]
        for head_dim in (32, 64, 65, 80, 128, 256)
    }
    assert control[32] == control[64]
    assert control[65] == control[80] == control[128] == pytest.approx(2 * control[64])
    assert control[256] == pytest.approx(4 * control[64])
    used = {head_dim: estimate(larger(GPT2, head_dim=head_dim), PAPER).geometry.utilisation for head_dim in (64, 80)}
    assert used == {64: 1, 80: 80 / 128}
    assert estimate(larger(GPT2, head_dim=32), PAPER).head_cells_m2["cmos"] == pytest.approx(2 * 1024 * 32 * 1e-12)


def test_smaller_subtiles_read_out_more_often() -> None:
    fine, coarse = estimate(GPT2, PAPER.replace(subtile_columns=32)), estimate(GPT2, PAPER)
    assert fine.parts[DIGITAL] == pytest.approx(2 * coarse.parts[DIGITAL], rel=0.001)
    reads = "signed_charge_to_pulse"
    assert fine.energy_components[SECOND][reads] == pytest.approx(2 * coarse.energy_components[SECOND][reads])
    assert fine.energy_components[SECOND]["cell"] == coarse.energy_components[SECOND]["cell"]


def changed(**options: object) -> dict[str, float]:
    """Energy of one head, by part and component, over the published design point's; what did not change left out."""
    plain, other = estimate(GPT2, PAPER), estimate(GPT2, PAPER.replace(**options), None, Activity.reference(PAPER))
    return {
        f"{part}: {name}": value / plain.energy_components[part][name]
        if name in plain.energy_components.get(part, {})
        else value
        for part, values in other.energy_components.items()
        for name, value in values.items()
        if value != pytest.approx(plain.energy_components.get(part, {}).get(name, 0))
    }


def test_normaliser_is_one_more_value_column() -> None:
    found = changed(normaliser="ideal")
    grown = {name: ratio for name, ratio in found.items() if OPTIONS not in name}
    assert grown[f"{SECOND}: cell"] == pytest.approx(65 / 64)
    assert grown[f"{SECOND}: signed_charge_to_pulse"] == pytest.approx(65 / 64)
    assert grown[f"{DIGITAL}: control"] == pytest.approx(65 / 64)
    assert grown[f"{CONVERSION}: dac"] == pytest.approx(129 / 128)
    assert not any(name.startswith(FIRST) for name in grown)
    # A reciprocal of 8 multiply-adds and 64 multiplications a head, at 45 nm 1.5 pJ each.
    assert found[f"{OPTIONS}: multiply_add"] == pytest.approx(144 * 72 * 1.5e-12 * 28 / 45)
    assert estimate(GPT2, PAPER.replace(normaliser="ideal")).timeline.latency_s == pytest.approx(70e-9)


def test_reference_columns_are_read_out_but_not_written() -> None:
    ranges = {"normaliser": "column", "normaliser_ranges": (4.0, 64.0)}
    found = changed(**ranges)
    assert found[f"{SECOND}: cell"] == pytest.approx(66 / 64)
    assert found[f"{DIGITAL}: control"] == pytest.approx(66 / 64)
    assert f"{CONVERSION}: dac" not in found
    plain, column = estimate(GPT2, PAPER), estimate(GPT2, PAPER.replace(**ranges))
    assert column.area_parts["cells"] == pytest.approx(plain.area_parts["cells"] * 130 / 128)
    assert column.area_parts["digital control"] == pytest.approx(plain.area_parts["digital control"] * 66 / 64)


def test_options_cost_their_multiply_adds_and_nothing_in_the_arrays() -> None:
    operation_j = 1.5e-12 * 28 / 45
    key = f"{OPTIONS}: multiply_add"
    assert changed() == {}
    assert changed(equalisation=True) == {key: pytest.approx(12 * 2 * 768 * operation_j)}
    assert changed(sinks="digital") == {key: pytest.approx(12 * 12 * (768 + 128) * operation_j)}
    assert changed(score_preset=True) == {
        key: pytest.approx(12 * 12 * 768 * operation_j),
        f"{OPTIONS}: preset": pytest.approx(144 * 1024 * 0.7e-12 * 0.2 * 0.9),
    }


def test_differential_queries_take_a_pulse_longer_and_no_more_pulses() -> None:
    assert changed(query_sign="differential") == {}  # with the same pulses, one polarity or the other
    plain, differential = estimate(GPT2, PAPER), estimate(GPT2, PAPER.replace(query_sign="differential"))
    assert differential.per_layer.latency_s == pytest.approx(80e-9)
    assert differential.area_m2 == plain.area_m2
    free = HardwareParameters(extra_read_latency_s=0)
    assert estimate(GPT2, PAPER.replace(query_sign="differential"), free).latency_s == plain.latency_s


def test_offset_binary_queries_cost_rows_in_every_subtile_of_the_first_array() -> None:
    for head_dim, rows in ((64, 4), (32, 4), (65, 8)):  # in a sub-tile of 64 rows, in one, in two
        shape, activity = larger(GPT2, head_dim=head_dim), Activity.reference(PAPER)
        plain = estimate(shape, PAPER, None, activity)
        offset = estimate(shape, PAPER.replace(query_sign="offset_binary"), None, activity)
        cells = offset.energy_components[FIRST]["cell"] / plain.energy_components[FIRST]["cell"]
        assert cells == pytest.approx(1 + 2 * rows / head_dim)  # pulses twice as long as the mean
        assert offset.energy_components[CONVERSION]["dac"] == pytest.approx(
            plain.energy_components[CONVERSION]["dac"] * (1 + rows / 2 / head_dim)
        )
        assert offset.area_parts["cells"] == pytest.approx(plain.area_parts["cells"] * (1 + rows / 2 / head_dim))
        assert offset.area_parts["digital control"] == plain.area_parts["digital control"]
        assert offset.latency_s == plain.latency_s
    free = HardwareParameters(offset_rows=0)
    assert estimate(shape, PAPER.replace(query_sign="offset_binary"), free, activity).parts == plain.parts


def test_linearised_storage_costs_its_converters() -> None:
    assert changed(storage="linearised") == {f"{CONVERSION}: dac": pytest.approx(1.25)}
    plain, linearised = estimate(GPT2, PAPER), estimate(GPT2, PAPER.replace(storage="linearised"))
    dacs = 128 / 192
    assert linearised.area_parts["DACs"] == pytest.approx(plain.area_parts["DACs"] * (1 + dacs))


def test_stacking_shrinks_the_cells_and_lengthens_the_lines() -> None:
    plain, stacked = estimate(GPT2, PAPER), estimate(GPT2, PAPER, HardwareParameters(stacked_layers=12))
    assert stacked.area_parts["cells"] == pytest.approx(plain.area_parts["cells"] / 12)
    assert stacked.energy_components[CONVERSION]["line"] == pytest.approx(
        1.22 * plain.energy_components[CONVERSION]["line"]
    )


def test_a_measured_cell_draws_its_own_current() -> None:
    law = PAPER.cell.law
    amperes = law.model_copy(update={"unit": "C/s", "coefficients": tuple(c * 1e-6 for c in law.coefficients)})
    config = PAPER.replace(cell=PAPER.cell.model_copy(update={"law": amperes}))
    plain, measured = estimate(GPT2, PAPER), estimate(GPT2, config)
    full_scale_j = 0.9 * law(0.45) * 1e-6 * 15e-9
    ratio = full_scale_j / Components().cell.energy_j
    assert measured.energy_components[FIRST]["cell"] == pytest.approx(ratio * plain.energy_components[FIRST]["cell"])
    own = CircuitFigures(
        energy=Energy(source="a run", read_full_j=2e-14, read_mean_j=5e-15, conversion_j=1e-12, write_j=1e-15)
    )
    simulated = estimate(GPT2, PAPER.replace(cell=PAPER.cell.model_copy(update={"circuit": own})))
    assert simulated.energy_components[FIRST]["charge_to_pulse"] == pytest.approx(144 * 1024e-12)
    assert simulated.energy_components[FIRST]["cell"] == pytest.approx(
        plain.energy_components[FIRST]["cell"] * 2e-14 / Components().cell.energy_j
    )
    halved = estimate(GPT2, PAPER.replace(pulse_max_s=7.5e-9), HardwareParameters(clock_hz=2e9))
    assert halved.energy_components[FIRST]["cell"] == pytest.approx(plain.energy_components[FIRST]["cell"] / 2)


def test_a_figure_of_the_user_wins_over_that_of_the_cell_file_and_is_what_is_recorded() -> None:
    own = CircuitFigures(
        energy=Energy(source="a run", read_full_j=2e-14, read_mean_j=5e-15, conversion_j=1e-12, write_j=1e-15)
    )
    config = PAPER.replace(cell=PAPER.cell.model_copy(update={"circuit": own}))
    for name, energy_j in {"charge_to_pulse": 10e-12, "signed_charge_to_pulse": 3e-12, "cell": 1e-13}.items():
        given = HardwareParameters(
            components={name: {**getattr(Components(), name).model_dump(), "energy_j": energy_j}}
        )
        found, plain = estimate(GPT2, config, given), estimate(GPT2, PAPER, given)
        assert found.to_dict()["components"][name]["energy_j"] == pytest.approx(energy_j)
        parts = (x.energy_components for x in (found, plain))
        ours, theirs = ({part: of[name] for part, of in x.items() if name in of} for x in parts)
        assert ours == theirs
        others = {"charge_to_pulse", "signed_charge_to_pulse"} - {name}
        assert all(found.to_dict()["components"][other]["energy_j"] == 1e-12 for other in others)


def test_a_ladder_of_finer_taps_is_larger_but_no_second_dac() -> None:
    parts = HardwareParameters(components={"dac": {**Components().dac.model_dump(), "static_w": 1e-6}})
    plain, linearised = (estimate(GPT2, PAPER.replace(storage=x), parts) for x in ("uniform", "linearised"))
    assert linearised.parts["static power"] == plain.parts["static power"] > 0
    assert linearised.area_m2 > plain.area_m2


def test_stored_voltages_move_what_writes_and_cells_take() -> None:
    linear = GainCellConfig.named("leroux2025-linear")
    plain, low = (estimate(GPT2, x) for x in (linear, linear.replace(stored_max_v=0.6, zero_v=0.3)))
    for part, name in ((CONVERSION, "dac"), (FIRST, "cell"), (SECOND, "cell")):
        ratio = low.energy_components[part][name] / plain.energy_components[part][name]
        assert ratio == pytest.approx(0.6 / 0.9)
    word_lines = estimate(GPT2, linear, HardwareParameters(write_line_columns=1)).energy_components[CONVERSION]["line"]
    written = plain.energy_components[CONVERSION]["line"] - word_lines
    lower = plain.energy_components[CONVERSION]["line"] - low.energy_components[CONVERSION]["line"]
    assert lower == pytest.approx(written / 3, rel=2e-3)
    watched = Activity.reference(linear)
    assert (
        estimate(GPT2, linear.replace(stored_max_v=0.6, zero_v=0.3), None, watched).parts[FIRST] == plain.parts[FIRST]
    )
    dac = HardwareParameters(reference_stored_v=0.6)
    assert estimate(GPT2, linear, dac).energy_components[CONVERSION]["dac"] == pytest.approx(
        1.5 * plain.energy_components[CONVERSION]["dac"]
    )
    for other in (PAPER.replace(zero_v=0.4), PAPER.replace(stored_max_v=0.8)):
        assert estimate(GPT2, other).energy_j != estimate(GPT2, PAPER).energy_j
        assert all(row.published is None for row in estimate(GPT2, other).table() if "GPT-2" not in row.name)


def test_no_pulse_that_is_shorter_makes_a_token_slower() -> None:
    latencies = [estimate(GPT2, PAPER.replace(pulse_max_s=n * 1e-9)).latency_s for n in (2, 5, 10, 15)]
    assert latencies == [pytest.approx(12 * 65e-9)] * 4


def test_a_cell_that_is_written_slowly_lengthens_the_write() -> None:
    def written(settling_s: float | None) -> GainCellConfig:
        write = {"source": "a run", "settling_s": settling_s, "error_v": 0.0}
        circuit = CircuitFigures.model_validate({"write": write})
        return PAPER.replace(cell=PAPER.cell.model_copy(update={"circuit": circuit}))

    plain = timeline(PAPER, HardwareParameters()).phases[0].duration_s
    assert timeline(written(1e-9), HardwareParameters()).phases[0].duration_s == plain
    slow = timeline(written(78e-9), HardwareParameters())
    assert slow.phases[0].duration_s == 78e-9
    assert slow.latency_s == pytest.approx(65e-9 + 78e-9 - plain)
    with pytest.raises(InputError, match="did not get to within half a step"):
        estimate(GPT2, written(None))


# Activity


def test_silent_heads_cost_no_cells_and_layers_differ() -> None:
    one = Activity.reference(PAPER)
    arrays = {name: np.broadcast_to(array, (2, 3, *array.shape[2:])).copy() for name, array in one.arrays().items()}
    for name in (
        "key_charge",
        "value_charge",
        "phi",
        "phi_active",
        "phi_full",
        "query_pulse",
        "query_active",
        "readout",
    ):
        arrays[name][1] = 0
    cost = estimate(Workload.uniform(2, 3, 3, 64), PAPER, None, Activity(**arrays, tokens=9, text="half of it silent"))
    busy, silent = cost.layers
    for part, values in estimate(Workload.uniform(2, 3, 3, 64), PAPER).layers[0].items():
        assert busy[part] == pytest.approx(values)
    assert silent[FIRST]["cell"] == silent[SECOND]["cell"] == silent[DIGITAL]["counter"] == 0
    assert silent[SECOND]["signed_charge_to_pulse"] == busy[SECOND]["signed_charge_to_pulse"]
    assert cost.activity == "half of it silent"
    finer = PAPER.replace(stored_levels=16)
    with pytest.raises(InputError, match="measured with 8 stored levels, but 'leroux2025' has 16"):
        estimate(Workload.uniform(2, 3, 3, 64), finer, None, Activity(**arrays, tokens=9, text=""))
    with pytest.raises(InputError, match="measured on 2 layers of 3 heads, but the model has 12 of 12"):
        estimate(GPT2, PAPER, None, Activity(**arrays, tokens=9, text=""))


# Timeline


def test_phases_of_the_published_head_add_up_to_65_ns() -> None:
    line = timeline(PAPER, HardwareParameters())
    assert line.latency_s == pytest.approx(65e-9)
    chain = [phase for phase in line.phases if phase.name != "reset of the read-out"]
    assert all(before.end_s == after.start_s for before, after in pairwise(chain))
    assert [round(phase.duration_s * 1e9) for phase in chain] == [10, 5, 15, 15, 15, 5]


def test_queries_of_a_group_follow_a_single_write() -> None:
    line = timeline(PAPER, HardwareParameters())
    assert line.query_interval_s == pytest.approx(35e-9)
    cost = estimate(Workload.uniform(1, 4, 1, 64), PAPER, HardwareParameters(kv_sharing="in_turn"))
    assert cost.latency_s == pytest.approx(65e-9 + 3 * 35e-9)
    assert cost.prompt_interval_s == pytest.approx(45e-9 + 3 * 35e-9)


def test_more_subtiles_take_more_levels_of_the_digital_sum() -> None:
    for tiles, sum_ns in ((1, 1.25), (16, 5), (17, 6.25), (2048, 13.75)):
        line = timeline(PAPER.replace(window=64 * tiles), HardwareParameters(line_resistivity=0))
        assert line.latency_s == pytest.approx((60 + sum_ns) * 1e-9)


def test_slow_parts_lengthen_their_phase() -> None:
    for part, more_ns in (("dac", 10), ("charge_to_pulse", 15), ("adder", 75)):
        assert timeline(PAPER, with_part(part, latency_s=20e-9, node_m=28e-9)).latency_s == pytest.approx(
            (65 + more_ns) * 1e-9
        )


def test_longer_pulses_of_a_query_move_more_charge() -> None:
    config = PAPER.replace(query_levels=32)
    ratio = (
        estimate(GPT2, config, None, Activity.reference(PAPER)).energy_components[FIRST]["cell"]
        / estimate(GPT2, PAPER).energy_components[FIRST]["cell"]
    )
    assert ratio == pytest.approx(31 / 15)
    differential = timeline(config.replace(query_sign="differential"), HardwareParameters())
    assert differential.latency_s == pytest.approx((65 + 16 + 31) * 1e-9)


def test_more_levels_take_more_clock_periods() -> None:
    assert timeline(PAPER.replace(query_levels=32), HardwareParameters()).latency_s == pytest.approx(81e-9)
    assert timeline(PAPER.replace(output_levels=64), HardwareParameters()).latency_s == pytest.approx(81e-9)
    fast = HardwareParameters(clock_hz=2.1e9)
    assert timeline(PAPER.replace(output_levels=64), fast).latency_s == pytest.approx(65e-9)


@given(configs, st.floats(0, 0.6), st.floats(0, 0.4))
def test_tokens_at_the_interval_never_meet_on_a_part(config, write: float, reset: float) -> None:
    line = timeline(config, HardwareParameters(write_share=write, reset_share=reset))
    interval = line.interval_s
    assert 0 < interval <= line.latency_s * (1 + 1e-9)
    uses = [
        (part, phase.start_s + n * interval, phase.end_s + n * interval)
        for n in range(6)
        for phase in line.phases
        for part in phase.busy
    ]
    for i, (part, start, end) in enumerate(uses):
        for other, begin, stop in uses[:i]:
            if part == other:
                assert min(end, stop) - max(start, begin) < 1e-12


def test_a_prompt_flows_through_at_the_interval() -> None:
    cost = estimate(GPT2, PAPER)
    assert cost.timeline.interval_s == pytest.approx(45e-9)
    assert cost.prompt(1) == (cost.latency_s, cost.energy_j, cost.area_m2)
    assert cost.prompt(101)[:2] == pytest.approx((cost.latency_s + 12 * 100 * 45e-9, 101 * cost.energy_j))
    assert cost.prompt(0)[:2] == (0, 0)
    with pytest.raises(InputError, match="0 tokens or more, not -1"):
        cost.prompt(-1)


def test_a_prompt_waits_where_every_token_fills_the_arrays_anew() -> None:
    few = estimate(GPT2, PAPER, HardwareParameters(array_pairs=12))
    assert few.prompt_interval_s == pytest.approx(few.latency_s / 12)
    assert few.prompt(101).latency_s == pytest.approx(101 * few.latency_s)
    enough = estimate(GPT2, PAPER, HardwareParameters(array_pairs=144))
    assert enough.prompt_interval_s == pytest.approx(45e-9)


# Retention, refresh, and arrays that are too few


def test_retention() -> None:
    cost = estimate(GPT2, PAPER)
    assert cost.retention_ratio == pytest.approx(1024 * 12 * 65e-9 / 5e-3)
    assert cost.remaining_fraction == pytest.approx(math.exp(-1024 * 1.6e-4))
    deep = estimate(larger(GPT2, layers=30), PAPER)
    assert deep.retention_ratio == pytest.approx(2.5 * cost.retention_ratio)
    assert deep.remaining_fraction == cost.remaining_fraction
    unset = estimate(larger(GPT2, layers=30), PAPER.replace(leak_per_token=None))
    assert unset.remaining_fraction == pytest.approx(math.exp(-unset.retention_ratio))
    slow = estimate(GPT2, PAPER.replace(token_period_s=2e-6))
    assert slow.token_period_s == 2e-6
    assert estimate(GPT2, PAPER.replace(token_period_s=1e-9)).token_period_s == cost.latency_s


def test_the_worst_voltage_of_a_table_decides_when_a_token_is_refreshed() -> None:
    """One decays as 5 ms say, the other ten times as fast; and a table of the exponential is the exponential."""
    time = [n * 0.1 for n in range(400)]

    def held(*taus_ms: float) -> GainCellConfig:
        rows = [[y * math.exp(-t / tau) for t in time] for y, tau in zip((0.45, -0.45), taus_ms, strict=True)]
        retention = Retention.model_validate(
            {"tau": 5, "unit": "ms", "source": "a test", "table": {"time": time, "stored": rows}}
        )
        cell = PAPER.cell.model_copy(update={"retention": retention})
        return PAPER.replace(cell=cell, leak_per_token=None, retention="table")

    refreshed = HardwareParameters(refresh="rewrite")
    plain = estimate(GPT2, PAPER.replace(token_period_s=2e-6))
    assert estimate(GPT2, held(5, 5).replace(token_period_s=2e-6)).retention_ratio == pytest.approx(
        plain.retention_ratio, rel=1e-3
    )
    fast = held(5, 0.5).replace(token_period_s=2e-6)
    assert estimate(GPT2, fast, refreshed).retention_ratio == pytest.approx(10 * plain.retention_ratio, rel=0.02)
    assert estimate(GPT2, fast, refreshed).retention.refreshes == 4
    with pytest.raises(InputError, match="refresh"):
        estimate(GPT2, fast)


def test_a_window_beyond_retention_is_refused_or_refreshed() -> None:
    slow = PAPER.replace(token_period_s=17e-6)  # 3.5 time constants
    with pytest.raises(InputError, match=r"lets a token grow 3\.48 time constants .* refresh"):
        estimate(GPT2, slow)
    p = HardwareParameters(refresh="rewrite")
    cost = estimate(GPT2, slow, p)
    assert cost.retention.refreshes == 3
    assert cost.retention.busy == pytest.approx(3 * 10e-9 / 17e-6)
    write = estimate(GPT2, PAPER).energy_components[CONVERSION]["dac"]
    assert cost.energy_components[REFRESH]["dac"] == pytest.approx(3 * write)
    # The copy is written once and read for every refresh.
    assert cost.energy_components[REFRESH]["buffer"] == pytest.approx(4 * 144 * 384 * 10e-12 / 64 * 28 / 45)
    assert cost.area_parts[COPY] == pytest.approx(144 * 1024 * 384 * Components().buffer.at(28e-9, 0.9, "").area_m2)
    unrefreshed = estimate(GPT2, PAPER, p)
    assert unrefreshed.retention.refreshes == 0
    assert unrefreshed.area == estimate(GPT2, PAPER).area
    gated = estimate(GPT2, slow, HardwareParameters(refresh="rewrite", write_line_columns=64))
    assert gated.energy_components[REFRESH]["line"] == pytest.approx(cost.energy_components[REFRESH]["line"] / 16)


def test_heads_that_share_keys_and_values_share_a_copy_of_them() -> None:
    slow, p = PAPER.replace(token_period_s=17e-6), HardwareParameters(refresh="rewrite")
    grouped, alone = (estimate(Workload.uniform(12, 12, kv, 64), slow, p) for kv in (3, 12))
    assert grouped.energy_components[REFRESH]["buffer"] == pytest.approx(alone.energy_components[REFRESH]["buffer"] / 4)
    assert grouped.energy_components[REFRESH]["dac"] == pytest.approx(alone.energy_components[REFRESH]["dac"])
    assert grouped.area_parts[COPY] == pytest.approx(alone.area_parts[COPY] / 4)


def test_a_window_that_cannot_be_rewritten_in_time_is_refused() -> None:
    p = HardwareParameters(refresh="rewrite")
    long = PAPER.replace(window=1 << 19)
    with pytest.raises(InputError, match=r"cannot be refreshed: rewriting it at 10 ns a column takes 5.24 ms"):
        estimate(GPT2, long, p)
    # A single layer has no other layers' time to rewrite in, so the token period grows.
    one = estimate(larger(GPT2, layers=1), PAPER.replace(window=1 << 18), p)
    assert one.token_period_s == pytest.approx(one.latency_s / (1 - (1 << 18) * 10e-9 / 5e-3))
    assert one.retention.refreshes * 10e-9 + one.latency_s <= one.token_period_s


def test_too_few_arrays_are_filled_anew_for_every_token() -> None:
    p = HardwareParameters(array_pairs=12)  # those of one layer
    cost, whole = estimate(GPT2, LASTING, p), estimate(GPT2, LASTING)
    assert cost.area_m2 == pytest.approx(whole.area_m2 / 12)
    assert cost.latency_s == pytest.approx(whole.latency_s + 12 * 1024 * 10e-9)
    assert cost.energy_components[RELOAD]["memory"] == pytest.approx(144 * 1024 * 384 * 3.9e-12)
    assert cost.energy_components[RELOAD]["dac"] == pytest.approx(1024 * whole.energy_components[CONVERSION]["dac"])
    half = estimate(GPT2, LASTING, HardwareParameters(array_pairs=6))
    assert half.latency_s == pytest.approx(2 * cost.latency_s)
    assert estimate(GPT2, LASTING, HardwareParameters(array_pairs=144)).parts == whole.parts
    # They are filled within a turn, so they neither outlive the cell nor are refreshed.
    filled = estimate(Workload.uniform(32, 32, 8, 128), PAPER, HardwareParameters(array_pairs=32, refresh="rewrite"))
    assert filled.retention.refreshes == 0
    assert filled.retention_ratio == pytest.approx((65e-9 + 1024 * 10e-9) / 5e-3)
    with pytest.raises(InputError, match=r"filling window 524288 takes 5\.24 ms, but a token lasts 5 ms"):
        estimate(GPT2, PAPER.replace(window=1 << 19), p)
    # The baselines' layer is compared with arrays of its own.
    assert estimate(Workload.uniform(1, 1, 1, 64), PAPER, HardwareParameters(array_pairs=1)).gpu_ratios


def test_a_figure_beyond_all_numbers_is_refused() -> None:
    with pytest.raises(InputError, match="the estimate is not a finite number"):
        estimate(GPT2, PAPER, with_part("control", energy_j=1e308, node_m=28e-9))
    with pytest.raises(InputError, match="the delay of a line is not a finite number"):
        estimate(GPT2, PAPER, HardwareParameters(tier_line_ratio=1e308, stacked_layers=10))


def test_chips() -> None:
    cost = estimate(Workload.uniform(80, 64, 8, 128), LASTING)
    assert cost.chips == math.ceil(80 * 64 * cost.per_head.area_m2 / 400e-6)
    assert estimate(GPT2, PAPER).chips == 1


def test_static_power_lasts_as_long_as_the_token() -> None:
    cost = estimate(GPT2, PAPER, with_part("charge_to_pulse", static_w=1e-9))
    assert cost.parts["static power"] == pytest.approx(144 * 1024 * 1e-9 * cost.token_period_s)


def test_the_copy_that_refreshes_is_written_from_leaks_as_the_opponents_cache_does() -> None:
    leaky = with_part("buffer", static_w=1e-12).model_copy(update={"refresh": "rewrite"})
    cost = estimate(GPT2, PAPER.replace(token_period_s=17e-6), leaky)
    assert cost.parts["static power"] == pytest.approx(144 * 1024 * 384 * 1e-12 * 17e-6)
    digital = digital_attention(GPT2, cost.config, leaky, "sram", cost.token_period_s)
    assert digital.energy["static power"]["all"] == pytest.approx(cost.parts["static power"])
    assert "static power" not in estimate(GPT2, PAPER, leaky).parts  # nothing is refreshed, so nothing is copied


# Hardware parameters

PART = {"action": "an action", "energy_j": 1e-12, "kind": "assumption", "source": "a guess"}


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"clock_hz": 0}, "hardware parameters: field 'clock_hz' is 0: input should be greater than 0."),
        ({"node_m": math.nan}, "field 'node_m' is nan"),
        ({"node_m": "28 ns"}, "field 'node_m' is '28 ns': write a figure in meter, or in a unit of that kind."),
        ({"kv_sharing": "mixed"}, "field 'kv_sharing' is 'mixed'"),
        ({"energy": 1}, "unknown field 'energy'"),
        ({"digital": {"nod_m": 1}}, r"unknown field 'digital.nod_m'; did you mean 'node_m'"),
        ({"self": 3}, "unknown field 'self'"),
        ({"clock_hz": "9**9**9 GHz"}, "write a figure in hertz"),
        ({"clock_hz": True}, "write a figure in hertz"),
        ({"write_share": 0.8, "reset_share": 0.3}, "write_share and reset_share add up to more than 1"),
        ({"components": {"adc": PART}}, "unknown field '(components.)?adc'"),
        ({"components": {"dac": {**PART, "energy_j": -1}}}, "dac.energy_j' is -1"),
        ({"components": {"dac": {**PART, "energy_j": "1 ns"}}}, "dac.energy_j' is '1 ns': write a figure in joule"),
        ({"components": {"dac": {"action": "an action"}}}, "field '(components.)?dac.energy_j' is missing; add it."),
    ],
)
def test_bad_parameters_are_told_in_one_sentence(fields, complaint: str) -> None:
    with pytest.raises(InputError, match=complaint) as raised:
        HardwareParameters(**fields)
    assert str(raised.value).startswith("hardware parameters: ")


UNITS = {"energy_j": "pJ", "static_w": "uW", "area_m2": "um**2", "latency_s": "ns", "node_m": "nm", "supply_v": "mV"}


@given(st.sampled_from(sorted(UNITS)), st.sampled_from(sorted(UNITS.values())), st.floats(1e-3, 1e3))
def test_a_figure_in_another_kind_of_unit_is_refused(field: str, unit: str, value: float) -> None:
    if unit == UNITS[field]:
        return
    with pytest.raises(InputError, match=f"{field}' is"):
        HardwareParameters(components={"dac": {**PART, field: f"{value} {unit}"}})


def test_figures_are_read_in_their_units(tmp_path: Path) -> None:
    path = tmp_path / "hardware.yaml"
    path.write_text(
        "node_m: 28 nm\nclock_hz: 2 GHz\ncomponents:\n"
        "  dac: {action: a value, energy_j: 2.5 pJ, area_m2: 80 um2, latency_s: 3e-9, kind: library, source: a book}\n"
    )
    p = HardwareParameters.load(path)
    assert (p.node_m, p.clock_hz) == (pytest.approx(28e-9), 2e9)
    assert (p.components.dac.energy_j, p.components.dac.area_m2) == pytest.approx((2.5e-12, 80e-12))
    assert p.components.dac.latency_s == 3e-9
    assert p.components.cell == Components().cell


def test_a_node_without_a_rule_is_refused_and_one_with_it_scales() -> None:
    with pytest.raises(InputError, match=r"component 'cell' is known at 28 nm and 0.9 V and has no scaling rule to 16"):
        estimate(GPT2, PAPER, HardwareParameters(node_m=16e-9))
    with pytest.raises(InputError, match=r"no scaling rule to 28 nm and 0.8 V"):
        estimate(GPT2, PAPER, HardwareParameters(supply_v=0.8))
    adder = Components().adder
    there = adder.at(22.5e-9, 0.45, "adder")
    assert there.energy_j == pytest.approx(adder.energy_j / 2 / 4)
    assert there.area_m2 == pytest.approx(adder.area_m2 / 4)


def test_a_layer_shorter_than_its_pulses_is_refused() -> None:
    with pytest.raises(InputError, match="layer_latency_s is 40 ns, less than the 3 pulses of 15 ns"):
        estimate(GPT2, PAPER.replace(layer_latency_s=40e-9))


def test_import_needs_neither_torch_nor_transformers() -> None:
    code = "import sys, gaincell.hardware; print({'torch', 'transformers', 'numpy'} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"


def test_reads_of_other_voltages_take_what_the_circuit_drew_there() -> None:
    """By hand, of keys and values that are all stored at one level, whose read takes half of what the law says."""
    levels = PAPER.stored_voltages
    energies = {"read_full_j": 2e-14, "read_mean_j": 5e-15, "conversion_j": 1e-12, "write_j": 1e-15}
    law = PAPER.cell.law
    full_j = [2e-14 * abs(law(y)) / law(levels[-1]) for y in levels]
    full_j[2] /= 2
    reads = {"source": "a run", "written_v": list(levels), "full_j": full_j}
    plain, own = (
        PAPER.replace(cell={**PAPER.cell.model_dump(), "circuit": {"energy": {"source": "a run", **energies, **more}}})
        for more in ({}, {"reads": reads})
    )
    codes = np.zeros((1, 1, len(levels)))
    codes[..., 2] = 1.0
    activity = replace(Activity.reference(PAPER), key_codes=codes, value_codes=np.roll(codes, 1))
    before, after = (estimate(GPT2, config, activity=activity).energy_components for config in (plain, own))
    assert after[FIRST]["cell"] == pytest.approx(before[FIRST]["cell"] / 2)
    assert after[SECOND]["cell"] == pytest.approx(before[SECOND]["cell"])
    given = HardwareParameters(components={"cell": Components().cell.model_dump()})
    same = [estimate(GPT2, config, given, activity).energy_j for config in (plain, own)]
    assert same[0] == same[1]
    nothing = {"energy": {"source": "a run", **energies, "reads": {**reads, "full_j": [0.0] * len(levels)}}}
    with pytest.raises(InputError, match="above zero at the highest voltage"):
        PAPER.replace(cell={**PAPER.cell.model_dump(), "circuit": nothing})
