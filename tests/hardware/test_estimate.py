"""The cost estimate: published figures, sums, how it grows, options, and what it refuses."""

import json
import math
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gaincell.config import GainCellConfig
from gaincell.errors import InputError
from gaincell.hardware import BASELINES, GPT2, AttentionShape, HardwareParameters, estimate, paper_table, read_shape

PAPER = GainCellConfig.preset("leroux2025")
REFERENCE = Path(__file__).parents[3] / "shared" / "reference"

shapes = st.builds(
    lambda layers, kv_heads, group, head_dim: AttentionShape(layers, kv_heads * group, kv_heads, head_dim),
    st.integers(1, 40),
    st.integers(1, 16),
    st.integers(1, 8),
    st.integers(1, 300),
)
configs = st.builds(
    lambda tiles, normaliser, query_sign: PAPER.replace(
        window=64 * tiles, normaliser=normaliser, query_sign=query_sign
    ),
    st.integers(1, 64),
    st.sampled_from(["none", "ideal", "column"]),
    st.sampled_from(["unsigned", "differential", "offset_binary"]),
)
parameters = st.builds(
    lambda kv_sharing, division_j: HardwareParameters(kv_sharing=kv_sharing, division_j=division_j),
    st.sampled_from(["copied", "in_turn"]),
    st.sampled_from([0.0, 1e-13]),
)


def larger(shape: AttentionShape, **changes: int) -> AttentionShape:
    return AttentionShape(**{**vars(shape), **changes})


# Published figures


def test_published_figures_of_gpt2() -> None:
    cost = estimate(GPT2, PAPER)
    assert cost.per_layer.latency_s == pytest.approx(65e-9)
    assert cost.latency_s == pytest.approx(0.78e-6)
    assert cost.per_head.energy_j == pytest.approx(6.15e-9)
    assert cost.per_layer.energy_j == pytest.approx(73.8e-9)
    assert cost.per_head.area_m2 == pytest.approx(0.5e-6)


def test_published_areas_of_cells() -> None:
    cells = estimate(GPT2, PAPER).head_cells_m2
    assert cells["cmos"] == pytest.approx(0.131e-6, rel=0.01)
    assert cells["oxide"] == pytest.approx(15.7e-9, rel=0.01)
    assert cells["stacked"] == pytest.approx(36.7e-9 / 12, rel=0.01)


def test_published_gpu_ratios() -> None:
    rtx, jetson = estimate(GPT2, PAPER).gpu_ratios
    assert (rtx.name, jetson.name) == ("RTX 4090", "Jetson Nano")
    assert rtx.latency == pytest.approx(344, rel=0.01)
    assert rtx.energy == pytest.approx(9.7e4, rel=0.01)
    assert jetson.latency == pytest.approx(7520, rel=0.01)
    assert jetson.energy == pytest.approx(4.4e4, rel=0.01)


def test_gpu_ratios_are_for_one_gpt2_layer_or_absent() -> None:
    other = estimate(AttentionShape(30, 9, 3, 64), PAPER)
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
    assert rows["energy, one head"][1:4] == pytest.approx((6.15, "nJ", 6.1))
    assert rows["energy, one layer"].value == pytest.approx(73.8)
    for row in rows.values():
        assert (row.published is None) == (row.ratio is None)
        assert row.ratio is None or 0.99 < row.ratio < 1.15


def test_published_column_is_for_the_published_head_only() -> None:
    rows = estimate(larger(GPT2, head_dim=128), PAPER).table()
    assert all(row.published is None for row in rows if "GPT-2" not in row.name)


# Sums and growth


