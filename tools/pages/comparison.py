"""The tables of docs/comparison.md: seven models beside digital and an H100, from the code.

python -m tools.pages comparison
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from gaincell.config import GainCellConfig
from gaincell.errors import InputError
from gaincell.hardware import Estimate, HardwareParameters, estimate, read_workload
from gaincell.hardware.datasheets import H100_SXM
from gaincell.hardware.decoder import DecoderShape, read_decoder
from gaincell.hardware.opponents import OURS, Opponent, opponents
from gaincell.hardware.roofline import attention_roofline
from gaincell.hardware.throughput import throughput
from gaincell.hardware.whole_token import estimate_whole
from gaincell.hardware.workload import Workload
from gaincell.report.numbers import number, scaled
from tools.model_configs import CONFIGS
from tools.pages.markdown import table

#: Of `CONFIGS`.
MODELS = ("gpt2", "Llama-3.1-8B", "Llama-3.1-70B", "Qwen3-8B", "gemma-3-27b", "Mistral-7B-v0.1", "DeepSeek-V3")
CONTEXTS = (4096, 131072)
BATCHES = (1, 64)
POINT = GainCellConfig.named("leroux2025")
AS_BUILT = HardwareParameters(refresh="rewrite")
#: What makes refreshing cheap: one copy of keys and values, and write lines no longer than a sub-tile.
FOR_REFRESH = AS_BUILT.model_copy(update={"kv_sharing": "in_turn", "write_line_columns": POINT.subtile_columns})
SRAM, DRAM, H100, OPEN = "digital, SRAM", "digital, DRAM", "H100", "open"
#: Least and most that a token takes; the same twice where it is not a range.
Range = tuple[float, float]


@dataclass(frozen=True)
class Case:
    """A model at a context, which is no longer than its positions.

    Attributes:
        model: its name.
        workload: its layers.
        context: tokens that it attends to.
        ends: whether its positions end there, short of a context that was asked for.
    """

    model: str
    workload: Workload
    context: int
    ends: bool

    @property
    def point(self) -> GainCellConfig:
        """The design point at this context."""
        return POINT.replace(window=self.context)

    @cached_property
    def ours(self) -> Estimate:
        """Attention alone: a token follows the one before as soon as attention, and refreshing, let it."""
        return estimate(self.workload, self.point, AS_BUILT)

    @cached_property
    def elsewhere(self) -> dict[str, Opponent]:
        """The same attention on the others, one user."""
        return dict(zip((SRAM, DRAM, H100), opponents(self.ours, [H100_SXM]), strict=True))

    @property
    def decoder(self) -> DecoderShape:
        """The whole model.

        Raises:
            InputError: a model whose rest is not estimated.
        """
        return read_decoder(CONFIGS[self.model])

    def paced(self, parameters: HardwareParameters, batch: int) -> Estimate:
        """Attention where an H100 computes the rest of every token of a batch.

        Raises:
            InputError: as `decoder`.
        """
        return estimate_whole(self.decoder, self.point, parameters, batch=batch)[0]

    @property
    def name(self) -> tuple[str, str]:
        """Model and context, as they stand in a row."""
        return self.model, f"{self.context:,}" + (" (its positions end)" if self.ends else "")


def cases() -> Iterator[Case]:
    """Every model at every context; where its positions end before, there."""
    for model in MODELS:
        workload = read_workload(CONFIGS[model])
        ends = workload.positions or max(CONTEXTS)
        for context in sorted({min(context, ends) for context in CONTEXTS}):
            yield Case(model, workload, context, context not in CONTEXTS)


def least(taken: Mapping[str, Range]) -> tuple[str, Range | None]:
    """Who takes least, and how many times as much the next best takes, at least and at most.

    A range that only in part lies below the others leaves it open.
    """
    first = min(taken, key=lambda name: taken[name][1])
    others = [found for name, found in taken.items() if name != first]
    if min(low for low, _ in others) < taken[first][1]:
        return OPEN, None
    low, high = min(others)
    return first, (low / taken[first][1], high / taken[first][0])


def contents() -> dict[str, str]:
    """All tables."""
    every = list(cases())
    return {"alone": alone(every), "beside": beside(every), "silicon": silicon(every)}


def alone_energies(case: Case) -> dict[str, Range]:
    """Energy of one token's attention, where nothing but attention takes time."""
    ours = case.ours.energy_j
    return {OURS: (ours, ours), **{name: each.energy_j for name, each in case.elsewhere.items()}}


def alone(every: list[Case]) -> str:
    """Energy of one token, attention at its own pace."""
    rows = []
    for case in every:
        taken = alone_energies(case)
        rows.append((*case.name, *(_range(each, "J") for each in taken.values()), *_verdict(taken)))
    return table(("model", "context", OURS, SRAM, DRAM, H100, "takes least", "the next takes"), rows)


