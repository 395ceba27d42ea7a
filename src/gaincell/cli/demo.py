"""`gaincell demo`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gaincell.cli import options, screen

if TYPE_CHECKING:
    from gaincell.report import Results


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
    from gaincell.study.demo_steps import DemoSettings

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
    from gaincell.report import tables

    for line in (results["title"], results["summary"], *filter(None, [results["note"]]), ""):
        screen.show(line)
    screen.show_table(*tables.perplexities(results))
    screen.show(f"{results['evaluation']}\n\n{results['sampling']}")
    for sample in results["samples"]:
        screen.show(f"\n  {sample['prompt']}")
        screen.show(f"    original:  {' '.join(sample['original'].split())}")
        screen.show(f"    {results['adapted']}:  {' '.join(sample['adapted'].split())}")
    screen.show()
    for table in tables.costs(results):
        screen.show_table(*table)
    screen.show(f"{results['caveat']}\n")
