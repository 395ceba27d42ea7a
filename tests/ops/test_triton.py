"""The GPU kernels against the float64 oracle, on a GPU where there is one and in Triton's interpreter elsewhere."""

import importlib
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from imperfect_cases import characterised
from ops_cases import MEASURED, TRIED, cell, dense_attention
from torch import Tensor

from gaincell import GainCellConfig
from gaincell.cell import PulseLaw
from gaincell.ops import Ring
from gaincell.ops.dense import dense
from gaincell.ops.model import array_model
from gaincell.ops.operands import Operands
from gaincell.ops.quantise import query_pulse
from gaincell.ops.triton import unsupported

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
if sys.platform != "linux":
    pytest.skip("Triton has wheels for Linux only", allow_module_level=True)
triton = importlib.import_module("triton")  # a development tool: where it is missing on Linux, this fails
interpreted = not isinstance(triton.language.sum, triton.JITFunction)
assert interpreted or DEVICE == "cuda", "Triton was imported before tests/conftest.py chose its interpreter"

from gaincell.ops.triton.decode import triton_read  # noqa: E402
from gaincell.ops.triton.products import triton_products  # noqa: E402

#: Of a sub-tile's charge in float32, where 1 is what reads out as 1.
ROUNDING = 3e-6
Leaves = dict[str, Tensor]
Operator = Callable[..., Tensor]


def design(law: str, leak: float, head_dim: int, columns: int, tiles: int, **fields: object) -> GainCellConfig:
    """A design point whose pulses and read-outs spread over their ranges, without round numbers, so without ties."""
    options: dict[str, object] = {
        "stored_levels": None,
        "output_levels": None,
        "normaliser": "ideal",
        "score_saturation": 4 * 1.0371 * head_dim**0.5,
        "output_scale": 1.0617 * columns**0.5,
    }
    window = columns * tiles
    options |= {"window": window, "subtile_columns": columns, "cell": cell(law), "leak_per_token": leak}
    return GainCellConfig(**(options | fields))


#: A toe that curves, as a comparator's does; and a jump amid a ramp whose pulses never get full.
TOE = PulseLaw(at=(-0.05, 0.05, 0.2, 0.9, 1.1), width=(0.0, 0.01, 0.12, 0.93, 1.0), source="a test")
STEP = PulseLaw(at=(0.1, 0.5, 0.5, 0.9), width=(0.0, 0.2, 0.5, 0.8), source="a test")


def pulsed(law: PulseLaw, name: str = "leroux2025") -> dict[str, Any]:
    """Fields of a design point whose pulses follow `law`."""
    return {"cell": cell(name).model_copy(update={"pulse": law}), "pulse_law": "cell"}


def circuits(offsets: tuple[float, float], name: str = "leroux2025") -> dict[str, Any]:
    """Fields of a design point whose charge-to-pulse circuits, of both products, have a gain and offsets."""
    return {"cell": characterised(cell(name), 15e-9, 1.3, offsets), "charge_to_pulse": "cell"}


def operands(tokens: int, head_dim: int, groups: int = 1, kv_heads: int = 1, preset: bool = True) -> Leaves:
    """float32 operands that hold no clamp all the time; q as a model lays it out, (B, T, H, D) in memory."""
    generator = torch.Generator().manual_seed(4)

    def normal(mean: float, deviation: float, *shape: int) -> Tensor:
        return mean + deviation * torch.randn(1, *shape, generator=generator)

    leaves = {
        "q": normal(0.1, 0.7, tokens, kv_heads * groups, head_dim).transpose(1, 2),
        "k": normal(0.45, 0.25, kv_heads, tokens, head_dim),
        "v": normal(0.45, 0.25, kv_heads, tokens, head_dim),
    }
    return leaves | ({"preset": normal(0.0, 0.3, kv_heads * groups, tokens)} if preset else {})


def gaps(k: Tensor) -> Tensor:
    """A third of the tokens, at random."""
    return torch.rand(k.shape[:3], generator=torch.Generator().manual_seed(6)).lt(0.3).to(k.device)


