"""Table 1: how well the models do at tasks."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from gaincell.errors import InputError
from gaincell.progress import Progress
from gaincell.report.plots import can_plot, grouped_bars_plot
from gaincell.reproduce import paper_values
from gaincell.reproduce.context import Context
from gaincell.reproduce.entry import PAPER, Entry, Findings, Row, UnavailableError

BASE = "SmolLM2-135M-Instruct"
MODELS = {"original": "demo", "extended": "extended", "leroux2025": "leroux2025"}


def run(context: Context) -> Findings:
    """The tasks of the paper on the demo model and with the adapters that ship."""
    most = max(at for one in context.record["distilled"].values() for at, _ in one["points"])
    learned = f"some {float(f'{most:.3g}'):,.0f} tokens of distillation at most"
    return findings(evaluate(MODELS, context.items, context.folder / "tasks", context.progress), BASE, learned)


def evaluate(models: Mapping[str, str], items: int, out: Path, progress: Progress | None) -> dict[str, Any]:
    """The tasks' results of models by label, the original first; what is done in `out` is not done again.

    Args:
        models: what `gaincell.models.load.load_model` loads each by.
        items: of every task.
        out: where answers are kept.
        progress: called with (label, done, total).

    Raises:
        UnavailableError: tasks cannot be evaluated here.
    """
    from gaincell.evaluate.tasks import require_harness
    from gaincell.models.load import load_model

    try:
        require_harness()
        from gaincell.evaluate.tasks.run import evaluate_tasks

        loaders = {label: partial(load_model, name) for label, name in models.items()}
        return evaluate_tasks(loaders, items=items, out=out, progress=progress)
    except InputError as error:
        raise UnavailableError(str(error)) from None


def findings(found: dict[str, Any], base: str, learned: str) -> Findings:
    """What the tasks' results say beside the published averages.

    Args:
        found: what `evaluate` found.
        base: the original's name.
        learned: on how much the others were adapted.
    """
    original, *adapted = found["models"]
    tasks, average = found["tasks"], found["average"]

    def percent(model: str) -> float:
        return 100 * average[model]["accuracy"]

    note = f"{base}, {found['items_asked']} items a task"
    rows = [
        Row("mean accuracy, softmax as pre-trained", paper_values.GPT2_ACCURACY, percent(original), "%", PAPER, note)
    ]
    for model in adapted:
        how = f"{note}; published: a softmax model trained from scratch, which the hardware models match or exceed"
        rows.append(Row(f"mean accuracy, {model}", paper_values.SCRATCH_ACCURACY, percent(model), "%", PAPER, how))
        least = paper_values.SCRATCH_ACCURACY / paper_values.GPT2_ACCURACY
        kept = percent(model) / percent(original) if percent(original) else None
        rows.append(Row(f"mean accuracy kept, {model}", least, kept, "of the pre-trained", PAPER, how))
    for name, value in (("GPT-2", paper_values.GPT2_PERPLEXITY), ("from scratch", paper_values.SCRATCH_PERPLEXITY)):
        rows.append(
            Row(f"perplexity, {name} with softmax", value, None, "", PAPER, "their text is not ours: see fig4c")
        )
    for task in tasks.values():
        for model, one in task["models"].items():
            spread = one.get("interval")
            note = f"{task['items']} items, chance {100 * task['chance']:.0f} %"
            if spread:
                note += (
                    f"; difference {100 * one['difference']:+.1f} ({100 * spread[0]:+.1f} to {100 * spread[1]:+.1f})"
                )
            rows.append(Row(f"{task['title']}, {model}", None, 100 * one["accuracy"], "%", "", note))
    reach = (
        f"The base model is {base}, in the paper GPT-2, and was adapted on {learned}, in the paper on some "
        f"17,000,000,000; {found['items_asked']} items a task at most leave a task's figure uncertain by several "
        "percent; the published figures of single tasks and of the hardware models are not at hand."
    )
    plot = ""
    if can_plot():
        labels = [*(task["title"] for task in tasks.values()), "mean"]
        bars = {
            model: [*(100 * task["models"][model]["accuracy"] for task in tasks.values()), percent(model)]
            for model in found["models"]
        }
        bars["chance"] = [100 * task["chance"] for task in tasks.values()] + [None]
        plot = grouped_bars_plot("table1", labels, bars, x="accuracy (%)")
    return Findings(tuple(rows), reach, plot)


ENTRY = Entry(
    "table1",
    "tasks",
    "Accuracy on ARC-E, ARC-C, WinoGrande, HellaSwag, LAMBADA and PIQA, as pre-trained and on the hardware.",
    run,
    uses=("items", "adapters"),
)
