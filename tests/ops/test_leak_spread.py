"""Cells that leak each at its own pace: what one does, how they are drawn, and who refuses them."""

import math
from typing import Any

import pytest
import torch
from imperfect_cases import with_table
from ops_cases import dense_attention
from torch import Tensor

import gaincell
from gaincell import GainCellConfig, InputError
from gaincell.ops import Ring, naive_attention
from gaincell.ops.dispatch import check_path, path_of
from gaincell.ops.leak import aged_voltage, decay_table, voltage_at, written_voltages
from gaincell.ops.model import array_model
from gaincell.ops.variation import arrays

SPREAD: dict[str, Any] = {"retention_seed": 7, "retention_spread": 0.5}
CONFIG = GainCellConfig(window=8, subtile_columns=4, leak_per_token=0.03, score_saturation=60.0)


def operands(tokens: int = 21, dim: int = 4) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    q, k, v = (torch.rand(2, heads, tokens, dim, generator=generator, dtype=torch.float64) for heads in (4, 2, 2))
    return q, 0.9 * k, 0.9 * v


def test_one_cell_is_as_old_as_its_pace_makes_it() -> None:
    """S of one query and one key, by the equation and the cell's draw."""
    config = CONFIG.replace(stored_levels=None, query_levels=None, **SPREAD)
    q = torch.zeros(1, 1, 6, 1, dtype=torch.float64)
    q[0, 0, 5] = 1.0
    k = torch.full((1, 1, 6, 1), 0.45, dtype=torch.float64)
    k[0, 0, 2] = 0.87
    _, phi = naive_attention(q, k, k, config)
    drawn = arrays(config, 1, 1, q)
    assert drawn is not None
    assert drawn[0].pace is not None
    pace = float(drawn[0].pace[0, 2, 0])
    left = 0.42 * math.exp(-0.03 * 3 * pace)
    expected = config.cell.model_law(left) / 60.0
    assert float(phi[0, 0, 5, 2]) == pytest.approx(expected, rel=1e-12)
    assert abs(pace - 1) > 0.05


def test_paces_are_log_normal_and_independent_of_what_else_is_drawn() -> None:
    config = CONFIG.replace(window=512, subtile_columns=64, mismatch_seed=7, mismatch_gain=0.1, mismatch_zero_v=0.01)
    like = torch.empty(0, dtype=torch.float64)
    alike, found = arrays(config, 4, 64, like), arrays(config.replace(**SPREAD), 4, 64, like)
    assert alike is not None
    assert found is not None
    cells = 4 * 512 * 64
    for before, now in zip(alike, found, strict=True):
        assert torch.equal(before.gain, now.gain)
        assert torch.equal(before.zero, now.zero)
        assert now.pace is not None
        log = now.pace.log()
        assert abs(float(log.mean())) < 6 * 0.5 / cells**0.5
        assert float(log.std()) == pytest.approx(0.5, rel=6 / (2 * cells) ** 0.5)
        both = torch.stack([log.flatten(), now.gain.flatten(), now.zero.flatten()])
        assert float((torch.corrcoef(both) - torch.eye(3)).abs().max()) < 6 / cells**0.5
    small, layer = arrays(CONFIG.replace(**SPREAD), 2, 8, like), CONFIG.replace(**SPREAD).for_layer(1)
    assert small is not None
    assert small[0].pace is not None
    assert found[0].pace is not None
    assert torch.equal(small[0].pace, found[0].pace[:2, :8, :8])
    assert layer.retention_seed != 7


@pytest.mark.parametrize("fields", [{"retention_spread": 0.0}, {"leak_per_token": 0.0}])
def test_cells_that_do_not_differ_are_bit_by_bit_alike(fields: dict[str, Any]) -> None:
    config = CONFIG.replace(**fields)
    both = (config, config.replace(**(SPREAD | fields)))
    alone, drawn = (gaincell.attention(*operands(), point) for point in both)
    assert torch.equal(alone, drawn)


