"""Circuits that are not ideal: the same on every path and in every order; nothing happens where none is asked for."""

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from imperfect_cases import KINDS, assert_same, characterised, imperfect, with_table
from ops_cases import Case, assert_same_gradients, cases, dense_attention, gradients
from torch import Tensor

import gaincell
from gaincell import GainCellConfig, InputError
from gaincell.ops import Ring, attention_map, naive_attention, variation
from gaincell.ops.variation import arrays, normal

#: Circuits that a model can learn on.
LEARNED = tuple(kind for kind in KINDS if kind != "spread")
MISMATCH = {"mismatch_seed": 3, "mismatch_gain": 0.2, "mismatch_zero_v": 0.05}


def attend(case: Case) -> Tensor:
    return gaincell.attention(case.q, case.k, case.v, case.config, **case.options)


@given(imperfect())
def test_every_path_meets_the_same_circuits(case: Case) -> None:
    expected, phi = naive_attention(case.q, case.k, case.v, case.config, **case.options)
    assert_same(attend(case), expected, "blocked")
    assert_same(case.stream((1,)), expected, "ring, token by token")
    assert_same(case.stream(case.chunks), expected, "ring, in chunks")
    naive = replace(case, config=case.config.replace(path="naive"))
    assert_same(attend(naive), expected, "naive, by config")
    assert_same(naive.stream(case.chunks), expected, "ring in chunks, naive")
    assert_same(attention_map(case.q, case.k, case.config, **case.options), phi, "attention map")


@pytest.mark.parametrize("retention", ["exponential", "table"])
@pytest.mark.parametrize("kinds", [("charge_to_pulse",), ("feedthrough",), ("charge_to_pulse", "feedthrough")])
def test_cells_of_eight_levels_in_circuits_with_offsets_are_the_same_on_every_path(
    kinds: tuple[str, ...], retention: str
) -> None:
    """As shipped design points store; a law and a preset that keep charges off zero, where an offset has no sign."""
    config = GainCellConfig.named("leroux2025").replace(window=16, subtile_columns=4, score_saturation=60.0)
    fields: dict[str, object] = {"feedthrough": "feedthrough" in kinds}
    cell = characterised(config.cell, config.pulse_max_s, 1.3, (0.1, 0.07))
    if "charge_to_pulse" in kinds:
        fields["charge_to_pulse"] = "cell"
    if retention == "table":
        cell = with_table(cell)
        fields |= {"retention": "table", "leak_per_token": None, "token_period_s": 0.9e-6}
    generator = torch.Generator().manual_seed(5)
    q = torch.rand(2, 4, 37, 8, generator=generator, dtype=torch.float64)
    k, v = (0.9 * torch.rand(2, 2, 37, 8, generator=generator, dtype=torch.float64) for _ in range(2))
    preset = torch.full((2, 4, 37), 0.3, dtype=torch.float64)
    case = Case(config.replace(cell=cell, **fields), q, k, v, None, preset, None, (5, 1, 9), packed=False)
    expected, phi = naive_attention(q, k, v, case.config, preset=preset)
    assert 0.05 < float(phi[phi > 0].mean()) < 0.95
    assert_same(attend(case), expected, "blocked")
    assert_same(case.stream((1,)), expected, "ring, token by token")
    assert_same(case.stream(case.chunks), expected, "ring, in chunks")
    assert_same_gradients(case, gaincell.attention, gradients(case, dense_attention))


@settings(max_examples=2 * settings().max_examples)
@given(imperfect(most_tokens=40, kinds=LEARNED))
def test_every_gradient_equals_autograd_through_the_dense_form(case: Case) -> None:
    # Products of few levels may cancel to S = 0 but for rounding, on the edge of the clamp; a preset takes them off it.
    assume(case.preset is not None or case.config.stored_levels is None)
    assert_same_gradients(case, gaincell.attention, gradients(case, dense_attention))


