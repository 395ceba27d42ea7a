"""What holds at every design point: causality, window, pads, memory, ages, conversion."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from ops_cases import Case, cases, cell
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import gaincell
from gaincell import GainCellConfig, InputError
from gaincell.ops import Ring, attention_map, naive_attention
from gaincell.ops.quantise import code_voltage, query_pulse, stored_code, stored_voltage
from gaincell.ops.readout import Readout

PATHS = {
    "oracle": lambda case: naive_attention(case.q, case.k, case.v, case.config, **case.options)[0],
    "blocked": lambda case: gaincell.attention(case.q, case.k, case.v, case.config, **case.options),
    "ring": lambda case: case.stream(case.chunks),
}


def changed(case: Case, where: Tensor) -> Case:
    """The same case with other operands at the tokens (B, T) where asked."""
    generator = torch.Generator().manual_seed(11)

    def other(x: Tensor) -> Tensor:
        noise = torch.rand(x.shape, generator=generator, dtype=x.dtype)
        return torch.where(where[:, None, :, None], noise, x)

    preset = None
    if case.preset is not None:
        preset = torch.where(where[:, None, :], torch.rand_like(case.preset), case.preset)
    return replace(case, q=other(case.q), k=other(case.k), v=other(case.v), preset=preset)


@pytest.mark.parametrize("path", PATHS)
@given(case=cases(most_tokens=40), data=st.data())
def test_a_later_token_never_changes_an_earlier_output(path: str, case: Case, data: st.DataObject) -> None:
    tokens = case.q.shape[2]
    first = data.draw(st.integers(0, tokens - 1), label="first changed token")
    later = (torch.arange(tokens) >= first).expand(case.q.shape[0], -1)
    before, after = PATHS[path](case), PATHS[path](changed(case, later))
    torch.testing.assert_close(after[:, :, :first], before[:, :, :first], rtol=0, atol=1e-12)


@pytest.mark.parametrize("path", PATHS)
@given(case=cases(most_tokens=40), data=st.data())
def test_a_token_that_left_the_window_has_no_influence(path: str, case: Case, data: st.DataObject) -> None:
    tokens = case.q.shape[2]
    last = data.draw(st.integers(0, tokens - 1), label="last changed token")
    early = (torch.arange(tokens) <= last).expand(case.q.shape[0], -1)
    gone = last + case.config.window
    before, after = PATHS[path](case), PATHS[path](changed(case, early))
    torch.testing.assert_close(after[:, :, gone:], before[:, :, gone:], rtol=0, atol=1e-12)


@pytest.mark.parametrize("path", PATHS)
@given(case=cases(most_tokens=40))
def test_pads_and_unwritten_columns_add_nothing(path: str, case: Case) -> None:
    # A cell of which even the empty column would add a charge, were it read.
    constant = cell("order 5").law.model_copy(update={"coefficients": (30.0, 5.0, 0.0, 9.0)})
    config = case.config.replace(cell=case.config.cell.model_copy(update={"law": constant}))
    case = replace(case, config=config)
    before = PATHS[path](case)
    if case.real is not None:
        assert not before.masked_select(~case.real[:, None, :, None]).any()
        after = PATHS[path](changed(case, ~case.real))
        torch.testing.assert_close(after, before, rtol=0, atol=1e-12)
    for row in range(case.q.shape[0]):
        first = 0 if case.pad is None else int(case.pad[row])
        if first < case.q.shape[2]:  # a row of the padded batch is the row on its own
            alone = replace(
                case,
                **{name: getattr(case, name)[row : row + 1, :, first:] for name in ("q", "k", "v")},
                preset=None if case.preset is None else case.preset[row : row + 1, :, first:],
                absent=None if case.absent is None else case.absent[row : row + 1, :, first:],
                pad=None,
            )
            torch.testing.assert_close(PATHS[path](alone)[0], before[row, :, first:], rtol=1e-9, atol=1e-9)


class Largest(TorchDispatchMode):
    """Notes the largest tensor that any operation returns."""

    elements = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        sizes = [x.numel() for x in tree_leaves(out) if isinstance(x, Tensor)]
        self.elements = max([self.elements, *sizes])
        return out


def test_memory_grows_with_the_tokens_and_not_with_their_square() -> None:
    config = GainCellConfig.named("leroux2025")
    q, k, v = (torch.rand(1, heads, 8192, 16).requires_grad_() for heads in (2, 1, 1))
    with Largest() as largest:
        gaincell.attention(q, k, v, config).sum().backward()
    assert largest.elements <= 4 * q.numel()  # an operand beside itself for each power of the law; T x T were 256


@pytest.mark.parametrize("start", [10**6 - 7, 2**31 + 3])
def test_ages_stay_exact_after_a_million_tokens(start: int) -> None:
    config = GainCellConfig.named("leroux2025").replace(
        window=12, subtile_columns=4, leak_per_token=0.02, score_saturation=8.0, output_scale=4.0
    )
    start = start // config.window * config.window  # the same columns as from 0 on
    generator = torch.Generator().manual_seed(5)
    q, k, v = (0.45 + 0.3 * torch.randn(1, 1, 40, 8, generator=generator, dtype=torch.float64) for _ in range(3))
    expected = naive_attention(q, k, v, config)[0][:, :, config.window :]
    for lengths in ([1] * 40, [12, 9, 1, 18]):
        ring = Ring(1, 1, 8, config)
        ring.count += start
        out = [ring.extend(*parts) for parts in zip(*(x.split(lengths, 2) for x in (q, k, v)), strict=True)]
        torch.testing.assert_close(torch.cat(out, 2)[:, :, config.window :], expected, rtol=1e-9, atol=1e-9)
        assert int(ring.count) == start + 40


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_a_zero_with_its_bias_lands_on_one_code_on_every_path(dtype: torch.dtype) -> None:
    """x = 0 with b = 0.45 V lies on the edge between the codes 3 and 4."""
    config = GainCellConfig.named("leroux2025").replace(window=16, subtile_columns=4)
    k = torch.zeros(1, 1, 20, 8, dtype=dtype) + 0.45
    q = torch.full_like(k, 0.7)
    case = Case(config, q, k, k, None, None, None, (7, 1, 3), False)
    ring = Ring(1, 1, 8, config)
    ring.write(k, k)
    codes = stored_code(k, config).unique()
    assert codes.numel() == 1
    assert int(codes) in (3, 4)
    assert ring.codes.unique().tolist() == codes.tolist()
    y = stored_voltage(k, config)
    assert torch.equal(y.unique(), code_voltage(codes, config, y.dtype))
    expected = PATHS["oracle"](case)
    for path in ("blocked", "ring"):
        found = PATHS[path](case)
        assert found.dtype == dtype
        torch.testing.assert_close(found.double(), expected, rtol=0.01, atol=1e-6, msg=path)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_narrow_operands_are_computed_in_float32(dtype: torch.dtype) -> None:
    config = GainCellConfig.named("leroux2025").replace(window=16, subtile_columns=4)
    q, k, v = ((0.45 + 0.3 * torch.randn(1, 2, 40, 8)).to(dtype) for _ in range(3))
    wide = gaincell.attention(q.float(), k.float(), v.float(), config)
    assert torch.equal(gaincell.attention(q, k, v, config), wide.to(dtype))


def test_autocast_changes_nothing_forward_or_backward() -> None:
    config = GainCellConfig.named("extended").replace(window=16, subtile_columns=4, score_saturation=4.0)
    generator = torch.Generator().manual_seed(6)
    leaves = [(0.45 + 0.3 * torch.randn(2, 2, 40, 8, generator=generator)).requires_grad_() for _ in range(3)]
    ring = Ring(2, 2, 8, config)

    def run() -> tuple[Tensor, ...]:
        out = gaincell.attention(*leaves, config)
        gradients = torch.autograd.grad(out.square().sum(), leaves)
        ring.reset()
        with torch.no_grad():
            streamed = ring.extend(*(x[:, :, :1] for x in leaves)), ring.extend(*(x[:, :, 1:] for x in leaves))
        return (out, *gradients, *streamed, attention_map(leaves[0].detach(), leaves[1].detach(), config))

    plain = run()
    with torch.autocast("cpu", torch.bfloat16):
        cast = run()
    for found, expected in zip(cast, plain, strict=True):
        assert found.dtype == torch.float32
        assert torch.equal(found, expected)


@pytest.mark.parametrize(("counts", "code"), [("reference", 16), ("counter", 15)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_read_out_reaches_its_last_code_and_no_further(counts: str, code: int, dtype: torch.dtype) -> None:
    config = GainCellConfig.named("leroux2025").replace(readout=counts, output_scale=0.01)
    step = 2 / 31 if counts == "reference" else 1 / 15
    ends = Readout.of(config)(torch.tensor([-1e9, -1.0, 1.0, 1e9], dtype=dtype))
    torch.testing.assert_close(ends, torch.tensor([-1.0, -1.0, 1.0, 1.0], dtype=dtype) * code * step)
    codes = Readout.of(config)(torch.linspace(-2, 2, 4001, dtype=dtype)) / step
    torch.testing.assert_close(codes, codes.round())
    assert codes.round().unique().tolist() == list(range(-code, code + 1))
    q, low, high = (torch.full((1, 1, 1, 8), x, dtype=dtype) for x in (1.0, 0.0, 0.9))
    for v, sign in ((low, -1), (high, 1)):  # through both products: a full pulse on a full cell
        out = gaincell.attention(q, high, v, config)
        torch.testing.assert_close(out, torch.full_like(out, sign * code * step))


def test_quantised_operands_take_no_more_values_than_their_levels() -> None:
    config = GainCellConfig.named("leroux2025")
    x = torch.linspace(-1, 2, 20_001)
    torch.testing.assert_close(query_pulse(x, config).unique(), torch.arange(16) / 15)
    torch.testing.assert_close(stored_voltage(x, config).unique(), (2 * torch.arange(8) - 7) * 0.9 / 14)
    signed = config.replace(query_sign="differential")
    torch.testing.assert_close(query_pulse(x, signed).unique(), torch.arange(-15, 16) / 15)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_offset_binary_queries_have_their_levels_around_zero_and_none_there(dtype: torch.dtype) -> None:
    config = GainCellConfig(query_sign="offset_binary")
    q = torch.linspace(-2, 2, 20_001).to(dtype)
    found = query_pulse(q, config)
    assert found.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    torch.testing.assert_close(found.unique(), torch.arange(-15, 16, 2).to(found) / 15)
    u = (q.double().clamp(-1, 1) + 1) / 2
    torch.testing.assert_close(found.double(), 2 * (15 * u).round() / 15 - 1)
    # Between two levels: 7.5 widths are 8, to even, in every precision.
    torch.testing.assert_close(query_pulse(torch.zeros(1, dtype=dtype), config), torch.ones(1).to(found) / 15)
    unquantised = query_pulse(q, config.replace(query_levels=None))
    torch.testing.assert_close(unquantised, q.clamp(-1, 1).to(found))


@pytest.mark.parametrize("storage", ["uniform", "linearised"])
def test_what_is_not_finite_stays_so_instead_of_becoming_a_level(storage: str) -> None:
    """A model that diverged is to be seen by its loss."""
    config = GainCellConfig.named("leroux2025").replace(storage=storage)
    x = torch.tensor([0.1, float("nan"), float("inf"), -float("inf")])
    y = stored_voltage(x, config)
    levels = code_voltage(torch.arange(8, dtype=torch.uint8), config)
    assert y.isnan().tolist() == [False, True, False, False]
    assert y[2:].tolist() == [levels[-1], levels[0]]


@pytest.mark.parametrize("levels", [2, 8, 16, 255])
@pytest.mark.parametrize("law", ["leroux2025", "order 5"])
def test_linearised_voltages_give_evenly_spaced_charge(law: str, levels: int) -> None:
    config = GainCellConfig(cell=cell(law), stored_levels=levels, storage="linearised", leak_per_token=0.0)
    y = code_voltage(torch.arange(levels, dtype=torch.uint8), config, torch.float64)
    charge = config.cell.model_law(y)
    ends = [config.cell.model_law(end) for end in (-0.45, 0.45)]
    torch.testing.assert_close(charge, torch.linspace(*ends, levels, dtype=torch.float64), rtol=1e-12, atol=1e-12)
    assert bool((y.diff() > 0).all())


def test_a_packed_ring_holds_the_same_codes_in_half_the_bytes() -> None:
    config = GainCellConfig.named("leroux2025").replace(window=16, subtile_columns=4)
    q, k, v = (0.45 + 0.3 * torch.randn(2, 3, 50, 6, generator=torch.Generator().manual_seed(7)) for _ in range(3))
    plain, packed = Ring(2, 3, 6, config), Ring(2, 3, 6, config, packed=True)
    assert plain.nbytes == 2 * 2 * 3 * 16 * 6 == 2 * packed.nbytes
    for now in (slice(0, 9), slice(9, 10), slice(10, 50)):
        parts = [x[:, :, now] for x in (q, k, v)]
        assert torch.equal(packed.extend(*parts), plain.extend(*parts))
    assert torch.equal(packed._unpack(packed.codes), plain.codes)


def test_what_a_ring_keeps_for_its_reads_grows_with_what_it_holds() -> None:
    config = GainCellConfig.named("leroux2025").replace(window=64, subtile_columns=4)
    q, k, v = (0.45 + 0.3 * torch.randn(2, 3, 70, 6, generator=torch.Generator().manual_seed(i)) for i in range(3))
    ring, kept, out = Ring(2, 3, 6, config), [], []
    for n in range(70):
        out.append(ring.extend(*(x[:, :, n : n + 1] for x in (q, k, v))))
        kept.append(ring.decoded_nbytes)
    whole = 2 * 2 * 3 * 64 * 6 * 3 * 4  # both arrays' cells, three powers of the law, a float each
    assert max(kept) == kept[-1] == whole
    for n, nbytes in enumerate(kept):
        columns = min(64, -(-(n + 1) // 4) * 4)
        assert columns / 64 * whole <= nbytes <= 2 * columns / 64 * whole
    torch.testing.assert_close(torch.cat(out, 2), gaincell.attention(q, k, v, config))


@pytest.mark.parametrize(("levels", "head_dim"), [(17, 8), (None, 8), (8, 7)])
def test_codes_that_do_not_fit_half_a_byte_are_not_packed(levels: int | None, head_dim: int) -> None:
    config = GainCellConfig.named("leroux2025").replace(stored_levels=levels)
    with pytest.raises(InputError, match=f"got {levels} levels and head_dim {head_dim}"):
        Ring(1, 1, head_dim, config, packed=True)


def test_a_ring_follows_beams_and_forgets() -> None:
    config = GainCellConfig.named("leroux2025").replace(window=8, subtile_columns=4, score_saturation=4.0)
    q, k, v = (0.45 + 0.3 * torch.randn(3, 1, 20, 8, generator=torch.Generator().manual_seed(i)) for i in range(3))
    rows = torch.tensor([2, 0, 0])
    absent = torch.rand(3, 1, 20, generator=torch.Generator().manual_seed(3)) < 0.4
    ring = Ring(3, 1, 8, config)
    ring.extend(*(x[:, :, :11] for x in (q, k, v)), absent=absent[:, :, :11])
    ring.reorder(rows)
    ring.to("cpu")
    after = ring.extend(*(x[rows][:, :, 11:] for x in (q, k, v)), absent=absent[rows][:, :, 11:])
    expected = gaincell.attention(*(x[rows] for x in (q, k, v)), config, absent=absent[rows])
    torch.testing.assert_close(after, expected[:, :, 11:])
    ring.reset()
    torch.testing.assert_close(ring.extend(q, k, v), gaincell.attention(q, k, v, config))
