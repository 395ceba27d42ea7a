"""Plots of one cell: what was simulated or measured, beside what its cell file says of it."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from gaincell.cell import PolynomialLaw
from gaincell.cell.decays import MeasuredDecay
from gaincell.cell.figures import Energy
from gaincell.cell.law import REFERENCE_VOLTAGE_V
from gaincell.circuit.decay import Decay
from gaincell.circuit.decks.converter import Conversion
from gaincell.circuit.mismatch import Spread
from gaincell.circuit.tradeoff import TradeOff
from gaincell.report.numbers import number
from gaincell.report.plots import _INK, _LINE, _SERIES, _svg

_FIRST, _SECOND, _THIRD, _FOURTH, _GREY = _SERIES


def law_plot(y_v: np.ndarray, current_a: np.ndarray, law: PolynomialLaw, published: PolynomialLaw | None) -> str:
    """Charge per time of pulse against the stored voltage: points, the law, and the published law at its scale.

    Args:
        y_v: stored voltages above the zero level (N,), in V.
        current_a: charge per second of pulse (N,), in C/s.
        law: of the cell, in C/s.
        published: any scale; drawn so that both meet at +0.45 V. None: of a cell that it is no law for.
    """
    fine = np.linspace(y_v.min(), y_v.max(), 121)

    def draw(axes: Any) -> None:
        if published is not None:
            scale = law(REFERENCE_VOLTAGE_V) / published(REFERENCE_VOLTAGE_V)
            axes.plot(fine, 1e6 * scale * published(fine), "--", color=_GREY, linewidth=1.2, label="published")
        axes.plot(fine, 1e6 * law(fine), color=_FIRST, linewidth=1.4, label="law")
        axes.plot(y_v, 1e6 * current_a, "o", color=_SECOND, markersize=3, label="points")
        axes.axhline(0, color=_LINE, linewidth=0.8)
        axes.set_xlabel("stored voltage above zero (V)")
        axes.set_ylabel("charge per time (fC/ns)")
        axes.legend(frameon=False)

    return _panel("charge law", draw)


def residual_plot(y_v: np.ndarray, current_a: np.ndarray, law: PolynomialLaw) -> str:
    """Distance of the points from the law, in percent of its range from -0.45 to +0.45 V."""
    span = law(REFERENCE_VOLTAGE_V) - law(-REFERENCE_VOLTAGE_V)

    def draw(axes: Any) -> None:
        axes.axhline(0, color=_FIRST, linewidth=1.4)
        axes.vlines(y_v, 0, 100 * (current_a - law(y_v)) / span, color=_GREY, linewidth=1)
        axes.plot(y_v, 100 * (current_a - law(y_v)) / span, "o", color=_SECOND, markersize=3)
        axes.set_xlabel("stored voltage above zero (V)")
        axes.set_ylabel("distance from the law (%)")

    return _panel("residuals", draw)


def width_plot(y_v: np.ndarray, charge_c: np.ndarray, widths_s: Sequence[float]) -> str:
    """Charge against pulse width for a few stored voltages, with lines through the first and the last width.

    Args:
        y_v: stored voltages above the zero level (L,), in V.
        charge_c: charge of each at each width (L, W), in C.
        widths_s: pulse widths (W,), in s.
    """
    few = np.unique(np.linspace(0, len(y_v) - 1, 5).round().astype(int))
    ends = np.array([0.0, widths_s[-1]])

    def draw(axes: Any) -> None:
        for index, k in enumerate(few[::-1]):
            colour, row = _SERIES[index % len(_SERIES)], charge_c[k]
            slope = (row[-1] - row[0]) / (widths_s[-1] - widths_s[0])
            axes.plot(1e9 * ends, 1e15 * (row[0] + slope * (ends - widths_s[0])), color=colour, linewidth=1)
            axes.plot(1e9 * np.array(widths_s), 1e15 * row, "o", color=colour, markersize=3.5)
            axes.annotate(
                f"{y_v[k]:+.2f} V", (1e9 * ends[1], 1e15 * row[-1]), (5, 0), textcoords="offset points", va="center"
            )
        axes.set_xlim(0, 1.28e9 * ends[1])
        axes.set_xlabel("pulse width (ns)")
        axes.set_ylabel("charge (fC)")

    return _panel("pulse width", draw)


def transfer_plot(runs: Sequence[Conversion], signed: Sequence[Conversion], full_c: float, longest_s: float) -> str:
    """Pulse out against charge in, both in units of full scale, of both variants of the charge-to-pulse circuit."""
    most = max(run.charge_c for run in (*runs, *signed)) / full_c

    def draw(axes: Any) -> None:
        axes.plot([-1, 0, 1, most], [0, 0, 1, 1], "--", color=_GREY, linewidth=1.2, label="HardSigmoid")
        axes.plot([-1, 0], [-1, 0], ":", color=_GREY, linewidth=1.2)
        for some, colour, name in ((runs, _FIRST, "unsigned"), (signed, _SECOND, "signed")):
            score, pulse = (np.array([getattr(run, part) for run in some]) for part in ("charge_c", "width_s"))
            size = 4.5 if some is runs else 2.5
            axes.plot(score / full_c, pulse / longest_s, "o", color=colour, markersize=size, label=name)
        axes.set_xlim(-1.15, most * 1.03)
        axes.set_xlabel("S / S_sat")
        axes.set_ylabel("pulse / T_max")
        axes.legend(frameon=False)

    return _panel("charge to pulse", draw)


def write_plot(
    time_s: np.ndarray, stored_v: np.ndarray, steps_v: Sequence[tuple[float, float]], within_v: float
) -> str:
    """Stored voltages while they are written, on a logarithmic time axis, and half a step around each target."""
    shown = time_s > 1e-11

    def draw(axes: Any) -> None:
        for target in sorted({target for _, target in steps_v}):
            axes.axhspan(target - within_v, target + within_v, color=_GREY, alpha=0.25, linewidth=0)
        for index, (row, (before, target)) in enumerate(zip(stored_v, steps_v, strict=True)):
            colour = _SERIES[index % 4]
            axes.plot(1e9 * time_s[shown], row[shown], color=colour, linewidth=1.2, label=f"{before:g} to {target:g} V")
        axes.set_xscale("log")
        axes.set_xlabel("time since the word line rose (ns)")
        axes.set_ylabel("stored voltage (V)")

    return _panel("write", draw)


def decay_plot(decay: Decay) -> str:
    """Fraction left of each written voltage, the exponential and the table (dots) of the cell file, and 1/e."""
    table = decay.retention().table
    last = max((float(t[-1]) for t, _ in decay.rows), default=float(decay.time_s[-1]))
    factor, unit = time_unit(last)
    shown = decay.time_s <= 1.05 * last

    def draw(axes: Any) -> None:
        for index, row in enumerate(decay.y_v):
            name = f"{row[0]:+.2f} V"
            axes.plot(factor * decay.time_s[shown], row[shown] / row[0], color=_SERIES[index % 4], label=name)
            if table is not None:
                left = np.array(table.stored[index]) / row[0]
                axes.plot(factor * np.array(table.time), left, ".", color=_SERIES[index % 4], markersize=3)
        if decay.tau_s is not None:
            time = np.linspace(0, 1.05 * last, 101)
            axes.plot(factor * time, np.exp(-time / decay.tau_s), "--", color=_INK, linewidth=1.2, label="exponential")
        axes.axhline(1 / np.e, color=_GREY, linewidth=0.8, linestyle=":")
        axes.set_ylim(0, 1.03)
        axes.set_xlabel(f"time ({unit})")
        axes.set_ylabel("fraction left")
        axes.legend(frameon=False)

    return _panel("retention", draw)


def measured_decay_plot(decays: Sequence[MeasuredDecay], tau_s: float) -> str:
    """Measured decays, one colour a written voltage, and the exponential with `tau_s` from where each level starts."""
    last = max(float(decay.time_s[-1]) for decay in decays)
    factor, unit = time_unit(last)
    levels, end = sorted({decay.written_v for decay in decays}, reverse=True), decays[0].ends_at_v

    def draw(axes: Any) -> None:
        fine = np.linspace(0, last, 121)
        for index, level in enumerate(levels):
            of = [decay for decay in decays if decay.written_v == level]
            start, colour = float(np.median([decay.start_v for decay in of])), _SERIES[index % len(_SERIES)]
            axes.plot(factor * fine, end + (start - end) * np.exp(-fine / tau_s), "--", color=colour, linewidth=1.2)
            for n, decay in enumerate(of):
                name = None if n else f"written {level:+.3g} V"
                axes.plot(factor * decay.time_s, decay.y_v, "o", color=colour, markersize=3, label=name)
        axes.set_xlabel(f"time ({unit})")
        axes.set_ylabel("stored voltage above zero (V)")
        axes.legend(frameon=False)

    return _panel("retention", draw)


def spread_plots(spread: Spread) -> tuple[str, str]:
    """Histograms of the zero crossing and of the gain of the cells that were drawn, with normal curves."""
    zero = 1e3 * (spread.zero_v - spread.zero_v.mean())
    gain = 100 * (spread.gain - 1)
    return _histogram("zero crossing", zero, "zero crossing less its mean (mV)", "mV"), _histogram(
        "gain", gain, "gain less its mean (%)", "%"
    )


def energy_plot(energy: Energy) -> str:
    """Energies by phase on a logarithmic axis, in fJ."""
    phases = {
        "write": energy.write_j,
        "read, mean": energy.read_mean_j,
        "read, full": energy.read_full_j,
        "conversion": energy.conversion_j,
    }
    values = [1e15 * value for value in phases.values()]

    def draw(axes: Any) -> None:
        bars = axes.barh(range(len(values)), values, color=_SERIES[: len(values)], height=0.6)
        axes.set_xscale("log")
        axes.set_xlim(min(values) / 3, max(values) * 6)
        axes.set_yticks(range(len(values)), list(phases))
        axes.invert_yaxis()
        axes.bar_label(bars, [number(value, 3) for value in values], padding=4)
        axes.minorticks_off()
        axes.set_xlabel("energy (fJ, logarithmic)")

    return _panel("energy", draw)


def order_plot(errors: Sequence[float], chosen: int) -> str:
    """Cross-validated error of each order of the law's polynomial from 1 on; the chosen one stands out."""

    def draw(axes: Any) -> None:
        colours = [_SECOND if order == chosen else _GREY for order in range(1, len(errors) + 1)]
        axes.bar(range(1, len(errors) + 1), [100 * error for error in errors], color=colours, width=0.6)
        axes.set_yscale("log")
        axes.set_xticks(range(1, len(errors) + 1))
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.set_xlabel("order of the law")
        axes.set_ylabel("error on what was left out (%)")

    return _panel("order", draw)


