"""The same attention elsewhere: digital from parts, accelerators as ranges, and who is said to win."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gaincell.config import GainCellConfig
from gaincell.errors import InputError
from gaincell.hardware import GPT2, Components, HardwareParameters, Layer, Workload, estimate
from gaincell.hardware.datasheets import ACCELERATORS, H100_SXM, Accelerator, find_accelerator
from gaincell.hardware.digital import CACHE, DigitalAttention, digital_attention
from gaincell.hardware.digital_design import DigitalDesign
from gaincell.hardware.energy import total
from gaincell.hardware.opponents import OURS, opponents

PAPER = GainCellConfig.named("leroux2025")
HEAD = Workload.uniform(1, 1, 1, 64)
MEMORIES = ("sram", "dram")

shapes = st.builds(
    lambda layers, kv_heads, group, head_dim: Workload.uniform(layers, kv_heads * group, kv_heads, head_dim),
    st.integers(1, 40),
    st.integers(1, 16),
    st.integers(1, 8),
    st.integers(1, 300),
)
points = st.builds(
    lambda tiles, query, stored: PAPER.replace(window=64 * tiles, query_levels=2**query, stored_levels=2**stored),
    st.integers(1, 64),
    st.integers(1, 6),
    st.integers(1, 6),
)
memories = st.sampled_from(MEMORIES)


def larger(workload: Workload, **changes: int) -> Workload:
    """A uniform workload with other numbers of layers, heads, kv_heads or another head_dim."""
    one = workload.layers[0]
    numbers = {"layers": len(workload.layers), "heads": one.heads, "kv_heads": one.kv_heads, "head_dim": one.key_dim}
    return Workload.uniform(**{**numbers, **changes})


def built(**design: Any) -> HardwareParameters:
    return HardwareParameters(digital=DigitalDesign(**design))


def figures(found: DigitalAttention) -> tuple[float, float, float]:
    return found.latency_s, found.energy_j, found.area_m2


def no_less(larger: DigitalAttention, smaller: DigitalAttention) -> bool:
    return all(a >= b * (1 - 1e-12) for a, b in zip(figures(larger), figures(smaller), strict=True))


# Digital


def test_one_published_head_in_digital_by_hand() -> None:
    """393,216 bits of SRAM in 0.075 mm2, and about ten times the energy of the arrays, not ninety thousand times."""
    found, ours = digital_attention(HEAD, PAPER, HardwareParameters()), estimate(HEAD, PAPER)
    bits = 2 * 1024 * 64 * 3
    assert found.area[CACHE]["buffer"] == pytest.approx(0.075e-6, rel=0.01)
    assert found.area[CACHE]["buffer"] == pytest.approx(bits * 0.127e-12 * 1.5)
    assert found.energy[CACHE]["buffer"] == pytest.approx((bits + 384) * 10e-12 / 64 * 28 / 45)
    assert found.energy["products"]["product"] == pytest.approx(65536 * (4 + 8) * 3 / 64 * 0.2e-12 * 28 / 45)
    assert found.energy["products"]["adder"] == pytest.approx(65536 * (13 + 21) / 8 * 0.03e-12 * 28 / 45)
    assert found.latency_s == pytest.approx((65536 / 64 + 3 + 20) * 1e-9)  # six banks, whose sums take three levels
    assert 9 < found.energy_j / ours.energy_j < 12
    assert found.area_m2 < ours.area_m2 / 4


def test_from_dram_every_bit_comes_through_the_stack() -> None:
    found = digital_attention(GPT2, PAPER, HardwareParameters(), "dram")
    layer_bits = 12 * 1024 * 384
    assert found.energy[CACHE]["dram"] == pytest.approx(12 * (layer_bits + 12 * 384) * 3.9e-12)
    assert found.latency_s == pytest.approx(12 * (layer_bits / 8 / 256e9 + 100e-9 + 20e-9))
    assert found.fits
    assert not digital_attention(GPT2, PAPER, built(dram_stack_bits=12 * layer_bits - 1), "dram").fits
    assert digital_attention(GPT2, PAPER, built(dram_stack_bits=12 * layer_bits), "dram").fits


@given(shapes, points, memories)
def test_parts_of_digital_add_up(shape: Workload, point: GainCellConfig, memory: Any) -> None:
    found = digital_attention(shape, point, HardwareParameters(), memory)
    assert found.energy_j == pytest.approx(sum(sum(of.values()) for of in found.energy.values())) == total(found.energy)
    assert found.area_m2 == pytest.approx(total(found.area))
    layer = digital_attention(larger(shape, layers=1), point, HardwareParameters(), memory)
    assert found.energy_j == pytest.approx(len(shape.layers) * layer.energy_j)
    assert found.latency_s == pytest.approx(len(shape.layers) * layer.latency_s)


@given(shapes, points, memories, st.integers(1, 4))
def test_more_of_anything_costs_no_less(shape: Workload, point: GainCellConfig, memory: Any, more: int) -> None:
    p = HardwareParameters()
    plain = digital_attention(shape, point, p, memory)
    one, group = shape.layers[0], shape.layers[0].group
    costlier = [
        (shape, point.replace(window=point.window + 64 * more)),
        (larger(shape, layers=len(shape.layers) + more), point),
        (larger(shape, heads=one.heads + more * one.kv_heads), point),
        (
            larger(shape, heads=one.heads + more * group, kv_heads=one.kv_heads + more),
            point,
        ),
    ]
    assert all(no_less(digital_attention(s, c, p, memory), plain) for s, c in costlier)
    wider = digital_attention(larger(shape, head_dim=one.key_dim + more), point, p, memory)
    assert wider.energy_j > plain.energy_j
    assert wider.latency_s >= plain.latency_s


@pytest.mark.parametrize("memory", MEMORIES)
def test_digital_has_the_windows_of_the_layers(memory: Any) -> None:
    """Two layers see 4,096 tokens and three 256: what they take one by one, but for what DRAM's layers share."""
    point, p = PAPER.replace(window=4096), HardwareParameters()
    wide, narrow = Workload.uniform(2, 8, 2, 128), Workload.uniform(3, 8, 2, 128, window=256)
    found = digital_attention(Workload((*wide.layers, *narrow.layers)), point, p, memory)
    each = [digital_attention(wide, point, p, memory)]
    each.append(digital_attention(Workload.uniform(3, 8, 2, 128), PAPER.replace(window=256), p, memory))
    assert found.energy_j == pytest.approx(sum(one.energy_j for one in each))
    assert found.latency_s == pytest.approx(sum(one.latency_s for one in each))
    cache, cached = (next(iter(x.area[CACHE].values())) for x in (found, each[0]))
    assert cache == pytest.approx(cached * (1 + 3 * 256 / (2 * 4096)))


