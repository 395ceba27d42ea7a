"""Write down, or compare with what was written, what the package computes, to the last bit.

    python tools/golden.py write FILE [--cell CELL.yaml ...] [--adapters]
    python tools/golden.py compare FILE [--cell CELL.yaml ...] [--adapters]

For changes of form that must not change a result. FILE holds a hash of every output and gradient of the operator, on
every path and under every option, of the ring, of the estimate of every shipped design point; with --adapters also
the perplexity of the adapters that ship (minutes). Bits hold on one machine with one build of torch, so nobody
commits the file.
"""

import argparse
import hashlib
import itertools
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("TRITON_INTERPRET", "1")

import torch
from torch import Tensor

import gaincell
from gaincell import GainCellConfig
from gaincell.cell import load_cell
from gaincell.hardware import estimate
from gaincell.ops import Ring, attention_map, naive_attention

BATCH, HEADS, KV_HEADS, TOKENS, HEAD_DIM = 2, 4, 2, 84, 16

#: Options that change what is computed, each on top of a design point.
OPTIONS: dict[str, dict[str, Any]] = {
    "as it is": {},
    "no leak": {"leak_per_token": 0.0},
    "factored": {"leak_form": "factored"},
    "true law": {"gradient": "true-law"},
    "ideal normaliser": {"normaliser": "ideal"},
    "column normaliser": {"normaliser": "column", "normaliser_ranges": (1.0, 2.0, 8.0)},
    "differential": {"query_sign": "differential"},
    "offset binary": {"query_sign": "offset_binary"},
    "linearised": {"storage": "linearised"},
    "no levels": {"query_levels": None, "stored_levels": None, "output_levels": None},
    "counter": {"readout": "counter"},
    "narrow read-out": {"output_scale": 4.0},
    "mismatch": {"mismatch_seed": 1, "mismatch_gain": 0.05, "mismatch_zero_v": 0.01},
    "noise": {"score_noise": 0.05, "readout_noise": 0.05, "noise_seed": 3},
    "tf32": {"matmul": "tf32"},
    "bfloat16": {"matmul": "bfloat16"},
}
#: Those that Triton's kernels are tried with.
KERNELS = ("no leak", "column normaliser", "offset binary", "extended")
#: Of the characterised cell.
CIRCUITS: dict[str, dict[str, Any]] = {
    "charge to pulse": {"charge_to_pulse": "cell"},
    "feedthrough": {"feedthrough": True},
    "pulse law": {"pulse_law": "cell"},
    "table": {"retention": "table", "leak_per_token": None, "token_period_s": 5e-7},
    "all of it": {"charge_to_pulse": "cell", "feedthrough": True, "mismatch_seed": 4, "score_noise": 0.02},
}


def operands(dtype: torch.dtype) -> tuple[Tensor, ...]:
    """q, k, v, preset."""
    generator = torch.Generator().manual_seed(5)

    def normal(heads: int, mean: float, *last: int) -> Tensor:
        return (mean + 0.3 * torch.randn(BATCH, heads, TOKENS, *last, generator=generator)).to(dtype)

    k, v = normal(KV_HEADS, 0.45, HEAD_DIM), normal(KV_HEADS, 0.45, HEAD_DIM)
    return normal(HEADS, 0.4, HEAD_DIM), k, v, normal(HEADS, 0.1)


def design_points(cells: list[Path]) -> Iterator[tuple[str, GainCellConfig]]:
    """By name."""
    size = {"window": 64, "subtile_columns": 16, "score_saturation": 20.0, "output_scale": 10.0}
    base = GainCellConfig.named("leroux2025").replace(**size)
    for name, changes in OPTIONS.items():
        yield name, base.replace(**changes)
    for cell in (load_cell(path) for path in cells):
        for name, changes in CIRCUITS.items():
            changes = changes | ({"noise_seed": 5} if "score_noise" in changes else {})
            try:
                yield f"{cell.name}: {name}", base.replace(cell=cell, **changes)
            except gaincell.InputError:
                continue
    yield "extended", GainCellConfig.named("extended").for_layers(30).replace(window=64, subtile_columns=16)


