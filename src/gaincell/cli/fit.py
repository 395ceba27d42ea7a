"""`gaincell fit`."""

import math
import re
from pathlib import Path
from typing import Annotated

import typer

from gaincell.cli import options, screen
from gaincell.errors import InputError


def fit(
    data: Annotated[
        Path,
        typer.Argument(
            metavar="DATA", help="CSV with 'stored [V]' and 'charge [fC]' with 'width [ns]', or 'current [uA]'."
        ),
    ],
    out: Annotated[Path | None, typer.Option("--out", help="The cell file to write (YAML).")] = None,
    report: options.CellReport = None,
    retention: Annotated[
        Path | None, typer.Option("--retention", help="CSV with 'time [ms]' and 'stored [V]': one decay.")
    ] = None,
    tau: Annotated[
        str | None, typer.Option("--tau", help="Retention where there is no such file: 5ms, 200us, 3s.")
    ] = None,
    order: Annotated[
        int | None, typer.Option("--order", help="Order of the law's polynomial. Default: chosen by cross-validation.")
    ] = None,
    zero: Annotated[float, typer.Option("--zero", help="Stored voltage that stands for zero, in V.")] = 0.45,
    json: options.Json = False,
) -> None:
    """Fit a cell file to measured data.

    Charge law and retention; outliers are weighed down.
    """
    from gaincell.cell import Cell, Retention, save_cell
    from gaincell.cell.fit import fit_law, fit_retention, read_decay

    options.check_out_file(out)
    page = options.cell_report(report, out)
    if (retention is None) == (tau is None):
        raise InputError("a cell needs one retention: give --retention FILE, or --tau with a unit, such as --tau 5ms.")
    found = fit_law(data, zero_v=zero, order=order)
    if retention is not None:
        holds = fit_retention(retention, zero_v=zero)
    else:
        number = re.fullmatch(r"(\d+\.?\d*|\.\d+)(e[-+]?\d+)?\s*(s|ms|us)", tau or "")
        value = float(number[1] + (number[2] or "")) if number else 0.0
        if number is None or not 0 < value < math.inf:
            raise InputError(f"--tau {tau} cannot be read; write a number above 0 and s, ms or us, such as 5ms.")
        holds = Retention.model_validate({"tau": value, "unit": number[3], "source": "given by --tau"})
    cell = Cell(name=data.stem, description=f"Fitted to {data.name}.", law=found.law, retention=holds)
    from gaincell.report.fitted import fitted_groups, fitted_page, fitted_warnings

    decay = None if retention is None else read_decay(retention, zero_v=zero)
    if out is not None:
        save_cell(cell, out)
    if page is not None:
        options.write_cell_report(fitted_page(cell, found, decay), page)
    if json:
        screen.show_json(
            {
                **cell.model_dump(mode="json", exclude_none=True),
                "cross_validated_errors": found.errors,
                "deviation": found.deviation,
                "outliers": found.outliers,
                "points": found.points,
            }
        )
        return
    rows = [row for group in fitted_groups(cell, found) for row in group.rows]
    screen.show_table(("", "value", "unit"), rows, f"{cell.name}, fitted to {data}")
    for warning in fitted_warnings(cell, found, decay):
        screen.show(f"- {warning}")
    options.tell_written(out, page)