@pytest.mark.parametrize("memory", MEMORIES)
def test_digital_keeps_a_latent_where_there_is_one(memory: Any) -> None:
    heads = Layer("attention", 16, 16, 192, 128)
    latent, expanded = (
        digital_attention(Workload((layer,)), PAPER, HardwareParameters(), memory)
        for layer in (replace(heads, latent=576), heads)
    )
    for found in (latent.energy[CACHE], latent.area[CACHE]):
        other = (expanded.energy if found is latent.energy[CACHE] else expanded.area)[CACHE]
        assert sum(other.values()) / sum(found.values()) == pytest.approx(16 * 320 / 576)
    assert latent.energy["products"] == expanded.energy["products"]


def test_heads_that_share_keys_and_values_read_them_once() -> None:
    grouped, alone = (digital_attention(Workload.uniform(2, 8, kv, 64), PAPER, HardwareParameters()) for kv in (2, 8))
    assert alone.energy[CACHE]["buffer"] == pytest.approx(4 * grouped.energy[CACHE]["buffer"])
    assert alone.area[CACHE]["buffer"] == pytest.approx(4 * grouped.area[CACHE]["buffer"])
    assert alone.energy["products"] == grouped.energy["products"]


@pytest.mark.parametrize(
    ("faster", "memory"),
    [
        ({"port_bits": 128}, "sram"),
        ({"bank_bits": 32768}, "sram"),
        ({"fill_cycles": 1}, "sram"),
        ({"dram_bandwidth": 512e9}, "dram"),
        ({"dram_stacks": 2}, "dram"),
        ({"dram_access_s": 1e-9}, "dram"),
    ],
)
def test_a_faster_part_makes_a_token_faster(faster: dict[str, Any], memory: Any) -> None:
    plain = digital_attention(GPT2, PAPER, HardwareParameters(), memory)
    assert digital_attention(GPT2, PAPER, built(**faster), memory).latency_s < plain.latency_s


