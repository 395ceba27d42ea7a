"""The blocked form's own backward equals autograd through the oracle, and both equal finite differences."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import assume, given, settings
from ops_cases import TRIED, Case, cases, cell
from torch import Tensor

import gaincell
from gaincell import GainCellConfig
from gaincell.ops import Ring, blocked, naive_attention
from gaincell.ops.convert import query_pulse, readout, stored_voltage


def gradients(case: Case, operator: Callable[..., Tensor]) -> dict[str, Tensor]:
    """Gradient of a random weighted sum of the outputs, by operand."""
    operands = {"q": case.q, "k": case.k, "v": case.v}
    if case.preset is not None:
        operands["preset"] = case.preset
    leaves = {name: x.clone().requires_grad_() for name, x in operands.items()}
    out = operator(
        leaves["q"], leaves["k"], leaves["v"], case.config, **(case.options | {"preset": leaves.get("preset")})
    )
    weights = torch.randn(out.shape, generator=torch.Generator().manual_seed(3), dtype=out.dtype)
    if out.requires_grad:  # the oracle's output does not where every row is all pads
        (out * weights).sum().backward()
    return {name: x.grad if x.grad is not None else torch.zeros_like(x) for name, x in leaves.items()}


@settings(max_examples=3 * settings().max_examples)
@given(cases(most_tokens=40))
def test_every_gradient_equals_autograd_through_the_oracle(case: Case) -> None:
    # Products of few levels may cancel to S = 0 but for rounding, on the edge of the clamp; a preset takes them off it.
    assume(case.preset is not None or case.config.stored_levels is None)
    expected = gradients(case, lambda *args, **options: naive_attention(*args, **options)[0])
    found = gradients(case, gaincell.attention)
    for name, gradient in expected.items():
        scale = max(1.0, float(gradient.abs().max()))
        torch.testing.assert_close(
            found[name], gradient, rtol=1e-9, atol=1e-9 * scale, msg=lambda text, name=name: f"{name}: {text}"
        )
    TRIED["gradients: cases"] += 1
    TRIED["gradients: compared, other than zero"] += sum(int((x != 0).sum()) for x in expected.values())


@settings(max_examples=settings().max_examples // 2)
@given(cases(most_tokens=40))
def test_gradients_do_not_depend_on_how_many_heads_are_worked_on_at_once(case: Case) -> None:
    expected = gradients(case, gaincell.attention)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocked, "_ROWS", 1)
        found = gradients(case, gaincell.attention)
    for name, gradient in expected.items():
        torch.testing.assert_close(
            found[name], gradient, rtol=1e-9, atol=1e-9, msg=lambda text, name=name: f"{name}: {text}"
        )


@pytest.mark.parametrize("stored_levels", [None, 8])
def test_a_ring_that_gets_one_token_learns_as_one_that_gets_two(stored_levels: int | None) -> None:
    config = GainCellConfig.preset("leroux2025").replace(window=16, subtile_columns=8, stored_levels=stored_levels)
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

    expected, found = gradients(case, gaincell.attention), gradients(case, extend)
    for name, gradient in expected.items():
        scale = max(1.0, float(gradient.abs().max()))
        torch.testing.assert_close(found[name], gradient, rtol=1e-9, atol=1e-9 * scale)


@pytest.mark.parametrize("normaliser", ["none", "ideal", "column"])
@pytest.mark.parametrize("leak", [0.0, 0.02])
@pytest.mark.parametrize("law", ["leroux2025", "leroux2025-linear", "order 5"])
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
    config = GainCellConfig.preset("leroux2025").replace(gradient="true-law")
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
        "read-out": (straight_through(readout, x, config), x.abs() <= 1),
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
    config = GainCellConfig.preset("leroux2025").replace(leak_per_token=0.4, gradient="true-law", window=128)
    q, k, v = (0.45 + 0.2 * torch.randn(1, 1, 300, 8, generator=torch.Generator().manual_seed(i)) for i in range(3))
    leaves = [x.requires_grad_() for x in (q, k, v)]
    gaincell.attention(*leaves, config).sum().backward()
    assert all(x.grad is not None and bool(x.grad.isfinite().all()) for x in leaves)
