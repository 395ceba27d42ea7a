"""What layers lose in gain cells, as a table and as a plot."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from gaincell.report.numbers import number
from gaincell.report.plots import can_plot, sensitivity_plot, write_plot
from gaincell.report.tables import Table

if TYPE_CHECKING:
    from gaincell.adapt.sensitivity import Sensitivity, Tried


def sensitivities(found: "Sensitivity") -> tuple[Table, ...]:
    """Every entry alone, the one first that takes off most; and those that were chosen, one by one."""
    alone = {tuple(each.digital): each for each in found.alone}
    of_entry = {entry: next(alone[key] for key in alone if entry in key) for entry in found.gains}
    rows = [(str(entry), number(gain, 3), *_figures(of_entry[entry])) for entry, gain in found.gains.items()]
    first = Table(("digital", "KL off", "KL", "perplexity", "ratio"), rows, "each alone back to softmax")
    if not found.chosen:
        return (first,)
    steps = [("(as it came)", *_figures(found.before))]
    steps += [(f"+ {entry}", *_figures(each)) for entry, each in zip(found.order, found.chosen, strict=True)]
    return first, Table(("digital", "KL", "perplexity", "ratio"), steps, "kept digital, one after the other")


def write_sensitivity(folder: Path, found: "Sensitivity") -> Iterator[Path]:
    """A plot in a folder, where matplotlib is installed; the path of it."""
    if can_plot():
        path = folder / "sensitivity.svg"
        gains = {str(entry): found.gains[entry] for entry in sorted(found.gains, key=_place)}
        steps = [each.divergence for each in (found.before, *found.chosen)]
        write_plot(sensitivity_plot(gains, steps), path)
        yield path


def _place(entry: int | str) -> tuple[int, int]:
    layer, _, head = str(entry).partition(".")
    return int(layer), int(head or 0)


def _figures(tried: "Tried") -> tuple[str, str, str]:
    return number(tried.divergence, 3), number(tried.perplexity), f"×{number(tried.ratio, 3)}"
