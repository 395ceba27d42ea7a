"""Rooflines: bounds that grow with the work, add up, and obey Amdahl; and what they say of the published baselines."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gaincell.errors import InputError
from gaincell.hardware import datasheets as catalogue
from gaincell.hardware import published_gpus
from gaincell.hardware.datasheets import ACCELERATORS, H100_SXM, Accelerator
from gaincell.hardware.decoder import GPT2, LLAMA3_8B, LLAMA3_70B, DecoderShape
from gaincell.hardware.published_gpus import BASELINE_BATCH, BASELINE_LAYER, BASELINE_WINDOW, GpuBaseline
from gaincell.hardware.roofline import (
    NVLINK_C2C,
    Link,
    attention_roofline,
    decoder_roofline,
    whole_token,
)
from gaincell.hardware.workload import Workload

shapes = st.builds(
    lambda layers, kv_heads, group, head_dim: Workload.uniform(layers, kv_heads * group, kv_heads, head_dim),
    st.integers(1, 80),
    st.integers(1, 16),
    st.integers(1, 8),
    st.integers(1, 256),
)
decoders = st.builds(
    DecoderShape, shapes, st.integers(1, 8192), st.integers(1, 30000), st.booleans(), st.integers(1, 200_000)
)
accelerators = st.sampled_from(list(ACCELERATORS.values()))
windows, batches, widths = st.integers(1, 200_000), st.integers(1, 4096), st.floats(0.25, 8)
FREE = Link(1e30, 0.0, 0.0, "nothing")


@given(shapes, accelerators, windows, batches, widths, st.integers(0, 1000), st.integers(0, 100), st.floats(0, 4))
def test_attention_grows_with_window_batch_and_bytes(
    shape: Workload, on: Accelerator, window: int, batch: int, width: float, tokens: int, more: int, bytes_: float
) -> None:
    found = attention_roofline(shape, window, on, batch, width)
    for larger in (
        attention_roofline(shape, window + tokens, on, batch, width),
        attention_roofline(shape, window, on, batch, width + bytes_),
    ):
        assert larger.latency_s >= found.latency_s
        assert larger.energy_j >= found.energy_j
    crowd = attention_roofline(shape, window, on, batch + more, width)
    assert crowd.latency_s >= found.latency_s
    assert crowd.energy_j == pytest.approx(found.energy_j)  # caches are not shared: nothing is saved


@given(decoders, accelerators, batches, widths, st.integers(0, 100), st.floats(0, 4))
def test_a_batch_shares_the_weights(
    decoder: DecoderShape, on: Accelerator, batch: int, width: float, more: int, bytes_: float
) -> None:
    found = decoder_roofline(decoder, on, batch, width)
    crowd = decoder_roofline(decoder, on, batch + more, width)
    assert crowd.latency_s >= found.latency_s
    assert crowd.energy_j <= found.energy_j * (1 + 1e-12)
    assert crowd.moved_bytes == found.moved_bytes
    wider = decoder_roofline(decoder, on, batch, width + bytes_)
    assert wider.latency_s >= found.latency_s
    assert wider.energy_j >= found.energy_j


@given(shapes, decoders, accelerators, windows, batches, widths)
def test_the_slower_of_memory_and_arithmetic_decides_and_energy_follows(
    shape: Workload, decoder: DecoderShape, on: Accelerator, window: int, batch: int, width: float
) -> None:
    for found in (attention_roofline(shape, window, on, batch, width), decoder_roofline(decoder, on, batch, width)):
        assert found.latency_s == max(found.flop / on.flop_per_s, found.moved_bytes / on.bytes_per_s)
        assert found.energy_j * batch == pytest.approx(found.latency_s * on.board_power_w)
        alone_j = found.flop * on.flop_j + found.moved_bytes * on.byte_j
        assert found.idle_free_j * batch == pytest.approx(alone_j)
        assert found.energy_range_j == tuple(sorted((found.energy_j, found.idle_free_j)))
        layer = found.per_layer
        assert layer.latency_s * found.layers == pytest.approx(found.latency_s)
        assert layer.energy_j * found.layers == pytest.approx(found.energy_j)
        assert layer.idle_free_j * found.layers == pytest.approx(found.idle_free_j)


def test_figures_by_hand() -> None:
    rest = decoder_roofline(LLAMA3_8B, H100_SXM)
    assert rest.latency_s == pytest.approx(7.504658432e9 * 2 / 3.35e12)
    assert rest.energy_j == pytest.approx(700 * rest.latency_s)
    crowd = decoder_roofline(LLAMA3_8B, H100_SXM, batch=1024)  # above 295 operations a byte arithmetic decides
    assert crowd.latency_s == pytest.approx(1024 * 2 * 7.504658432e9 / 989e12)
    cache = attention_roofline(LLAMA3_8B.attention, 8192, H100_SXM)
    assert cache.moved_bytes == 2 * (2 * 32 * 8 * 128 * 8192 + 2 * 32 * 32 * 128)
    assert cache.flop == 4 * 32 * 32 * 128 * 8192


@pytest.mark.parametrize("name", ACCELERATORS)
def test_operations_and_memory_alone_take_less_than_a_busy_board(name: str) -> None:
    for batch in (1, 64, 1024):
        found = decoder_roofline(LLAMA3_8B, ACCELERATORS[name], batch)
        assert found.idle_free_j < found.energy_j


# The whole token


@given(decoders, st.floats(0, 1), st.floats(0, 10), windows, accelerators)
def test_a_whole_token_adds_up_and_gains_no_more_than_amdahl_allows(
    decoder: DecoderShape, seconds: float, joules: float, window: int, on: Accelerator
) -> None:
    found = whole_token(decoder, seconds, joules, window, on)
    assert found.latency_s == pytest.approx(found.rest.latency_s + found.transfer_latency_s + seconds)
    assert found.energy_j == pytest.approx(found.rest.energy_j + found.transfer_energy_j + joules)
    assert found.digital_latency_s == pytest.approx(found.rest.latency_s + found.digital_attention.latency_s)
    assert found.digital_energy_j == pytest.approx(found.rest.energy_j + found.digital_attention.energy_j)
    assert found.latency_gain <= found.latency_bound
    assert found.energy_gain <= found.energy_bound
    assert found.idle_free_j == pytest.approx(found.rest.idle_free_j + found.transfer_energy_j + joules)
    assert found.digital_idle_free_j == pytest.approx(found.rest.idle_free_j + found.digital_attention.idle_free_j)
    assert found.latency_bound == pytest.approx(1 / (1 - found.attention_share))


@given(decoders, windows, accelerators)
def test_the_ends_of_the_gain(decoder: DecoderShape, window: int, on: Accelerator) -> None:
    nothing = whole_token(decoder, 0, 0, window, on, FREE)
    assert nothing.latency_gain == pytest.approx(nothing.latency_bound)
    assert nothing.energy_gain == pytest.approx(nothing.energy_bound)
    same = nothing.digital_attention
    equal = whole_token(decoder, same.latency_s, same.energy_j, window, on, FREE)
    assert equal.latency_gain == pytest.approx(1)
    assert equal.energy_gain == pytest.approx(1)


def test_transfers_carry_queries_keys_values_and_outputs() -> None:
    found = whole_token(GPT2, 0, 0, 1024)
    carried = 12 * 4 * 768 * 2
    assert found.transfer_latency_s == pytest.approx(carried / 450e9 + 24 * 100e-9)
    assert found.transfer_energy_j == pytest.approx(8 * carried * 1.3e-12)
    quick = whole_token(GPT2, 0, 0, 1024, link=replace(NVLINK_C2C, transfer_s=0))
    assert quick.transfer_latency_s < 0.1 * found.transfer_latency_s


def test_what_one_accelerator_cannot_hold_is_told() -> None:
    assert whole_token(LLAMA3_8B, 0, 0, 8192).fits
    assert not whole_token(LLAMA3_70B, 0, 0, 1024).fits
    assert not whole_token(LLAMA3_8B, 0, 0, 1_000_000).fits


# The published baselines


@pytest.mark.parametrize(
    ("baseline", "on"),
    [(published_gpus.RTX_4090, catalogue.RTX_4090), (published_gpus.JETSON_NANO, catalogue.JETSON_NANO)],
    ids=lambda x: x.name,
)
def test_published_baselines_stand_above_the_roofline_of_their_hardware(baseline: GpuBaseline, on: Accelerator) -> None:
    """As time per token of a batch, in their float32; more than ten times above would be a slip of units."""
    found = attention_roofline(BASELINE_LAYER, BASELINE_WINDOW, on, BASELINE_BATCH, bytes_per_number=4)
    assert found.latency_s / BASELINE_BATCH < baseline.latency_s < 10 * found.latency_s / BASELINE_BATCH
    assert found.energy_j < baseline.energy_j < 10 * found.energy_j


@pytest.mark.parametrize(
    ("baseline", "latency", "energy"),
    [(published_gpus.RTX_4090, 344, 9.7e4), (published_gpus.JETSON_NANO, 7520, 4.4e4)],
    ids=str,
)
def test_ratios_to_the_published_layer(baseline: GpuBaseline, latency: float, energy: float) -> None:
    assert baseline.latency_s / 65e-9 == pytest.approx(latency, rel=1e-3)
    assert baseline.energy_j / 73.8e-9 == pytest.approx(energy, rel=3e-3)


@pytest.mark.parametrize(
    ("name", "value"), [("window", 0), ("batch", 0), ("batch", -1), ("bytes_per_number", 0), ("window", float("nan"))]
)
def test_refused(name: str, value: float) -> None:
    arguments = {"window": 1024, "batch": 1, "bytes_per_number": 2, name: value}
    with pytest.raises(InputError, match=name):
        attention_roofline(GPT2.attention, accelerator=H100_SXM, **arguments)  # pyright: ignore[reportArgumentType]


def test_an_estimate_below_zero_is_refused() -> None:
    with pytest.raises(InputError, match="attention_energy_j"):
        whole_token(GPT2, 1e-6, -1e-6, 1024)
