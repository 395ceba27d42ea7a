"""Errors of writes and read disturb: what one cell does, the same on every path and in every order, and who refuses."""

import math
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from imperfect_cases import assert_same, with_table
from ops_cases import Case, assert_same_gradients, cases, dense_attention, gradients
from torch import Tensor

import gaincell
from gaincell import GainCellConfig, InputError
from gaincell.cell import Cell
from gaincell.ops import Ring, attention_map, naive_attention
from gaincell.ops.dispatch import check_path, path_of
from gaincell.ops.leak import aged_voltage
from gaincell.ops.model import array_model
from gaincell.ops.wear import between, written_voltage

#: Figures of a circuit, large enough to see: a third of what was there is left where a cell is written high.
ERRORS = {
    "source": "test",
    "time_s": 1e-8,
    "levels_v": [-0.45, 0.1, 0.45],
    "error_v": [[0.02, 0.04, 0.05], [-0.1, -0.01, 0.03], [-0.3, -0.1, -0.02]],
}
DISTURB = {
    "source": "test",
    "reads": [1.0, 4.0, 20.0],
    "written_v": [-0.45, 0.0, 0.45],
    "shift_v": [[0.02, 0.03, 0.04], [0.0, 0.01, 0.0], [-0.05, -0.08, -0.1]],
}


def worn(cell: Cell) -> Cell:
    """A cell with both."""
    write = {"source": "test", "settling_s": 5e-9, "error_v": 0.02, "errors": ERRORS}
    read = {"source": "test", "feedthrough": [0.0], "nonlinearity": 0, "law_residual": 0, "disturb_v": 0.05}
    circuit = {"write": write, "read": {**read, "disturb": DISTURB}}
    return Cell.model_validate({**cell.model_dump(), "circuit": circuit})


@st.composite
def wearing(draw: st.DrawFn, kinds: tuple[str, ...] = ("writes", "disturb", "reread", "table", "mismatch")) -> Case:
    """A case whose writes are off, whose reads disturb, or both, or whose refreshes read; some decay by a table, and
    some cells differ."""
    pairs = cases(most_tokens=36).filter(lambda case: case.config.cell.polarity != "pair")
    drawn = draw(st.sets(st.sampled_from(kinds)).filter(lambda x: x & {"writes", "disturb", "reread"}))
    drawn -= {"reread"} if "writes" in drawn else set()
    case = draw(cases(most_tokens=36) if "writes" not in drawn else pairs)
    fields: dict[str, Any] = {"cell": worn(case.config.cell)}
    if "writes" in drawn:
        fields |= {"writes": "cell", "unwritten_v": draw(st.sampled_from((None, 0.0)))}
    if "mismatch" in drawn:
        fields |= {"mismatch_seed": 5, "mismatch_gain": 0.2, "mismatch_zero_v": 0.05}
    if "reread" in drawn:
        fields |= {"refresh": "read", "refresh_tokens": draw(st.sampled_from((4, 7, 40)))}
    if drawn & {"disturb", "table", "reread"}:
        levels = case.config.stored_levels or 8
        fields |= {"stored_levels": levels, "leak_form": "cell"}
    if "disturb" in drawn:
        fields |= {"read_disturb": "cell", "disturb_reads": draw(st.sampled_from((0.3, 1.0, 3.0)))}
    if "table" in drawn:
        period_s = draw(st.sampled_from((1e-9, 0.1e-6, 0.9e-6)))
        fields |= {"cell": with_table(fields["cell"]), "retention": "table"}
        fields |= {"leak_per_token": None, "token_period_s": period_s}
    return replace(case, config=case.config.replace(**fields), packed=case.packed and "writes" not in drawn)


def attend(case: Case) -> Tensor:
    return gaincell.attention(case.q, case.k, case.v, case.config, **case.options)


