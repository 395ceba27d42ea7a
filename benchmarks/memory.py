"""Peak memory of one call beyond its operands, each in a fresh process: python -m benchmarks.memory FORM PASSES ..."""

import json
import os
import subprocess
import sys
from pathlib import Path

import torch

from benchmarks.contenders import Form, forms, operands
from benchmarks.timing import Row

#: By name: what a form is asked for.
PASSES = {"forward": Form.forward, "forward and backward": Form.backward}


def memory_of(form: str, passes: str, heads: int, tokens: int, head_dim: int, window: int, device: str) -> Row:
    """`peak_extra` in a new process."""
    command = [sys.executable, "-m", "benchmarks.memory", form, passes]
    command += map(str, (heads, tokens, head_dim, window, device, torch.get_num_threads()))
    # glibc would keep freed blocks for later, which then seem to cost nothing; at a fixed threshold it returns them.
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "131072"}
    found = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if found.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{found.stderr}")
    extra, operand_bytes = json.loads(found.stdout)
    return {
        "name": form,
        "passes": passes,
        "heads": heads,
        "tokens": tokens,
        "extra_bytes": extra,
        "ratio": extra / operand_bytes,
    }


def peak_extra(call, device: torch.device) -> int:
    """Bytes that a call needs at its peak beyond what there is before it, results included."""
    if device.type == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        call()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    # Linux's high-water mark, set back first: getrusage's would start at that of the process that started this one.
    Path("/proc/self/clear_refs").write_text("5")
    before = status_bytes("VmRSS")
    call()
    return max(status_bytes("VmHWM") - before, 0)


def status_bytes(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(name))


def main(name: str, passes: str, *numbers: str) -> None:
    """Print the peak, and the bytes of q, k and v."""
    heads, tokens, head_dim, window = (int(x) for x in numbers[:4])
    device = torch.device(numbers[4])
    torch.set_num_threads(int(numbers[5]))
    for length in (128, tokens):  # the first, a small one, for what is loaded and compiled once
        q, k, v = operands(heads, length, head_dim, device)
        form = next(x for x in forms(length, window, device, eager=True) if x.name == name)
        call = PASSES[passes](form, q, k, v)
        if length != tokens:
            call()
            del call
    print(json.dumps([peak_extra(call, device), q.nbytes + k.nbytes + v.nbytes]))


if __name__ == "__main__":
    main(*sys.argv[1:])
