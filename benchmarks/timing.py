"""Times of several contenders that take turns: what else runs on the machine meets them all alike."""

import math
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

Row = dict[str, Any]


@dataclass(frozen=True)
class Contender:
    """One way to compute something: `run` does it once; `facts` go into its row as they are."""

    name: str
    run: Callable[[], object]
    facts: Row = field(default_factory=dict)
    every: int = 1  # takes part in every so many rounds
    optional: bool = False  # left out where it does not run


def measure(contenders: list[Contender], rounds: int, device: torch.device, least_s: float) -> list[Row]:
    """One row a contender: median, minimum and all samples in ms, and the ratios to the first contender.

    Every round runs every contender once, each round from another one on. A sample is the mean of as many calls as take
    `least_s`.
    """
    ready, calls = [], {}
    for contender in contenders:
        try:
            _seconds(contender.run, 1, device)  # compiles, allocates, fills caches
            calls[contender.name] = max(1, math.ceil(min(1000.0, least_s / _seconds(contender.run, 1, device))))
            ready.append(contender)
        except Exception as error:
            if not contender.optional:
                raise
            print(f"left out: {contender.name}: {str(error).strip().splitlines()[:1]}", file=sys.stderr)
    samples: dict[str, list[float]] = {contender.name: [] for contender in ready}
    for n in range(rounds):
        for contender in ready[n % len(ready) :] + ready[: n % len(ready)]:
            if n % contender.every == 0:
                samples[contender.name].append(1e3 * _seconds(contender.run, calls[contender.name], device))
    rows = [
        {
            "name": contender.name,
            "median_ms": statistics.median(samples[contender.name]),
            "min_ms": min(samples[contender.name]),
            **contender.facts,
            "samples_ms": [float(f"{x:.5g}") for x in samples[contender.name]],
        }
        for contender in ready
    ]
    for row in rows:
        row["ratio_median"] = row["median_ms"] / rows[0]["median_ms"]
        row["ratio_min"] = row["min_ms"] / rows[0]["min_ms"]
    return rows


def _seconds(run: Callable[[], object], calls: int, device: torch.device) -> float:
    """Seconds of one call, as the mean of so many; the device's own clock on a GPU."""
    if device.type != "cuda":
        start = time.perf_counter()
        for _ in range(calls):
            run()
        return (time.perf_counter() - start) / calls
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    start.record()
    for _ in range(calls):
        run()
    end.record()
    torch.cuda.synchronize()
    return start.elapsed_time(end) / 1e3 / calls
