"""Measure a step of distillation beside a plain fine-tuning step of the same model: python -m benchmarks.adaptation.

Both are of the demo model at one row of so many tokens: `distill` as `gaincell adapt --from extended` takes it, its
teacher included; and next-token loss and AdamW on all weights of the unconverted model. They take turns in one process.
"""

import argparse
import copy
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile, record_function
from transformers import PreTrainedModel

import gaincell
from benchmarks.attention import RESULTS, new_record
from benchmarks.contenders import tiny_model
from benchmarks.memory import status_bytes
from benchmarks.report import table
from benchmarks.timing import Row
from gaincell.adapt import AdaptSettings
from gaincell.adapt.distil.loop import Loop, make_accelerator
from gaincell.adapt.distil.step_rows import Share
from gaincell.adapt.distil.teacher import Lesson, from_model, probing
from gaincell.adapt.distil.trainable import groups, training_only
from gaincell.adapt.learning_leak import leaking
from gaincell.models import load_adapter

Step = Callable[[], object]
#: By name: which step, and its precision.
CONTENDERS = {
    "plain, float32": ("plain", "no"),
    "distill, float32": ("distill", "no"),
    "plain, bfloat16": ("plain", "bf16"),
    "distill, bfloat16": ("distill", "bf16"),
}


def plain(model: PreTrainedModel, ids: torch.Tensor) -> Callable[[str], object]:
    """A fine-tuning step of all weights towards the text's next tokens, in a precision."""
    model = copy.deepcopy(model)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-6)

    def step(precision: str) -> None:
        optimiser.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            loss = model(input_ids=ids, labels=ids, use_cache=False).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()

    return step


@contextmanager
def distilling(model: PreTrainedModel, start: str | None, ids: torch.Tensor) -> Iterator[Callable[[str], object]]:
    """A step of `distill`, in a precision; without `start` of a model that is converted and not adapted."""
    teach = from_model(copy.deepcopy(model), 1.0)
    student = copy.deepcopy(model)
    student = gaincell.convert_(student, "extended") if start is None else load_adapter(student, start)
    settings = AdaptSettings(distill={"batch": len(ids), "lr": 1e-6})

    def teacher(share: Share) -> Lesson:
        with record_function("teacher"):
            return teach(share)

    with training_only(student, settings), probing(student) as probe, leaking(student, settings.learning_leak):
        optimiser = torch.optim.AdamW(groups(student, settings.distill), betas=settings.distill.betas)

        def step(precision: str) -> None:
            loop.settings = settings.model_copy(update={"precision": precision})
            loop.step(0, probe)

        loop = Loop(student, optimiser, teacher, lambda step: ids, 100, settings, make_accelerator())
        yield step


@contextmanager
def contenders(names: list[str], tokens: int, *, tiny: bool) -> Iterator[dict[str, Step]]:
    """Steps by name, which share what models and optimisers they can."""
    model = (tiny_model() if tiny else gaincell.load_demo_model()[0]).eval()
    ids = torch.randint(3, model.config.vocab_size, (1, tokens), generator=torch.Generator().manual_seed(4))
    kinds = {CONTENDERS[name][0] for name in names}
    with ExitStack() as stack:
        found = {"plain": plain(model, ids)} if "plain" in kinds else {}
        if "distill" in kinds:
            found["distill"] = stack.enter_context(distilling(model, None if tiny else "extended", ids))
        yield {name: partial(found[kind], precision) for name, (kind, precision) in CONTENDERS.items() if name in names}


def times(steps: dict[str, Step], repeats: int) -> list[Row]:
    """CPU seconds of this process: medians, minima and all samples, and ratios to the plain step in that precision."""
    samples: dict[str, list[float]] = {name: [] for name in steps}
    for n in range(-1, repeats):  # the first round allocates and fills caches
        for name, step in steps.items():
            began = time.process_time()
            step()
            if n >= 0:
                samples[name].append(time.process_time() - began)
    rows = []
    for name, found in samples.items():
        row = {"name": name, "median_s": statistics.median(found), "min_s": min(found)}
        rows.append({**row, "samples_s": [round(x, 3) for x in found]})
    for row in rows:
        beside = next((x for x in rows if x["name"] == row["name"].replace("distill", "plain")), row)
        row["ratio_median"], row["ratio_min"] = row["median_s"] / beside["median_s"], row["min_s"] / beside["min_s"]
    return rows


