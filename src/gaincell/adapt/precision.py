"""Which precision adaptation computes in: float32, or bfloat16 with sums in float32 where that is faster."""

import json
import time
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch.nn.functional import linear
from transformers import PreTrainedModel

from gaincell.adapt.settings import AdaptSettings, named
from gaincell.atomic import written_aside
from gaincell.files import read_object

Precision = Literal["no", "bf16"]

#: A linear layer of the demo model on a row of 1,024 tokens: (tokens, in, out).
_PROBE = 1024, 576, 1536
#: Rounds of the probe, and how many times as slow bfloat16 is in the first where no other is needed.
_ROUNDS, _HOPELESS = 3, 2.0
_NAMES: dict[Precision, str] = {"no": "float32", "bf16": "bfloat16"}


def settled(
    settings: AdaptSettings, folder: Path | str, model: PreTrainedModel, *, learn: bool = True
) -> tuple[AdaptSettings, str | None]:
    """Settings with `precision` "no" or "bf16": what was asked for, else what the run began with, else the faster.

    With them a note on what that is, and whether it is what is faster here, to be told once nothing is refused any
    more; None without `learn`, where nothing is measured.

    Args:
        settings: of the run.
        folder: the run's; it need not be there yet.
        model: on the device that it learns on; in float64, which nothing narrower stands for, it stays there.
        learn: whether the run goes on.
    """
    kept = _kept(Path(folder))
    wanted = settings.precision if settings.precision != "auto" else kept
    if not learn or model.dtype == torch.float64:
        return settings.model_copy(update={"precision": wanted or "no"}), None
    gain = gain_of_bfloat16(str(model.device))
    faster: Precision = "bf16" if gain > 1.0 else "no"
    precision = wanted or faster
    times = f"{_NAMES[faster]} is {max(gain, 1 / gain):.1f} times as fast here"
    why = ""
    if precision != faster:
        why = f", {'as asked for' if settings.precision != 'auto' else 'as this run began'}, although"
    note = f"computing in {_NAMES[precision]}{why or ':'} {times}"
    return settings.model_copy(update={"precision": precision}), note


def keep(settings: AdaptSettings, folder: Path) -> None:
    """Keep the precision that a run was settled on in its folder, for when it goes on."""
    if (folder / "precision.json").is_file():
        return
    with written_aside(folder / "precision.json") as aside:
        aside.write_text(json.dumps({"precision": settings.precision}), "utf-8")


def computing(settings: AdaptSettings, device: torch.device) -> torch.autocast:
    """In which the digital side computes as settings say; weights stay float32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=settings.precision == "bf16")


@lru_cache(maxsize=8)
def gain_of_bfloat16(device: str) -> float:
    """How many times as fast as in float32 a linear layer is in bfloat16 on a device: some milliseconds, once."""
    tokens, inner, outer = _PROBE
    x, weight = torch.ones(tokens, inner, device=device), torch.ones(outer, inner, device=device)
    forms = [partial(linear, x.to(dtype), weight.to(dtype)) for dtype in (torch.float32, torch.bfloat16)]
    if device.startswith("cuda"):
        for run in forms:  # what loads and tunes kernels
            run()
    best = [float("inf")] * len(forms)
    for _ in range(_ROUNDS):
        best = [min(least, _seconds(run, device)) for least, run in zip(best, forms, strict=True)]
        if best[1] > _HOPELESS * best[0]:
            break
    return best[0] / best[1]


def _seconds(run: Any, device: str) -> float:
    began = time.perf_counter()
    run()
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
    return time.perf_counter() - began


def _kept(folder: Path) -> Precision | None:
    """What the run in a folder computes in; None of a folder that holds none. A run that does not say is older."""
    for path, inside in (("precision.json", False), ("distill/config.json", True), ("config.json", True)):
        if not (folder / path).is_file():
            continue
        found = read_object(folder / path, "choose another output folder")
        try:
            precision = (named(found["settings"]) if inside else found)["precision"]
        except (AttributeError, LookupError, TypeError):
            continue
        if precision in list(_NAMES):  # which asks for no hash of what a damaged file holds
            return precision
    return "no" if (folder / "config.json").is_file() else None
