"""What is told of a cell's retention, measured or simulated."""

from gaincell.cell import Retention
from gaincell.report import cell_plots
from gaincell.report.cell_page import Group
from gaincell.report.numbers import number


def time_text(seconds: float) -> str:
    """A time with its unit."""
    factor, unit = cell_plots.time_unit(seconds)
    return f"{number(factor * seconds, 3)} {unit}"


def retention_group(holds: Retention, least: str = "", source: str | None = None) -> Group:
    """All that a cell file says of retention: the time constant, how well it fits, each level, and the spread.

    Args:
        holds: the retention.
        least: what stands before the time constant, such as "at least ".
        source: in place of its own.
    """
    error = "" if holds.tau_error is None else f" ± {holds.tau_error * holds.unit_s * 1e3:.2g}"
    name = "retention" if holds.exponential else "retention: no exponential; the nearest"
    rows = [(name, f"{least}{holds.tau_s * 1e3:.4g}{error}", "ms")]
    if holds.ends_at_v:
        rows.append(("decays to", f"{holds.ends_at_v:.4g}", "V above zero"))
    if holds.misfit is not None:
        rows.append(("largest departure from that exponential", f"{holds.misfit:.1%}", "of what was written"))
    if holds.levels:
        kept = "as long as watched" if holds.kept_s is None else f"{holds.kept_s * 1e3:.3g}"
        rows.append(("every stored voltage within half a step", kept, "" if holds.kept_s is None else "ms"))
    for level in holds.levels:
        words = "as long as watched" if level.kept is None else f"for {time_text(level.kept * holds.unit_s)}"
        if level.tau is not None:
            words += f", tau {time_text(level.tau * holds.unit_s)}"
        elif level.misfit is not None:
            words += f", no exponential by {level.misfit:.1%}"
        rows.append((f"written {level.written:+.3g} V: within half a step", words, ""))
    if holds.spread is None:
        rows.append(("spread of retention from cell to cell", "not known", ""))
    else:
        rows.append(("spread of ln(retention time), one sigma", f"{holds.spread.sigma:.3g}", "from cell to cell"))
    return Group("Retention", holds.source if source is None else source, rows)