def part_of(event: Any, vocabulary: int) -> str:
    """Which part of a step an event of the profiler belongs to."""
    names, chain = [], event
    while chain is not None:
        names.append(chain.name)
        chain = chain.cpu_parent
    products = event.name in ("aten::bmm", "aten::baddbmm_", "aten::mm", "aten::addmm") or "mkldnn" in event.name
    wide = any(vocabulary in shape for shape in event.input_shapes if isinstance(shape, list))
    if any("Optimizer" in name or "clip" in name for name in names):
        return "optimiser"
    where = "teacher: " if "teacher" in names else ""
    if wide or any("Divergence" in name for name in names):
        return where + "head and divergence"
    if any("_Products" in name for name in names):
        return where + ("arrays' products" if products else "between the arrays' products")
    if any("scaled_dot_product" in name or "flash_attention" in name for name in names):
        return where + "softmax attention"
    return where + ("linear layers" if products else "everything else")


def shares(step: Step, vocabulary: int) -> list[Row]:
    """Where a step's time goes, by part: seconds under the profiler, and shares of them."""
    with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as found:
        step()
    total: dict[str, float] = {}
    for event in found.events() or ():
        part = part_of(event, vocabulary)
        total[part] = total.get(part, 0.0) + event.self_cpu_time_total * 1e-6
    whole = sum(total.values())
    return [{"part": part, "s": s, "share": s / whole} for part, s in sorted(total.items(), key=lambda x: -x[1])]


def memory(name: str, tokens: int, *, tiny: bool) -> Row:
    """Peak memory of a fresh process that takes two steps, model and optimiser included."""
    command = [sys.executable, "-m", "benchmarks.adaptation", "--peak", name, "--tokens", str(tokens)]
    # As in benchmarks.memory: what is freed goes back at once, so that it is not counted twice.
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "131072"}
    command += ["--threads", str(torch.get_num_threads()), *(["--quick"] if tiny else [])]
    found = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if found.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{found.stderr}")
    return {"name": name, "peak_bytes": int(found.stdout)}


def peak(name: str, tokens: int, *, tiny: bool) -> int:
    """Bytes that this process holds at most while it takes two steps."""
    with contenders([name], tokens, tiny=tiny) as steps:
        Path("/proc/self/clear_refs").write_text("5")  # of loading it is not asked
        for _ in range(2):
            steps[name]()
    return status_bytes("VmHWM")


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m benchmarks.adaptation", description=__doc__)
    add = parser.add_argument
    add("--tokens", type=int, default=1024, help="of the one row of a step (%(default)s)")
    add("--repeats", type=int, default=5, help="rounds in which every contender takes a step (%(default)s)")
    add("--threads", type=int, default=1)
    add("--only", nargs="+", choices=CONTENDERS, default=list(CONTENDERS), metavar="NAME", help=", ".join(CONTENDERS))
    add("--profile", action="store_true", help="also where the time of the first of them with 'distill' goes")
    add("--peak", choices=CONTENDERS, metavar="NAME", help=argparse.SUPPRESS)
    add("--json", nargs="?", const="", metavar="PATH", help="write a file too; by default into benchmarks/results/")
    add("--quick", action="store_true", help="a tiny model, to see that it runs")
    chosen = parser.parse_args(arguments)
    if chosen.quick:
        chosen.tokens, chosen.repeats = 96, 2
    return chosen


def main(arguments: list[str]) -> None:
    """Measure, print and write what is asked for."""
    chosen = parse(arguments)
    torch.set_num_threads(chosen.threads)
    if chosen.peak:
        print(peak(chosen.peak, chosen.tokens, tiny=chosen.quick))
        return
    record = new_record("benchmarks.adaptation", arguments, torch.device("cpu"), vars(chosen))
    path = None
    if chosen.json is not None:
        path = Path(chosen.json or RESULTS / f"{record['date'][:10]}-cpu-adaptation.json")

    def found(section: str, rows: list[Row]) -> None:
        record["results"][section] = rows
        print(table(section, rows), flush=True, end="\n\n")
        if path is not None:  # what is measured stays, whatever comes after
            path.write_text(json.dumps(record, indent=1) + "\n", "utf-8")

    with contenders(chosen.only, chosen.tokens, tiny=chosen.quick) as steps:
        found("step", times(steps, chosen.repeats))
        profiled = next((name for name in chosen.only if name.startswith("distill")), None)
        if chosen.profile and profiled:
            vocabulary = 99 if chosen.quick else gaincell.load_demo_model()[0].config.vocab_size
            found("parts", shares(steps[profiled], vocabulary))
    found("peak", [memory(name, chosen.tokens, tiny=chosen.quick) for name in chosen.only])
    if path is not None:
        print(path)


if __name__ == "__main__":
    main(sys.argv[1:])
