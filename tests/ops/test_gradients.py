"""The blocked form's own backward equals autograd through the dense form, and that the equations' and differences."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from hypothesis import assume, given, settings
from ops_cases import CELLS, ONE_SIGNED, TRIED, Case, assert_same_gradients, cases, cell, dense_attention, gradients
from torch import Tensor

import gaincell
from gaincell import GainCellConfig
from gaincell.ops import Ring, blocked
from gaincell.ops.quantise import query_pulse, stored_voltage
from gaincell.ops.readout import Readout


@settings(max_examples=3 * settings().max_examples)
@given(cases(most_tokens=40))
def test_every_gradient_equals_autograd_through_the_dense_form(case: Case) -> None:
    # Products of few levels may cancel to S = 0 but for rounding, on the edge of the clamp; a preset takes them off it.
    assume(case.preset is not None or case.config.stored_levels is None)
    expected = gradients(case, dense_attention)
    assert_same_gradients(case, gaincell.attention, expected)
    TRIED["gradients: cases"] += 1
    TRIED["gradients: compared, other than zero"] += sum(int((x != 0).sum()) for x in expected.values())


def equations(q: Tensor, k: Tensor, v: Tensor, config: GainCellConfig, **options: Tensor | None) -> Tensor:
    """The equations of all pairs at once, power by power of the law, and the published surrogate's in the backward."""
    groups, index = q.shape[1] // k.shape[1], torch.arange(q.shape[2])
    age, tile = index[:, None] - index, index % config.window // config.subtile_columns
    seen = (age >= 0) & (age < config.window)
    if options["absent"] is not None:
        seen = seen & ~options["absent"].repeat_interleave(groups, 1)[:, :, None]
    decay = torch.exp(-config.leak * age.clamp(min=0).double())

    def product(of_power: Callable[[int], Tensor]) -> Tensor:
        exact = sum(c * of_power(i) for i, c in enumerate(config.cell.model_law.coefficients))
        line = exact if config.gradient == "true-law" else config.surrogate_slope * of_power(1)
        return line + (exact - line).detach()

    def shrunk(i: int) -> Tensor:
        return decay if config.leak_form == "factored" else decay**i

    pulse, yk, yv = query_pulse(q, config), *(stored_voltage(x, config).repeat_interleave(groups, 1) for x in (k, v))
    score = product(lambda i: (pulse @ (yk**i).mT) * shrunk(i)) / config.score_saturation
    preset = 0.0 if options["preset"] is None else options["preset"][..., None]
    phi, total = (score + preset).clamp(0, 1) * seen, torch.zeros_like(q)
    for j in range(config.tiles):
        own = phi * (tile == j)
        charge = product(lambda i, own=own: (own * shrunk(i)) @ yv**i) / config.output_scale
        total = total + Readout.of(config)(charge)
    return total if config.normaliser == "none" else total / (phi.sum(-1, keepdim=True) + config.normaliser_epsilon)


