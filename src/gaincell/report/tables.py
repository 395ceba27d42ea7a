"""Results as tables of text, for a terminal."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from gaincell.report.numbers import number, unit

if TYPE_CHECKING:
    from gaincell.circuit.compare import Compared
    from gaincell.circuit.tradeoff import TradeOff
    from gaincell.evaluate.panel import GenreResult, ModelResult, PanelResult
    from gaincell.report.results import PerplexityRow, Results
    from gaincell.study.compare_columns import Columns

#: Published energies of one head and token, window 1,024, head_dim 64, in pJ [Leroux et al. 2025].
PUBLISHED_PJ = {"first": 1120, "second": 700}

#: What makes columns differ, by the name of the contribution.
_PARTS = {
    "difference": "charge, all",
    "law": "fitted law",
    "feedthrough": "feedthrough of edges",
    "column": "cells on one integrator",
    "wires": "resistance of the bit line",
    "pulses": "pulses of the first product",
    "pulse": "pulse, all",
    "converter": "converter alone",
}
#: Columns whose charges are all within so much of each other, in units of what saturates, have no range.
_NO_RANGE = 1e-9

#: What a charge of each product is in units of, in full and in short.
_UNITS = {"first": ("S_sat", "S_sat"), "second": ("full scale of the read-out", "full scale")}


class Table(NamedTuple):
    """A table: the first `text_columns` are words, the others are figures."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    title: str = ""
    text_columns: int = 1


def perplexities(results: "Results") -> Table:
    """Every model of a run, with its perplexity beside the original's."""

    def cells(row: "PerplexityRow") -> tuple[str, ...]:
        worst = row.get("worst")
        at_worst = "" if worst is None else f"{number(worst['ratio'], 3)} ({worst['genre']})"
        figures = (number(row["perplexity"]), number(row["ratio"], 3), at_worst, f"{row['seconds']:.0f}")
        return (row["attention"], row["stage"], *figures)

    columns = ("attention", "stage", "perplexity", "times the original", "at worst", "seconds")
    return Table(columns, [cells(row) for row in results["perplexities"]], "Perplexity", 2)


def costs(results: "Results") -> tuple[Table, Table]:
    """What attention costs at a run's design points, and the paper's own model beside what was published."""
    found = results["costs"]
    rows = [(row["name"], *map(number, row["values"]), unit(row["unit"])) for row in found["rows"]]
    published = [
        (row["name"], number(row["estimate"]), number(row["published"]), unit(row["unit"]), number(row["ratio"], 3))
        for row in results["published"]
    ]
    return (
        Table(("", *found["design_points"], "unit"), rows, f"Attention of {found['model']}, one token"),
        Table(
            ("", "estimate", "published", "unit", "estimate / published"),
            published,
            "The paper's own model, GPT-2 at 'leroux2025'",
        ),
    )


def entry(found: dict[str, Any]) -> Table:
    """An entry of the paper, as `gaincell.reproduce.run` tells what it found."""
    rows = [
        (row["quantity"], number(row["published"]), number(row["ours"]), number(row["ratio"], 3), unit(row["unit"]))
        for row in found["rows"]
    ]
    title = f"{found['name']}: {found['title']} ({found['seconds']:.0f} s)"
    return Table(("", "published", "ours", "ours / published", "unit"), rows, title)


def panel(found: "PanelResult") -> tuple[Table, Table]:
    """Perplexity of every model on every genre beside the original's, and what attention keeps."""
    original, *others = found.models
    rows = [
        [genre, number(base.perplexity), *(word for one in others for word in _beside(one.genres[genre]))]
        for genre, base in original.genres.items()
    ]
    rows.append(["geometric mean", "", *(word for one in others for word in _beside(one))])
    kept = [["repeated 4-grams, greedy", *(f"{one.repeated:.1%}" for one in found.models)]]
    kept += [
        [f"copied over {of.distance} tokens", *(f"{one.copying[place].accuracy:.1%}" for one in found.models)]
        for place, of in enumerate(original.copying)
    ]
    return (
        Table(["genre", "original", *(word for one in others for word in (one.name, "KL"))], rows),
        Table(["what attention keeps", *(one.name for one in found.models)], kept),
    )


def times(ratio: float | None) -> str:
    """How many times the original's a perplexity is."""
    assert ratio is not None  # it is not the original's
    return f"×{ratio:.3f}" if ratio < 100 else f"×{number(ratio)}"


def _beside(one: "ModelResult | GenreResult") -> tuple[str, str]:
    low_high = "" if one.interval is None else f" ({one.interval[0]:.3f} to {one.interval[1]:.3f})"
    return f"{times(one.ratio)}{low_high}", f"{one.divergence:.3f}"


def task_scores(found: dict[str, Any]) -> Table:
    """Every model's accuracy on every task, as `evaluate_tasks` tells what it found, and perplexities by word."""
    rows = []
    for task in [*found["tasks"].values(), *([found["average"]] if found["tasks"] else [])]:
        scores = [f"{100 * m['accuracy']:.1f} ± {100 * m['stderr']:.1f}" for m in task.get("models", task).values()]
        rows.append((task.get("title", "average"), str(task.get("items", "")), *scores))
    for text in found["perplexities"].values():
        scores = [number(one["word_perplexity"]) for one in text["models"].values()]
        rows.append((f"{text['title']}, perplexity by word", str(text["items"]), *scores))
    return Table(("task", "items", *found["models"]), rows)