def kernels(
    q: Tensor, k: Tensor, v: Tensor, config: GainCellConfig, preset: Tensor | None = None, absent: Tensor | None = None
) -> Tensor:
    model = array_model(config)
    return model.output(*triton_products(Operands(q, k, v, preset, absent), model))


def results(operator: Operator, leaves: Leaves, config: GainCellConfig) -> Leaves:
    """The output, and the gradient of a random weighted sum of it by operand."""
    leaves = {name: x.detach().clone().requires_grad_() for name, x in leaves.items()}
    out = operator(config=config, **leaves)
    weights = torch.randn(out.shape, generator=torch.Generator().manual_seed(3)).to(out)
    (out * weights).sum().backward()
    gradients = {name: x.grad for name, x in leaves.items() if x.grad is not None}
    return {"out": out.detach().cpu().double()} | {name: x.cpu().double() for name, x in gradients.items()}


def tied(out: Tensor, leaves: Leaves, config: GainCellConfig, absent: Tensor | None) -> Tensor:
    """Where a charge within float32's rounding of a tie lets an output be one of two; it is one of them."""
    model = array_model(config)
    trace = dense(Operands(**{name: x.double() for name, x in leaves.items()}, absent=absent), model)
    low, high = (
        model.output((model.readout(trace.charge + by) * trace.in_use[..., None]).sum(3), trace.z)
        for by in (-ROUNDING, ROUNDING)
    )
    open_ = low < high
    assert (torch.minimum((out - low).abs(), (out - high).abs())[open_] < ROUNDING).all()
    assert int(open_.sum()) < 0.01 * open_.numel()
    TRIED["triton: outputs with a charge at a tie"] += int(open_.sum())
    return open_


def compare(leaves: Leaves, config: GainCellConfig, absent: Tensor | None = None) -> None:
    reference: Operator = dense_attention
    fused: Operator = kernels
    if absent is not None:
        reference, fused = partial(reference, absent=absent), partial(kernels, absent=absent.to(DEVICE))
    expected = results(reference, {name: x.double() for name, x in leaves.items()}, config)
    found = results(fused, {name: x.to(DEVICE) for name, x in leaves.items()}, config)
    assert found.keys() == expected.keys()
    if config.output_levels is not None:  # a charge within rounding of a tie may fall on its other side, and no other
        found["out"] = torch.where(tied(found["out"], leaves, config, absent), expected["out"], found["out"])
    for name, value in expected.items():
        scale = max(1.0, float(value.abs().max()))
        error = float((found[name] - value).abs().max()) / scale
        key = f"triton: largest error of {name}"
        MEASURED[key] = f"{max(error, float(MEASURED.get(key, '0'))):.1e}"
        # Converted in float32, the smallest of 8 voltages is known to 1e-6 of itself.
        assert error < (ROUNDING if config.stored_levels is None else 2e-5), f"{name} is off by {error:.1e}"
        assert float(value.abs().max()) > 0, name
        TRIED["triton: values compared"] += value.numel()


