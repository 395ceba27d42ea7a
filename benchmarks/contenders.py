"""Who is measured: PyTorch's softmax attention, the package's operator in its forms, and the eager form."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from functools import cache, partial

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention as sdpa
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel

import gaincell
from benchmarks.timing import Contender
from gaincell import GainCellConfig
from gaincell.ops import Ring
from gaincell.ops.dense import dense
from gaincell.ops.model import array_model
from gaincell.ops.operands import Operands

Operator = Callable[[Tensor, Tensor, Tensor], Tensor]


def operands(heads: int, tokens: int, head_dim: int, device: torch.device, seed: int = 4) -> tuple[Tensor, ...]:
    """q, k, v (1, heads, tokens, head_dim), float32, spread over the ranges of pulses and voltages."""
    generator = torch.Generator().manual_seed(seed)
    spread = ((0.1, 0.7), (0.45, 0.25), (0.45, 0.25))
    return tuple((a + b * torch.randn(1, heads, tokens, head_dim, generator=generator)).to(device) for a, b in spread)


def design_points(window: int) -> dict[str, GainCellConfig]:
    """By name: what the operator is measured at."""
    leaking = GainCellConfig.named("leroux2025").replace(window=window)
    return {
        "no leak": leaking.replace(leak_per_token=0.0),
        "leak": leaking,
        "leak, factored": leaking.replace(leak_form="factored"),
        "extended": GainCellConfig.named("extended").replace(window=window).for_layers(30),
    }


@dataclass(frozen=True)
class Form:
    """One implementation of attention over all tokens. `pairs_products`: multiply-adds per pair and head_dim."""

    name: str
    operator: Operator
    dtype: torch.dtype = torch.float32
    pairs_products: int = 2
    windowed: bool = True
    every: int = 1
    optional: bool = False

    def multiply_adds(self, q: Tensor, window: int) -> int:
        """Multiply-adds of one forward that the definition asks for, masked pairs left out."""
        batch, heads, tokens, head_dim = q.shape
        seen = min(window, tokens) if self.windowed else tokens
        pairs = seen * (seen + 1) // 2 + (tokens - seen) * seen
        return batch * heads * pairs * head_dim * self.pairs_products

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Callable[[], Tensor]:
        """One call, nothing kept for a backward pass."""
        q, k, v = (x.to(self.dtype) for x in (q, k, v))

        @torch.no_grad()
        def run() -> Tensor:
            return self.operator(q, k, v)

        return run

    def backward(self, q: Tensor, k: Tensor, v: Tensor) -> Callable[[], tuple[Tensor, ...]]:
        """One call and the gradients of q, k and v."""
        leaves = [x.to(self.dtype).detach().clone().requires_grad_() for x in (q, k, v)]
        gradient = v.to(self.dtype) - 0.45
        return lambda: torch.autograd.grad(self.operator(*leaves), leaves, gradient)


def forms(tokens: int, window: int, device: torch.device, eager: bool) -> list[Form]:
    """Softmax attention first: the others are compared with it."""
    found = [Form("SDPA, causal", lambda q, k, v: sdpa(q, k, v, is_causal=True), windowed=False)]
    if tokens > window:
        found.append(Form("SDPA, window as a mask", _masked(window)))
    if device.type == "cuda":
        found.append(Form("SDPA, flash, bfloat16", _flash, torch.bfloat16, windowed=False, optional=True))
        found.append(Form("FlexAttention, bfloat16", _flex(tokens, window), torch.bfloat16, optional=True))
    points = design_points(window)
    found += [_ours(name, config) for name, config in points.items()]
    if device.type == "cuda":
        for name in ("no leak", "leak"):
            found += [_ours(f"{name}, {x}", points[name].replace(matmul=x)) for x in ("tf32", "bfloat16")]
            found.append(_ours(f"{name}, blocked path", points[name].replace(path="blocked")))
    if eager:
        products = 2 * len(points["leak"].cell.model_law.coefficients)
        form = partial(eager_attention, config=points["leak"])
        found.append(Form("leak, eager", form, torch.float32, products, every=4))
    return found


def eager_attention(q: Tensor, k: Tensor, v: Tensor, config: GainCellConfig) -> Tensor:
    """The equations as they stand, of every pair of tokens at once, with PyTorch's autograd."""
    trace = dense(Operands(q, k, v), array_model(config))
    return array_model(config).output(trace.out, trace.z)


def _ours(name: str, config: GainCellConfig) -> Form:
    terms = len(array_model(config).key.rates)
    # Unchecked, as a converted model calls it: SDPA does not look for NaN either.
    return Form(name, partial(gaincell.attention, config=config, validate=False), pairs_products=2 * terms)