@pytest.mark.parametrize("name", [name for name in DigitalDesign.model_fields if not name.startswith("kept_")])
def test_every_figure_of_the_user_changes_the_result(name: str) -> None:
    changed = built(**{name: 2 * getattr(DigitalDesign(), name)})
    full = PAPER.replace(window=1 << 17)
    assert any(
        digital_attention(shape, full, changed, memory) != digital_attention(shape, full, HardwareParameters(), memory)
        for shape in (GPT2, Workload.uniform(80, 12, 12, 128))  # 12 GB do not fit a stack of 8
        for memory in MEMORIES
    )


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"bank_bits": 0}, "field '{}bank_bits' is 0: input should be greater than or equal to 1."),
        ({"banks": 1}, "unknown field '{}banks'; "),
        ({"dram_access_s": "3 V"}, "field '{}dram_access_s' is '3 V': write a figure in second"),
    ],
)
def test_a_bad_design_is_told_in_one_sentence(fields: dict[str, Any], complaint: str) -> None:
    with pytest.raises(InputError, match="^digital design: " + complaint.format("")):
        DigitalDesign(**fields)
    with pytest.raises(InputError, match="^hardware parameters: " + complaint.format("digital.")):
        HardwareParameters(**{"digital": fields})


@pytest.mark.parametrize("name", ["buffer", "product", "adder", "multiply_add"])
@pytest.mark.parametrize("figure", ["energy_j", "area_m2", "static_w"])
def test_every_figure_of_its_parts_counts(name: str, figure: str) -> None:
    parts = Components()
    part = getattr(parts, name)
    dearer = part.model_copy(update={figure: 2 * getattr(part, figure) + 1e-15})
    changed = HardwareParameters(components=parts.model_copy(update={name: dearer}))
    plain, found = (digital_attention(GPT2, PAPER, p) for p in (HardwareParameters(), changed))
    assert (found.area_m2 > plain.area_m2) == (figure == "area_m2")
    assert (found.energy_j > plain.energy_j) == (figure != "area_m2")


def test_static_power_of_the_opponent_lasts_as_long_as_the_token() -> None:
    parts = Components()
    leaking = parts.model_copy(update={"buffer": parts.buffer.model_copy(update={"static_w": 1e-12})})
    p = HardwareParameters(components=leaking)
    found = digital_attention(GPT2, PAPER, p, token_period_s=1.0)
    assert found.energy["static power"]["all"] == pytest.approx(144 * 1024 * 384 * 1e-12)
    assert digital_attention(GPT2, PAPER, p).energy["static power"]["all"] == pytest.approx(
        144 * 1024 * 384 * 1e-12 * found.latency_s
    )


# Accelerators


