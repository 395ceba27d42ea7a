"""Values in cells of one sign: pairs of cells, and cells beside a reference."""

import math
from typing import Any

import pytest
import torch
from imperfect_cases import characterised, with_table
from ops_cases import GROUND_V, ONE_SIGN, ONE_SIGNED, cell
from torch import Tensor

import gaincell
from gaincell import GainCellConfig, InputError
from gaincell.cell import Cell, PolynomialLaw
from gaincell.ops import Ring, naive_attention
from gaincell.ops.model import array_model
from gaincell.ops.naive import naive_products
from gaincell.ops.operands import Operands
from gaincell.ops.terms import Terms
from gaincell.ops.variation import arrays

MISMATCH: dict[str, Any] = {"mismatch_seed": 5, "mismatch_gain": 0.1, "mismatch_zero_v": 0.02}


def linear(polarity: str, coefficients: tuple[float, ...], unit: str = "model", ends_at_v: float = 0.0) -> Cell:
    law = PolynomialLaw.model_validate({"coefficients": coefficients, "unit": unit, "source": "made up"})
    holds = cell("leroux2025").retention.model_copy(update={"ends_at_v": ends_at_v})
    return Cell.model_validate({"name": "linear", "polarity": polarity, "law": law, "retention": holds})


def operands(tokens: int = 30, dim: int = 4) -> tuple[Tensor, Tensor, Tensor]:
    draw = torch.Generator().manual_seed(8)
    q, k, v = (torch.randn(2, heads, tokens, dim, generator=draw, dtype=torch.float64) for heads in (2, 1, 1))
    return 0.1 + 0.7 * q, 0.45 + 0.25 * k, 0.45 + 0.25 * v


#: Powers of two, so that halves and sums are exact.
PAIRS = [("model", (5.0, 8.0), 16.0), ("C/s", (5e-6, 8e-6), 16e-6)]


@pytest.mark.parametrize("ends_at_v", [0.0, -0.45])
@pytest.mark.parametrize(("unit", "one", "slope"), PAIRS)
@pytest.mark.parametrize("leak", [0.0, 0.02])
def test_a_pair_of_ideal_linear_cells_is_the_linear_push_pull_cell(
    leak: float, unit: str, one: tuple[float, ...], slope: float, ends_at_v: float
) -> None:
    """Exactly, wherever both cells decay to: what is common to them cancels."""
    config = GainCellConfig(
        window=16, subtile_columns=4, leak_per_token=leak, score_saturation=9.0, output_scale=7.0, normaliser="ideal"
    )
    alone = config.replace(cell=linear("push_pull", (0.0, slope), unit))
    pair = config.replace(cell=linear("pair", one, unit, ends_at_v))
    q, k, v = operands()
    results = []
    for point in (alone, pair):
        leaves = [x.clone().requires_grad_() for x in (q, k, v)]
        out = gaincell.attention(*leaves, point)
        out.square().sum().backward()
        ring = Ring(2, 1, 4, point, packed=True)
        tokens = zip(q.split(1, 2), k.split(1, 2), v.split(1, 2), strict=True)
        read = torch.cat([ring.extend(*token) for token in tokens], 2)
        results.append([out.detach(), *(x.grad for x in leaves), read])
    for found, expected in zip(results[1], results[0], strict=True):
        assert torch.equal(found, expected)
    torch.testing.assert_close(naive_attention(q, k, v, pair)[0], naive_attention(q, k, v, alone)[0])
    assert results[0][0].any()


@pytest.mark.parametrize("name", ONE_SIGNED)
def test_one_value_draws_what_its_two_cells_differ_by(name: str) -> None:
    config = GainCellConfig(cell=cell(name), leak_per_token=0.05, stored_levels=None, window=64)
    y, age = 0.31, 7
    left = math.exp(-0.05 * age)
    ends = GROUND_V if name.endswith("ground") else 0.0

    def g(stored: float) -> float:
        return sum(c * stored**i for i, c in enumerate(ONE_SIGN))

    other = g(ends + (-y - ends) * left) if name.startswith("pair") else g(0.0)
    expected = g(ends + (y - ends) * left) - other
    terms = Terms.of(config.cell.model_cell_law, config, 1.0)
    found = terms.charge(torch.tensor([y], dtype=torch.float64), torch.tensor([age]))
    assert float(found) == pytest.approx(expected, rel=1e-12)


def test_the_scale_is_set_by_the_value_not_by_one_cell() -> None:
    for polarity, span in (("pair", 2 * (14 * 0.45 + 12 * 0.45**3)), ("reference", None)):
        law = PolynomialLaw(coefficients=tuple(c * 1e-6 for c in ONE_SIGN), unit="C/s", source="made up")
        own = Cell.model_validate({"name": "x", "polarity": polarity, "law": law, "retention": cell("pair").retention})
        whole = span or 14 * 0.45 + 9 * 0.45**2 + 12 * 0.45**3
        assert own.model_law(0.45) == pytest.approx(10.313)
        assert own.coulomb_per_second == pytest.approx(whole * 1e-6 / 10.313)
        assert own.model_cell_law(0.2) * own.coulomb_per_second == pytest.approx(law(0.2))