def of(*found: Any) -> str:
    """One hash of what was found."""
    digest = hashlib.sha256()
    for x in found:
        digest.update(x.detach().contiguous().cpu().numpy().tobytes() if isinstance(x, Tensor) else repr(x).encode())
    return digest.hexdigest()[:16]


def operator(config: GainCellConfig, dtype: torch.dtype, kernels: bool) -> Iterator[tuple[str, str]]:
    """Every form of the operator, Triton's kernels where they are asked for: their interpreter takes seconds a call."""
    q, k, v, preset = operands(dtype)
    absent = torch.rand(BATCH, KV_HEADS, TOKENS, generator=torch.Generator().manual_seed(6)) < 0.1
    pad = torch.tensor([0, 7])
    gradient = torch.randn(q.shape, generator=torch.Generator().manual_seed(7)).to(dtype)
    options: dict[str, dict[str, Any]] = {
        "plain": {},
        "preset": {"preset": preset},
        "all": {"preset": preset, "absent": absent, "pad": pad},
    }
    for (name, kept), path in itertools.product(options.items(), ("blocked", "naive", "triton")):
        if path == "triton" and (dtype == torch.float64 or name != "all" or not kernels):
            continue
        if path == "naive" and (dtype == torch.float32 or name != "all"):
            continue
        leaves = tuple(x.clone().requires_grad_(path != "naive") for x in (q, k, v))
        out = gaincell.attention(leaves[0], leaves[1], leaves[2], config.replace(path=path), **kept)
        yield f"{path}, {name}", of(out, *(torch.autograd.grad(out, leaves, gradient) if out.requires_grad else ()))
    yield "oracle", of(*naive_attention(q, k, v, config, preset=preset, absent=absent, pad=pad))
    yield "map", of(attention_map(q, k, config, preset=preset, absent=absent, pad=pad))
    ring = Ring(BATCH, KV_HEADS, HEAD_DIM, config)
    first = slice(37)
    outs = [ring.extend(q[:, :, first], k[:, :, first], v[:, :, first], None, preset[:, :, first], absent[:, :, first])]
    for t in range(37, TOKENS):
        at = slice(t, t + 1)
        ring.write(k[:, :, at], v[:, :, at], absent=absent[:, :, at])
        outs.append(ring.read(q[:, :, at], preset[:, :, at]))
    outs.append(ring.extend(q, k, v, preset=preset))
    yield "ring", of(*outs, ring.codes)


def everything(cells: list[Path], adapters: bool) -> Iterator[tuple[str, str]]:
    """Every result by name."""
    torch.set_num_threads(1)
    for name, config in design_points(cells):
        for dtype in (torch.float32, torch.float64):
            for what, found in operator(config, dtype, name in KERNELS):
                yield f"{name}, {dtype}: {what}", found
    for name in GainCellConfig.names():
        for shape in ("gpt2", "HuggingFaceTB/SmolLM2-135M"):
            try:
                yield f"estimate of {name}, {shape}", of(estimate(shape, GainCellConfig.named(name)))
            except gaincell.InputError as error:
                yield f"estimate of {name}, {shape}", str(error)
    if adapters:
        from gaincell.evaluate import default_text, perplexity

        for name in ("extended", "leroux2025"):
            model, tokenizer = gaincell.load_demo_model()
            text = default_text()[:12_000]
            found = perplexity(gaincell.load_adapter(model, name).eval(), tokenizer, text, length=1024)
            yield f"perplexity of {name}", repr(found)


def main() -> int:
    """Exit 1 where anything differs."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("act", choices=["write", "compare"])
    parser.add_argument("file", type=Path)
    parser.add_argument("--cell", type=Path, action="append", default=[], help="a characterised cell; may be repeated")
    parser.add_argument("--adapters", action="store_true")
    given = parser.parse_args()
    found = dict(everything(given.cell, given.adapters))
    if given.act == "write":
        given.file.write_text(json.dumps(found, indent=1) + "\n")
        print(f"{len(found)} results in {given.file}")
        return 0
    before = json.loads(given.file.read_text())
    differ = [name for name, x in found.items() if before.get(name) != x]
    print("\n".join([*differ, f"{len(found) - len(differ)} of {len(found)} results as before"]))
    return bool(differ)


if __name__ == "__main__":
    sys.exit(main())