def _masked(window: int) -> Operator:
    @cache
    def mask(tokens: int, device: torch.device) -> Tensor:
        index = torch.arange(tokens, device=device)
        age = index[:, None] - index
        return (age >= 0) & (age < window)

    return lambda q, k, v: sdpa(q, k, v, attn_mask=mask(q.shape[2], q.device))


def _flash(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
        return sdpa(q, k, v, is_causal=True)


def _flex(tokens: int, window: int) -> Operator:
    @cache
    def compiled(device: torch.device) -> Operator:
        from torch.nn.attention.flex_attention import create_block_mask, flex_attention

        def seen(batch, head, query, key):
            return (query >= key) & (query - key < window)

        mask = create_block_mask(seen, None, None, tokens, tokens, device=device)
        attend = torch.compile(flex_attention, dynamic=False)
        return lambda q, k, v: attend(q, k, v, block_mask=mask)

    return lambda q, k, v: compiled(q.device)(q, k, v)


def decoding(heads: int, window: int, head_dim: int, device: torch.device) -> list[Contender]:
    """One token of one sequence against a full window. Bytes: of the cache, and of what reads keep beside it."""
    _, k, v = operands(heads, window, head_dim, device)
    q, *written = operands(heads, 1, head_dim, device, seed=5)
    found = []
    for dtype in (torch.bfloat16, torch.float32):
        run = partial(sdpa, *(x.to(dtype) for x in (q, k, v)))
        facts = {"cache_bytes": 2 * k.numel() * dtype.itemsize, "beside_bytes": 0}
        found.append(Contender(f"SDPA, {_name(dtype)} cache", run, facts))
    points = design_points(window)
    for name in ("no leak", "leak"):
        for packed in (False, True):
            ring = Ring(1, heads, head_dim, points[name], device, packed=packed)

            def write_and_read(ring: Ring = ring) -> Tensor:
                ring.write(*written)
                return ring.read(q, validate=False)

            ring.write(k, v, validate=False)
            ring.read(q, validate=False)
            facts = {"cache_bytes": ring.nbytes, "beside_bytes": ring.decoded_nbytes}
            full_name = f"{name}, {'half a byte' if packed else 'a byte'} a cell"
            found.append(Contender(f"{full_name}: read", partial(ring.read, q), facts))
            found.append(Contender(f"{full_name}: write, read", write_and_read, facts))
    return found


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def matrix_products(device: torch.device) -> list[Contender]:
    """What this machine can multiply: a block's shape, and one large enough for the highest rate."""
    found = []
    for rows, inner, columns in ((1024, 64, 64), (1024, 1024, 1024)):
        a, b = 20 * torch.randn(rows, inner, device=device), 20 * torch.randn(inner, columns, device=device)
        for dtype in (torch.float32, torch.bfloat16, torch.int8):
            multiply = torch._int_mm if dtype is torch.int8 else torch.mm
            facts = {
                "dtype": _name(dtype),
                "shape": f"({rows} x {inner}) ({inner} x {columns})",
                "multiply_adds": rows * inner * columns,
            }
            run = partial(multiply, a.to(dtype), b.to(dtype))
            found.append(Contender(f"{facts['dtype']}, {facts['shape']}", run, facts, optional=dtype is torch.int8))
    return found


def tiny_model() -> PreTrainedModel:
    """A random model of two layers."""
    shape = LlamaConfig(vocab_size=99, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2)
    return LlamaForCausalLM(shape)


def generating(tokens: int, device: torch.device, tiny: bool) -> list[Contender]:
    """Greedy `generate` of so many tokens from a prompt as long: the demo model as it is, and with shipped adapters.

    `tiny`: a random model of two layers in its place, converted and not adapted.
    """
    original = (tiny_model() if tiny else gaincell.load_demo_model()[0]).eval().to(device)
    models = {"softmax": original}
    for name in ("leroux2025", "extended"):
        models[name] = (gaincell.convert_ if tiny else gaincell.load_adapter)(deepcopy(original), name)
    no_leak = GainCellConfig.named("leroux2025").replace(leak_per_token=0.0)
    models["leroux2025, no leak"] = gaincell.convert_(deepcopy(original), no_leak)
    generator = torch.Generator().manual_seed(4)
    prompt = torch.randint(3, original.config.vocab_size, (1, tokens), generator=generator).to(device)

    def run(model: torch.nn.Module) -> Tensor:
        return model.generate(
            prompt,
            attention_mask=torch.ones_like(prompt),
            do_sample=False,
            min_new_tokens=tokens,
            max_new_tokens=tokens,
            pad_token_id=0,
        )

    return [Contender(name, lambda model=model: run(model), {"new_tokens": tokens}) for name, model in models.items()]
