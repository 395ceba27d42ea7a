"""A ring that took tokens back is the ring that never saw them."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from ops_cases import TRIED, Case, cases
from torch import Tensor

from gaincell import GainCellConfig, InputError
from gaincell.ops import Ring


def check_same(ring: Ring, other: Ring) -> None:
    """Counts, and codes and absence of every column that holds a token."""
    assert torch.equal(ring.count, other.count)
    used = torch.arange(ring.config.window) < other.count[:, None]
    codes = (x.codes.permute(1, 3, 0, 2, 4)[used] for x in (ring, other))
    assert torch.equal(*codes)
    absent = (
        torch.zeros_like(x.codes[0, ..., 0], dtype=torch.bool) if x.absent is None else x.absent for x in (ring, other)
    )
    assert torch.equal(*(x.transpose(1, 2)[used] for x in absent))


@given(cases(most_tokens=48), st.data())
def test_what_was_taken_back_was_never_there(case: Case, data: st.DataObject) -> None:
    with pytest.MonkeyPatch.context() as patch:
        # 1: chunks are read one by one, and decoded contents are put right, in rings as small as these, too.
        patch.setattr("gaincell.ops.ring._COLUMNS_A_READ", data.draw(st.sampled_from((1, 32))))
        patch.setattr("gaincell.ops.ring._TAKEN_BACK", 1)  # no more is kept than the window's number of tokens
        check_taken_back(case, data)


def check_taken_back(case: Case, data: st.DataObject) -> None:
    batch, kv_heads, length, head_dim = case.k.shape
    window = case.config.window
    rings = [Ring(batch, kv_heads, head_dim, case.config, packed=case.packed) for _ in range(2)]
    ring, other = rings
    ring.recording = True
    generator = torch.Generator().manual_seed(length)

    def draft(tokens: int) -> None:
        """Tokens for one ring alone, one by one or at once; rows that have begun have no pads."""
        heads = case.q.shape[1], kv_heads, kv_heads
        q, k, v = (0.45 + 0.3 * torch.randn(batch, n, tokens, head_dim, generator=generator).double() for n in heads)
        pads = torch.randint(tokens + 1, (batch,), generator=generator) * (ring.count == 0)
        real = torch.arange(tokens) >= pads[:, None]
        absent = torch.rand(batch, kv_heads, tokens, generator=generator) < 0.3
        step = data.draw(st.sampled_from((1, tokens)))
        for start in range(0, tokens, step):
            at = slice(start, start + step)
            ring.extend(q[:, :, at], k[:, :, at], v[:, :, at], real[:, at], absent=absent[:, :, at])

    start, queue = 0, list(case.chunks)
    while start < length:
        tokens = data.draw(st.integers(0, window))
        if tokens:
            draft(tokens)
            for part in data.draw(st.sampled_from(((tokens,), (1, tokens - 1)))):
                if part:
                    ring.take_back(part)
            TRIED["taken back: tokens"] += tokens
            TRIED["taken back: decoded contents put right"] += ring._decoded is not None
            TRIED["taken back: of full rings"] += int((ring.count >= window).sum())
            check_same(ring, other)
        n = queue.pop(0) if len(queue) > 1 else queue[0]
        at = slice(start, start + n)
        preset, absent = (None if x is None else x[:, :, at] for x in (case.preset, case.absent))
        real = None if case.real is None else case.real[:, at]
        outputs: list[Tensor] = []
        for each in rings:
            outputs.append(each.extend(case.q[:, :, at], case.k[:, :, at], case.v[:, :, at], real, preset, absent))
        torch.testing.assert_close(outputs[0], outputs[1], rtol=1e-12, atol=1e-12)
        start += n
    check_same(ring, other)


@pytest.mark.parametrize("written", [7, 150])
@pytest.mark.parametrize("share", [0.0, 0.3])
def test_decoded_contents_are_put_right(written: int, share: float) -> None:
    config = GainCellConfig.named("extended").replace(window=64, subtile_columns=8, score_saturation=3.7)
    generator = torch.Generator().manual_seed(written)

    def extend(rings: list[Ring], tokens: int) -> list[Tensor]:
        """What each ring reads last of some tokens, one by one."""
        reads = []
        for _ in range(tokens):
            q, k, v = (0.45 + 0.3 * torch.randn(2, n, 1, 4, generator=generator).double() for n in (4, 2, 2))
            absent = (torch.rand(2, 2, 1, generator=generator) < share) if share else None
            reads = [ring.extend(q, k, v, absent=absent) for ring in rings]
        return reads

    ring, other = rings = [Ring(2, 2, 4, config) for _ in range(2)]
    ring.recording = True
    extend(rings, written)
    kept = ring._decoded
    for tokens in (2, 1, 2):
        extend([ring], tokens)
        ring.take_back(tokens)
        assert ring._decoded is kept  # nothing was decoded anew
        found, expected = extend(rings, 1)
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
        assert torch.equal(kept.present, other._decoded.present)
        present = kept.present[: len(kept.key)]
        assert torch.equal(kept.key * present[:, :, None], other._decoded.key * present[:, :, None])
        assert torch.equal(kept.value * present[..., None], other._decoded.value * present[..., None])


def test_what_was_overwritten_and_not_kept_cannot_come_back() -> None:
    config = GainCellConfig.named("leroux2025").replace(window=8, subtile_columns=4)
    k = torch.rand(1, 2, 20, 4)
    ring = Ring(1, 2, 4, config)
    ring.write(k[:, :, :8], k[:, :, :8])
    ring.take_back(3)  # nothing was overwritten yet
    ring.write(k[:, :, 5:9], k[:, :, 5:9])
    assert not ring.can_take_back(1)
    ring.recording = True
    ring.write(k[:, :, 9:19], k[:, :, 9:19])
    with pytest.raises(InputError, match="11 tokens cannot be taken back"):
        ring.take_back(11)
    ring.take_back(8)
    fresh = Ring(1, 2, 4, config)
    fresh.write(k[:, :, :11], k[:, :, :11])
    check_same(ring, fresh)
    ring.recording = False
    ring.write(k[:, :, 11:12], k[:, :, 11:12])
    assert not ring.can_take_back(1)
    ring.reset()
    assert ring.can_take_back(1)