def tradeoff_plot(found: Sequence[TradeOff]) -> str:
    """Write time against retention, a line per write device and capacitor, points named by their threshold shift.

    A point whose retention is only a lower bound points to the right; one that is not written in 100 ns is hollow.
    """
    lines: dict[tuple[str, float], list[TradeOff]] = {}
    for row in found:
        lines.setdefault((row.write, row.capacitor_f), []).append(row)

    def draw(axes: Any) -> None:
        for index, ((write, capacitor), rows) in enumerate(lines.items()):
            colour = _SERIES[index % len(_SERIES)]
            tau = [row.decay.watched_s if row.decay.tau_s is None else row.decay.tau_s for row in rows]
            time = [1e2 if row.writes.settling_s is None else 1e9 * row.writes.settling_s for row in rows]
            known = [n for n, row in enumerate(rows) if None not in (row.decay.tau_s, row.writes.settling_s)]
            label = f"{write}, {1e15 * capacitor:g} fF"
            axes.plot([tau[n] for n in known], [time[n] for n in known], color=colour, linewidth=1.2, label=label)
            for x, y, row in zip(tau, time, rows, strict=True):
                face = "none" if row.writes.settling_s is None else colour
                marker = ">" if row.decay.tau_s is None else "o"
                axes.plot(x, y, marker, color=colour, markerfacecolor=face, markersize=5)
                axes.annotate(f"{row.write_shift_v:g} V", (x, y), (5, 5), textcoords="offset points", fontsize=8)
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.grid(linewidth=0.5)
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.set_xlabel("retention: nearest tau (s)")
        axes.set_ylabel("write to half a step (ns)")
        axes.legend(frameon=False)

    return _svg("trade-off", draw, 4.0)


