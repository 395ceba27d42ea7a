"""Design points and operands for the tests of the operator, drawn at random."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import pad as padded

from gaincell import GainCellConfig
from gaincell.cell import Cell, load_cell
from gaincell.cell.law import PolynomialLaw
from gaincell.ops import Ring
from gaincell.ops.dense import dense
from gaincell.ops.model import array_model
from gaincell.ops.operands import Operands

#: Instances compared so far, by comparison; tests/ops/conftest.py prints them at the end.
TRIED: Counter[str] = Counter()

#: What a test measured, printed likewise.
MEASURED: dict[str, str] = {}


#: A law of one sign over the stored range, and where its cells leak to, in volt above their zero.
ONE_SIGN, GROUND_V = (6.0, 14.0, 9.0, 12.0), -0.38
CELLS = ("leroux2025", "leroux2025-linear", "order 5", "order 5 to ground")
ONE_SIGNED = ("pair", "reference", "pair to ground", "reference to ground")


@cache
def cell(law: str) -> Cell:
    """The published cells, one of order 5 with a constant, and cells of one sign; some leak elsewhere than to zero."""
    name = law.removesuffix(" to ground")
    if law in ("leroux2025", "leroux2025-linear"):
        return load_cell(law)
    coefficients = (0.8, 12.0, -1.5, 20.0, 3.0, 9.0) if name == "order 5" else ONE_SIGN
    retention = load_cell("leroux2025").retention
    fields = {
        "name": law,
        "polarity": "push_pull" if name == "order 5" else name,
        "law": PolynomialLaw(coefficients=coefficients, unit="model", source="made up"),
        "retention": retention if law == name else retention.model_copy(update={"ends_at_v": GROUND_V}),
    }
    return Cell.model_validate(fields)


@dataclass(frozen=True)
class Case:
    """One design point, operands for it, and how the tokens arrive in chunks."""

    config: GainCellConfig
    q: Tensor
    k: Tensor
    v: Tensor
    pad: Tensor | None
    preset: Tensor | None
    absent: Tensor | None
    chunks: tuple[int, ...]
    packed: bool

    def __repr__(self) -> str:
        changed = {
            name: getattr(self.config, name)
            for name, field in GainCellConfig.model_fields.items()
            if name != "cell" and getattr(self.config, name) != field.default
        }
        shapes = f"q {tuple(self.q.shape)}, k {tuple(self.k.shape)}"
        pad = None if self.pad is None else self.pad.tolist()
        preset, absent = self.preset is not None, self.absent is not None
        options = f"pad {pad}, preset {preset}, absent {absent}"
        return f"Case({shapes}, {options}, chunks {self.chunks}, {self.config.cell.name}, {changed})"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(repr(self))  # what Hypothesis shows of a failing case

    @property
    def options(self) -> dict[str, Tensor | None]:
        return {"pad": self.pad, "preset": self.preset, "absent": self.absent}

    @property
    def real(self) -> Tensor | None:
        return None if self.pad is None else torch.arange(self.q.shape[2]) >= self.pad[:, None]

    def stream(self, lengths: tuple[int, ...]) -> Tensor:
        """The output of a ring that gets the tokens in chunks of these lengths, the last one repeated."""
        batch, kv_heads, tokens, head_dim = self.k.shape
        ring = Ring(batch, kv_heads, head_dim, self.config, packed=self.packed)
        outputs, start, queue = [], 0, list(lengths)
        while start < tokens:
            now = slice(start, start + (queue.pop(0) if len(queue) > 1 else queue[0]))
            real = None if self.real is None else self.real[:, now]
            preset, absent = (None if x is None else x[:, :, now] for x in (self.preset, self.absent))
            if absent is not None and not absent.any():
                absent = None
            outputs.append(ring.extend(self.q[:, :, now], self.k[:, :, now], self.v[:, :, now], real, preset, absent))
            start = now.stop
        return torch.cat(outputs, 2)


@st.composite
def configs(draw: st.DrawFn, *, head_dim: int) -> GainCellConfig:
    """Design points that exercise pulses and read-outs: phi spread over [0, 1], clamps hold now and then."""
    columns = draw(st.sampled_from((1, 2, 3, 4, 5, 8)))
    window = columns * draw(st.integers(1, 4))
    storage = draw(st.sampled_from(("uniform", "linearised")))
    stored = st.sampled_from((2, 3, 8, 16, 17) if storage == "linearised" else (None, 2, 3, 8, 16, 17))
    # No round numbers: a sum that lies exactly between two read-out codes would have no right answer.
    score = draw(st.sampled_from((1.0, 4.0, 16.0))) * 1.0371 * head_dim**0.5
    output = draw(st.sampled_from((1.0, 4.0, 16.0))) * 1.0617 * columns**0.5
    own = cell(draw(st.sampled_from((*CELLS, *ONE_SIGNED))))
    form = st.sampled_from(("cell",) if own.retention.ends_at_v else ("cell", "cell", "factored"))
    return GainCellConfig(
        window=window,
        subtile_columns=columns,
        query_levels=draw(st.sampled_from((None, 2, 16))),
        stored_levels=draw(stored),
        output_levels=draw(st.sampled_from((None, 2, 3, 32))),
        readout=draw(st.sampled_from(("reference", "counter"))),
        score_saturation=score,
        output_scale=output,
        cell=own,
        leak_per_token=draw(st.sampled_from((0.0, 1.6e-4, 0.02, 1.0))),
        leak_form=draw(form),
        gradient=draw(st.sampled_from(("linear-law", "true-law"))),
        normaliser=draw(st.sampled_from(("none", "ideal", "column"))),
        normaliser_ranges=draw(st.sampled_from(((4.0, 16.0, 64.0), (0.83, 2.71), (1.37,)))),
        query_sign=draw(st.sampled_from(("unsigned", "differential", "offset_binary"))),
        storage=storage,
    )


@st.composite
def cases(draw: st.DrawFn, *, most_tokens: int = 64) -> Case:
    """Random shapes, design points, pads, presets and chunks; operands in float64."""
    batch, kv_heads, groups = draw(st.integers(1, 3)), draw(st.integers(1, 2)), draw(st.integers(1, 3))
    head_dim = draw(st.sampled_from((1, 2, 3, 4, 8, 8, 16, 32, 64, 128)))
    config = draw(configs(head_dim=head_dim))
    longest = min(most_tokens, 3 * config.window + config.subtile_columns)
    tokens = min(draw(st.one_of(st.just(3 * config.window), st.integers(1, longest))), most_tokens)
    pad = draw(st.one_of(st.none(), st.lists(st.integers(0, tokens), min_size=batch, max_size=batch)))
    packs = head_dim % 2 == 0 and config.stored_levels is not None and config.stored_levels <= 16
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))

    def normal(heads: int, mean: float, deviation: float) -> Tensor:
        shape = (batch, heads, tokens, head_dim)
        return mean + deviation * torch.randn(shape, generator=generator, dtype=torch.float64)

    share = draw(st.sampled_from((0.0, 0.0, 0.2, 0.7)))
    absent = torch.rand(batch, kv_heads, tokens, generator=generator) < share
    preset = 0.3 * torch.randn(batch, kv_heads * groups, tokens, generator=generator, dtype=torch.float64)
    return Case(
        config=config,
        q=normal(kv_heads * groups, 0.1, 0.7),
        k=normal(kv_heads, 0.45, 0.25),
        v=normal(kv_heads, 0.45, 0.25),
        pad=None if pad is None else torch.tensor(pad),
        preset=preset if draw(st.booleans()) else None,
        absent=absent if share else None,
        chunks=tuple(draw(st.lists(st.integers(1, 2 * config.window), min_size=1, max_size=8))),
        packed=packs and draw(st.booleans()),
    )


def dense_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    config: GainCellConfig,
    *,
    pad: Tensor | None = None,
    preset: Tensor | None = None,
    absent: Tensor | None = None,
) -> Tensor:
    """`gaincell.attention` by the dense form, one row at a time without its pads: the oracle of gradients."""
    model, rows = array_model(config), []
    for n, first in enumerate([0] * len(q) if pad is None else pad.tolist()):
        operands = Operands(*(None if x is None else x[n : n + 1, :, first:] for x in (q, k, v, preset, absent)))
        if not operands.q.numel():
            rows.append(torch.zeros_like(q[n : n + 1]))
            continue
        trace = dense(operands, model)
        rows.append(padded(model.output(trace.out, trace.z), (0, 0, first, 0)))
    return torch.cat(rows)


def gradients(case: Case, operator: Callable[..., Tensor]) -> dict[str, Tensor]:
    """Gradient of a random weighted sum of the outputs, by operand."""
    operands = {"q": case.q, "k": case.k, "v": case.v} | ({} if case.preset is None else {"preset": case.preset})
    leaves = {name: x.clone().requires_grad_() for name, x in operands.items()}
    options = case.options | {"preset": leaves.get("preset")}
    out = operator(leaves["q"], leaves["k"], leaves["v"], case.config, **options)
    weights = torch.randn(out.shape, generator=torch.Generator().manual_seed(3), dtype=out.dtype)
    if out.requires_grad:  # that of dense_attention does not where every row is all pads
        (out * weights).sum().backward()
    return {name: x.grad if x.grad is not None else torch.zeros_like(x) for name, x in leaves.items()}


def assert_same_gradients(case: Case, operator: Callable[..., Tensor], expected: dict[str, Tensor]) -> None:
    """Those of `operator` are the expected ones, to nine digits of the largest."""
    for name, found in gradients(case, operator).items():
        scale = max(1.0, float(expected[name].abs().max()))
        torch.testing.assert_close(
            found, expected[name], rtol=1e-9, atol=1e-9 * scale, msg=lambda text, name=name: f"{name}: {text}"
        )