@given(shapes, configs, parameters)
def test_parts_add_up_and_shares_multiply_out(shape, config, parameters) -> None:
    cost = estimate(shape, config, parameters)
    layers, heads = shape.num_hidden_layers, shape.num_attention_heads
    assert cost.energy_j == sum(cost.parts.values())
    assert cost.area_m2 == sum(cost.area_parts.values())
    assert cost.area_parts["cells"] == pytest.approx(
        cost.head_cells_m2["cmos"] * layers * heads,
    )
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
        estimate(larger(shape, num_hidden_layers=shape.num_hidden_layers + more), config, parameters),
        estimate(larger(shape, head_dim=shape.head_dim + more), config, parameters),
        estimate(
            larger(
                shape,
                num_attention_heads=shape.num_attention_heads + more * shape.group,
                num_key_value_heads=shape.num_key_value_heads + more,
            ),
            config,
            parameters,
        ),
    ]
    for other in bigger:
        assert other.energy_j > cost.energy_j
        assert other.area_m2 > cost.area_m2
        assert other.latency_s >= cost.latency_s


@given(shapes, configs)
def test_sharing_trades_area_for_latency(shape, config) -> None:
    copied = estimate(shape, config, HardwareParameters(kv_sharing="copied"))
    in_turn = estimate(shape, config, HardwareParameters(kv_sharing="in_turn"))
    assert copied.area_m2 == pytest.approx(shape.group * in_turn.area_m2)
    assert in_turn.latency_s == pytest.approx(shape.group * copied.latency_s)
    if shape.group == 1:
        assert in_turn.energy_j == copied.energy_j
    else:
        assert in_turn.energy_j < copied.energy_j
    saved = {name for name, part in copied.parts.items() if in_turn.parts[name] != part}
    assert saved <= {"DACs"}


# Geometry and options


def test_head_dim_is_cut_over_stacked_subtiles() -> None:
    control = {
        head_dim: estimate(larger(GPT2, head_dim=head_dim), PAPER).area_parts["digital control"]
        for head_dim in (32, 64, 65, 128)
    }
    assert control[32] == control[64]
    assert control[65] == control[128] == pytest.approx(2 * control[64])
    assert estimate(larger(GPT2, head_dim=32), PAPER).head_cells_m2["cmos"] == pytest.approx(2 * 1024 * 32 * 1e-12)


def test_smaller_subtiles_read_out_more_often() -> None:
    digital = "digital control and routing"
    fine, coarse = estimate(GPT2, PAPER.replace(subtile_columns=32)), estimate(GPT2, PAPER)
    assert fine.parts[digital] == pytest.approx(2 * coarse.parts[digital])
    assert fine.parts["second array"] == coarse.parts["second array"]


def test_normaliser_is_one_more_value_column() -> None:
    plain, ideal = estimate(GPT2, PAPER), estimate(GPT2, PAPER.replace(normaliser="ideal"))
    for part in ("second array", "digital control and routing"):
        assert ideal.parts[part] == pytest.approx(plain.parts[part] * 65 / 64)
    first = "first array and charge-to-pulse"
    assert ideal.parts[first] == plain.parts[first]
    assert ideal.parts["DACs"] == pytest.approx(plain.parts["DACs"] * 193 / 192)
    assert ideal.area_m2 > plain.area_m2
    assert ideal.parts["normaliser division"] == 0
    charged = estimate(GPT2, PAPER.replace(normaliser="ideal"), HardwareParameters(division_j=1e-12))
    assert charged.parts["normaliser division"] == pytest.approx(144 * 64 * 1e-12)


def test_options_cost_their_multiply_adds_and_nothing_in_the_arrays() -> None:
    def digital(**options: object) -> float:
        cost = estimate(GPT2, PAPER.replace(**options), HardwareParameters(multiply_add_j=1e-12))
        extra = cost.parts.get("digital side of the options", 0.0)
        assert cost.energy_j - extra == pytest.approx(estimate(GPT2, PAPER).energy_j)
        return extra

    assert digital() == 0.0
    assert digital(equalisation=True) == pytest.approx(12 * 2 * 768e-12)
    assert digital(score_preset=True) == pytest.approx(12 * 12 * 768e-12)
    assert digital(sinks="digital") == pytest.approx(12 * 12 * (768 + 128) * 1e-12)


