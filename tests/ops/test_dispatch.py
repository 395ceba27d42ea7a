"""Device, dtype and shape decide which implementation computes; the config overrides; what cannot be had is said."""

import sys
import warnings
from typing import Any

import pytest
import torch
from torch import Tensor

import gaincell
from gaincell import GainCellConfig, InputError
from gaincell.ops import Ring, dispatch, naive, naive_attention
from gaincell.ops.dispatch import path_of
from gaincell.ops.model import array_model

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
CONFIG = GainCellConfig.named("leroux2025").replace(window=64, subtile_columns=32, normaliser="ideal")


linux_only = pytest.mark.skipif(sys.platform != "linux", reason="Triton has wheels for Linux only")


def operands(head_dim: int = 16, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(5)

    def normal(heads: int, mean: float) -> Tensor:
        return (mean + 0.3 * torch.randn(2, heads, 100, head_dim, generator=generator)).to(dtype)

    return normal(4, 0.4), normal(2, 0.45), normal(2, 0.45)


def test_a_cpu_computes_in_blocks_unless_told_otherwise() -> None:
    q = operands()[0]
    assert path_of(q, array_model(CONFIG)) == "blocked"
    assert path_of(q, array_model(CONFIG.replace(path="naive"))) == "naive"


def test_the_oracle_is_reached_by_config() -> None:
    q, k, v = operands()
    config = CONFIG.replace(output_levels=None)
    oracle = gaincell.attention(q, k, v, config.replace(path="naive"))
    assert torch.equal(oracle, naive_attention(q, k, v, config)[0].float())
    assert not torch.equal(oracle, gaincell.attention(q, k, v, config))  # sums of float32 differ in their last bits


@linux_only
@pytest.mark.parametrize(("head_dim", "dtype", "why"), [(7, torch.float32, "head_dim 7"), (16, torch.float64, "64")])
def test_a_path_asked_for_by_name_refuses_what_it_cannot_compute(head_dim: int, dtype: torch.dtype, why: str) -> None:
    q, k, v = (x.to(DEVICE) for x in operands(head_dim, dtype))
    config = CONFIG.replace(path="triton")
    ring = Ring(2, 2, head_dim, config, DEVICE)
    asked = lambda: gaincell.attention(q, k, v, config), lambda: ring.extend(q, k, v)
    for call in (*asked, lambda: ring.extend(*(x[:, :, :1] for x in (q, k, v)))):
        with pytest.raises(InputError, match=f"path 'triton' cannot compute this attention: .*{why}.*; set path to"):
            call()


class _OfAGpu:
    """What a path is chosen by of operands on a GPU that is too old, which no test machine has."""

    shape, dtype, device = torch.Size((1, 1, 4, 16)), torch.float32, torch.device("cuda")


@linux_only
def test_what_the_kernels_cannot_take_goes_elsewhere_where_none_was_asked_for_and_is_said_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "a Tesla T4")
    dispatch._warn_once.cache_clear()
    with pytest.warns(RuntimeWarning, match="without its GPU kernels: a Tesla T4 is older"):
        assert path_of(_OfAGpu(), array_model(CONFIG)) == "blocked"  # pyright: ignore[reportArgumentType]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert path_of(_OfAGpu(), array_model(CONFIG)) == "blocked"  # pyright: ignore[reportArgumentType]


def test_a_ring_computes_every_token_on_the_path_that_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    exact = naive.naive_products

    def counted(operands: Any, model: Any) -> Any:
        asked.append(operands.q.shape[2])
        return exact(operands, model)

    monkeypatch.setattr(naive, "naive_products", counted)
    config = GainCellConfig.named("leroux2025").replace(window=64, subtile_columns=16, path="naive")
    ring = Ring(1, 2, 16, config)
    q, k = torch.rand(1, 4, 3, 16), torch.rand(1, 2, 3, 16) * 0.9
    outs = [ring.extend(q[:, :, at], k[:, :, at], k[:, :, at]) for at in (slice(2), slice(2, 3))]
    assert asked == [2, 3]
    torch.testing.assert_close(torch.cat(outs, 2), gaincell.attention(q, k, k, config))
    with pytest.raises(InputError, match="path 'naive' reads no ring; use extend"):
        ring.read(q[:, :, :1])


def test_the_oracle_has_no_gradients_and_says_so() -> None:
    q, k, v = (x.requires_grad_() for x in operands())
    with pytest.raises(InputError, match="path 'naive' cannot compute this attention: it has no gradients"):
        gaincell.attention(q, k, v, CONFIG.replace(path="naive"))
    with torch.no_grad():
        assert gaincell.attention(q, k, v, CONFIG.replace(path="naive")).isfinite().all()


@linux_only
def test_the_kernels_are_reached_by_config_with_pads_and_from_the_ring(monkeypatch: pytest.MonkeyPatch) -> None:
    q, k, v = (x.to(DEVICE) for x in operands())
    config = CONFIG.replace(path="triton", output_levels=None)
    assert path_of(q, array_model(config)) == "triton"
    from gaincell.ops.triton import decode, products

    called = []
    for module, name in ((products, "triton_products"), (decode, "triton_read")):
        kernel = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *a, kernel=kernel, name=name: (called.append(name), kernel(*a))[1])
    pad = torch.tensor([0, 30], device=DEVICE)
    real = torch.arange(100, device=DEVICE) >= pad[:, None]
    expected = gaincell.attention(q, k, v, config.replace(path="blocked"), pad=pad)
    assert not called
    torch.testing.assert_close(gaincell.attention(q, k, v, config, pad=pad), expected, rtol=1e-4, atol=1e-5)
    assert called == ["triton_products"]
    ring = Ring(2, 2, 16, config, DEVICE)
    parts = [slice(0, 97), slice(97, 98), slice(98, 100)]
    found = [ring.extend(*(x[:, :, part] for x in (q, k, v)), real[:, part]) for part in parts]
    torch.testing.assert_close(torch.cat(found, 2), expected, rtol=1e-4, atol=1e-5)
    assert called == ["triton_products", "triton_products", "triton_read", "triton_products"]


@pytest.mark.parametrize("matmul", ["tf32", "bfloat16"])
def test_rounded_operands_flip_codes_and_no_more(matmul: str) -> None:
    q, k, v = operands(64)
    exact = gaincell.attention(q, k, v, CONFIG.replace(normaliser="none"))
    rounded = gaincell.attention(q, k, v, CONFIG.replace(normaliser="none", matmul=matmul))
    codes = (rounded - exact).mul(15.5).round().abs()
    assert 0 < int((codes > 0).sum()) < 0.1 * codes.numel()
    assert float(codes.max()) <= 2
