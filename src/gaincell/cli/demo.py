"""`gaincell demo`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gaincell.cli import options, screen

if TYPE_CHECKING:
    from gaincell.report import Results
    from gaincell.report.results import PerplexityRow


def demo(
    out: Annotated[
        Path | None, typer.Option("--out", help="Run folder; a run that was cut short goes on. By default in runs/.")
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Little text, few steps: minutes; figures to look at only.")
    ] = False,
    from_scratch: Annotated[
        bool, typer.Option("--from-scratch", help="Adapt the model here, in place of the adapters that ship.")
    ] = False,
    device: options.Device = "cpu",
    json: options.Json = False,
) -> None:
    """Put a small language model on the hardware, and report.

    Perplexity on many kinds of text, of the original, after plain mapping and after adaptation; samples of both;
    latency, energy and area. The report is OUT/report.html. The adapters that ship took hours of learning; with
    --from-scratch the model learns here for some minutes, and is kept in OUT/extended/model.
    """
    from gaincell.study.demo import run_demo
    from gaincell.study.workbench import DemoSettings

    settings = DemoSettings.of(quick=quick, from_scratch=from_scratch)
    folder = out or Path("runs/demo" + "-from-scratch" * from_scratch + "-quick" * quick)
    options.check_out(folder)
    options.check_device(device)
    results, report = run_demo(settings, folder, load=options.loads(device), listener=screen)
    if json:
        screen.show_json({"out": str(folder), "report": str(report), **results})
    else:
        show_results(results)
        screen.show(f"report: {report}")
        first = settings.plans[0]
        adapted = first.adapter or str(folder / first.name / "model")
        screen.show(f"adapted model: {adapted}")
        screen.say(f'try it: gaincell generate "The sea was" --model {adapted}')


def show_results(results: "Results") -> None:
    """The report's content, on stdout."""
    from gaincell.report.numbers import number

    screen.show(results["title"])
    screen.show(results["summary"])
    if results["note"]:
        screen.show(results["note"])
    screen.show()
    rows = [
        (
            row["attention"],
            row["stage"],
            number(row["perplexity"]),
            number(row["ratio"], 3),
            _worst(row),
            f"{row['seconds']:.0f}",
        )
        for row in results["perplexities"]
    ]
    columns = ("attention", "stage", "perplexity", "times the original", "at worst", "seconds")
    screen.show_table(columns, rows, "Perplexity", text_columns=2)
    screen.show(f"{results['evaluation']}\n\n{results['sampling']}")
    for sample in results["samples"]:
        screen.show(f"\n  {sample['prompt']}")
        screen.show(f"    original:  {' '.join(sample['original'].split())}")
        screen.show(f"    {results['adapted']}:  {' '.join(sample['adapted'].split())}")
    screen.show()
    _show_costs(results)


def _show_costs(results: "Results") -> None:
    from gaincell.report.numbers import number, unit

    costs = results["costs"]
    rows = [(row["name"], *map(number, row["values"]), unit(row["unit"])) for row in costs["rows"]]
    screen.show_table(("", *costs["design_points"], "unit"), rows, f"Attention of {costs['model']}, one token")
    published = [
        (row["name"], number(row["estimate"]), number(row["published"]), unit(row["unit"]), number(row["ratio"], 3))
        for row in results["published"]
    ]
    columns = ("", "estimate", "published", "unit", "estimate / published")
    screen.show_table(columns, published, "The paper's own model, GPT-2 at 'leroux2025'")
    screen.show(f"{results['caveat']}\n")


def _worst(row: "PerplexityRow") -> str:
    from gaincell.report.numbers import number

    worst = row.get("worst")
    return "" if worst is None else f"{number(worst['ratio'], 3)} ({worst['genre']})"