@settings(max_examples=settings().max_examples // 2)
@given(cases(most_tokens=40))
def test_the_dense_forms_gradients_are_those_of_the_equations(case: Case) -> None:
    assume(not case.config.cell.retention.ends_at_v)  # else no power of the voltage decays by itself
    case = replace(case, pad=None)
    if case.config.normaliser == "column":
        case = replace(case, config=case.config.replace(normaliser="ideal"))
    assume(case.preset is not None or case.config.stored_levels is None)
    assert_same_gradients(case, dense_attention, gradients(case, equations))


@settings(max_examples=settings().max_examples // 2)
@given(cases(most_tokens=40))
def test_gradients_do_not_depend_on_how_many_heads_are_worked_on_at_once(case: Case) -> None:
    expected = gradients(case, gaincell.attention)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocked, "_ROWS", 1)
        assert_same_gradients(case, gaincell.attention, expected)


@pytest.mark.parametrize("stored_levels", [None, 8])
def test_a_ring_that_gets_one_token_learns_as_one_that_gets_two(stored_levels: int | None) -> None:
    config = GainCellConfig.named("leroux2025").replace(window=16, subtile_columns=8, stored_levels=stored_levels)
    generator = torch.Generator().manual_seed(7)

    def last(chunks: tuple[int, ...]) -> list[Tensor]:
        ring, start = Ring(1, 2, 4, config), 0
        leaves = [
            torch.rand(1, heads, 20, 4, generator=generator.manual_seed(7)).requires_grad_() for heads in (4, 2, 2)
        ]
        for n in chunks:
            out = ring.extend(*(x[:, :, start : start + n] for x in leaves))
            start += n
        (out[:, :, -1].square().sum()).backward()
        return [x.grad[:, :, -1] for x in leaves]

    alone, among = last((19, 1)), last((18, 2))
    assert all(bool(x.any()) for x in alone)
    for found, expected in zip(alone, among, strict=True):
        torch.testing.assert_close(found, expected)


@settings(max_examples=settings().max_examples // 2)
@given(cases(most_tokens=40))
def test_a_ring_that_gets_a_text_at_once_learns_what_attention_does(case: Case) -> None:
    assume(case.preset is not None or case.config.stored_levels is None)

    def extend(q: Tensor, k: Tensor, v: Tensor, config: GainCellConfig, **options: Tensor | None) -> Tensor:
        ring = Ring(k.shape[0], k.shape[1], k.shape[3], config)
        return ring.extend(q, k, v, case.real, options["preset"], options["absent"])

    assert_same_gradients(case, extend, gradients(case, gaincell.attention))


@pytest.mark.parametrize("normaliser", ["none", "ideal", "column"])
@pytest.mark.parametrize("leak", [0.0, 0.02])
@pytest.mark.parametrize("law", [*CELLS, *ONE_SIGNED])
def test_without_quantisers_the_gradient_is_that_of_finite_differences(law: str, leak: float, normaliser: str) -> None:
    config = GainCellConfig(
        window=6,
        subtile_columns=2,
        query_levels=None,
        stored_levels=None,
        output_levels=None,
        cell=cell(law),
        leak_per_token=leak,
        gradient="true-law",
        normaliser=normaliser,
        score_saturation=60.0,
        output_scale=60.0,
    )
    generator = torch.Generator().manual_seed(0)

    def uniform(heads: int, low: float, high: float) -> Tensor:
        x = low + (high - low) * torch.rand(2, heads, 15, 3, generator=generator, dtype=torch.float64)
        return x.requires_grad_()

    # Away from every clamp: q and the voltages inside their range, phi around one half, charges below full scale.
    operands = uniform(4, 0.1, 0.9), uniform(2, 0.1, 0.8), uniform(2, 0.1, 0.8)
    preset = torch.full((2, 4, 15), 0.5, dtype=torch.float64, requires_grad=True)
    pad = torch.tensor([0, 4])

    def run(q: Tensor, k: Tensor, v: Tensor, preset: Tensor) -> Tensor:
        return gaincell.attention(q, k, v, config, pad=pad, preset=preset)

    assert torch.autograd.gradcheck(run, (*operands, preset), fast_mode=True)


def straight_through(convert: Callable[[Tensor, GainCellConfig], Tensor], x: Tensor, config: GainCellConfig) -> Tensor:
    x = x.clone().requires_grad_()
    convert(x, config).sum().backward()
    assert x.grad is not None
    return x.grad


def test_a_query_that_rounds_to_zero_still_learns() -> None:
    """S = 0 lies on the edge of HardSigmoid, and the edge belongs to it, as the edges of all other clamps do."""
    config = GainCellConfig.named("leroux2025").replace(gradient="true-law")
    q, k = torch.full((1, 1, 1, 4), 0.02, requires_grad=True), torch.full((1, 1, 1, 4), 0.8)
    gaincell.attention(q, k, k, config).sum().backward()
    assert q.grad is not None
    assert bool((q.grad > 0).all())


@pytest.mark.parametrize("levels", [None, 16])
def test_gradients_pass_straight_through_rounding_and_stop_at_the_clamp(levels: int | None) -> None:
    config = GainCellConfig(query_levels=levels, stored_levels=levels, output_levels=levels, leak_per_token=0.0)
    signed, offset = (config.replace(query_sign=sign) for sign in ("differential", "offset_binary"))
    x = torch.tensor([-1.5, -0.7, -0.01, 0.0, 0.33, 0.899, 0.95, 1.0, 1.2])
    inside = {
        "q": (straight_through(query_pulse, x, config), (x >= 0) & (x <= 1)),
        "signed q": (straight_through(query_pulse, x, signed), x.abs() <= 1),
        "offset-binary q": (straight_through(query_pulse, x, offset), x.abs() <= 1),
        "k, v": (straight_through(stored_voltage, x, config), (x >= 0) & (x <= 0.9)),
        "read-out": (straight_through(lambda x, config: Readout.of(config)(x), x, config), x.abs() <= 1),
    }
    for name, (gradient, expected) in inside.items():
        assert gradient.tolist() == expected.float().tolist(), name


def test_with_linearised_voltages_the_gradient_is_that_of_the_even_charge() -> None:
    """f(stored voltage) steps evenly with x, so that f'(y) dy/dx is one slope at every code."""
    config = GainCellConfig(storage="linearised", leak_per_token=0.0)
    x = torch.linspace(0.01, 0.89, 50, dtype=torch.float64).requires_grad_()
    config.cell.model_law(stored_voltage(x, config)).sum().backward()
    law = config.cell.model_law
    assert x.grad is not None
    torch.testing.assert_close(x.grad, torch.full_like(x, (law(0.45) - law(-0.45)) / 0.9))


def test_gradients_of_a_float32_batch_stay_finite_under_a_strong_leak() -> None:
    config = GainCellConfig.named("leroux2025").replace(leak_per_token=0.4, gradient="true-law", window=128)
    q, k, v = (0.45 + 0.2 * torch.randn(1, 1, 300, 8, generator=torch.Generator().manual_seed(i)) for i in range(3))
    leaves = [x.requires_grad_() for x in (q, k, v)]
    gaincell.attention(*leaves, config).sum().backward()
    assert all(x.grad is not None and bool(x.grad.isfinite().all()) for x in leaves)
