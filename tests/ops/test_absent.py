"""Tokens that take their column but are not stored: nothing of them is ever seen again."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from ops_cases import TRIED, Case, cases
from torch import Tensor

import gaincell
from gaincell import GainCellConfig
from gaincell.ops import Ring, attention_map, naive_attention

PATHS = ("naive", "blocked")


@st.composite
def gapped(draw: st.DrawFn, path: str) -> Case:
    """A case with absent tokens, on one path."""
    case = draw(cases(most_tokens=40))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    absent = torch.rand(case.k.shape[:3], generator=generator) < 0.4
    return replace(case, absent=absent, config=case.config.replace(path=path))


def attend(case: Case) -> Tensor:
    return gaincell.attention(case.q, case.k, case.v, case.config, **case.options)


@pytest.mark.parametrize("path", PATHS)
@given(data=st.data())
def test_what_an_absent_token_would_have_stored_changes_nothing(path: str, data: st.DataObject) -> None:
    case = data.draw(gapped(path))
    assert case.absent is not None
    other = [torch.where(case.absent[..., None], 0.9 - x, x) for x in (case.k, case.v)]
    assert torch.equal(attend(replace(case, k=other[0], v=other[1])), attend(case))
    TRIED["absent: tokens replaced"] += int(case.absent.sum())


@given(case=gapped("naive"))
def test_an_absent_token_has_no_pulse_whatever_the_preset(case: Case) -> None:
    assert case.absent is not None
    wide = replace(case, preset=torch.full(case.q.shape[:3], 2.0, dtype=case.q.dtype))
    phi = naive_attention(wide.q, wide.k, wide.v, wide.config, **wide.options)[1]
    torch.testing.assert_close(attention_map(wide.q, wide.k, wide.config, **wide.options), phi)
    gone = case.absent.repeat_interleave(case.q.shape[1] // case.k.shape[1], 1)[:, :, None].expand_as(phi)
    assert not phi[gone].any()


@pytest.mark.parametrize("path", PATHS)
@settings(max_examples=settings().max_examples // 2)
@given(data=st.data())
def test_all_absent_is_silence_and_none_absent_is_the_default(path: str, data: st.DataObject) -> None:
    case = data.draw(gapped(path))
    assert case.absent is not None
    assert not attend(replace(case, absent=torch.ones_like(case.absent))).any()
    whole = attend(replace(case, absent=torch.zeros_like(case.absent)))
    assert torch.equal(whole, attend(replace(case, absent=None)))


def test_only_the_heads_that_share_an_absent_key_miss_it() -> None:
    config = GainCellConfig.named("leroux2025").replace(window=8, subtile_columns=4, output_levels=None)
    generator = torch.Generator().manual_seed(1)
    q, k, v = (0.5 + 0.4 * torch.rand(1, heads, 12, 8, generator=generator) for heads in (4, 2, 2))
    absent = torch.zeros(1, 2, 12, dtype=torch.bool)
    absent[0, 1, 3] = True
    full, found = gaincell.attention(q, k, v, config), gaincell.attention(q, k, v, config, absent=absent)
    assert torch.equal(found[:, :2], full[:, :2])
    changed = (found != full).any(-1)[0, 2:]
    assert not changed[:, :3].any()  # before it
    assert bool(changed[:, 3:11].any(0).all())  # while its column holds nothing, its own query included
    assert not changed[:, 11:].any()  # once its column is written again


@given(data=st.data())
def test_absent_tokens_learn_nothing(data: st.DataObject) -> None:
    case = data.draw(gapped("blocked"))
    assert case.absent is not None
    k, v = case.k.clone().requires_grad_(), case.v.clone().requires_grad_()
    attend(replace(case, k=k, v=v)).sum().backward()
    for x in (k, v):
        assert x.grad is not None
        assert not x.grad[case.absent].any()


def test_a_ring_remembers_gaps_only_once_there_is_one_and_only_until_it_is_written() -> None:
    config = GainCellConfig.named("leroux2025").replace(window=4, subtile_columns=2)
    generator = torch.Generator().manual_seed(1)
    q, k, v = (0.5 + 0.4 * torch.rand(2, 1, 12, 8, generator=generator) for _ in range(3))
    absent = torch.zeros(2, 1, 12, dtype=torch.bool)
    absent[1, 0, 5] = True
    ring, plain = Ring(2, 1, 8, config), gaincell.attention(q, k, v, config)
    expected = gaincell.attention(q, k, v, config, absent=absent)
    for t in range(12):
        now = slice(t, t + 1)
        # What is none at all, and what is all false, are the same.
        given_ = absent[:, :, now] if t % 2 else None
        with torch.inference_mode(t < 7):
            out = ring.extend(*(x[:, :, now] for x in (q, k, v)), absent=given_)
        torch.testing.assert_close(out, expected[:, :, now])
        assert (ring.absent is None) == (t < 5)
    assert ring.absent is not None
    assert not ring.absent.any()
    assert torch.equal(expected[:, :, 9:], plain[:, :, 9:])