@settings(max_examples=settings().max_examples // 2)
@given(case=cases(most_tokens=40), seed=st.integers(0, 2**63 - 1))
def test_no_deviation_and_no_noise_are_bit_by_bit_an_ideal_circuit(case: Case, seed: int) -> None:
    equal = case.config.replace(mismatch_seed=seed, mismatch_gain=0.0, mismatch_zero_v=0.0, noise_seed=seed)
    assert torch.equal(attend(replace(case, config=equal)), attend(case))
    assert torch.equal(replace(case, config=equal).stream(case.chunks), case.stream(case.chunks))


def test_an_array_differs_as_asked_and_by_seed_array_head_column_and_row() -> None:
    config = GainCellConfig.named("leroux2025").replace(
        mismatch_seed=1, mismatch_gain=0.03, mismatch_zero_v=0.004, window=512
    )
    like = torch.empty(0, dtype=torch.float64)
    found = arrays(config, 4, 64, like)
    assert found is not None
    cells = 4 * 512 * 64
    for array in found:
        for deviations, expected in ((array.gain - 1.0, 0.03), (array.zero, 0.004)):
            # Six standard errors of mean, deviation and correlation.
            assert abs(float(deviations.mean())) < 6 * expected / cells**0.5
            assert abs(float(deviations.std()) / expected - 1) < 6 / (2 * cells) ** 0.5
            x = deviations / expected
            assert abs(float(x.pow(4).mean()) - 3) < 6 * 96**0.5 / cells**0.5  # var(x^4) = 96
            for axis in range(3):
                assert abs(float((x * x.roll(1, axis)).mean())) < 6 / cells**0.5
    other = arrays(config.replace(mismatch_seed=2), 4, 64, like)
    assert other is not None
    pairs = [(found[0].gain, found[1].gain), (found[0].gain - 1, found[0].zero), (found[0].gain, other[0].gain)]
    for a, b in pairs:
        assert abs(float(torch.corrcoef(torch.stack((a.flatten(), b.flatten())))[0, 1])) < 6 / cells**0.5


def test_a_cell_is_the_same_in_a_smaller_array() -> None:
    config, like = GainCellConfig.named("leroux2025").replace(**MISMATCH), torch.empty(0)
    large, small = arrays(config, 3, 16, like), arrays(config.replace(window=128), 2, 8, like)
    assert large is not None
    assert small is not None
    for a, b in zip(large, small, strict=True):
        assert torch.equal(a.gain[:2, :128, :8], b.gain)
        assert torch.equal(a.zero[:2, :128, :8], b.zero)


def test_arrays_that_were_drawn_are_kept_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    like = torch.empty(0)
    design = GainCellConfig.named("leroux2025").replace(window=64, **MISMATCH)
    first = arrays(design, 1, 8, like)
    assert first is not None
    assert arrays(design, 1, 8, like) is first
    monkeypatch.setattr(variation, "_kept", {})
    monkeypatch.setattr(variation, "_KEPT_BYTES", 3 * sum(array.nbytes for array in first))
    for seed in range(5):
        arrays(design.replace(mismatch_seed=seed), 1, 8, like)
        assert len(variation._kept) == min(seed + 1, 3)
    monkeypatch.setattr(variation, "_KEPT_BYTES", 1)
    fourth = arrays(design.replace(mismatch_seed=7), 1, 8, like)
    assert [*variation._kept.values()] == [fourth], "the layer at work"
    again = arrays(design, 1, 8, like)
    assert again is not None
    assert again is not first
    assert torch.equal(again[0].gain, first[0].gain)


def test_threads_that_ask_at_once_meet_one_draw(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[int] = []

    def slow(*by: Any) -> tuple[variation.Cells, variation.Cells]:
        drawn.append(by[0])
        time.sleep(0.05)  # long enough for every thread to have asked
        return draw(*by)

    draw = variation._drawn
    monkeypatch.setattr(variation, "_kept", {})
    monkeypatch.setattr(variation, "_drawn", slow)
    design, like = GainCellConfig.named("leroux2025").replace(window=64, **MISMATCH), torch.empty(0)
    with ThreadPoolExecutor(4) as threads:
        first, *others = threads.map(lambda _: arrays(design, 1, 8, like), range(4))
    assert drawn == [(MISMATCH["mismatch_seed"], 0)]
    assert all(other is first for other in others)


def test_draws_are_those_of_their_counters_one_by_one() -> None:
    whole = normal(5, torch.arange(3)[:, None], torch.arange(7))
    alone = [[float(normal(5, row, torch.tensor(column))) for column in range(7)] for row in range(3)]
    assert whole.tolist() == alone
    assert not torch.equal(whole, normal(6, torch.arange(3)[:, None], torch.arange(7)))


def one_token(config: GainCellConfig, q: float, k: float, v: float, preset: float = 0.0) -> tuple[float, float]:
    """Output and phi of the oracle for one token of one channel, in float64."""
    x = [torch.full((1, 1, 1, 1), value, dtype=torch.float64) for value in (q, k, v)]
    out, phi = naive_attention(*x, config, preset=torch.full((1, 1, 1), preset, dtype=torch.float64))
    return float(out), float(phi)


LINEAR = GainCellConfig.named("leroux2025-linear").replace(
    query_levels=None, stored_levels=None, output_levels=None, leak_per_token=0.0
)
MEASURED = characterised(LINEAR.cell, LINEAR.pulse_max_s, 1.25, (0.1, 0.05))


def test_charge_to_pulse_circuits_bring_gain_and_offset_to_pulse_and_read_out() -> None:
    config = LINEAR.replace(cell=MEASURED, charge_to_pulse="cell")
    f = MEASURED.model_law
    out, phi = one_token(config, 0.8, 0.75, 0.25, preset=0.2)
    assert phi == pytest.approx(1.25 * (0.8 * f(0.3) / 80.0 + 0.2) + 0.1)
    charge = phi * f(-0.2) / 40.0
    assert out == pytest.approx(-(1.25 * abs(charge) + 0.05))  # the offset has the charge's sign
    # No charge above zero: no pulse, though gain and offset alone would make one, and nothing to read.
    assert 1.25 * (0.8 * f(0.3) / 80.0 - 0.1) + 0.1 > 0.04
    assert one_token(config, 0.8, 0.75, 0.25, preset=-0.1) == (0.0, 0.0)
    assert one_token(config, 0.0, 0.75, 0.25) == (0.0, 0.0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("preset_dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_rounding_does_not_let_an_offset_fire_where_no_charge_is(dtype: torch.dtype, preset_dtype: torch.dtype) -> None:
    cell = characterised(LINEAR.cell, LINEAR.pulse_max_s, 0.98, (0.0716, 0.05))
    config = LINEAR.replace(cell=cell, charge_to_pulse="cell")
    q, k, v = (torch.full((1, 1, 3, 4), value, dtype=dtype) for value in (0.0, 0.75, 0.25))
    for below in (0.0, -1e-4):
        preset = torch.full((1, 1, 3), below, dtype=preset_dtype)
        assert not attention_map(q, k, config, preset=preset).any()
        assert not gaincell.attention(q, k, v, config, preset=preset).any()


def test_circuits_whose_offset_alone_is_a_full_pulse_are_refused() -> None:
    cell = characterised(LINEAR.cell, LINEAR.pulse_max_s, 1.0, (1.0, 0.05))
    with pytest.raises(ValueError, match="every pulse would be a full one; use longer pulses"):
        LINEAR.replace(cell=cell, charge_to_pulse="cell")


def test_feedthrough_comes_once_with_every_pulse_that_has_a_width() -> None:
    config = LINEAR.replace(cell=MEASURED, feedthrough=True, query_sign="differential")
    f = MEASURED.model_law
    charge = f(0.45)  # of a full pulse; feedthrough is 0.1 - 0.2 y + 0.05 y^2 of it

    def through(y: float) -> float:
        return charge * (0.1 - 0.2 * y + 0.05 * y * y)

    for q in (0.8, -0.8, 0.01):
        sign = 1 if q > 0 else -1
        out, phi = one_token(config, q, 0.75, 0.25, preset=0.5)
        assert phi == pytest.approx((q * f(0.3) + sign * through(0.3)) / 80.0 + 0.5)
        assert out == pytest.approx((phi * f(-0.2) + through(-0.2)) / 40.0)
    assert one_token(config, 0.0, 0.75, 0.25) == (0.0, 0.0)
    held = config.replace(leak_per_token=0.5)
    q, y = torch.ones(1, 1, 2, 1).double(), 0.3 * torch.exp(torch.tensor(-0.5)).item()
    stored = torch.full((1, 1, 2, 1), 0.75).double()
    phi = naive_attention(q, stored, stored, held)[1]
    assert float(phi[0, 0, 1, 0]) == pytest.approx((f(y) + through(y)) / 80.0, rel=1e-6)  # of what is left


@pytest.mark.parametrize("seed", [None, 3])
def test_noise_has_the_deviation_asked_for_and_is_new_unless_it_has_a_seed(seed: int | None) -> None:
    config = LINEAR.replace(window=64, noise_seed=seed)
    q, v = torch.full((1, 8, 64, 64), 1e-3), torch.full((1, 8, 64, 64), 0.45)
    preset = torch.full((1, 8, 64), 0.5)
    noisy = config.replace(score_noise=0.03)
    phi = attention_map(q, v, noisy, preset=preset)[..., 63, :]  # its last token sees 64 columns
    assert abs(float(phi.std()) / 0.03 - 1) < 6 / (2 * phi.numel()) ** 0.5
    read = gaincell.attention(q, v, v, config.replace(readout_noise=0.03), preset=preset)
    assert abs(float(read.std()) / 0.03 - 1) < 6 / (2 * read.numel()) ** 0.5
    assert torch.equal(read, gaincell.attention(q, v, v, config.replace(readout_noise=0.03), preset=preset)) == (
        seed is not None
    )
    torch.manual_seed(0)
    first = gaincell.attention(q, v, v, noisy, preset=preset)
    torch.manual_seed(0)
    assert torch.equal(first, gaincell.attention(q, v, v, noisy, preset=preset))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"mismatch_seed": 1}, ["mismatch_gain", "leroux2025"]),
        ({"charge_to_pulse": "cell"}, ["charge_to_pulse", "leroux2025"]),
        ({"feedthrough": True}, ["feedthrough", "leroux2025"]),
        ({"retention": "table"}, ["retention", "leroux2025"]),
        ({"retention": "table", "cell": with_table(LINEAR.cell), "leak_per_token": 0.1}, ["leak_per_token"]),
        ({"score_noise": -0.1}, ["score_noise"]),
        ({"mismatch_seed": -1}, ["mismatch_seed"]),
    ],
)
def test_what_no_figure_tells_is_refused(fields: dict[str, float], words: list[str]) -> None:
    with pytest.raises(InputError) as refusal:
        GainCellConfig(**fields)
    assert all(word in str(refusal.value) for word in words)


