"""The demo: a small language model on the hardware, from its perplexity to a report."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from gaincell.progress import Listener, Silence
from gaincell.study.demo_steps import DemoSettings, Workbench, demo_steps, settings_dict, summarise
from gaincell.study.models import Load, load_model
from gaincell.study.report_steps import make_page
from gaincell.study.steps import Record, run_steps
from gaincell.study.subject import demo_subject

if TYPE_CHECKING:
    from gaincell.report import Results


def run_demo(
    settings: DemoSettings,
    out: Path,
    model: str = "demo",
    load: Load = load_model,
    listener: Listener | None = None,
) -> "tuple[Results, Path]":
    """Run or finish the demo in a folder; returns what it found and the report's path.

    Args:
        settings: how much to do.
        out: the run folder.
        model: what the original model is loaded by.
        load: gives a model and its tokenizer; called only if a step is left to do.
        listener: is told which step it is, and how far.

    Raises:
        InputError: `out` holds a run with other settings.
        OSError: the disk is full, or `out` cannot be written to.
    """
    listener = listener or Silence()
    record = Record(out / "results.json", settings_dict(settings, model))
    if settings.quick:
        listener.say("quick: little text and few steps; figures to look at, not to quote")
    bench = Workbench(settings, out, model, load)
    run_steps(demo_steps(bench), record, listener)
    results = summarise(settings, record)
    record.data["results"] = results
    record.save()
    report, subject = out / "report.html", demo_subject(bench, record)
    make_page(subject, report, shlex.join(["gaincell", "report", str(out)]), listener=listener)
    return results, report
