"""Figure 1: what one gain cell adds to its bit line, and how long it holds."""

import numpy as np

from gaincell.cell import PolynomialLaw, load_cell
from gaincell.cell.law import REFERENCE_VOLTAGE_V
from gaincell.config import GainCellConfig
from gaincell.report.plots import Series, can_plot, xy_plot
from gaincell.reproduce import paper_values
from gaincell.reproduce.context import Context
from gaincell.reproduce.entry import PAPER, RELEASED, Entry, Findings, Row

ORDINALS = ("of 1", "of y", "of y^2", "of y^3")


def run(context: Context) -> Findings:
    """Rows for every law at hand: our circuit's, one fitted to the authors' charges, or the shipped cell file's."""
    shipped = load_cell("leroux2025")
    laws, reach = _laws(context)
    rows = [
        Row(
            f"charge law, coefficient {ordinal}: {name}",
            value,
            coefficient / law(REFERENCE_VOLTAGE_V),
            f"V^-{power}" if power else "",
            RELEASED,
            note,
        )
        for name, (law, note) in laws.items()
        for power, (ordinal, value, coefficient) in enumerate(
            zip(ORDINALS, paper_values.LAW, law.coefficients, strict=True)
        )
    ]
    rows.append(
        Row(
            "charge at +0.45 V, in model units",
            paper_values.LAW_AT_REFERENCE,
            shipped.law(REFERENCE_VOLTAGE_V),
            "",
            RELEASED,
            "the shipped cell file",
        )
    )
    circuit = context.circuit
    if circuit is not None:
        rows.append(
            Row("rms difference of the laws", None, 100 * circuit.rms_difference, "% of f(+0.45 V)", "", "our circuit")
        )
        tau_s = circuit.cell.retention.tau_s
        least = ", ours at least" if circuit.decay.tau_s is None else ""
        note = f"our circuit, CMOS write gate{': nothing decayed to 1/e in the time watched' if least else ''}"
        rows.append(Row(f"retention{least}", paper_values.TAU_S * 1e3, tau_s * 1e3, "ms", PAPER, note))
    layers = GainCellConfig.named("leroux2025").replace(leak_per_token=None).for_layers(paper_values.LAYERS)
    note = "12 layers of 65 ns over the retention of 5 ms"
    rows.append(Row("leak per token", paper_values.LEAK_PER_TOKEN, layers.leak, "", RELEASED, note))
    return Findings(tuple(rows), reach, _figure(context, laws) if can_plot() else "")


def _laws(context: Context) -> tuple[dict[str, tuple[PolynomialLaw, str]], str]:
    """Laws of order 3 with how they were found, and how far they reach."""
    laws, reach = {}, []
    circuit = context.circuit
    if circuit is not None:
        laws["our circuit"] = (circuit.cell.law, "ngspice, cubic fit through 19 stored voltages")
        reach.append(
            f"the transistors ({circuit.cell.name}) and sizes of our circuit are our own, since the paper's are not "
            "published"
        )
    if context.reference is not None:
        laws["the authors' charges"] = (fit_subtile(context.reference.subtile()), "least squares on their S")
        reach.append("the fit to the authors' charges recovers what their code computes with")
    if not laws:
        law = load_cell("leroux2025").law
        laws["cell file"] = (law, "as shipped: the ten published coefficients at a word-line voltage of 0.9 V")
        reach.append(
            "without ngspice and without --reference this only checks the shipped cell file against the published fit"
        )
    sentence = "; ".join(reach)
    return laws, f"{sentence[0].upper()}{sentence[1:]}."


def fit_subtile(data: dict[str, np.ndarray]) -> PolynomialLaw:
    """The cubic law behind the charges of a sub-tile: S_ts = sum_i C_i sum_d q_td (k_sd - 0.45 V)^i, where S is causal.

    Args:
        data: Q, K in volt, and S, (N, T, T) each; see `Reference.subtile`.
    """
    y = data["K"] - REFERENCE_VOLTAGE_V
    causal = np.tril(np.ones(data["S"].shape[1:], bool))
    terms = [(data["Q"] @ (y**power).transpose(0, 2, 1))[:, causal].ravel() for power in range(4)]
    found = np.linalg.lstsq(np.stack(terms, 1), data["S"][:, causal].ravel(), rcond=None)[0]
    return PolynomialLaw(coefficients=tuple(map(float, found)), unit="model", source="fit to a sub-tile's charges")


def _figure(context: Context, laws: dict[str, tuple[PolynomialLaw, str]]) -> str:
    y = np.linspace(-REFERENCE_VOLTAGE_V, REFERENCE_VOLTAGE_V, 61)

    def normalised(law: PolynomialLaw) -> list[float]:
        return (law(y) / law(REFERENCE_VOLTAGE_V)).tolist()

    volts = (y + REFERENCE_VOLTAGE_V).tolist()
    series = [Series("published", volts, normalised(load_cell("leroux2025").law))]
    series += [Series(name, volts, normalised(law), "dashes") for name, (law, _) in laws.items()]
    circuit = context.circuit
    if circuit is not None:
        points = circuit.slope_c_per_s / circuit.cell.law(REFERENCE_VOLTAGE_V)
        stored = (circuit.stored_v + REFERENCE_VOLTAGE_V).tolist()
        series.append(Series("our circuit, simulated", stored, points.tolist(), "points"))
    return xy_plot("fig1", series, x="stored voltage (V)", y="charge of a pulse, 1 at 0.9 V")


ENTRY = Entry(
    "fig1",
    "the cell: charge law and retention",
    "What a pulse adds to the bit line against the stored voltage, as a cubic normalised to 1 at +0.45 V, and how long "
    "the voltage lasts.",
    run,
    ("circuit", "reference"),
)
