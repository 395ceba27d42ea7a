"""`gaincell doctor`."""

from dataclasses import asdict
from typing import Annotated

import typer

from gaincell.cli import options, screen


def doctor(
    model: Annotated[str | None, typer.Option(help="A model folder to look at too.")] = None,
    json: options.Json = False,
) -> None:
    """Tell what works here.

    The exit code is 1 if something that gaincell needs does not work, or if a model named with --model is not what it
    seems.
    """
    from gaincell.study.installation import findings

    found = findings(model)
    broken = any(finding.state == "broken" for finding in found)
    if json:
        screen.show_json({"ok": not broken, "findings": [asdict(finding) for finding in found]})
    else:
        for finding in found:
            advice = f" -> {finding.advice}" if finding.advice else ""
            screen.show(f"{finding.state:<7}{finding.name}: {finding.detail}{advice}")
    if broken:
        raise typer.Exit(1)
