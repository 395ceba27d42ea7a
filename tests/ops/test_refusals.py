"""Operands that no path could compute are refused in one sentence that names what does not fit."""

from typing import Any

import pytest
import torch
from torch import Tensor

import gaincell
from gaincell import GainCellConfig, InputError
from gaincell.ops import Ring, attention_map, naive_attention

CONFIG = GainCellConfig.named("leroux2025").replace(window=8, subtile_columns=4)


def of(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.full(shape, 0.5, dtype=dtype)


Q, K = of(2, 4, 6, 8), of(2, 2, 6, 8)

REFUSED: dict[str, tuple[tuple[Tensor, Tensor, Tensor], dict[str, Any], str]] = {
    "q of three dimensions": ((Q[0], K, K), {}, "q (4, 6, 8), k (2, 2, 6, 8)"),
    "k of three dimensions": ((Q, K[0], K[0]), {}, "k (2, 6, 8), v (2, 6, 8)"),
    "v unlike k": ((Q, K, K[..., :7]), {}, "k (2, 2, 6, 8), v (2, 2, 6, 7)"),
    "another batch": ((Q, K[:1], K[:1]), {}, "agree in batch, tokens and head_dim; got q (2, 4, 6, 8), k (1, 2, 6, 8)"),
    "other tokens": ((Q, K[:, :, :5], K[:, :, :5]), {}, "agree in batch, tokens and head_dim; got q (2, 4, 6, 8)"),
    "another head_dim": ((Q[..., :4], K, K), {}, "agree in batch, tokens and head_dim; got q (2, 4, 6, 4)"),
    "heads that do not divide": ((Q[:, :3], K, K), {}, "multiple of key/value heads; got q (2, 3, 6, 8)"),
    "no key/value head": ((Q, K[:, :0], K[:, :0]), {}, "multiple of key/value heads; got q (2, 4, 6, 8), k (2, 0,"),
    "mixed dtypes": ((Q, K.half(), K), {}, "one floating dtype; got torch.float32, torch.float16, torch.float32"),
    "integers": ((Q.long(), K.long(), K.long()), {}, "one floating dtype; got torch.int64"),
    "two devices": ((Q, K.to("meta"), K), {}, "one device; got cpu, meta, cpu"),
    "pads for other rows": ((Q, K, K), {"pad": torch.tensor([1])}, "each of the 2 rows; got [1]"),
    "more pads than tokens": ((Q, K, K), {"pad": torch.tensor([0, 7])}, "0...T left pads for each of the 2 rows"),
    "fewer pads than none": ((Q, K, K), {"pad": torch.tensor([0, -1])}, "0...T left pads for each of the 2 rows"),
    "pads that are no integers": ((Q, K, K), {"pad": torch.tensor([1.5, 0.0])}, "pad must hold integers"),
    "a preset that is no number": ((Q, K, K), {"preset": of(2, 4, 6) + 0j}, "preset must be floating"),
    "an array": ((Q.numpy(), K, K), {}, "q must be a torch tensor; got ndarray"),
    "a preset of another shape": ((Q, K, K), {"preset": of(2, 4)}, "shape (2, 4, 6) (B, Hq, T); got (2, 4)"),
    "NaN in the preset": ((Q, K, K), {"preset": of(2, 4, 6) * torch.nan}, "preset holds NaN or Inf"),
    "absence of another shape": (
        (Q, K, K),
        {"absent": torch.ones(2, 4, 6).bool()},
        "absent must be boolean, of shape (2, 2, 6) (B, Hkv, T), on cpu; got torch.bool (2, 4, 6) on cpu",
    ),
    "absence that is not boolean": ((Q, K, K), {"absent": of(2, 2, 6)}, "absent must be boolean"),
    "absence on another device": ((Q, K, K), {"absent": torch.ones(2, 2, 6).bool().to("meta")}, "(2, 2, 6) on meta"),
    "absence by name": ((Q, K, K), {"absent": "first"}, "absent must be a torch tensor; got str"),
    "NaN in q": ((Q * torch.nan, K, K), {}, "q holds NaN or Inf"),
    "Inf in k": ((Q, K * torch.inf, K), {}, "k holds NaN or Inf"),
    "minus Inf in v": ((Q, K, K * -torch.inf), {}, "v holds NaN or Inf"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_operands_that_do_not_fit_are_refused_in_one_sentence(name: str) -> None:
    operands, options, said = REFUSED[name]
    with pytest.raises(InputError) as refusal:
        gaincell.attention(*operands, CONFIG, **options)
    sentence = str(refusal.value)
    assert said in sentence
    assert sentence.endswith(".")
    assert "\n" not in sentence


RING_REFUSED: dict[str, tuple[dict[str, Tensor], str]] = {
    "another batch": ({"q": Q[:1], "k": K[:1], "v": K[:1]}, "B = 2 and D = 8; got (1, 4, 6, 8)"),
    "another head_dim": ({"q": Q[..., :4], "k": K[..., :4], "v": K[..., :4]}, "B = 2 and D = 8; got (2, 4, 6, 4)"),
    "other key/value heads": ({"q": Q, "k": K[:, :1], "v": K[:, :1]}, "holds 2 key/value heads; got k (2, 1, 6, 8)"),
    "heads that do not divide": ({"q": Q[:, :3], "k": K, "v": K}, "multiple of key/value heads; got q (2, 3, 6, 8)"),
    "other tokens": ({"q": Q, "k": K[:, :, :5], "v": K[:, :, :5]}, "agree in batch, tokens and head_dim"),
    "mixed dtypes": ({"q": Q, "k": K.half(), "v": K}, "one floating dtype"),
    "real that is not boolean": ({"q": Q, "k": K, "v": K, "real": torch.ones(2, 6)}, "boolean"),
    "NaN in v": ({"q": Q, "k": K, "v": K * torch.nan}, "v holds NaN or Inf"),
    "real of another shape": ({"q": Q, "k": K, "v": K, "real": torch.ones(2, 5).bool()}, "of shape (2, 6)"),
    "absence of another shape": (
        {"q": Q, "k": K, "v": K, "absent": torch.ones(2, 6).bool()},
        "absent must be boolean, of shape (2, 2, 6)",
    ),
    "a preset of another shape": ({"q": Q, "k": K, "v": K, "preset": of(2, 4)}, "preset must have shape (2, 4, 6)"),
}


@pytest.mark.parametrize("case", RING_REFUSED)
def test_a_ring_refuses_what_it_cannot_hold_and_stays_as_it_was(case: str) -> None:
    operands, said = RING_REFUSED[case]
    ring = Ring(2, 2, 8, CONFIG)
    with pytest.raises(InputError) as refusal:
        ring.extend(**operands)
    assert said in str(refusal.value)
    assert not ring.count.any()


def test_reads_writes_and_maps_refuse_nan_too() -> None:
    ring = Ring(2, 2, 8, CONFIG)
    with pytest.raises(InputError, match="k holds NaN"):
        ring.write(K * torch.nan, K)
    with pytest.raises(InputError, match="q holds NaN"):
        ring.read(Q[:, :, :1] * torch.nan)
    with pytest.raises(InputError, match="by one query a row"):
        ring.read(Q)
    with pytest.raises(InputError, match="q holds NaN"):
        attention_map(Q * torch.nan, K, CONFIG)
    with pytest.raises(InputError, match="v holds NaN"):
        naive_attention(Q, K, K * torch.nan, CONFIG)


def test_a_negative_leak_is_refused() -> None:
    with pytest.raises(InputError, match="leak_per_token"):
        CONFIG.replace(leak_per_token=-1e-4)


def test_a_design_point_without_a_leak_is_refused() -> None:
    with pytest.raises(InputError, match="leak_per_token and token_period_s are both unset"):
        gaincell.attention(Q, K, K, GainCellConfig())


@pytest.mark.parametrize(("batch", "tokens"), [(1, 0), (0, 3), (0, 0)])
def test_no_tokens_or_no_rows_give_an_empty_output(batch: int, tokens: int) -> None:
    q, k = of(batch, 4, tokens, 8), of(batch, 2, tokens, 8)
    assert gaincell.attention(q, k, k, CONFIG).shape == q.shape
    assert Ring(batch, 2, 8, CONFIG).extend(q, k, k).shape == q.shape


def test_a_ring_is_given_a_design_point():
    point: Any = "leroux2025"
    with pytest.raises(InputError, match=r"config must be a GainCellConfig, .*; got 'leroux2025'"):
        Ring(2, 2, 8, point)