def test_both_cells_of_a_pair_and_every_reference_differ_by_themselves() -> None:
    like, config = (
        torch.empty(0, dtype=torch.float64),
        GainCellConfig(window=64, subtile_columns=16, subtile_rows=4, **MISMATCH),
    )
    alone = arrays(config, 2, 8, like)
    pairs = arrays(config.replace(cell=cell("pair")), 2, 8, like)
    beside = arrays(config.replace(cell=cell("reference")), 2, 8, like)
    assert alone
    assert pairs
    assert beside
    for own, pair, single in zip(alone, pairs, beside, strict=True):
        assert pair.other is not None
        assert single.other is not None
        assert own.other is None
        assert torch.equal(pair.gain, own.gain)
        assert torch.equal(single.zero, own.zero)
        drawn = torch.stack([pair.gain.flatten(), pair.other.gain.flatten(), pair.other.zero.flatten()])
        assert float((torch.corrcoef(drawn) - torch.eye(3)).abs().max()) < 6 / 1024**0.5
    keys, values = (x.other for x in beside)
    assert keys is not None
    assert values is not None
    tiles = keys.gain.unflatten(1, (4, 16))
    assert torch.equal(tiles, tiles[:, :, :1].expand_as(tiles)), "one column a sub-tile of keys"
    assert not torch.equal(tiles[:, 0], tiles[:, 1])
    lines = values.gain.unflatten(2, (2, 4))
    assert torch.equal(lines, lines[..., :1].expand_as(lines)), "one line a sub-tile of values"
    assert not torch.equal(lines[:, :, 0], lines[:, :, 1])


@pytest.mark.parametrize("polarity", ["pair", "reference"])
def test_a_reference_cell_off_its_zero_offsets_every_column_that_shares_it(polarity: str) -> None:
    """Nothing but gain differs, and every value is zero: S of a column is what its own and other cells differ by."""
    config = GainCellConfig(
        window=8, subtile_columns=4, cell=cell(polarity), leak_per_token=0.0, stored_levels=None, query_levels=None
    )
    config = config.replace(mismatch_seed=1, mismatch_gain=0.1, mismatch_zero_v=0.0)
    drawn = arrays(config, 1, 2, torch.empty(0, dtype=torch.float64))
    assert drawn is not None
    assert drawn[0].other is not None
    zero = torch.full((1, 1, 8, 2), 0.45, dtype=torch.float64)
    score = (drawn[0].gain - drawn[0].other.gain)[0].sum(1) * ONE_SIGN[0]
    preset = torch.full((1, 1, 8), 0.5, dtype=torch.float64)
    phi = naive_products(Operands(torch.ones_like(zero), zero, zero, preset), array_model(config))[2]
    torch.testing.assert_close(phi[0, 0, 7], score / config.score_saturation + 0.5)


def test_a_table_ages_both_cells_of_a_pair() -> None:
    config = GainCellConfig(
        window=64, cell=with_table(cell("pair")), retention="table", token_period_s=1e-8, stored_levels=8
    )
    terms = Terms.of(config.cell.model_cell_law, config, 1.0)
    y, age = torch.tensor([0.45], dtype=torch.float64), torch.tensor([20])
    found = float(terms.charge(y, age))
    g = cell("pair").law
    part, ends = 0.2 / 0.7, {}  # of the way to the table's entry at 0.7 us
    for sign, (a, b) in {1: (0.1, 0.4), -1: (-0.2, -0.4)}.items():
        left = [x + part * (0.9 * x + 0.01 - x) for x in (a, b)]
        ends[sign] = left[0] + (left[1] - left[0]) * (sign * 0.45 - a) / (b - a)
    assert found == pytest.approx(g(ends[1]) - g(ends[-1]), rel=1e-9)


@pytest.mark.parametrize(
    ("polarity", "aged"), [("pair", (-0.76, 0.0, 0.76)), ("reference", (-0.60, -0.10, 0.61))], ids=["pair", "reference"]
)
def test_an_old_zero_is_one_in_a_pair_and_none_beside_a_reference(polarity: str, aged: tuple[float, ...]) -> None:
    """The figures of docs/circuit.md: cells that leak to ground, as fast as those of `extended`, for 1,023 tokens."""
    ground = cell("pair").retention.model_copy(update={"ends_at_v": -0.45})
    config = GainCellConfig.named("extended")
    config = config.replace(cell=cell(polarity).model_copy(update={"retention": ground}))
    y = torch.tensor([-0.45, 0.0, 0.45], dtype=torch.float64)
    charge = Terms.of(config.cell.model_cell_law, config, 1.0).charge(y, torch.full((3,), 1023))
    found = charge / config.cell.model_law(0.45)
    assert found.tolist() == pytest.approx(aged, abs=0.005)


def test_feedthrough_of_a_pair_is_that_of_both_cells() -> None:
    own = characterised(cell("pair"), 15e-9, 1.0, (0.0, 0.0))
    config = GainCellConfig(cell=own, feedthrough=True, leak_per_token=0.0, window=64, stored_levels=None)
    terms = Terms.of_feedthrough(config, 1.0)
    edges = own.model_feedthrough(15e-9)
    assert terms is not None
    assert edges is not None
    found = float(terms.charge(torch.tensor([0.3], dtype=torch.float64), torch.tensor([0])))
    assert found == pytest.approx(2 * edges[1] * 0.3)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"cell": cell("pair"), "zero_v": 0.4}, ["half of stored_max_v", "0.4"]),
        ({"cell": cell("reference"), "stored_max_v": 4.0, "zero_v": 2.0}, ["law of one sign", "turns"]),
        ({"cell": cell("pair to ground"), "leak_form": "factored"}, ["leak_form 'factored'", "-0.38"]),
    ],
)
def test_a_design_point_that_such_cells_cannot_be_is_refused(fields: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(InputError) as refused:
        GainCellConfig(**fields)
    assert all(word in str(refused.value) for word in words), refused.value
