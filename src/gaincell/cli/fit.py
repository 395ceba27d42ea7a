"""`gaincell fit`."""

import math
import re
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gaincell.cli import cells, options
from gaincell.errors import InputError

if TYPE_CHECKING:
    from gaincell.cell import Retention


def fit(
    data: Annotated[
        Path,
        typer.Argument(
            metavar="DATA", help="CSV with 'stored [V]' and 'charge [fC]' with 'width [ns]', or 'current [uA]'."
        ),
    ],
    out: Annotated[Path | None, typer.Option("--out", help="The cell file to write (YAML).")] = None,
    report: cells.Report = None,
    retention: Annotated[
        Path | None,
        typer.Option(
            "--retention",
            help="CSV of decays: 'time [ms]' and 'stored [V]'; of several also 'written [V]', 'die', 'cell'.",
        ),
    ] = None,
    tau: Annotated[
        str | None, typer.Option("--tau", help="Retention where there is no such file: 5ms, 200us, 3s.")
    ] = None,
    order: Annotated[
        int | None, typer.Option("--order", help="Order of the law's polynomial. Default: chosen by cross-validation.")
    ] = None,
    zero: Annotated[float, typer.Option("--zero", help="Stored voltage that stands for zero, in V.")] = 0.45,
    decays_to: Annotated[
        float | None,
        typer.Option("--decays-to", help="Stored voltage that cells decay to, in V, such as 0. Default: --zero."),
    ] = None,
    polarity: cells.CellPolarity = None,
    json: options.Json = False,
) -> None:
    """Fit a cell file to measured data.

    Charge law and retention; outliers are weighed down.
    """
    from gaincell.cell import Cell
    from gaincell.cell.decays import read_decays
    from gaincell.cell.fit import fit_law
    from gaincell.cell.fit_retention import retention_of
    from gaincell.cell.retention import FAR_V
    from gaincell.report.fitted import fitted_groups, fitted_page, fitted_warnings

    page = cells.page_of(report, out)
    if (retention is None) == (tau is None):
        raise InputError("a cell needs one retention: give --retention FILE, or --tau with a unit, such as --tau 5ms.")
    found = fit_law(data, zero_v=zero, order=order, polarity=polarity)
    ends = zero if decays_to is None else decays_to
    if not abs(ends - zero) <= FAR_V:
        raise InputError(f"--decays-to {ends:g} is not within {FAR_V:g} V of the zero; give a voltage in V, such as 0.")
    decays = () if retention is None else read_decays(retention, zero_v=zero, ends_v=ends)
    holds = _retention(tau or "", ends - zero) if retention is None else retention_of(decays, retention.name)
    cell = Cell(
        name=data.stem,
        description=f"Fitted to {data.name}.",
        polarity=found.polarity,
        law=found.law,
        retention=holds,
    )
    about = {"cross_validated_errors": found.errors, "deviation": found.deviation}
    about |= {"outliers": found.outliers, "points": found.points}
    about |= {"decays": [decay.to_dict() for decay in decays]} if decays else {}
    made = cells.Made(
        cell,
        f"{cell.name}, fitted to {data}",
        fitted_groups(cell, found, decays),
        fitted_warnings(cell, found, decays),
        partial(fitted_page, cell, found, decays),
        {**cell.model_dump(mode="json", exclude_none=True), **about},
    )
    cells.finish(made, out, page, json)


def _retention(tau: str, ends_at_v: float) -> "Retention":
    from gaincell.cell import Retention

    number = re.fullmatch(r"(\d+\.?\d*|\.\d+)(e[-+]?\d+)?\s*(s|ms|us)", tau)
    value = float(number[1] + (number[2] or "")) if number else 0.0
    if number is None or not 0 < value < math.inf:
        raise InputError(f"--tau {tau} cannot be read; write a number above 0 and s, ms or us, such as 5ms.")
    given = {"tau": value, "unit": number[3], "source": "given by --tau", "ends_at_v": ends_at_v}
    return Retention.model_validate(given)