CASES = {
    "published": (design("leroux2025", 1.6e-4, 16, 16, 2), operands(107, 16, kv_heads=2)),
    "no leak, read-out": (
        design("leroux2025-linear", 0.0, 64, 32, 2, output_levels=32, stored_levels=8, normaliser="none"),
        operands(203, 64, groups=3),
    ),
    "order 5, true law": (design("order 5", 0.02, 80, 16, 2, gradient="true-law"), operands(107, 80)),
    "order 5, read-out": (
        design("order 5", 0.02, 16, 16, 2, output_levels=32, readout="counter", normaliser="none"),
        operands(60, 16, groups=3),
    ),
    "no leak, true law": (
        design("leroux2025", 0.0, 16, 16, 3, gradient="true-law", query_sign="differential"),
        operands(155, 16, preset=False),
    ),
    "offset-binary": (
        design("order 5", 0.02, 16, 16, 2, query_sign="offset_binary"),
        operands(60, 16),
    ),
    "factored": (
        design("leroux2025", 0.02, 16, 16, 2, output_levels=32, normaliser="none", leak_form="factored"),
        operands(107, 16, groups=3),
    ),
    "factored, true law": (
        design("order 5", 0.02, 16, 16, 2, leak_form="factored", gradient="true-law"),
        operands(107, 16),
    ),
    "sub-tile in parts": (
        design("leroux2025", 1.6e-4, 16, 128, 2, output_levels=32, query_levels=None, normaliser="none"),
        operands(420, 16),
    ),
    "reference columns": (
        design("leroux2025", 0.02, 16, 16, 2, normaliser="column", normaliser_ranges=(1.3, 4.1), gradient="true-law"),
        operands(107, 16, groups=3),
    ),
    "a toe": (design("leroux2025", 0.02, 16, 16, 2, **pulsed(TOE)), operands(107, 16, groups=3)),
    "a jump amid the ramp": (
        design("order 5", 0.02, 16, 16, 2, gradient="true-law", **pulsed(STEP, "order 5")),
        operands(60, 16),
    ),
    "circuits with offsets": (
        design("leroux2025", 1.6e-4, 16, 16, 2, **circuits((0.1, 0.07)), normaliser="column"),
        operands(107, 16, groups=3),
    ),
    "circuits that start late": (
        design("leroux2025-linear", 0.0, 16, 16, 2, **circuits((-0.1, -0.07), "leroux2025-linear"), normaliser="none"),
        operands(60, 16),
    ),
    "a pair": (design("pair", 0.02, 16, 16, 2, output_levels=32, stored_levels=8), operands(107, 16, groups=3)),
    "pairs to ground, true law": (
        design("pair to ground", 0.02, 16, 16, 2, gradient="true-law", query_sign="differential"),
        operands(60, 16),
    ),
    "a reference, to ground": (design("reference to ground", 0.02, 16, 16, 2), operands(60, 16)),
    "to ground, true law": (design("order 5 to ground", 0.02, 16, 16, 2, gradient="true-law"), operands(60, 16)),
    "one sub-tile": (design("leroux2025", 0.02, 16, 16, 1), operands(55, 16)),
    "one token": (design("leroux2025", 0.02, 16, 16, 1), operands(1, 16, groups=3)),
}


@pytest.mark.parametrize("name", CASES)
def test_output_and_every_gradient_equal_the_oracle(name: str) -> None:
    config, leaves = CASES[name]
    compare(leaves, config)


@pytest.mark.parametrize(
    "name", ["published", "no leak, read-out", "offset-binary", "reference columns", "sub-tile in parts"]
)
def test_absent_tokens_add_nothing_and_get_no_gradient(name: str) -> None:
    config, leaves = CASES[name]
    compare(leaves, config, gaps(leaves["k"]))


@pytest.mark.slow
def test_more_subtiles_than_bits_of_a_word() -> None:
    columns = design("leroux2025", 0.0, 16, 16, 34, normaliser="column", normaliser_ranges=(4.1,))
    compare(operands(552, 16), columns)  # past the window of 544


@pytest.mark.parametrize(
    ("matmul", "most", "query_sign"),
    [("tf32", 2e-3, "unsigned"), ("bfloat16", 2e-2, "unsigned"), ("bfloat16", 2e-2, "offset_binary")],
)
def test_rounded_operands_stay_near_the_oracle(matmul: str, most: float, query_sign: str) -> None:
    config = design("leroux2025", 0.02, 16, 16, 2, query_sign=query_sign)
    leaves = operands(70, 16)
    expected = results(dense_attention, {name: x.double() for name, x in leaves.items()}, config)
    moved = {name: x.to(DEVICE) for name, x in leaves.items()}
    found = results(kernels, moved, config.replace(matmul=matmul))
    for name, value in expected.items():
        error = float((found[name] - value).norm() / value.norm())
        MEASURED[f"triton: relative error of {name}, {matmul}"] = f"{error:.1e}"
        # A pulse on the edge of HardSigmoid may fall on its other side, and a gradient with it.
        assert error < (most if name == "out" else 8 * most), f"{name}: {error:.1e}"


def test_two_runs_give_the_same_bits() -> None:
    config, leaves = CASES["factored"]
    first, second = (results(kernels, {n: x.to(DEVICE) for n, x in leaves.items()}, config) for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)


