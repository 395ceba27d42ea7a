"""Integer arithmetic: every path gives the bits of its definition, whatever sums in whatever order."""

from collections.abc import Iterator
from dataclasses import replace
from math import exp, ldexp
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from ops_cases import MEASURED, TRIED, Case, cases, cell
from torch import Tensor

from gaincell import GainCellConfig, InputError
from gaincell.cell import Cell, PolynomialLaw
from gaincell.ops import naive_attention
from gaincell.ops.convert import query_pulse, stored_code
from gaincell.ops.integer import check_integer, integer_products, integer_read, straight_through

LEVELS = {"query_levels": 16, "stored_levels": 8, "output_levels": 32}


class Oracle:
    """The definition, one query of one head at a time, in Python's numbers and NumPy's int64."""

    def __init__(self, config: GainCellConfig) -> None:
        self.config, self.law = config, config.cell.model_law.coefficients
        charge = np.array([[self.charge(y, age) for age in range(config.window)] for y in self.stored()])
        tables = {g: np.rint(charge * 2.0**g) for g in range(-10, 40)}
        self.g = max(g for g, table in tables.items() if abs(table).max() < 2**15)
        self.table = tables[self.g].astype(np.int64)

    def f(self, y: float) -> float:
        return sum(c * y**i for i, c in enumerate(self.law))

    def charge(self, y: float, age: int) -> float:
        decay = exp(-self.config.leak * age)
        return self.f(y) * decay if self.config.leak_form == "factored" else self.f(y * decay)

    def stored(self) -> Iterator[float]:
        """The voltages of the codes over zero."""
        c, top = self.config, (self.config.stored_levels or 0) - 1
        low, high = -c.zero_v, c.stored_max_v - c.zero_v
        for m in range(top + 1):
            if c.storage == "uniform":
                yield c.stored_max_v * m / top - c.zero_v
                continue
            roots = np.roots([*self.law[:0:-1], self.law[0] - self.f(low) - (self.f(high) - self.f(low)) * m / top])
            inside = (roots.real > low - 1e-9) & (roots.real < high + 1e-9)
            yield roots.real[inside & (abs(roots.imag) < 1e-9)].item()

    def attend(self, n: NDArray, k: NDArray, v: NDArray, preset: float, absent: NDArray) -> tuple[NDArray, float]:
        """The newest of len(k) tokens looks back: query codes n (D,), stored codes k, v (tokens, D)."""
        c, t = self.config, len(k) - 1
        queries, levels = (c.query_levels or 0) - 1, c.output_levels or 0
        full, step = (levels - 1) / 2, 2 / (levels - 1)
        if c.readout == "counter":
            full = max(levels // 2 - 1, 1)
            step = 1 / full
        tiles, fired = {}, {}
        for s in range(max(0, t - c.window + 1), t + 1):
            if absent[s]:
                continue
            score = int((n * self.table[k[s], t - s]).sum())
            gate = round(score * (2**15 / (c.score_saturation * queries * 2.0**self.g))) + round(preset * 2**15)
            pulse = min(max(gate, 0), 2**15)
            tile = s % c.window // c.subtile_columns
            tiles[tile] = tiles.get(tile, 0) + pulse * self.table[v[s], t - s]
            fired[tile] = fired.get(tile, 0) + pulse
        unit = full / (c.output_scale * 2**15 * 2.0**self.g)
        counts = sum(np.rint(np.clip(x * unit, -full, full)) for x in tiles.values()) + np.zeros(v.shape[1])
        return counts * step, ldexp(sum(self.pulses(x, full) for x in fired.values()), -15)

    def pulses(self, fired: int, full: float) -> int:
        """What one sub-tile adds to Z, on the grid of pulses."""
        if self.config.normaliser != "column":
            return fired
        ranges, width = self.config.normaliser_ranges, ldexp(fired, -15)
        held = next((x for x in ranges if width <= x), ranges[-1])
        return round(ldexp(round(min(width / held * full, full)) * (held / full), 15))

    def __call__(
        self, n: Tensor, k: Tensor, v: Tensor, preset: Tensor | None, absent: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        (batch, heads, tokens, _), groups = n.shape, n.shape[1] // k.shape[1]
        out, z = torch.zeros(n.shape, dtype=torch.float64), torch.zeros(n.shape[:3], dtype=torch.float64)
        for b, h, t in np.ndindex(batch, heads, tokens):
            now, stored = n[b, h, t].numpy(), (x[b, h // groups, : t + 1].numpy().astype(int) for x in (k, v))
            offset = 0.0 if preset is None else float(preset[b, h, t])
            gone = np.zeros(t + 1, dtype=bool) if absent is None else absent[b, h // groups, : t + 1].numpy()
            found, z[b, h, t] = self.attend(now, *stored, offset, gone)
            out[b, h, t] = torch.from_numpy(found)
        return out, z


def converted(case: Case) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """Pulses in float32, codes, and the preset in float32, so that every path starts from the same numbers."""
    preset = None if case.preset is None else case.preset.float()
    codes = (stored_code(x, case.config) for x in (case.k, case.v))
    return query_pulse(case.q.float(), case.config), *codes, preset


def ring_reads(
    q: Tensor, k: Tensor, v: Tensor, preset: Tensor | None, absent: Tensor | None, config: GainCellConfig
) -> tuple[Tensor, Tensor]:
    """Each token's query against the columns as they stand then; the rows of a batch are at different tokens."""
    out, z = torch.full_like(q, torch.nan), torch.full(q.shape[:3], torch.nan, dtype=q.dtype)
    tokens, row = q.shape[2], torch.arange(len(q))
    for first in range(tokens):
        t = (first + row) % tokens
        used = min(config.window, -(-(int(t.max()) + 1) // config.subtile_columns) * config.subtile_columns)
        age = (t[:, None] - torch.arange(used)) % config.window
        written = t[:, None] - age
        columns = (x[row[:, None], :, written.clamp(min=0)].transpose(1, 2) for x in (k, v))
        own = None if preset is None else preset[row, :, t, None]
        gone = None if absent is None else absent[row[:, None], :, written.clamp(min=0)].transpose(1, 2)
        found = integer_read(q[row, :, t, None], *columns, age, written >= 0, config, own, gone)
        out[row, :, t], z[row, :, t] = found[0][:, :, 0], found[1][:, :, 0]
    return out, z


def same(found: tuple[Tensor, Tensor], expected: tuple[Tensor, Tensor]) -> bool:
    return all(torch.equal(x, y.to(x.dtype)) for x, y in zip(found, expected, strict=True))


@st.composite
def quantised(draw: st.DrawFn) -> Case:
    case = draw(cases(most_tokens=40))
    levels = {name: getattr(case.config, name) or fallback for name, fallback in LEVELS.items()}
    form = draw(st.sampled_from(("cell", "factored")))
    return replace(case, config=case.config.replace(arithmetic="integer", leak_form=form, **levels))


def compare(case: Case) -> None:
    """Oracle, parallel form and ring: equal to the bit, in float32 and float64."""
    q, k, v, preset = converted(case)
    top = (case.config.query_levels or 0) - 1
    n = (q.double() * top).round().long()
    if case.config.query_sign == "offset_binary":
        assert not ((n - top) % 2).any()
    expected = Oracle(case.config)(n, k, v, preset, case.absent)
    wide = None if preset is None else preset.double()
    for dtype, offset in ((torch.float32, preset), (torch.float64, wide)):
        found = integer_products(q.to(dtype), k, v, case.config, offset, case.absent)
        assert found[0].dtype == found[1].dtype == dtype
        assert same(found, expected)
    assert same(ring_reads(q, k, v, preset, case.absent, case.config), expected)
    TRIED["integer: outputs compared"] += q.numel()
    TRIED["integer: of them other than zero"] += int((expected[0] != 0).sum())


def linear(charge: float) -> Cell:
    """A cell that gives so much charge at +0.45 V."""
    law = PolynomialLaw(coefficients=(0.0, charge / 0.45), unit="model", source="made up")
    return cell("leroux2025").model_copy(update={"name": "linear", "law": law})


@given(quantised())
def test_parallel_and_ring_give_the_bits_of_the_definition(case: Case) -> None:
    compare(case)


@pytest.mark.parametrize(
    "changes",
    [
        # the most levels there may be: the longest sums
        {"query_levels": 1 << 16, "stored_levels": 256, "output_levels": 1 << 16, "score_saturation": 500.0},
        {"query_levels": 1 << 16, "stored_levels": 256, "query_sign": "offset_binary", "score_saturation": 500.0},
        # scales that are powers of two: sums that lie exactly between two codes
        {"query_levels": 2, "stored_levels": 2, "output_levels": 3, "score_saturation": 64.0, "output_scale": 32.0},
        {"query_levels": 2, "output_levels": 4, "readout": "counter", "score_saturation": 8.0, "leak_per_token": 0.0},
        # a law so little below a power of two that it rounds to it
        {"cell": linear(8 * (1 - 2**-17)), "leak_per_token": 0.0},
    ],
)
def test_extreme_levels_and_scales_give_the_bits_of_the_definition(changes: dict[str, Any]) -> None:
    config = GainCellConfig(
        window=12, subtile_columns=4, **{"leak_per_token": 0.02, "query_sign": "differential", **changes}
    )
    q, k, v = operands(heads=2, kv_heads=1, tokens=30, head_dim=128)
    case = Case(config=config, q=q, k=k, v=v, pad=None, preset=q[..., 0], absent=None, chunks=(1,), packed=False)
    compare(case)


def operands(heads: int, kv_heads: int, tokens: int, head_dim: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)

    def normal(n: int, mean: float, deviation: float) -> Tensor:
        return mean + deviation * torch.randn(1, n, tokens, head_dim, generator=generator)

    return normal(heads, 0.2, 0.7), normal(kv_heads, 0.45, 0.25), normal(kv_heads, 0.45, 0.25)


@pytest.mark.parametrize("leak", [0.0, 1.6e-4])
def test_the_published_design_point_differs_from_float64_in_few_codes(leak: float) -> None:
    config = GainCellConfig.preset("leroux2025").replace(window=256, leak_per_token=leak)
    q, k, v = operands(heads=2, kv_heads=2, tokens=640, head_dim=64)
    found, z = integer_products(query_pulse(q, config), stored_code(k, config), stored_code(v, config), config)
    expected, phi = naive_attention(q, k, v, config)
    codes = ((found - expected).abs() * 31 / 2).round()
    share, largest = float((codes > 0).double().mean()), int(codes.max())
    MEASURED[f"integer: outputs a code from float64, leak {leak:g}"] = (
        f"{share:.2%} of {found.numel()}, {largest} at most; "
        f"sum of phi {float((z - phi.sum(-1)).abs().max()):.1e} of {float(phi.sum(-1).max()):.0f} at most"
    )
    assert share < 0.005
    assert largest <= 2
    # a pulse is rounded by up to 2^-16, and 2^-12 of charge in each of 64 cells can move it by 2e-4
    torch.testing.assert_close(z.double(), phi.sum(-1), rtol=0, atol=256 * (2**-16 + 64 * 2**-12 / 80))


@pytest.mark.parametrize("leak", [0.0, 1.6e-4])
@pytest.mark.parametrize(
    "where",
    [
        "two threads",
        "autocast",
        pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")),
    ],
)
def test_whatever_computes_gives_the_same_bits(where: str, leak: float) -> None:
    config = GainCellConfig.preset("leroux2025").replace(leak_per_token=leak)  # at the published window
    q, k, v = operands(heads=2, kv_heads=1, tokens=1400, head_dim=64)
    arguments = query_pulse(q, config), stored_code(k, config), stored_code(v, config)
    expected = integer_products(*arguments, config)
    if where == "cuda":
        found = [x.cpu() for x in integer_products(*(x.cuda() for x in arguments), config)]
    elif where == "autocast":
        with torch.autocast("cpu"):
            found = integer_products(*arguments, config)
    else:
        threads = torch.get_num_threads()
        torch.set_num_threads(2)
        found = integer_products(*arguments, config)
        torch.set_num_threads(threads)
    assert same((found[0], found[1]), expected)


def test_no_tokens_or_no_rows_give_an_empty_output() -> None:
    config = GainCellConfig(window=8, subtile_columns=4, leak_per_token=0.1)
    for batch, tokens in ((1, 0), (0, 3)):
        q, code = torch.zeros(batch, 2, tokens, 4), torch.zeros(batch, 1, tokens, 4, dtype=torch.uint8)
        out, z = integer_products(q, code, code, config)
        assert (out.shape, z.shape) == (q.shape, q.shape[:3])


def test_the_value_passes_to_the_bit_and_the_gradient_to_the_surrogate() -> None:
    value, surrogate = torch.tensor([0.1, -3.0, 1e-30]), torch.tensor([1e9, 2.0, 0.7], requires_grad=True)
    out = straight_through(value, 3 * surrogate)
    assert torch.equal(out, value)
    assert not value.requires_grad
    (gradient,) = torch.autograd.grad((out * torch.tensor([1.0, 2.0, 5.0])).sum(), surrogate)
    assert gradient.tolist() == [3.0, 6.0, 15.0]


@pytest.mark.parametrize("name", LEVELS)
def test_a_design_point_without_levels_is_refused(name: str) -> None:
    config = GainCellConfig.preset("leroux2025").replace(**{name: None})
    q, code = torch.zeros(1, 1, 1, 4), torch.zeros(1, 1, 1, 4, dtype=torch.uint8)
    for take in (check_integer, lambda c: integer_products(q, code, code, c)):
        with pytest.raises(InputError, match=rf"^arithmetic 'integer' counts in levels, but {name} is null; .*\.$"):
            take(config)
    check_integer(config.replace(**LEVELS))