def sweep_plot(
    label: str,
    values: Sequence[float | str],
    unit: str,
    lines: Mapping[str, Sequence[float | None]],
) -> str:
    """Figures against a condition: lines over numbers, points over names; what is None is left out.

    The axis of figures that are more than ten times apart is logarithmic.

    Args:
        label: of the condition, with its unit.
        values: of the condition (N,).
        unit: label of the other axis.
        lines: N figures each, by the name in the legend.
    """

    def draw(axes: Any) -> None:
        named = any(isinstance(value, str) for value in values)
        at = range(len(values)) if named else values
        for (name, figures), colour in zip(lines.items(), _SERIES, strict=False):
            known = [(x, y) for x, y in zip(at, figures, strict=True) if y is not None]
            style = "o" if named else "o-"
            axes.plot(*zip(*known, strict=True), style, color=colour, markersize=4, label=name) if known else None
        if named:
            axes.set_xticks(range(len(values)), [str(value) for value in values])
        every = [y for figures in lines.values() for y in figures if y is not None]
        axes.set_yscale("log" if min(every, default=0) > 0 and max(every) > 10 * min(every) else "linear")
        axes.set_xlabel(label)
        axes.set_ylabel(unit)
        if len(lines) > 1:
            axes.legend(frameon=False)

    return _panel(f"sweep {unit.split(' ')[0]}", draw)


