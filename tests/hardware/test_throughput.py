"""Many users: what adds up, what is shared, the figures that papers quote, and what is refused."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gaincell.config import GainCellConfig
from gaincell.errors import InputError
from gaincell.hardware import GPT2, HardwareParameters, Workload, estimate
from gaincell.hardware.decoder import LLAMA3_8B
from gaincell.hardware.roofline import H100_SXM, attention_roofline, decoder_roofline, whole_token
from gaincell.hardware.throughput import throughput
from gaincell.hardware.whole_token import estimate_whole

PAPER = GainCellConfig.named("leroux2025")
TURNS = HardwareParameters(array_pairs=12)


def test_figures_of_the_published_layer_as_papers_quote_them() -> None:
    """2 x 12 heads x 128 numbers x 1,024 columns in 65 ns and 72.1 nJ on 6 mm2, and a layer of twelve at a time."""
    found = throughput(estimate(GPT2, PAPER), 1)
    rows = {row.name: row for row in found.table()}
    operations = 2 * 12 * 128 * 1024
    assert found.operations == 12 * operations
    assert rows["operations per second and watt"].value == pytest.approx(operations / 72.1e-9 * 1e-12, rel=1e-3)
    at_work = rows["operations per second and area, arrays at work"]
    assert at_work.value == pytest.approx(operations / 65e-9 / 6 * 1e-12)
    assert rows["operations per second and area, all, generating"].value == pytest.approx(at_work.value / 12)
    assert found.tokens_per_s == pytest.approx(1 / (12 * 65e-9))
    assert found.prompt_tokens_per_s == pytest.approx(1 / (12 * 45e-9))
    assert found.users_per_chip == 5  # of 72 mm2 on 400
    assert throughput(estimate(GPT2, PAPER), 64).chips == 13
    assert len(rows) == len(found.table())


@settings(max_examples=20)
@given(st.integers(1, 8), st.integers(1, 8), st.integers(1, 64), st.integers(1, 64))
def test_users_with_arrays_of_their_own_do_not_slow_each_other(layers: int, heads: int, users: int, more: int) -> None:
    one = estimate(Workload.uniform(layers, heads, heads, 64), PAPER)
    few, many = throughput(one, users), throughput(one, users + more)
    for name in ("tokens_per_s", "prompt_tokens_per_s", "area_m2", "power_w"):
        assert getattr(many, name) / getattr(few, name) == pytest.approx((users + more) / users)
    assert many.chips >= few.chips
    assert many.energy_j == few.energy_j == one.energy_j
    assert few.power_w == pytest.approx(few.tokens_per_s * few.energy_j)
    assert many.users_per_chip == few.users_per_chip


def test_users_that_take_turns_share_arrays_and_time() -> None:
    cost = estimate(GPT2, PAPER, TURNS)
    one, many = throughput(cost, 1), throughput(cost, 64)
    assert many.shared
    assert many.prompt_tokens_per_s == one.prompt_tokens_per_s == pytest.approx(1 / cost.latency_s)
    assert (many.tokens_per_s, many.area_m2, many.energy_j) == (one.tokens_per_s, one.area_m2, one.energy_j)
    per_user = {row.name: row.value for row in many.table()}["64 users, generating: tokens of one user"]
    assert per_user == pytest.approx(one.tokens_per_s / 64)


@pytest.mark.parametrize(("built", "at_work"), [(12, 1.0), (6, 1.0), (24, 0.5), (143, 12 / 143)])
def test_of_shared_arrays_those_of_one_layer_work_at_a_time(built: int, at_work: float) -> None:
    found = throughput(estimate(GPT2, PAPER, HardwareParameters(array_pairs=built)), 8)
    rows = {row.name: row.value for row in found.table()}
    working, whole = (rows[f"operations per second and area, {of}"] for of in ("arrays at work", "all, generating"))
    assert whole / working == pytest.approx(at_work)


def test_one_user_may_fill_several_chips() -> None:
    large = throughput(estimate(LLAMA3_8B, PAPER), 2)
    assert (large.users_per_chip, large.chips) == (pytest.approx(1 / 3), 6)  # 9.72 cm2 a user


@pytest.mark.parametrize(
    ("users", "parameters", "complaint"),
    [
        (0, HardwareParameters(), "a batch has 1 user or more, not 0"),
        (3, HardwareParameters(array_pairs=2 * 144), "array_pairs 288 are enough for 2 of 3 users; build 432"),
    ],
)
def test_refused(users: int, parameters: HardwareParameters, complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        throughput(estimate(GPT2, PAPER, parameters), users)
    assert throughput(estimate(GPT2, PAPER, HardwareParameters(array_pairs=3 * 144)), 3).tokens_per_s > 0


def test_a_batch_shares_the_weights_of_the_rest_and_not_the_caches() -> None:
    """On an H100 attention's share grows with the batch, and so does what gain cells can gain."""
    one, many = (whole_token(LLAMA3_8B, 1e-6, 1e-6, 8192, batch=n) for n in (1, 64))
    assert many.digital_attention.latency_s == pytest.approx(64 * one.digital_attention.latency_s)
    assert many.rest.latency_s == decoder_roofline(LLAMA3_8B, H100_SXM, 64).latency_s < 64 * one.rest.latency_s
    assert many.digital_attention == attention_roofline(LLAMA3_8B.attention, 8192, H100_SXM, 64)
    assert many.attention_share > 10 * one.attention_share
    assert many.latency_gain > one.latency_gain
    assert many.transfer_energy_j == one.transfer_energy_j
    assert not many.fits
    p = HardwareParameters(refresh="rewrite")
    alone, crowd = (estimate_whole(LLAMA3_8B, PAPER, p, batch=n)[0] for n in (1, 64))
    assert crowd.token_period_s > alone.token_period_s
    assert throughput(crowd, 64).tokens_per_s == pytest.approx(64 / crowd.token_period_s)


def test_an_estimate_without_energy_is_refused() -> None:
    found = estimate(GPT2, PAPER)
    with pytest.raises(InputError, match="has no energy or no area"):
        throughput(replace(found, layers=()), 1)
