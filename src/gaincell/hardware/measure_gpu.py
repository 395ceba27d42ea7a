"""Attention of one token, timed and its energy metered on the GPU at hand, to compare an estimate with."""

import json
import math
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

from pydantic import ConfigDict, Field, NonNegativeFloat, PositiveFloat, PositiveInt, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from gaincell.cell.cell import read_json
from gaincell.errors import InputError, one_sentence
from gaincell.hardware.nvml import board_energy
from gaincell.hardware.published_gpus import BASELINE_LAYER, BASELINE_WINDOW
from gaincell.hardware.workload import Layer, Workload

if TYPE_CHECKING:
    import torch

#: Shorter measurements would be of the energy counter's own steps, of up to 0.1 s.
SHORTEST_S = 1.0

#: The GPU is waited for this often while it is measured.
_ROUND_S = 0.25
_IDLE_S = 3.0

_RULES = ConfigDict(extra="forbid", allow_inf_nan=False)


@dataclass(frozen=True, config=_RULES)
class MeasuredBatch:
    """A step of attention, in which each sequence of a batch gets one token.

    Attributes:
        batch: sequences, each with a cache of its own.
        latency_s: time of the step.
        energy_j: energy of one token: the board's, idle power included, over steps and sequences.
        steps: steps that were measured.
        caches: sets of caches that the steps took in turn, so that none stays in the GPU's own cache.
    """

    batch: PositiveInt
    latency_s: PositiveFloat
    energy_j: PositiveFloat
    steps: PositiveInt
    caches: PositiveInt


@dataclass(frozen=True, config=_RULES)
class Measurement:
    """What `measure_attention` found, with what is needed to repeat it.

    Attributes:
        shape: the layers whose attention was measured.
        window: tokens in the cache, all of them attended to.
        batches: one result per batch size.
        idle_power_w: of the board just before, with nothing running.
        energy_source: the board's counter of energy, or samples of its power.
        precision: of queries, keys and values.
        device: the GPU's name.
        versions: of gaincell, torch, CUDA and the driver.
        date: when, in UTC.
        command: what was run.
        format: of the file.
    """

    shape: Workload
    window: PositiveInt
    batches: Annotated[tuple[MeasuredBatch, ...], Field(min_length=1)]
    idle_power_w: NonNegativeFloat
    energy_source: Literal["energy counter", "power samples"]
    precision: str
    device: str
    versions: dict[str, str]
    date: str
    command: str
    format: Literal[2] = 2

    def to_json(self) -> str:
        """As a file that `load_measurement` reads."""
        return json.dumps(asdict(self), indent=2) + "\n"


class MeasuredRatio(NamedTuple):
    """A measurement over an estimate: how many times longer, and how many times more energy, one token takes."""

    name: str
    latency: float
    energy: float


def measure_attention(
    shape: Workload = BASELINE_LAYER,
    window: int = BASELINE_WINDOW,
    batches: Sequence[int] = (1, 64),
    seconds: float = 10.0,
    device: str = "cuda",
) -> Measurement:
    """Time attention of one token over a full key/value cache on a GPU, and meter its energy.

    torch's scaled_dot_product_attention in bfloat16, with the kernel it chooses, over every token of the cache (the
    published baselines attended to the first alone); steps are replayed as a CUDA graph, timed with CUDA events, and
    take caches in turn that together exceed the GPU's own cache four times over, since a model's weights pass through
    that between two tokens. Projections, rotary embedding and writing the new key and value are not in it.

    Args:
        shape: the layers whose attention to measure.
        window: tokens in the cache, of a layer with a smaller window its own.
        batches: sizes to measure, one after the other.
        seconds: how long to measure each, at least.
        device: a CUDA device, as torch names it.

    Raises:
        InputError: no such device, one whose energy cannot be read, or a number out of range.
    """
    if window < 1 or not batches or min(batches) < 1:
        raise InputError("window and every batch must be at least 1, and there must be a batch; pass such numbers.")
    if not SHORTEST_S <= seconds < math.inf:
        raise InputError(f"seconds is {seconds}, but must be at least {SHORTEST_S:g}, for the energy counter's sake.")
    gpu = _cuda_device(device)
    import torch

    from gaincell.version import __version__

    properties = torch.cuda.get_device_properties(gpu)
    with torch.cuda.device(gpu), torch.inference_mode(), board_energy(str(properties.uuid)) as board:
        torch.cuda.synchronize()
        idle_power_w = mean_power_w(board.energy_j, min(seconds, _IDLE_S))
        found = []
        for batch in batches:
            replays = _Replays(shape, window, batch, gpu, 4 * properties.L2_cache_size)
            found.append(
                measure_batch(
                    replays.run, board.energy_j, batch, seconds, steps_per_run=replays.steps, caches=replays.caches
                )
            )
            del replays
            torch.cuda.empty_cache()
        return Measurement(
            shape=shape,
            window=window,
            batches=tuple(found),
            idle_power_w=idle_power_w,
            energy_source=board.source,
            precision="bfloat16",
            device=properties.name,
            versions={
                "gaincell": __version__,
                "torch": str(torch.__version__),
                "CUDA": str(torch.version.cuda),
                "driver": board.driver,
            },
            date=datetime.now(UTC).isoformat(timespec="seconds"),
            command=shlex.join(sys.argv),
        )


