"""Figure 4d: loss against iterations."""

import math
import re
from typing import Any

from gaincell.report.plots import Series, can_plot, xy_plot
from gaincell.reproduce import paper_values
from gaincell.reproduce.context import LENGTH, TOKENS, Context
from gaincell.reproduce.entry import RELEASED, Entry, Findings, Row


def run(context: Context) -> Findings:
    """Cross-entropies that training ends at; curves where they are at hand."""
    kept = context.record
    losses = {name: math.log(context.perplexity(name)) for name in ("demo", "leroux2025", "extended")}
    losses["mapped"] = math.log(context.perplexity("demo", "as it is"))
    reach = (
        "Published is GPT-2 on OpenWebText over thousands of iterations of some 2,000,000 tokens; ours is SmolLM2-135M "
        "on speeches, after less than one such iteration in all, so that this shows where the published stages stand "
        "at our budget, and no more."
    )
    plot = ""
    if can_plot():
        plot = xy_plot(
            "fig4d",
            [*_published(context), *_ours(kept)],
            x=f"iterations of {paper_values.ITERATION_TOKENS:,} tokens (logarithmic)",
            y="cross-entropy (nats a token)",
            log_x=True,
            beside=True,
            height=4.4,
        )
    return Findings(tuple(rows(kept, losses)), reach, plot)


def rows(kept: dict[str, Any], losses: dict[str, float]) -> list[Row]:
    """The rows of a record and of the losses measured now."""

    def learned(stage: str) -> tuple[float, str]:
        tokens, perplexity = kept["recipe"]["learned"][stage][-1]
        return math.log(perplexity), f"recorded: gaincell adapt --recipe paper, {tokens:,.0f} tokens in this stage"

    linear, how_linear = learned("linear")
    cubic, how_cubic = learned("cubic")
    matched = math.log(kept["recipe"]["matched"])
    now = f"measured now on {TOKENS:,} tokens of speeches at length {LENGTH:,}"
    iterations = f"{paper_values.LINEAR_ITERATIONS:,}", f"{paper_values.CUBIC_ITERATIONS:,}"

    def row(quantity: str, paper: float | None, ours: float | None, note: str = "") -> Row:
        return Row(quantity, paper, ours, "nats", RELEASED if paper is not None else "", note)

    return [
        row(
            f"linear from pre-trained, end (published: {iterations[0]} iterations)",
            paper_values.LINEAR_LOSS,
            linear,
            how_linear,
        ),
        row("nonlinear, matched, before training", paper_values.MATCHED_LOSS, matched, "recorded: the same run"),
        row(f"nonlinear, end (published: {iterations[1]} iterations)", paper_values.CUBIC_LOSS, cubic, how_cubic),
        row(
            "nonlinear straight from pre-trained, before training",
            paper_values.DIRECT_LOSS_BEFORE,
            losses["mapped"],
            now,
        ),
        row("the same after 6,000 iterations", paper_values.DIRECT_LOSS, None, "not run"),
        row("nonlinear from scratch, 6,200 iterations", paper_values.SCRATCH_LOSS, None, "not run"),
        row("the original with softmax", None, losses["demo"], now),
        row("leroux2025, the adapter that ships", None, losses["leroux2025"], now),
        row("extended, the adapter that ships", None, losses["extended"], now),
    ]


def _published(context: Context) -> list[Series]:
    """The authors' curves; without their data only where the curves end."""
    if context.reference is None:
        ends = {
            "published: linear, end": (paper_values.LINEAR_ITERATIONS, paper_values.LINEAR_LOSS),
            "published: nonlinear, end": (paper_values.CUBIC_ITERATIONS, paper_values.CUBIC_LOSS),
        }
        return [Series(name, [float(x)], [y], "points") for name, (x, y) in ends.items()]
    curves = context.reference.curves()
    # a logarithmic axis has no zero: the loss before training stands at a tenth of the first step
    return [
        Series(f"published: {_short(name)}", [max(x, 10.0) for x in iterations], losses)
        for name, (iterations, losses) in curves.items()
    ]


def _short(name: str) -> str:
    text = re.sub(" (model|fine-tuned|trained)", "", name)
    return text[0].lower() + text[1:]


def _ours(kept: dict[str, Any]) -> list[Series]:
    learned = kept["recipe"]["learned"]
    before = learned["linear"][-1][0]
    curves = {
        "ours: linear, then nonlinear": learned["linear"] + [(before + at, value) for at, value in learned["cubic"]],
        **{f"ours: {name}, distilled": one["points"] for name, one in kept["distilled"].items()},
    }
    least = 1e-3  # of an iteration: where a loss before training stands
    return [
        Series(
            name,
            [max(at / paper_values.ITERATION_TOKENS, least) for at, _ in points],
            [math.log(value) for _, value in points],
            "marked",
        )
        for name, points in curves.items()
    ]


ENTRY = Entry(
    "fig4d",
    "adaptation: loss against iterations",
    "Cross-entropy of the linear model, of the nonlinear one that starts from it, and of those that do not.",
    run,
    ("reference", "adapters"),
)