def time_unit(last_s: float) -> tuple[float, str]:
    """Factor and unit in which times up to `last_s` are easy to read."""
    return next(((f, unit) for f, unit in ((1e9, "ns"), (1e6, "µs"), (1e3, "ms")) if last_s * f < 1000), (1.0, "s"))


def _histogram(name: str, values: np.ndarray, label: str, unit: str) -> str:
    deviation = float(values.std(ddof=1))
    bins = max(6, round(len(values) ** 0.5))

    def draw(axes: Any) -> None:
        counts, edges, _ = axes.hist(values, bins=bins, color=_FIRST, alpha=0.6)
        fine = np.linspace(edges[0], edges[-1], 101)
        normal = np.exp(-((fine / deviation) ** 2) / 2) / (deviation * (2 * np.pi) ** 0.5)
        axes.plot(fine, counts.sum() * (edges[1] - edges[0]) * normal, color=_SECOND, linewidth=1.4)
        axes.annotate(f"σ = {deviation:.3g} {unit}", (0.98, 0.97), xycoords="axes fraction", ha="right", va="top")
        axes.set_xlabel(label)
        axes.set_ylabel("cells")

    return _panel(name, draw)


def _panel(name: str, draw: Callable[[Any], None]) -> str:
    def with_grid(axes: Any) -> None:
        axes.grid(linewidth=0.5)
        draw(axes)

    return _svg(name.replace(" ", "-"), with_grid, 2.5, 3.7)
