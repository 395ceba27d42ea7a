"""Measure attention on this machine: python -m benchmarks.attention --json (see docs/speed.md)."""

import argparse
import json
import os
import platform
import shlex
import sys
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

import gaincell
from benchmarks import contenders, memory
from benchmarks.accuracy import flips
from benchmarks.report import SECTIONS, table
from benchmarks.timing import Contender, Row, measure

RESULTS = Path(__file__).parent / "results"


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m benchmarks.attention", description=__doc__)
    add = parser.add_argument
    add("--tokens", type=int, nargs="+", default=[1024, 4096], help="lengths, forward and backward (%(default)s)")
    add("--heads", type=int, default=12)
    add("--head-dim", type=int, default=64)
    add("--window", type=int, default=1024)
    add("--repeats", type=int, default=11, help="rounds in which every contender runs once (%(default)s)")
    add("--threads", type=int, default=2)
    add("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="(%(default)s)")
    add("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS), metavar="SECTION", help=", ".join(SECTIONS))
    add("--eager", action="store_true", help="the eager form at every length and backward too: many GB")
    add("--json", nargs="?", const="", metavar="PATH", help="write a file too; by default into benchmarks/results/")
    add("--quick", action="store_true", help="tiny sizes, to see that it runs")
    chosen = parser.parse_args(arguments)
    if chosen.quick:
        chosen.tokens, chosen.heads, chosen.head_dim, chosen.window, chosen.repeats = [64, 192], 2, 16, 128, 2
    return chosen


class Sections:
    """One method a section: its rows."""

    def __init__(self, chosen: argparse.Namespace) -> None:
        self.chosen, self.device = chosen, torch.device(chosen.device)
        self.shape = {"heads": chosen.heads, "head_dim": chosen.head_dim, "device": self.device}

    def measure(self, found: list[Contender], rounds: int | None = None) -> list[Row]:
        least_s = 0.0 if self.chosen.quick else 0.01
        return measure(found, rounds or self.chosen.repeats, self.device, least_s)

    def forward(self) -> list[Row]:
        return self._forms("forward")

    def backward(self) -> list[Row]:
        return self._forms("forward and backward")

    def _forms(self, passes: str) -> list[Row]:
        rows, window = [], self.chosen.window
        for tokens in self.chosen.tokens:
            eager = self.chosen.eager or (passes == "forward" and tokens <= 1024)
            q, k, v = contenders.operands(tokens=tokens, **self.shape)
            found = [
                Contender(
                    form.name,
                    memory.PASSES[passes](form, q, k, v),
                    {"multiply_adds": form.multiply_adds(q, window)},
                    form.every,
                    form.optional,
                )
                for form in contenders.forms(tokens, window, self.device, eager)
            ]
            rows += [{"tokens": tokens} | row for row in self.measure(found)]
        return rows

    def decode(self) -> list[Row]:
        with torch.no_grad():
            return self.measure(contenders.decoding(window=self.chosen.window, **self.shape))

    def memory(self) -> list[Row]:
        quick = self.chosen.quick
        names = ["leak"] if quick else ["SDPA, causal", "leak, eager", *contenders.design_points(self.chosen.window)]
        rows = []
        for tokens, heads in ((192, 1),) if quick else ((4096, self.chosen.heads), (32768, 1)):
            for name in names:
                if name == "leak, eager" and not self.chosen.eager:
                    continue
                for passes in ("forward",) if quick else memory.PASSES:
                    sizes = heads, tokens, self.chosen.head_dim, self.chosen.window
                    rows.append(memory.memory_of(name, passes, *sizes, self.chosen.device))
        return rows

    def accuracy(self) -> list[Row]:
        heads, tokens = (2, 192) if self.chosen.quick else (8, 2048)
        return flips(heads, tokens, self.chosen.head_dim, self.chosen.window, self.device)

    def rates(self) -> list[Row]:
        return self.measure(contenders.matrix_products(self.device))

    def generate(self) -> list[Row]:
        quick = self.chosen.quick
        found = contenders.generating(4 if quick else 64, self.device, tiny=quick)
        return self.measure(found, min(3, self.chosen.repeats))


def machine(device: torch.device) -> dict[str, Any]:
    """What it ran on."""
    lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines() if Path("/proc/cpuinfo").exists() else []
    facts = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    cuda = device.type == "cuda"
    return {
        "cpu": facts.get("model name", platform.processor() or platform.machine()),
        "family": ", model ".join(facts[x] for x in ("cpu family", "model") if x in facts) or None,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "matrix_units": "amx_tile" in facts["flags"] if "flags" in facts else None,
        "bfloat16": any(x in facts["flags"] for x in ("avx512_bf16", "amx_bf16")) if "flags" in facts else None,
        "gpu": torch.cuda.get_device_name(device) if cuda else None,
        "load": os.getloadavg()[0],
        "system": platform.platform(),
    }


def versions() -> dict[str, str | None]:
    """Of what computes."""
    found = {"python": platform.python_version(), "gaincell": gaincell.__version__, "torch": torch.__version__}
    for package in ("triton", "transformers"):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = None
    return found


def new_record(module: str, arguments: list[str], device: torch.device, settings: dict[str, Any]) -> dict[str, Any]:
    """What a file of results says before there are any."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": shlex.join(["python", "-m", module, *arguments]),
        "machine": machine(device),
        "versions": versions(),
        "settings": settings,
        "results": {},
    }


def main(arguments: list[str]) -> None:
    """Measure, print and write what is asked for."""
    chosen = parse(arguments)
    torch.set_num_threads(chosen.threads)
    sections = Sections(chosen)
    record = new_record("benchmarks.attention", arguments, sections.device, vars(chosen))
    path = None
    if chosen.json is not None:
        path = Path(chosen.json or RESULTS / f"{record['date'][:10]}-{sections.device.type}-attention.json")
        path.parent.mkdir(parents=True, exist_ok=True)
    for name in chosen.only:
        rows = record["results"][name] = getattr(sections, name)()
        print(table(name, rows), flush=True, end="\n\n")
        if path is not None:  # what is measured stays, whatever comes after
            path.write_text(json.dumps(record, indent=1) + "\n", "utf-8")
    if path is not None:
        print(path)


if __name__ == "__main__":
    main(sys.argv[1:])