@settings(max_examples=settings().max_examples // 5)
@given(wearing())
def test_every_path_meets_the_same_wear(case: Case) -> None:
    expected, phi = naive_attention(case.q, case.k, case.v, case.config, **case.options)
    assert_same(attend(case), expected, "as it is")
    assert_same(dense_attention(case.q, case.k, case.v, case.config, **case.options), expected, "dense")
    assert_same(case.stream((1,)), expected, "ring, token by token")
    assert_same(case.stream(case.chunks), expected, "ring, in chunks")
    naive = replace(case, config=case.config.replace(path="naive"))
    assert_same(naive.stream(case.chunks), expected, "ring in chunks, naive")
    assert_same(attention_map(case.q, case.k, case.config, **case.options), phi, "attention map")


@settings(max_examples=settings().max_examples // 6)
@given(wearing(kinds=("writes", "mismatch")) | wearing(kinds=("disturb", "reread", "table", "mismatch")))
def test_every_gradient_equals_autograd_through_the_dense_form(case: Case) -> None:
    assert_same_gradients(case, gaincell.attention, gradients(case, dense_attention))


CONFIG = GainCellConfig(window=4, subtile_columns=2, leak_per_token=0.05, score_saturation=60.0)
WORN: dict[str, Any] = {"cell": worn(CONFIG.cell)}


def test_a_write_finds_what_the_token_before_it_left() -> None:
    """What one key's cell holds, turn after turn, by a residual and an offset: E(y, h) = 0.2 (h - y) + 0.1 y + 0.01."""
    line = {"levels_v": [-1.0, 1.0], "error_v": [[-0.1 + 0.01, -0.1 + 0.01 + 0.4], [0.11 - 0.4, 0.11]]}
    cell = WORN["cell"].model_dump()
    cell["circuit"]["write"]["errors"] |= line
    config = CONFIG.replace(cell=cell, writes="cell", stored_levels=None, query_levels=None, unwritten_v=0.0)
    k = 0.9 * torch.rand(1, 1, 12, 1, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    _, phi = naive_attention(torch.ones_like(k), k, k, config)
    held = -0.45
    for turn in range(3):
        y = float(k[0, 0, 4 * turn + 1, 0]) - 0.45
        held = y + 0.2 * (held - y) + 0.1 * y + 0.01
        at = 4 * turn + 3
        score = config.cell.model_law(held * math.exp(-0.05 * 2)) / 60.0
        assert float(phi[0, 0, at, 4 * turn + 1]) == pytest.approx(min(max(score, 0.0), 1.0), abs=1e-12)
        held *= math.exp(-0.05 * 4)


def test_a_token_that_is_not_stored_leaves_its_cells_as_they_are() -> None:
    """A third token finds what the first one left, two turns older."""
    config = CONFIG.replace(**WORN, writes="cell", stored_levels=None)
    k = torch.tensor([0.9, 0.1, 0.3], dtype=torch.float64).repeat_interleave(4).view(1, 1, 12, 1)
    absent = torch.zeros(1, 1, 12, dtype=torch.bool)
    absent[..., 4:8] = True
    first = written_voltage(k[0, 0, :1, 0] - 0.45, torch.zeros(1, dtype=torch.float64), config)
    third = written_voltage(k[0, 0, 8:9, 0] - 0.45, first * math.exp(-0.05 * 8), config)
    ring = Ring(1, 1, 1, config)
    ring.write(k, k, absent=absent)
    assert float(ring.codes[0, 0, 0, 0, 0]) == pytest.approx(float(third), rel=1e-12)
    _, phi = naive_attention(torch.ones_like(k), k, k, config, absent=absent)
    assert float(phi[0, 0, 8, 8]) == pytest.approx(
        min(max(config.cell.model_law(float(third)) / 60.0, 0), 1), abs=1e-12
    )


def test_reads_add_to_what_is_left_of_a_voltage() -> None:
    """S of one key at every age, by the table: each later token has read it 1.5 times."""
    config = CONFIG.replace(**WORN, window=8, read_disturb="cell", disturb_reads=1.5, query_levels=None)
    k = torch.full((1, 1, 8, 1), 0.45, dtype=torch.float64)
    k[0, 0, 0] = 0.9
    _, phi = naive_attention(torch.ones_like(k), k, k, config)
    for t in range(8):
        shift = _interpolated((0, 1, 4, 20), (0.0, -0.05, -0.08, -0.1), 1.5 * t)
        score = config.cell.model_law(0.45 * math.exp(-0.05 * t) + shift) / 60.0
        assert float(phi[0, 0, t, 0]) == pytest.approx(score, rel=1e-12), t
    anew = config.replace(refresh_tokens=3)
    y = torch.full((8, 1), 0.45, dtype=torch.float64)
    _, again = naive_attention(torch.ones_like(k), k, k, anew)
    for t in range(8):
        left = float(aged_voltage(y, torch.arange(8) % 3, anew)[t])
        assert float(again[0, 0, t, 0]) == pytest.approx(config.cell.model_law(left) / 60.0, rel=1e-12), t


def test_a_level_that_is_lost_when_it_is_read_stays_lost() -> None:
    """Eight levels, and a leak that takes 0.45 V beyond the middle to the next lower level within four tokens."""
    config = CONFIG.replace(window=12, refresh="read", refresh_tokens=4, query_levels=None, leak_per_token=0.06)
    step, levels = 0.9 / 7, config.stored_voltages
    k = torch.full((1, 1, 12, 1), 0.45, dtype=torch.float64)
    k[0, 0, 0] = 0.9
    _, phi = naive_attention(torch.ones_like(k), k, k, config)
    held = 0.45
    for t in range(12):
        if t and t % 4 == 0:
            left = held * math.exp(-0.24)
            held = min(levels, key=lambda y: abs(y - left))
        score = config.cell.model_law(held * math.exp(-0.06 * (t % 4))) / 60.0
        assert float(phi[0, 0, t, 0]) == pytest.approx(score, rel=1e-12), t
    assert held == pytest.approx(0.45 - 2 * step), "a level lower with every refresh"
    often = config.replace(refresh_tokens=1)
    _, kept = naive_attention(torch.ones_like(k), k, k, often)
    assert float(kept[0, 0, 11, 0]) == float(kept[0, 0, 0, 0]), "in time, nothing is lost"


def _interpolated(knots: tuple[float, ...], values: tuple[float, ...], x: float) -> float:
    for (a, b), (low, high) in zip(pairwise(knots), pairwise(values), strict=True):
        if x <= b:
            return low + (high - low) * (x - a) / (b - a)
    return values[-1]


def test_a_table_goes_on_along_its_lines() -> None:
    table, knots = ((0.0, 1.0, 4.0), (10.0, 11.0, 14.0)), (0.0, 1.0, 2.0)
    row, column = torch.tensor([0.5, 0.0, 2.0, 0.0]), torch.tensor([0.5, 3.0, 1.0, -1.0])
    assert between(table, (0.0, 1.0), knots, row, column).tolist() == [5.5, 7.0, 21.0, -1.0]
    assert between(table, (0.0, 1.0), knots, row, column, holds=True).tolist() == [5.5, 4.0, 21.0, -1.0]


@settings(max_examples=settings().max_examples // 6)
@given(cases(most_tokens=36))
def test_figures_of_wear_change_nothing_unless_they_are_asked_for(case: Case) -> None:
    same = replace(case, config=case.config.replace(cell=worn(case.config.cell), unwritten_v=0.1, disturb_reads=7.0))
    assert torch.equal(attend(same), attend(case))
    assert torch.equal(same.stream(case.chunks), case.stream(case.chunks))


def test_a_ring_takes_tokens_back_and_forgets_them() -> None:
    """What they were written over is there again, so that the next ones find it."""
    config = CONFIG.replace(**WORN, writes="cell")
    generator = torch.Generator().manual_seed(3)
    q, k, v = (0.9 * torch.rand(2, 1, 11, 3, generator=generator, dtype=torch.float64) for _ in range(3))
    rings = [Ring(2, 1, 3, config) for _ in range(2)]
    for ring in rings:
        ring.recording = True
        ring.write(k[:, :, :7], v[:, :, :7])
    rings[0].extend(q[:, :, 7:10], v[:, :, 7:10], k[:, :, 7:10])
    rings[0].take_back(3)
    outs = [ring.extend(q[:, :, 7:], k[:, :, 7:], v[:, :, 7:]) for ring in rings]
    assert torch.equal(*outs)
    whole = gaincell.attention(q, k, v, config)
    torch.testing.assert_close(outs[0], whole[:, :, 7:], rtol=1e-9, atol=1e-9)
    rings[0].reset()
    torch.testing.assert_close(rings[0].extend(q, k, v), whole, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"cell": "leroux2025", "writes": "cell"}, "circuit.write.errors"),
        ({"cell": "leroux2025", "read_disturb": "cell"}, "circuit.read.disturb"),
        ({"writes": "cell", "refresh_tokens": 2}, "refresh_tokens"),
        ({"writes": "cell", "retention_seed": 2, "retention_spread": 0.1}, "retention_seed"),
        ({"read_disturb": "cell", "retention_seed": 2, "retention_spread": 0.1}, "retention_seed null"),
        ({"read_disturb": "cell", "stored_levels": None}, "stored_levels"),
        ({"refresh": "read"}, "needs refresh_tokens"),
        ({"refresh": "read", "refresh_tokens": 2, "stored_levels": None}, "stored_levels"),
        ({"refresh": "read", "refresh_tokens": 2, "retention_seed": 2, "retention_spread": 0.1}, "retention_seed null"),
        ({"refresh": "read", "refresh_tokens": 2, "writes": "cell"}, "knows no refresh_tokens"),
        ({"read_disturb": "cell", "leak_form": "factored"}, "leak_form 'cell'"),
    ],
)
def test_what_is_not_computed_is_refused(fields: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        CONFIG.replace(**{**WORN, **fields})


def test_what_a_path_or_a_ring_does_not_serve_it_refuses() -> None:
    off = CONFIG.replace(**WORN, writes="cell")
    with pytest.raises(InputError, match="it has no write error"):
        check_path(array_model(off.replace(path="triton")))
    with pytest.raises(InputError, match="it has no read disturb"):
        check_path(array_model(CONFIG.replace(**WORN, read_disturb="cell", path="triton")))
    with pytest.raises(InputError, match="two codes a byte hold no voltages"):
        Ring(1, 1, 2, off, packed=True)
    both = off.replace(read_disturb="cell")
    assert path_of(torch.zeros(1, 1, 1, 2), array_model(both)) == "stepwise"
    with pytest.raises(InputError, match="nothing learns"):
        check_path(array_model(both), learning=True)
    with pytest.raises(InputError, match="it has no tabled write"):
        check_path(array_model(both.replace(path="blocked")))
    pair = Cell.model_validate({**WORN["cell"].model_dump(), "polarity": "pair", "law": ONE_SIGN_LAW})
    with pytest.raises(InputError, match="both cells of a pair"):
        CONFIG.replace(cell=pair, writes="cell")


ONE_SIGN_LAW = {"coefficients": [6.0, 14.0, 9.0, 12.0], "unit": "model", "source": "made up"}


@pytest.mark.parametrize(
    ("part", "change", "says"),
    [
        ("write", {"levels_v": [0.45, 0.1, -0.45]}, "must increase"),
        ("write", {"error_v": [[0.0, 0.0]]}, "3 rows of 3"),
        ("write", {"error_v": [[9.0, 9.0, 9.0]] * 3}, "no voltage of a table"),
        ("write", {"error_v": [[0.0, 0.9, 0.9]] * 3}, "further apart"),
        ("read", {"reads": [0.0, 1.0, 2.0]}, "above zero"),
        ("read", {"shift_v": [[0.1, 0.1, 0.1]]}, "3 rows of 3"),
    ],
)
def test_tables_of_a_cell_file_that_cannot_be_are_refused(part: str, change: dict[str, Any], says: str) -> None:
    fields = WORN["cell"].model_dump(mode="json")
    fields["circuit"][part]["errors" if part == "write" else "disturb"] |= change
    with pytest.raises(InputError, match=says):
        CONFIG.replace(cell=fields)


def test_a_cell_file_without_them_stays_as_it_was() -> None:
    cell = worn(CONFIG.cell)
    assert cell.circuit is not None
    assert cell.circuit.write is not None
    assert cell.circuit.read is not None
    bare = (
        cell.circuit.write.model_copy(update={"errors": None}),
        cell.circuit.read.model_copy(update={"disturb": None}),
    )
    assert "errors" not in bare[0].model_dump()
    assert "disturb" not in bare[1].model_dump()
    assert GainCellConfig(**CONFIG.replace(**WORN).model_dump()) == CONFIG.replace(**WORN)