def beside_energies(case: Case, ours: Estimate) -> dict[str, Range]:
    """Energy of one token's attention at the pace of `ours`, of gain cells and of who needs no refresh."""
    return {OURS: (ours.energy_j, ours.energy_j), **{name: case.elsewhere[name].energy_j for name in (SRAM, H100)}}


def beside(every: list[Case]) -> str:
    """Energy of one token, attention at the pace of the whole model."""
    rows = []
    for case in every:
        try:
            plain, *both = (case.paced(p, n) for p, n in ((AS_BUILT, 1), *((FOR_REFRESH, n) for n in BATCHES)))
        except InputError as error:
            rows.append((*case.name, f"not estimated: {_reason(error)}", *[""] * 9))
            continue
        sram, gpu = case.elsewhere[SRAM], case.elsewhere[H100]
        verdicts = [_verdict(beside_energies(case, each)) for each in both]
        rows.append(
            (
                *case.name,
                _each(scaled(found.token_period_s, "s") for found in both),
                f"{plain.retention.refreshes:,}",
                scaled(plain.geometry.window * plain.token_period_s, "s"),
                scaled(plain.energy_j, "J"),
                _each(scaled(found.energy_j, "J") for found in both),
                scaled(sram.energy_j[0], "J"),
                _range(gpu.energy_j, "J"),
                *(_each(words) for words in zip(*verdicts, strict=True)),
                _verdict({OURS: (plain.energy_j, plain.energy_j), H100: gpu.energy_j})[0],
            )
        )
    columns = ("model", "context", "a token every", "refreshed", "τ that needs none", OURS, "for refreshing")
    return table((*columns, SRAM, H100, "takes least", "the next takes", "by default, or H100"), rows)


def silicon(every: list[Case]) -> str:
    """Time of one token of every user, and what it stands on."""
    rows = []
    for case in every:
        for batch in BATCHES:
            served, sram = throughput(case.ours, batch), case.elsewhere[SRAM]
            assert sram.area_m2 is not None
            gpus, gpu_s = h100s(case, batch)
            times = {OURS: case.ours.latency_s, SRAM: sram.latency_s, H100: gpu_s}
            fastest, by = least({name: (value, value) for name, value in times.items()})
            rows.append(
                (
                    *case.name,
                    f"{batch}",
                    *(scaled(value, "s") for value in times.values()),
                    fastest,
                    _times(by),
                    f"{number(served.area_m2 * 1e4, 3)} cm², {served.chips:,}",
                    f"{number(batch * sram.area_m2 * 1e4, 3)} cm², {_chips(batch * sram.area_m2, case):,}",
                    f"{gpus:,}",
                    f"×{number(served.area_m2 / (batch * sram.area_m2), 3)}",
                )
            )
    columns = ("batch", f"time: {OURS}", SRAM, H100, "fastest", "the next takes")
    return table(
        ("model", "context", *columns, f"area, chips: {OURS}", SRAM, "H100s", f"area: {OURS} over {SRAM}"), rows
    )


def h100s(case: Case, batch: int) -> tuple[int, float]:
    """How many H100s hold a batch's cache, and the time of one token of every user: those of one wait for each other.

    The memory is taken to hold nothing else. A user's cache is not cut.
    """
    bound = attention_roofline(case.workload, case.context, H100_SXM)
    held = math.floor(H100_SXM.memory_bytes / bound.moved_bytes)
    assert held, f"one H100 does not hold the cache of one user of {case.model}"
    gpus = math.ceil(batch / held)
    users = math.ceil(batch / gpus)
    return gpus, attention_roofline(case.workload, case.context, H100_SXM, users).latency_s


def _chips(area_m2: float, case: Case) -> int:
    return math.ceil(area_m2 / case.ours.parameters.chip_area_m2)


def _reason(error: InputError) -> str:
    return str(error).removeprefix("model config: ").rstrip(".")


def _each(words: Iterable[str]) -> str:
    """What there is to say of every batch; once where it is the same."""
    return ", ".join(dict.fromkeys(words))


def _verdict(taken: Mapping[str, Range]) -> tuple[str, str]:
    name, by = least(taken)
    return name, _times(by)


def _times(by: Range | None) -> str:
    if by is None:
        return "–"
    low, high = (f"×{number(value, 3)}" for value in by)
    return low if low == high else f"{low} to {high}"


def _range(taken: Range, unit: str) -> str:
    low, high = (scaled(value, unit) for value in taken)
    return low if low == high else f"{low} to {high}"
