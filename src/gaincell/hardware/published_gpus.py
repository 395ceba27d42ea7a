"""Published GPU figures for the same attention, as constants with their sources, and ratios to them."""

from dataclasses import dataclass

from gaincell.hardware.workload import Workload

_PAPER = "Leroux et al., Nature Computational Science 5, 813-824 (2025)"

#: What to know before quoting a ratio to these baselines.
CAVEAT = (
    "The published GPU baseline timed the wall clock without synchronising, in float32, with is_causal=True for one "
    "query, which attends to the first key only: not a measure of what the GPU can do."
)

#: The only shape and window that the baselines, and so the ratios, are for: one layer of GPT-2.
BASELINE_LAYER = Workload.uniform(layers=1, heads=12, kv_heads=12, head_dim=64)
BASELINE_WINDOW = 1024
BASELINE_BATCH = 64


@dataclass(frozen=True)
class GpuBaseline:
    """A published GPU figure for `BASELINE_LAYER` at `BASELINE_WINDOW` and `BASELINE_BATCH`; see `CAVEAT`.

    Attributes:
        name: the GPU.
        latency_s: time per token.
        energy_j: energy per token.
        quoted_latency_ratio: the ratio the paper states for latency, rounded by its authors.
        quoted_energy_ratio: the same for energy.
        source: where latency and energy come from; the quoted ratios are the paper's.
    """

    name: str
    latency_s: float
    energy_j: float
    quoted_latency_ratio: float
    quoted_energy_ratio: float
    source: str = f"measured by the authors, data released with their training code; ratios: {_PAPER}"


RTX_4090 = GpuBaseline("RTX 4090", 22.37e-6, 7.178e-3, quoted_latency_ratio=300, quoted_energy_ratio=90_000)
JETSON_NANO = GpuBaseline("Jetson Nano", 488.85e-6, 3.246e-3, quoted_latency_ratio=7_000, quoted_energy_ratio=40_000)

#: The paper also quotes ratios to an H100, whose measured figures are not released; so it is not here.
BASELINES = (RTX_4090, JETSON_NANO)
