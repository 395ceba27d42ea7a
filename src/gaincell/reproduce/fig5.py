"""Figure 5: latency, energy and area of attention, and how many times less that is than on GPUs."""

from gaincell.config import GainCellConfig
from gaincell.hardware import BASELINES, estimate, paper_table
from gaincell.hardware.published_gpus import BASELINE_LAYER, BASELINE_WINDOW
from gaincell.report.plots import can_plot, grouped_bars_plot
from gaincell.reproduce import paper_values
from gaincell.reproduce.context import Context
from gaincell.reproduce.entry import PAPER, Entry, Findings, Row


def run(context: Context) -> Findings:
    """What `gaincell cost gpt2` prints beside published figures, and a GPU that was measured by the user."""
    rows = [
        Row(line.name, line.published, line.value, line.unit, PAPER, f"gaincell cost: {line.basis}")
        for line in paper_table()
        if line.published is not None
    ]
    reach = (
        "Latency, area and 70 % of the energy are fitted to the published figures, and the ratios divide the authors' "
        "own GPU measurements (timed without synchronising, over the first key only) by ours, so that this checks sums "
        "and scaling; predicted are the energies of the two arrays."
    )
    return Findings((*rows, *_measured_rows(context)), reach, _figure(context) if can_plot() else "")


def _measured_rows(context: Context) -> list[Row]:
    """A GPU that was measured over ours; the paper quotes an H100."""
    quoted = {"latency": paper_values.H100_LATENCY_RATIO, "energy": paper_values.H100_ENERGY_RATIO}
    absent = "its figures are not released; measure one with gaincell measure-gpu, and give --compare"
    unmeasured = [
        Row(f"H100 {what} / ours, one GPT-2 layer", ratio, None, "x", PAPER, absent) for what, ratio in quoted.items()
    ]
    if context.gpu is None:
        return unmeasured
    from gaincell.hardware.measure_gpu import compare

    gpu = context.gpu
    ours = estimate(gpu.shape, GainCellConfig.named("leroux2025").replace(window=gpu.window))
    is_quoted = "H100" in gpu.device and gpu.shape == BASELINE_LAYER and gpu.window == BASELINE_WINDOW
    rows = []
    for ratio in compare(ours.latency_s, ours.energy_j, gpu):
        for what, value in (("latency", ratio.latency), ("energy", ratio.energy)):
            paper = quoted[what] if is_quoted else None
            note = f"measured {gpu.date[:10]} in {gpu.precision}, all keys attended to"
            rows.append(Row(f"{ratio.name}: {what} / ours", paper, value, "x", PAPER if paper else "", note))
    return rows if is_quoted else unmeasured + rows


def _figure(context: Context) -> str:
    """Energy of a token in one layer, in µJ: ours and the published one, and GPUs."""
    energy = next(line for line in paper_table() if line.name == "energy, one layer")
    assert energy.published is not None
    theirs: dict[str, float] = {"gain cells": energy.published * 1e-3}
    theirs |= {gpu.name: gpu.energy_j * 1e6 for gpu in BASELINES}
    ours: dict[str, float] = {"gain cells": energy.value * 1e-3}
    if context.gpu is not None and context.gpu.shape == BASELINE_LAYER:
        ours |= {f"{context.gpu.device}, batch {one.batch}": one.energy_j * 1e6 for one in context.gpu.batches}
    labels = list(theirs | ours)
    bars = {"published": [theirs.get(name) for name in labels], "ours": [ours.get(name) for name in labels]}
    return grouped_bars_plot(
        "fig5", labels, bars, x="energy of a token, one layer of GPT-2 (µJ, logarithmic)", log=True
    )


ENTRY = Entry(
    "fig5",
    "latency, energy and area",
    "One token of GPT-2's attention at the published design point, and GPUs beside it.",
    run,
    ("gpu",),
)
