"""Z from reference columns: each sub-tile reads its pulses out in the finest range that holds them."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from ops_cases import MEASURED, Case, cases
from torch import Tensor

import gaincell
from gaincell import GainCellConfig
from gaincell.ops import naive_attention
from gaincell.ops.blocked import blocked_products
from gaincell.ops.model import array_model
from gaincell.ops.operands import Operands
from gaincell.ops.readout import Normaliser, Readout


def count(fired: Tensor, config: GainCellConfig) -> Tensor:
    normaliser = Normaliser.of(config)
    assert normaliser is not None
    return normaliser(fired)


PATHS = ("naive", "blocked")
COLUMN = GainCellConfig(normaliser="column", leak_per_token=0.0)


def attend(case: Case, **changes: object) -> Tensor:
    return gaincell.attention(case.q, case.k, case.v, case.config.replace(**changes), **case.options)


def test_the_finest_range_that_holds_the_pulses_is_read_out() -> None:
    fired = torch.tensor([0.0, 0.1, 3.999, 4.0, 4.001, 15.9, 16.0, 16.5, 63.0, 64.0, 70.0], dtype=torch.float64)
    held = torch.tensor([4.0, 4, 4, 4, 16, 16, 16, 64, 64, 64, 64], dtype=torch.float64)
    for config in (COLUMN, COLUMN.replace(readout="counter"), COLUMN.replace(output_levels=7)):
        torch.testing.assert_close(count(fired, config), held * Readout.of(config)(fired / held))
    assert count(fired, COLUMN.replace(normaliser="ideal")) is fired


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_full_range_is_on_the_same_side_of_its_tie_in_every_precision(dtype: torch.dtype) -> None:
    """Pulses in full add up to whole numbers, and 31 half-steps of 32 levels lie between two codes."""
    config = COLUMN.replace(normaliser_ranges=(3.0, 7.0, 11.0))
    found = count(torch.tensor([3.0, 7.0, 11.0], dtype=dtype), config)
    torch.testing.assert_close(found, torch.tensor([3.0, 7.0, 11.0], dtype=dtype) * 16 / 15.5)


def test_gradients_pass_up_to_the_last_range() -> None:
    fired = torch.tensor([0.0, 1.3, 4.0, 30.0, 64.0, 64.1, 90.0], requires_grad=True)
    count(fired, COLUMN).sum().backward()
    assert fired.grad is not None
    assert fired.grad.tolist() == [1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0]


@pytest.mark.parametrize("path", PATHS)
@given(case=cases(most_tokens=40))
def test_unquantised_columns_that_hold_all_pulses_are_ideal(path: str, case: Case) -> None:
    case = replace(case, config=case.config.replace(output_levels=None, path=path))
    columns = attend(case, normaliser="column", normaliser_ranges=(0.4, 0.9, float(case.config.subtile_columns)))
    torch.testing.assert_close(columns, attend(case, normaliser="ideal"), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("path", PATHS)
@settings(max_examples=settings().max_examples // 2)  # twelve computations each
@given(case=cases(most_tokens=40), ranges=st.sampled_from(((4.0, 8.0), (0.83, 2.71, 8.0))))
def test_more_levels_bring_columns_closer_to_ideal(path: str, case: Case, ranges: tuple[float, ...]) -> None:
    """Z is off by half a step of the range a sub-tile, or a whole one at the full code of the reference."""
    config = case.config.replace(path=path, normaliser_ranges=ranges)
    phi = naive_attention(case.q, case.k, case.v, config, **case.options)[1]
    epsilon = config.normaliser_epsilon
    for levels in (33, 1 << 12, 1 << 16):
        fine = replace(case, config=config.replace(output_levels=levels))
        sums, ideal = attend(fine, normaliser="none"), attend(fine, normaliser="ideal")
        columns = attend(fine, normaliser="column")
        z = phi.sum(-1, keepdim=True)
        off = config.tiles * ranges[-1] / (levels - 3)
        bound = sums.abs() * off / ((z + epsilon) * (z - off).clamp(min=0).add(epsilon)) + 1e-9
        assert bool(((columns - ideal).abs() <= bound).all())


def test_a_sub_tile_of_newest_and_oldest_tokens_is_read_out_once() -> None:
    """Two pulses of 1 share a range of 2, and each alone would be clamped by a range of 1."""
    config = COLUMN.replace(window=2, subtile_columns=2, normaliser_ranges=(2.0,), output_levels=3, output_scale=4.0)
    q, k = torch.ones(1, 1, 5, 16, dtype=torch.float64), torch.full((1, 1, 5, 16), 0.9, dtype=torch.float64)
    for path in PATHS:
        found = gaincell.attention(q, k, k, config.replace(path=path))
        # Outputs are at full scale. The first token is alone: its 1 of 2 lies between two codes, and the even one is 0.
        expected = torch.tensor([1 / config.normaliser_epsilon] + [1 / (2 + config.normaliser_epsilon)] * 4)
        torch.testing.assert_close(found[0, 0, :, 0], expected.double())


def test_float32_flips_few_read_outs_of_z() -> None:
    config = GainCellConfig.named("leroux2025").replace(normaliser="column")  # Z is the sum of 16 read-outs
    generator = torch.Generator().manual_seed(1)

    def normal(mean: float, deviation: float) -> Tensor:
        return mean + deviation * torch.randn(1, 8, 2048, 64, generator=generator)

    operands = normal(0.2, 0.7), normal(0.45, 0.25), normal(0.45, 0.25)
    model, converted = array_model(config), Operands(*operands).convert(config)
    wide = Operands(converted.q.double(), converted.k.double(), converted.v.double(), converted=True)
    expected, found = blocked_products(wide, model)[1], blocked_products(converted, model)[1]
    step = config.normaliser_ranges[0] / 15.5
    flips = int(((found - expected).abs() > 0.5 * step).sum())
    MEASURED["float32: flipped read-outs of Z"] = f"{flips} of {16 * found.numel()}"
    assert float(expected.std()) > step
    assert flips < 1e-4 * found.numel()