def task_comparisons(found: dict[str, Any]) -> list[str]:
    """Sentences that compare every model with the first."""
    lines = []
    for name in found["models"][1:]:
        for text in found["perplexities"].values():
            one = text["models"][name]
            spread = one["interval"]
            sure = "one text alone" if spread is None else f"95 % interval {spread[0]:.3f} to {spread[1]:.3f}"
            lines.append(f"{name}: {one['ratio']:.3f} times the perplexity on {text['title']}, {sure}")
        if not found["tasks"]:
            continue
        one = found["average"][name]
        low, high = (100 * edge for edge in one["interval"])
        difference = f"{100 * one['difference']:+.1f} points on average"
        lines.append(f"{name}: {difference}, 95 % interval {low:+.1f} to {high:+.1f}")
        for task in found["tasks"].values():
            one = task["models"][name]
            low, high = (100 * edge for edge in one["interval"])
            lines.append(
                f"  {task['title']}: {100 * one['difference']:+.1f} ({low:+.1f} to {high:+.1f}), McNemar's p "
                f"{one['mcnemar_p']:.2g}; right alone: {found['models'][0]} {one['only_original']}, "
                f"{name} {one['only_this']}"
            )
    return lines


def trade_offs(found: "Sequence[TradeOff]", title: str) -> Table:
    """What every write device, threshold shift and capacitor buys and costs."""
    columns = ("write", "shift", "capacitor", "tau", "decayed", "departure", "kept", "written in", "write error")
    return Table(columns, [_trade_off(row) for row in found], title)


def _trade_off(row: "TradeOff") -> tuple[str, ...]:
    def time(value_s: float | None) -> str:
        if value_s is None:
            return f"> {row.decay.watched_s:g} s"
        factor, name = next(((f, u) for f, u in ((1e6, "µs"), (1e3, "ms")) if value_s * f < 1000), (1.0, "s"))
        return f"{number(factor * value_s, 3)} {name}"

    settling = row.writes.settling_s
    return (
        row.write,
        f"{row.write_shift_v:g} V",
        f"{row.capacitor_f * 1e15:g} fF",
        time(row.decay.tau_s),
        f"{len(row.decay.rows)} of {len(row.decay.y_v)}",
        f"{row.decay.departure:.0%}" if row.decay.rows else "",
        time(row.kept_s),
        "> 100 ns" if settling is None else f"{number(settling * 1e9, 3)} ns",
        f"{row.writes.error_v * 1e3:.1f} mV",
    )


def columns(found: "Columns") -> list[Table]:
    """Every column of both products, what makes those differ that the amplifier can hold, and energies."""
    tables = []
    for product in PUBLISHED_PJ:
        own = [one for one in found.compared if one.product == product]
        held = [one for one in own if one.in_range]
        tables += [_column_table(product, own)] if own else []
        tables += [_difference_table(product, held, len(own))] if held else []
    energies = [
        (
            f"{product} product, {kind}",
            f"{energy.read_j * 1e12:.0f}",
            f"{energy.conversion_j * 1e12:.0f}",
            f"{(energy.read_j + energy.conversion_j) * 1e12:.0f} ± {energy.error_j * 1e12:.0f}",
            str(PUBLISHED_PJ[product]),
            str(energy.columns),
        )
        for (product, kind), energy in found.energies.items()
        if energy is not None
    ]
    heads = ("pJ per token and head", "cells", "conversion", "together", "published", "columns")
    title = f"Energy, window {found.config.window}; not in it: op-amp, drivers of word lines, presets"
    return [*tables, *([Table(heads, energies, title)] if energies else [])]


def _column_table(product: str, own: "Sequence[Compared]") -> Table:
    parts = ("difference", "law", "feedthrough", "column", "wires")
    rows = [
        (
            one.name,
            f"{one.behavioural:.4f}",
            f"{one.circuit:.4f}",
            *(f"{getattr(one, part):.2%}" for part in parts),
            f"{one.behavioural_pulse:.4f}",
            f"{one.circuit_pulse:.4f}",
        )
        for one in own
    ]
    heads = ("column", "behavioural", "circuit", "difference", "law", "edges", "column", "wires", "pulse", "circuit's")
    title = f"{product.title()} product: charge in units of {_UNITS[product][0]}, and pulse in units of T_max"
    return Table(heads, rows, title)


def _difference_table(product: str, held: "Sequence[Compared]", of: int) -> Table:
    from gaincell.study.compare_columns import summary

    figures = summary(held)
    span = figures["highest"] - figures["lowest"]
    ranged = span > _NO_RANGE
    rows = [
        (
            label,
            f"{figures[f'{name}_rms']:.2%}",
            f"{figures[f'{name}_max']:.2%}",
            f"{figures[f'{name}_max'] / span:.2%}" if ranged and name not in ("pulse", "converter") else "",
        )
        for name, label in _PARTS.items()
        if name != "pulses" or figures["pulses_max"]
    ]
    reach = f"{figures['lowest']:.2f} to {figures['highest']:.2f} (of {_UNITS[product][1]}; pulses of T_max)"
    title = f"{len(held)} of {of} columns, charges from {reach}"
    if not ranged:
        title += "; all of one charge, so that nothing is told in units of their range"
    return Table(("difference", "rms", "largest", "of these columns' range"), rows, title)