def test_float32_and_the_dense_form_and_a_ring_that_goes_back_agree() -> None:
    q, k, v = operands()
    config = CONFIG.replace(output_levels=None, normaliser="ideal", **SPREAD)
    expected = naive_attention(q, k, v, config)[0]
    torch.testing.assert_close(dense_attention(q, k, v, config), expected, rtol=1e-9, atol=1e-9)
    single = gaincell.attention(q.float(), k.float(), v.float(), config)
    torch.testing.assert_close(single.double(), expected, rtol=1e-4, atol=1e-5)
    ring = Ring(2, 2, 4, config)
    ring.recording = True
    ring.extend(q[:, :, :15], k[:, :, :15], v[:, :, :15])
    ring.take_back(4)
    rest = ring.extend(q[:, :, 11:], k[:, :, 11:], v[:, :, 11:])
    torch.testing.assert_close(rest, expected[:, :, 11:], rtol=1e-9, atol=1e-9)
    assert not torch.allclose(expected, naive_attention(q, k, v, config.replace(retention_seed=8))[0])
    assert not torch.allclose(expected, naive_attention(q, k, v, config.replace(retention_seed=None))[0])


def test_a_table_between_tokens_is_the_table() -> None:
    fields: dict[str, Any] = {"retention": "table", "leak_per_token": None, "token_period_s": 0.9e-6}
    config = CONFIG.replace(cell=with_table(CONFIG.cell), **fields)
    y = written_voltages(config)[:, None]
    whole = torch.arange(config.window, dtype=torch.float64)
    assert torch.allclose(voltage_at(y, whole.expand(8, -1), config), decay_table(config)[0])
    between = voltage_at(y, torch.full((8, 1), 4.5, dtype=torch.float64), config)[:, 0]  # within one of its stretches
    assert torch.allclose(between, decay_table(config)[0][:, 4:6].mean(1))
    beyond = voltage_at(y, torch.full((8, 1), 1e6, dtype=torch.float64), config)
    assert beyond.flatten().tolist() == pytest.approx([0.1] * 8)
    one, newest = torch.ones(8, 1, 1, dtype=torch.float64), torch.zeros(1, dtype=torch.long)
    assert torch.allclose(aged_voltage(y[:, None], newest, config, one), aged_voltage(y[:, None], newest, config))


@pytest.mark.parametrize("path", ["blocked", "triton"])
def test_a_path_that_has_no_leaks_of_their_own_refuses(path: str) -> None:
    config = CONFIG.replace(path=path, **SPREAD)
    refused = pytest.raises(InputError, match=f"path '{path}' cannot compute .*leak spread")
    with refused:
        gaincell.attention(*operands(), config)
    with refused:
        Ring(2, 2, 4, config)


def test_nothing_learns_on_them_and_that_is_said() -> None:
    config = CONFIG.replace(**SPREAD)
    q, k, v = operands()
    with pytest.raises(InputError, match="retention_seed null"):
        gaincell.attention(q.requires_grad_(), k, v, config)
    with pytest.raises(InputError, match="retention_seed null"):
        Ring(2, 2, 4, config).extend(q, k, v)
    with pytest.raises(InputError, match="retention_seed null"):
        check_path(array_model(config), learning=True)
    assert path_of(q.detach(), array_model(config)) == "stepwise"
    assert path_of(q.detach(), array_model(config.replace(path="naive"))) == "naive"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"retention_seed": 1}, ["retention_spread", "leroux2025"]),
        ({**SPREAD, "leak_form": "factored"}, ["leak_form 'cell'"]),
        ({**SPREAD, "retention_spread": -0.1}, ["retention_spread"]),
        ({**SPREAD, "retention_spread": 9.0}, ["retention_spread"]),
        ({"retention_seed": -1, "retention_spread": 0.1}, ["retention_seed"]),
    ],
)
def test_what_cannot_be_drawn_is_refused(fields: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        CONFIG.replace(**fields)
    assert all(word in str(caught.value) for word in words)


def test_a_table_that_ends_before_the_fastest_cells_is_refused() -> None:
    fields: dict[str, Any] = {"retention": "table", "leak_per_token": None, "token_period_s": 10e-6}
    config = CONFIG.replace(cell=with_table(CONFIG.cell), **fields)
    gaincell.attention(*operands(), config)
    with pytest.raises(InputError, match=r"leak 4\.48 times as fast"):
        gaincell.attention(*operands(), config.replace(**SPREAD))
