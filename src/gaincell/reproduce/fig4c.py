"""Figure 4c: what bringing statistics together does before anything learns."""

from typing import Any

from gaincell.report.plots import can_plot, grouped_bars_plot
from gaincell.reproduce import paper_values
from gaincell.reproduce.context import LENGTH, TOKENS, Context
from gaincell.reproduce.entry import PAPER, Entry, Findings, Row


def run(context: Context) -> Findings:
    """Perplexities: of the recipe's linear model from our record, of the pre-trained model measured now."""
    measured = {
        "softmax": context.perplexity("demo"),
        "unmatched": context.perplexity("demo", "as it is"),
        "matched": context.perplexity("demo", "matched"),
        "adapter": context.perplexity("leroux2025"),
    }
    recipe = context.record["recipe"]
    reach = (
        "Published is GPT-2, whose linear model had learned from some 5,700,000,000 tokens and was as good as the "
        "original before the cubic law was put in; ours are SmolLM2-135M, whose linear model had learned from "
        f"{recipe['learned']['linear'][-1][0]:,.0f} and is poor itself, and the same straight from softmax, without "
        "any linear model."
    )
    plot = ""
    if can_plot():
        bars = {
            "before": [paper_values.PERPLEXITY_UNMATCHED, measured["unmatched"], recipe["unmatched"]],
            "after": [paper_values.PERPLEXITY_MATCHED, measured["matched"], recipe["matched"]],
            "what it was matched to": [None, measured["softmax"], recipe["linear"]],
        }
        labels = ["published", "ours, from softmax", "ours, from a linear model"]
        plot = grouped_bars_plot("fig4c", labels, bars, x="perplexity (logarithmic)", log=True)
    return Findings(tuple(rows(recipe, measured)), reach, plot)


def rows(recipe: dict[str, Any], measured: dict[str, float]) -> list[Row]:
    """The rows of the record and of what was measured now."""
    where = f"{TOKENS:,} tokens of speeches at length {LENGTH:,}"
    now, recorded = f"measured now on {where}", f"recorded, gaincell adapt --recipe paper: {where}"
    gain = paper_values.PERPLEXITY_UNMATCHED / paper_values.PERPLEXITY_MATCHED
    found = []
    for name, one, how in (("from softmax", measured, now), ("from a linear model", recipe, recorded)):
        before, after = one["unmatched"], one["matched"]
        found += [
            Row(f"perplexity before matching, {name}", paper_values.PERPLEXITY_UNMATCHED, before, "", PAPER, how),
            Row(f"perplexity after matching, {name}", paper_values.PERPLEXITY_MATCHED, after, "", PAPER, how),
            Row(f"before over after, {name}", gain, before / after, "", PAPER, how),
        ]
    return [
        *found,
        Row("perplexity of that linear model", None, recipe["linear"], "", "", recorded),
        Row("perplexity of the original with softmax", None, measured["softmax"], "", "", now),
        Row("perplexity with the adapter that ships", None, measured["adapter"], "", "", now),
    ]


ENTRY = Entry(
    "fig4c",
    "adaptation: before and after matching",
    "Perplexity of the nonlinear model when it takes another model's weights, and after mean and deviation of each "
    "head's query, key, value and output are brought to what that model showed; nothing learns in between.",
    run,
    ("adapters",),
)
