"""The dense form: every step of what the other paths compute, and the same gradients."""

import torch
from hypothesis import assume, given, settings
from ops_cases import Case, cases
from test_variation import assert_same, gradients, imperfect
from torch import Tensor

import gaincell
from gaincell import GainCellConfig
from gaincell.ops import naive_attention
from gaincell.ops.attention import normalise
from gaincell.ops.dense import dense


def attend(q: Tensor, k: Tensor, v: Tensor, config: GainCellConfig, **options: Tensor | None) -> Tensor:
    preset, absent = options["preset"], options["absent"]
    trace = dense(q, k, v, config, preset=preset, absent=absent)
    return normalise(trace.out, trace.z, config)


def unpadded(case: Case) -> dict[str, Tensor | None]:
    assume(case.pad is None)
    return case.options


@given(imperfect())
def test_the_dense_form_is_the_oracle(case: Case) -> None:
    options = unpadded(case)
    expected, phi = naive_attention(case.q, case.k, case.v, case.config, **options)
    trace = dense(case.q, case.k, case.v, case.config, preset=case.preset, absent=case.absent)
    assert_same(trace.phi, phi, "phi")
    assert_same(normalise(trace.out, trace.z, case.config), expected, "output")
    assert not trace.read[:, :, ~trace.in_use].any()


@settings(max_examples=settings().max_examples // 2)
@given(cases(most_tokens=40))
def test_its_gradients_are_those_of_the_operator(case: Case) -> None:
    unpadded(case)
    assume(case.preset is not None or case.config.stored_levels is None)
    for name, expected in gradients(case, gaincell.attention).items():
        scale = max(1.0, float(expected.abs().max()))
        torch.testing.assert_close(gradients(case, attend)[name], expected, rtol=1e-9, atol=1e-9 * scale)


def test_some_heads_of_a_layer_meet_their_own_cells_and_noise() -> None:
    config = GainCellConfig.preset("leroux2025").replace(
        window=16, subtile_columns=4, mismatch_seed=3, mismatch_gain=0.2, mismatch_zero_v=0.05,
        score_noise=0.1, readout_noise=0.1, noise_seed=5,
    )  # fmt: skip
    generator = torch.Generator().manual_seed(4)
    q, k, v = (0.5 + 0.4 * torch.randn(2, h, 40, 8, generator=generator).double() for h in (6, 3, 3))
    whole = dense(q, k, v, config)
    for n in range(3):
        two = slice(2 * n, 2 * n + 2)
        one = dense(q[:, two], k[:, n : n + 1], v[:, n : n + 1], config, kv_head=n, kv_heads=3)
        assert_same(one.read, whole.read[:, two], f"head {n}")