def measure_batch(
    run: Callable[[int], float],
    energy_j: Callable[[], float],
    batch: int,
    seconds: float,
    *,
    steps_per_run: int = 1,
    caches: int = 1,
) -> MeasuredBatch:
    """Measure steps for at least `seconds` of the GPU's time.

    Args:
        run: does a run so many times and waits until they are done; returns the seconds they took the GPU.
        energy_j: reads the board's energy, in joule.
        batch: tokens of a step.
        seconds: how long to measure.
        steps_per_run: steps in a run.
        caches: told in the result.

    Raises:
        InputError: the meter did not move.
    """
    run(1)  # not measured: the first takes longer
    rounds = max(1, math.ceil(_ROUND_S / run(1)))
    run(rounds)  # clocks and power settle
    took_s, runs, before_j = 0.0, 0, energy_j()
    while took_s < seconds:
        took_s += run(rounds)
        runs += rounds
    used_j, steps = energy_j() - before_j, runs * steps_per_run
    if used_j <= 0:
        raise InputError(f"the GPU's meter showed no energy in {took_s:.1f} s; measure for longer.")
    return MeasuredBatch(batch, took_s / steps, used_j / (steps * batch), steps, caches)


def mean_power_w(energy_j: Callable[[], float], seconds: float) -> float:
    """Mean power of the board over so many seconds of waiting."""
    began_s, before_j = time.perf_counter(), energy_j()
    time.sleep(seconds)
    return (energy_j() - before_j) / (time.perf_counter() - began_s)


def attend(q: "torch.Tensor", k: "torch.Tensor", v: "torch.Tensor") -> "torch.Tensor":
    """Attention of one query per head over the whole cache.

    Args:
        q: (batch, query heads, 1, head_dim).
        k: (batch, key/value heads, window, head_dim).
        v: like k.

    Returns:
        (batch, query heads, 1, head_dim).
    """
    from torch.nn.functional import scaled_dot_product_attention

    return scaled_dot_product_attention(q, k, v, enable_gqa=q.shape[1] != k.shape[1])


def load_measurement(path: str | Path) -> Measurement:
    """Read a file that `Measurement.to_json` wrote.

    Raises:
        InputError: it cannot be read, is not JSON, or is no such measurement.
    """
    where, data = f"measurement {path}", read_json(Path(path))
    try:
        found = TypeAdapter(Measurement).validate_python(data)
    except ValidationError as error:
        raise one_sentence(error, where) from None
    if not found.shape.attending:
        raise InputError(f"{where}: none of its layers attends; measure again.")
    return found


def compare(latency_s: float, energy_j: float, measurement: Measurement) -> tuple[MeasuredRatio, ...]:
    """A measurement over an estimate for the measurement's own shape and window, per batch size.

    A token's time is that of a step over its batch, which favours the GPU: the estimate is of a single sequence.

    Args:
        latency_s: estimate of one token, all layers of `measurement.shape`, at `measurement.window`.
        energy_j: the same, energy.
        measurement: what to compare with.

    Raises:
        InputError: an estimate that is not above 0.
    """
    if not min(latency_s, energy_j) > 0:
        raise InputError("latency_s and energy_j must be above 0; pass an estimate's.")
    return tuple(
        MeasuredRatio(
            f"{measurement.device}, batch {found.batch}",
            found.latency_s / found.batch / latency_s,
            found.energy_j / energy_j,
        )
        for found in measurement.batches
    )


def _cuda_device(name: str) -> "torch.device":
    import torch

    if not torch.cuda.is_available():
        raise InputError(
            "no CUDA device here; a roofline from datasheet numbers is available with "
            "gaincell.hardware.roofline.attention_roofline."
        )
    try:
        device = torch.device(name)
    except RuntimeError:
        raise InputError(f"'{name}' is no device that torch knows; pass 'cuda' or, say, 'cuda:1'.") from None
    index = torch.cuda.current_device() if device.index is None else device.index
    if device.type != "cuda" or index >= torch.cuda.device_count():
        raise InputError(f"'{name}' is none of the {torch.cuda.device_count()} CUDA devices here; pass one of them.")
    return torch.device("cuda", index)


class _Replays:
    """A CUDA graph of several steps, each over the next set of caches."""

    #: Steps of a run, at least, so that starting a graph weighs little.
    _STEPS = 16

    def __init__(self, shape: Workload, window: int, batch: int, device: "torch.device", beyond: int) -> None:
        import torch

        def numbers(heads: int, tokens: int, width: int) -> torch.Tensor:
            return torch.randn(batch, heads, tokens, width, dtype=torch.bfloat16, device=device)

        def cache(layer: Layer) -> tuple[torch.Tensor, torch.Tensor]:
            tokens = layer.attends_to(window)
            return numbers(layer.kv_heads, tokens, layer.key_dim), numbers(layer.kv_heads, tokens, layer.value_dim)

        step_bytes = 2 * batch * sum(layer.cached * layer.attends_to(window) for layer in shape.attending)
        self.caches = math.ceil(beyond / step_bytes) + 1
        self.steps = self.caches * math.ceil(self._STEPS / self.caches)
        queries = [numbers(layer.heads, 1, layer.key_dim) for layer in shape.attending]
        caches = [[cache(layer) for layer in shape.attending] for _ in range(self.caches)]

        def step(index: int) -> None:
            for q, (k, v) in zip(queries, caches[index % self.caches], strict=True):
                attend(q, k, v)

        stream = torch.cuda.Stream(device)
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):  # before capture, so that kernels are loaded
            step(0)
        torch.cuda.current_stream().wait_stream(stream)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph, stream=stream):
            for index in range(self.steps):
                step(index)
        self._held = queries, caches  # the graph knows their addresses only

    def run(self, times: int) -> float:
        import torch

        began, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        began.record()
        for _ in range(times):
            self._graph.replay()
        ended.record()
        ended.synchronize()
        return began.elapsed_time(ended) / 1e3
