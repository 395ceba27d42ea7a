"""How many cells have lost their level: by the spread of retention, at the age a token gets."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gaincell import GainCellConfig
from gaincell.cell import Retention
from gaincell.hardware import HardwareParameters, estimate
from gaincell.hardware.lost import kept_s, share_lost
from gaincell.ops.leak import voltage_at, written_voltages
from gaincell.ops.variation import normal

PAPER = GainCellConfig.named("leroux2025").replace(leak_per_token=None)
GPT2 = {"model_type": "gpt2"}
HALF = 0.9 / 14


def tabled() -> GainCellConfig:
    time = [0.0, 1.0, 3.0, 10.0, 100.0]
    stored = [[y * x for x in (1.0, 0.9, 0.7, 0.3, 0.1)] for y in (-0.45, 0.2, 0.45)]
    holds = Retention.model_validate(
        {"tau": 5, "unit": "ms", "source": "a test", "table": {"time": time, "stored": stored}}
    )
    cell = PAPER.cell.model_copy(update={"retention": holds})
    return PAPER.replace(cell=cell, retention="table", token_period_s=1e-6)


def test_a_level_is_kept_as_the_exponential_or_the_table_says() -> None:
    assert kept_s(PAPER, 0.45, HALF) == pytest.approx(-5e-3 * math.log(1 - HALF / 0.45))
    assert kept_s(PAPER, 0.05, HALF) == math.inf
    to_ground = PAPER.cell.retention.model_copy(update={"ends_at_v": -0.45})
    ground = PAPER.replace(cell=PAPER.cell.model_copy(update={"retention": to_ground}))
    assert kept_s(ground, 0.45, HALF) == pytest.approx(-5e-3 * math.log(1 - HALF / 0.9))
    assert kept_s(ground, -0.45, HALF) == math.inf
    assert kept_s(tabled(), 0.45, 0.09) == pytest.approx(2e-3)
    assert kept_s(tabled(), 0.3, 0.06) == pytest.approx(2e-3)
    assert kept_s(tabled(), 0.45, 0.44) == 0.1, "no longer than the table says"


@pytest.mark.parametrize("point", ["exponential", "table"])
def test_the_share_is_that_of_cells_that_are_drawn(point: str) -> None:
    config = (PAPER.replace(token_period_s=1e-6) if point == "exponential" else tabled()).replace(retention_spread=0.7)
    y = written_voltages(config)[:, None]
    pace = normal(3, torch.arange(20_000)).mul_(0.7).exp_().expand(len(y), -1)
    for age_s in (0.2e-3, 1e-3, 4e-3):
        moved = (voltage_at(y, age_s / 1e-6 * pace, config) - y).abs()
        found = share_lost(config, age_s)
        assert float((moved > HALF).double().mean()) == pytest.approx(found, abs=5 * 0.5 / 20_000**0.5)


@given(st.floats(1e-6, 1.0), st.floats(1.0, 10.0), st.sampled_from([0.0, 0.3, 1.0]))
def test_it_grows_with_age_and_is_a_share(age_s: float, longer: float, spread: float) -> None:
    config = PAPER.replace(retention_spread=spread)
    before, after = share_lost(config, age_s), share_lost(config, age_s * longer)
    assert before is not None
    assert after is not None
    assert 0.0 <= before <= after <= 1.0


def test_an_estimate_tells_it_at_the_oldest_age_and_only_where_the_spread_is_known() -> None:
    assert estimate(GPT2, PAPER).retention.lost is None
    fields: dict[str, Any] = {"retention_spread": 0.5}
    found = estimate(GPT2, PAPER.replace(**fields))
    assert found.retention.lost == share_lost(PAPER.replace(**fields), 1024 * found.token_period_s)
    assert 0 < (found.retention.lost or 0) < 0.5
    assert any("off by half a step" in row.name for row in found.table())
    slow = PAPER.replace(token_period_s=17e-6, **fields)
    refreshed = estimate(GPT2, slow, HardwareParameters(refresh="rewrite"))
    assert refreshed.retention.lost == pytest.approx(share_lost(slow, 1024 * 17e-6 / 4))
    assert share_lost(PAPER.replace(stored_levels=None, **fields), 1e-3) is None
    even = PAPER.replace(storage="linearised", **fields)
    assert (share_lost(even, 1e-3) or 0) > 0
