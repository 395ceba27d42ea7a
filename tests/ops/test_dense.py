"""The dense form: every step of what the other paths compute; test_gradients.py has its gradients."""

import torch
from hypothesis import assume, given
from imperfect_cases import assert_same, imperfect
from ops_cases import Case

from gaincell import GainCellConfig
from gaincell.ops import naive_attention
from gaincell.ops.dense import dense
from gaincell.ops.model import array_model
from gaincell.ops.operands import Operands


@given(imperfect())
def test_the_dense_form_is_the_oracle(case: Case) -> None:
    assume(case.pad is None)
    expected, phi = naive_attention(case.q, case.k, case.v, case.config, **case.options)
    model = array_model(case.config)
    trace = dense(Operands(case.q, case.k, case.v, case.preset, case.absent), model)
    assert_same(trace.phi, phi, "phi")
    assert_same(model.output(trace.out, trace.z), expected, "output")
    assert not trace.read[:, :, ~trace.in_use].any()


def test_some_heads_of_a_layer_meet_their_own_cells_and_noise() -> None:
    config = GainCellConfig.named("leroux2025").replace(
        window=16, subtile_columns=4, mismatch_seed=3, mismatch_gain=0.2, mismatch_zero_v=0.05,
        score_noise=0.1, readout_noise=0.1, noise_seed=5,
    )  # fmt: skip
    generator = torch.Generator().manual_seed(4)
    q, k, v = (0.5 + 0.4 * torch.randn(2, h, 40, 8, generator=generator).double() for h in (6, 3, 3))
    model = array_model(config)
    whole = dense(Operands(q, k, v), model)
    for n in range(3):
        two = slice(2 * n, 2 * n + 2)
        one = dense(Operands(q[:, two], k[:, n : n + 1], v[:, n : n + 1]), model, kv_head=n, kv_heads=3)
        assert_same(one.read, whole.read[:, two], f"head {n}")