def test_an_accelerator_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        "name: mine\nflop_per_s: 1.0e+15\nprecision: int8\nbytes_per_s: 2.0e+12\nmemory_bytes: 6.4e+10\n"
        "board_power_w: 0.3 kW\nflop_j: 0.1 pJ\nbyte_j: 20 pJ\nsource: a data sheet\n"
    )
    mine = find_accelerator(str(path))
    assert (mine.board_power_w, mine.flop_j, mine.byte_j) == pytest.approx((300, 1e-13, 2e-11))
    assert find_accelerator("h200") is ACCELERATORS["h200"]
    ours = estimate(GPT2, PAPER)
    *_, plain = opponents(ours, [mine])
    for name in ("bytes_per_s", "board_power_w", "flop_j", "byte_j"):
        *_, changed = opponents(ours, [mine.model_copy(update={name: 0.5 * getattr(mine, name)})])
        assert (changed.latency_s, changed.energy_j) != (plain.latency_s, plain.energy_j)
    slow = mine.model_copy(update={"flop_per_s": 1e9})
    assert opponents(ours, [slow])[-1].latency_s > plain.latency_s
    assert not opponents(ours, [mine.model_copy(update={"memory_bytes": 1e6})])[-1].fits


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("name: mine\n", "accelerator: field 'flop_per_s' is missing; add it."),
        ("name: mine\nwatts: 3\n", "accelerator: unknown field 'watts'"),
        ("name: mine\nbyte_j: 20 ns\n", "field 'byte_j' is '20 ns': write a figure in joule"),
        ("name: mine\nboard_power_w: 0\n", "field 'board_power_w' is 0"),
    ],
)
def test_a_bad_accelerator_is_told_in_one_sentence(tmp_path: Path, text: str, complaint: str) -> None:
    given_fields = {key: value for key, value in H100_SXM.model_dump().items() if key not in text}
    path = tmp_path / "mine.yaml"
    path.write_text(text if "missing" in complaint else text + json.dumps(given_fields)[1:-1].replace(", ", "\n"))
    with pytest.raises(InputError, match=complaint):
        find_accelerator(str(path))


def test_an_unknown_accelerator_is_refused() -> None:
    with pytest.raises(
        InputError, match=r"accelerator 'h99' is unknown; choose one of h100, .*, or name your own YAML"
    ):
        find_accelerator("h99")


# Who wins


@given(st.floats(1e-3, 1e3), st.floats(1e-3, 1e3))
def test_where_the_ends_of_a_range_disagree_nobody_is_said_to_win(rated: float, alone: float) -> None:
    """The accelerator's two energies as multiples of ours."""
    ours = estimate(GPT2, PAPER)
    *_, bound = opponents(ours, [H100_SXM])
    on = Accelerator(
        **{
            **H100_SXM.model_dump(),
            "board_power_w": rated * ours.energy_j / bound.latency_s,
            "flop_j": 0,
            "byte_j": alone * ours.energy_j / (bound.latency_s * H100_SXM.bytes_per_s),
        }
    )
    *_, found = opponents(ours, [on])
    assert found.thriftier(ours) == pytest.approx(tuple(sorted((rated, alone))))
    if abs(rated - 1) > 1e-6 and abs(alone - 1) > 1e-6:
        agreed = (rated > 1) == (alone > 1)
        assert found.energy_winner(ours) == ((OURS if rated > 1 else "H100 SXM") if agreed else None)


def test_all_opponents_are_of_the_same_work_and_ready_for_json() -> None:
    ours = estimate(GPT2, PAPER)
    found = opponents(ours)
    assert [each.name for each in found][:3] == [
        "digital at 28 nm, cache in SRAM",
        "digital at 28 nm, cache in DRAM",
        "H100 SXM",
    ]
    assert len(found) == 2 + len(ACCELERATORS)
    for each in found:
        data = json.loads(json.dumps(each.to_dict(ours), allow_nan=False))
        assert data["latency_ratio"] == pytest.approx(each.latency_s / ours.latency_s)
        assert data["energy_parts_j"] == {} or sum(data["energy_parts_j"].values()) == pytest.approx(each.energy_j[0])
    assert len({each.energy_j for each in found}) > 4