def test_reference_columns_are_read_out_but_not_written() -> None:
    plain = estimate(GPT2, PAPER)
    column = estimate(GPT2, PAPER.replace(normaliser="column", normaliser_ranges=(4.0, 64.0)))
    for part in ("second array", "digital control and routing"):
        assert column.parts[part] == pytest.approx(plain.parts[part] * 66 / 64)
    assert column.parts["DACs"] == plain.parts["DACs"]
    assert column.area_parts["cells"] == pytest.approx(plain.area_parts["cells"] * 130 / 128)
    assert column.area_parts["digital control"] == pytest.approx(plain.area_parts["digital control"] * 66 / 64)
    assert "normaliser division" in column.parts


def test_differential_queries_read_the_first_array_twice() -> None:
    plain, differential = estimate(GPT2, PAPER), estimate(GPT2, PAPER.replace(query_sign="differential"))
    first = "first array and charge-to-pulse"
    assert differential.parts == {**plain.parts, first: 2 * plain.parts[first]}
    assert differential.per_layer.latency_s == pytest.approx(80e-9)
    free = HardwareParameters(extra_read_latency_s=0)
    assert estimate(GPT2, PAPER.replace(query_sign="differential"), free).latency_s == plain.latency_s


def test_offset_binary_queries_cost_rows_in_every_subtile_of_the_first_array() -> None:
    for head_dim, more in ((64, 4 / 64), (32, 4 / 32), (65, 8 / 65)):  # in a sub-tile of 64 rows, in one, in two
        shape = larger(GPT2, head_dim=head_dim)
        plain, offset = estimate(shape, PAPER), estimate(shape, PAPER.replace(query_sign="offset_binary"))
        # Keys are half of the cells, and with values two thirds of what DACs convert.
        grown = {"first array and charge-to-pulse": 1 + more, "DACs": 1 + more / 3}
        assert offset.parts == {name: pytest.approx(x * grown.get(name, 1)) for name, x in plain.parts.items()}
        assert offset.area_parts["cells"] == pytest.approx(plain.area_parts["cells"] * (1 + more / 2))
        assert offset.area_parts["digital control"] == plain.area_parts["digital control"]
        assert offset.latency_s == plain.latency_s
    free = HardwareParameters(offset_rows=0)
    assert estimate(shape, PAPER.replace(query_sign="offset_binary"), free).parts == plain.parts


def test_linearised_storage_is_not_charged() -> None:
    plain, linearised = estimate(GPT2, PAPER), estimate(GPT2, PAPER.replace(storage="linearised"))
    assert linearised.parts == plain.parts
    assert linearised.area_m2 == plain.area_m2


def test_retention() -> None:
    cost = estimate(GPT2, PAPER)
    assert cost.retention_ratio == pytest.approx(1024 * 12 * 65e-9 / 5e-3)
    assert cost.remaining_fraction == pytest.approx(math.exp(-1024 * 1.6e-4))
    deep = estimate(larger(GPT2, num_hidden_layers=30), PAPER)
    assert deep.retention_ratio == pytest.approx(2.5 * cost.retention_ratio)
    assert deep.remaining_fraction == cost.remaining_fraction
    unset = estimate(larger(GPT2, num_hidden_layers=30), PAPER.replace(leak_per_token=None))
    assert unset.remaining_fraction == pytest.approx(math.exp(-unset.retention_ratio))
    slow = estimate(GPT2, PAPER.replace(token_period_s=1e-3))
    assert slow.token_period_s == 1e-3
    assert estimate(GPT2, PAPER.replace(token_period_s=1e-9)).token_period_s == cost.latency_s


# Model configs