def test_rows_of_a_batch_meet_the_same_arrays_alone_and_padded() -> None:
    config = GainCellConfig.named("leroux2025").replace(window=16, subtile_columns=4, score_saturation=9.0, **MISMATCH)
    generator = torch.Generator().manual_seed(4)
    q, k, v = (0.5 + 0.4 * torch.randn(2, h, 40, 8, generator=generator).double() for h in (4, 2, 2))
    pad = torch.tensor([0, 7])
    both = gaincell.attention(q, k, v, config, pad=pad)
    alone = gaincell.attention(*(x[1:, :, 7:] for x in (q, k, v)), config)
    assert_same(both[1:, :, 7:], alone, "padded row")
    assert not torch.allclose(both[1:, :, 7:], gaincell.attention(q, k, v, config)[1:, :, 7:])
    # A beam that took another's place goes on as that one.
    ring = Ring(2, 2, 8, config)
    ring.extend(*(x[:, :, :23] for x in (q, k, v)))
    ring.reorder(torch.tensor([1, 1]))
    last = [x[:1, :, 23:] for x in (q, k, v)]
    found = ring.extend(*(x.expand(2, -1, -1, -1).contiguous() for x in last))
    assert_same(found[0], found[1], "two equal beams")


def test_a_path_asked_for_by_name_refuses_circuits_that_it_does_not_compute() -> None:
    config = GainCellConfig.named("leroux2025").replace(window=16, subtile_columns=4, path="triton", **MISMATCH)
    q, k, v = (0.45 + 0.2 * torch.randn(1, 1, 40, 16, generator=torch.Generator().manual_seed(i)) for i in range(3))
    for refused in (lambda: gaincell.attention(q, k, v, config), lambda: Ring(1, 1, 16, config)):
        with pytest.raises(InputError, match="path 'triton' cannot compute this attention: it has no mismatch; set"):
            refused()
