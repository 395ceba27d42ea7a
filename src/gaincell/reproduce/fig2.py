"""Figure 2: the circuit that turns a column's charge into a pulse, in place of softmax."""

from gaincell.cell.figures import ChargeToPulse
from gaincell.report.plots import Series, can_plot, xy_plot
from gaincell.reproduce import paper_values
from gaincell.reproduce.context import Context
from gaincell.reproduce.entry import PAPER, Entry, Findings, Row, UnavailableError


def run(context: Context) -> Findings:
    """Slope, saturation and zero of the simulated circuit beside the HardSigmoid's."""
    found = context.circuit
    if found is None or found.cell.circuit is None:
        raise UnavailableError(
            "the charge-to-pulse circuit is simulated with ngspice, which is not here; install ngspice."
        )
    rows: list[Row] = []
    figures = found.cell.circuit
    for name, pulse in (("", figures.charge_to_pulse), ("signed, ", figures.signed_charge_to_pulse)):
        if pulse is not None:
            rows += _rows(name, pulse)
    plot = ""
    if can_plot():
        longest = paper_values.PULSE_MAX_S * 1e9
        runs = [(run.charge_c / found.full_charge_c, run.width_s * 1e9) for run in found.transfer]
        charges, widths = zip(*(run for run in runs if run[0] > -0.5), strict=True)
        plot = xy_plot(
            "fig2",
            [
                Series("published: HardSigmoid", [-0.5, 0.0, 1.0, 1.3], [0.0, 0.0, longest, longest]),
                Series("our circuit", list(charges), list(widths), "points"),
            ],
            x="charge of the column over S_sat",
            y="pulse (ns)",
        )
    reach = (
        "Published is the ideal law that the authors' model computes with; ours is a column of 64 cells with a "
        "simulated comparator, while its op-amp, reference current and switches are ideal."
    )
    return Findings(tuple(rows), reach, plot)


def _rows(name: str, pulse: ChargeToPulse) -> list[Row]:
    law = f"phi(S) = clamp(S / S_sat, 0, 1); {PAPER}"
    longest = paper_values.PULSE_MAX_S * 1e9
    rows = [
        Row(f"{name}slope from 10 to 90 % of S_sat, over the law's", 1.0, pulse.gain, "", law, "our circuit"),
        Row(f"{name}pulse from 1.1 S_sat on, shortest", longest, pulse.saturated_s * 1e9, "ns", law, "our circuit"),
        Row(f"{name}pulse at S = 0, by the fitted line", 0.0, pulse.offset_s * 1e9, "ns", law, "our circuit"),
        Row(f"{name}departure from the line, largest", 0.0, 100 * pulse.nonlinearity, "% of T_max", law, "our circuit"),
    ]
    if not pulse.signed:
        rows.append(Row("pulse below zero, longest", 0.0, pulse.below_zero_s * 1e9, "ns", law, "our circuit"))
    return rows


ENTRY = Entry(
    "fig2",
    "the charge-to-pulse circuit",
    "Width of the pulse that a column puts out against the charge that its cells drew, beside the HardSigmoid that "
    "stands for softmax.",
    run,
    ("circuit",),
)