def test_model_configs_of_many_kinds() -> None:
    assert read_shape({"n_layer": 12, "n_head": 12, "n_embd": 768}) == GPT2
    grouped = {"num_hidden_layers": 30, "num_attention_heads": 9, "num_key_value_heads": 3, "hidden_size": 576}
    assert read_shape(grouped) == AttentionShape(30, 9, 3, 64)
    assert read_shape(SimpleNamespace(**grouped, head_dim=None)) == AttentionShape(30, 9, 3, 64)
    assert read_shape({**grouped, "head_dim": 128}).head_dim == 128
    assert read_shape({"text_config": grouped}) == read_shape(grouped)
    assert read_shape(SimpleNamespace(get_text_config=lambda: SimpleNamespace(**grouped))) == read_shape(grouped)
    assert read_shape({**grouped, "layer_types": ["full_attention", "sliding_attention"]}) == read_shape(grouped)


GOOD = {"num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "hidden_size": 256}


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"num_hidden_layers": None}, "num_hidden_layers or n_layer is missing; add it."),
        ({"num_attention_heads": None}, "num_attention_heads or n_head is missing; add it."),
        ({"hidden_size": None}, "neither head_dim nor hidden_size"),
        ({"num_hidden_layers": 0}, "num_hidden_layers is 0, but must be a positive whole number."),
        ({"num_hidden_layers": 2.5}, "num_hidden_layers is 2.5"),
        ({"num_hidden_layers": True}, "num_hidden_layers is True"),
        ({"num_attention_heads": [4, 8]}, r"num_attention_heads is \[4, 8\]"),
        ({"num_key_value_heads": 3}, "num_attention_heads 4 is not a multiple of num_key_value_heads 3."),
        ({"head_dim": -1}, "head_dim is -1"),
        ({"hidden_size": 255}, "hidden_size 255 is not a multiple of num_attention_heads 4; set head_dim."),
        ({"is_encoder_decoder": True}, "encoder-decoder"),
        ({"kv_lora_rank": 512}, "latent attention"),
        ({"layer_types": ["full_attention", "linear_attention"]}, "linear_attention"),
    ],
)
@pytest.mark.parametrize("kind", [dict, SimpleNamespace])
def test_bad_model_configs_are_told_in_one_sentence(kind, changes, complaint: str) -> None:
    with pytest.raises(InputError, match=complaint) as raised:
        estimate(kind(**{**GOOD, **changes}), PAPER)
    message = str(raised.value)
    assert message.startswith("model config: ")
    assert message.endswith(".")
    assert "\n" not in message
    assert ". " not in message


def test_ambiguous_text_model_is_an_input_error() -> None:
    def ambiguous() -> None:
        raise ValueError("Multiple valid text configs were found. Please specify.")

    with pytest.raises(InputError, match=r"text model cannot be told: Multiple valid text configs were found\.$"):
        read_shape(SimpleNamespace(get_text_config=ambiguous))


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"first_array_j": 0}, "hardware parameters: field 'first_array_j' is 0: input should be greater than 0."),
        ({"dacs_j": math.nan}, "field 'dacs_j' is nan"),
        ({"kv_sharing": "mixed"}, "field 'kv_sharing' is 'mixed'"),
        ({"energy": 1}, "unknown field 'energy'"),
    ],
)
def test_bad_parameters_are_told_in_one_sentence(fields, complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        HardwareParameters(**fields)


def test_docs_list_every_parameter_as_it_is() -> None:
    page = (Path(__file__).parents[2] / "docs" / "hardware.md").read_text("utf-8")
    for name, field in HardwareParameters.model_fields.items():
        assert isinstance(field.json_schema_extra, dict)
        unit, source = field.json_schema_extra["unit"], field.json_schema_extra["source"]
        value = f"{field.default:.4g}" if isinstance(field.default, float) else field.default
        assert f"| `{name}` | {value} | {unit} | {field.description} | {source} |" in page


def test_import_needs_neither_torch_nor_transformers() -> None:
    code = "import sys, gaincell.hardware; print({'torch', 'transformers', 'numpy'} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"