READS = [
    (design("leroux2025", 1.6e-4, 64, 16, 3, stored_levels=8, output_levels=32), 64, 3),
    (design("leroux2025", 0.02, 64, 16, 2, stored_levels=8, leak_form="factored"), 64, 1),
    (design("order 5", 0.0, 80, 32, 2, stored_levels=16, output_levels=32, readout="counter"), 80, 1),
    (design("leroux2025", 0.02, 16, 128, 2, stored_levels=8), 16, 1),
    (design("order 5", 0.02, 16, 16, 2), 16, 3),
    (design("order 5", 0.02, 80, 16, 2, stored_levels=8, query_sign="offset_binary"), 80, 3),
    (design("leroux2025", 0.02, 16, 16, 2, stored_levels=8, storage="linearised", query_sign="differential"), 16, 3),
    (design("leroux2025", 1.6e-4, 64, 16, 3, normaliser="column", output_levels=32), 64, 3),
    (design("leroux2025", 0.02, 16, 16, 2, stored_levels=8, **pulsed(TOE)), 16, 3),
    (design("pair", 0.02, 16, 16, 2, stored_levels=8), 16, 3),
    (design("pair", 0.0, 16, 16, 2, stored_levels=8), 16, 1),
    (design("pair to ground", 0.02, 16, 16, 2, stored_levels=8), 16, 3),
    (design("pair to ground", 0.02, 16, 16, 2), 16, 1),
    (design("reference", 0.02, 16, 16, 2, leak_form="factored"), 16, 1),
    (design("reference to ground", 0.02, 16, 16, 2, stored_levels=8), 16, 3),
    (design("order 5 to ground", 0.02, 16, 16, 2), 16, 1),
    (design("leroux2025", 0.02, 16, 16, 2, **circuits((0.1, 0.07)), output_levels=32, normaliser="column"), 16, 3),
]


@pytest.mark.parametrize(
    ("config", "head_dim", "groups", "packed"),
    [(*case, packed) for case in READS for packed in (False, True) if not packed or case[0].stored_levels is not None],
)
def test_a_ring_reads_the_same(config: GainCellConfig, head_dim: int, groups: int, packed: bool) -> None:
    counts, heads = torch.tensor([0, 5, config.window + config.subtile_columns + 3]), 2
    tokens = int(counts.max())
    generator = torch.Generator().manual_seed(2)
    ring = Ring(3, heads, head_dim, config, packed=packed)
    k, v = (0.45 + 0.25 * torch.randn(3, heads, tokens, head_dim, generator=generator) for _ in range(2))
    ring.write(k, v, torch.arange(tokens) >= tokens - counts[:, None], gaps(k) if packed else None)
    q = 0.1 + 0.7 * torch.randn(3, heads * groups, 1, head_dim, generator=generator)
    preset = 0.3 * torch.randn(3, heads * groups, 1, generator=generator)
    expected = ring.read(q, preset)
    ring.to(DEVICE)
    pulse, offset = query_pulse(q, config)[:, :, 0].to(DEVICE), preset[:, :, 0].to(DEVICE)
    model = array_model(config)
    out, z = triton_read(pulse, ring.codes, ring.count, model, offset, packed, ring.absent)
    found = model.output(out[:, :, None], z[:, :, None]).cpu()
    torch.testing.assert_close(found, expected, rtol=0, atol=3e-6)
    assert not found[0].any()
    assert bool(found[1:].any())


def test_where_the_kernels_do_not_run_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    config = design("leroux2025", 0.0, 64, 16, 2)
    q, model = torch.zeros(1, 1, 4, 64, device=DEVICE), array_model(config)
    assert unsupported(q, model) is None
    assert unsupported(q.double(), model) == "operands are float64"
    assert unsupported(q[..., :8], model) == "head_dim 8 is not 16 to 256"
    assert unsupported(q, array_model(config.replace(window=48, subtile_columns=24))) == (
        "subtile_columns 24 is not a power of two from 16"
    )
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    assert unsupported(q.cpu(), model) == "device cpu is not a CUDA device"
