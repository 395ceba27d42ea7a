"""Cell files of published gain cells, from published figures: python -m tools.published_cells NAME > FILE.

Each prints a file of src/gaincell/cell/shipped as it stands there. What is assumed says so, here and in the file.
"""

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import yaml

from gaincell.cell import Cell, Retention
from gaincell.cell.fit import fit_law
from gaincell.cell.law import REFERENCE_VOLTAGE_V, PolynomialLaw
from gaincell.cell.rising_law import rising_fit
from tools.pages.data import DATA

#: The measured transfer curve: forward sweep of the file that `_ITO_DATA` names, drain at 1 V, in steps of 25 mV.
CURVE = DATA / "ito-2t0c.csv"
#: Measurements cannot tell more of a coefficient, and computers differ in the last digits of a fit.
_DIGITS = 4
_BOLTZMANN_PER_CHARGE = 1.380649e-23 / 1.602176634e-19
_PERMITTIVITY = 8.8541878128e-12

_ITO_DATA = (
    "github.com/kjstanford/public_OSFET_cmodel at f0cb153, benchmarking_data/chihsin_ito_W_L_Lov_60nm/"
    "ITO_Wch_60_25_02.csv"
)
_ITO_CARD = "the same repository at c0d6bd3, v0/model_card (rfet_params_v0.inc, wfet_params_v0.inc)"
_LIU = (
    "Liu et al., IEEE International Electron Devices Meeting (2023), doi 10.1109/IEDM45741.2023.10413726, abstract; "
    "the voltage: Liu et al., Design Guidelines for Oxide Semiconductor Gain Cell Memory on a Logic Platform (2024), "
    "abstract"
)
_CHUN = "Chun et al., IEEE J. Solid-State Circuits 46, 1495 (2011), abstract"
_PTM = "Predictive Technology Model, 65 nm bulk, PMOS [Zhao and Cao, IEEE Trans. Electron Devices 53, 2816 (2006)]"


@dataclass(frozen=True)
class Transistor:
    """What the charge-sheet model wants of a transistor; voltages and currents are those of the carriers' sign.

    Attributes:
        width_m: of the channel.
        length_m: of the channel, effective.
        mobility: at low field, in m^2/(V s).
        saturation_m_per_s: velocity that carriers saturate at.
        oxide_f_per_m2: capacitance of the gate.
        threshold_v: of the gate against the source.
        slope: subthreshold slope factor n.
        temperature_c: in degrees Celsius.
    """

    width_m: float
    length_m: float
    mobility: float
    saturation_m_per_s: float
    oxide_f_per_m2: float
    threshold_v: float
    slope: float
    temperature_c: float

    def saturated_a(self, gate_v: np.ndarray) -> np.ndarray:
        """Drain current in saturation at gate voltages above the source (any shape), in A.

        I = mu C_ox W / (2 n L) q^2 / (1 + q / (E_c L)), q = 2 n U_T ln(1 + exp((V - V_T) / (2 n U_T))): the
        interpolation from weak to strong inversion of Enz, Krummenacher and Vittoz (Analog Integrated Circuits and
        Signal Processing 8, 83 (1995)) with the saturating velocity, E_c = 2 v_sat / mu, of Toh, Ko and Meyer (IEEE J.
        Solid-State Circuits 23, 950 (1988)).
        """
        thermal = 2 * self.slope * _BOLTZMANN_PER_CHARGE * (self.temperature_c + 273.15)
        overdrive = thermal * np.logaddexp(0.0, (gate_v - self.threshold_v) / thermal)
        critical_v = 2 * self.saturation_m_per_s / self.mobility * self.length_m
        gain = self.mobility * self.oxide_f_per_m2 * self.width_m / (2 * self.slope * self.length_m)
        return gain * overdrive**2 / (1 + overdrive / critical_v)


def ito_2t0c() -> Cell:
    """Two transistors of indium tin oxide: measured current, and the time that the published off-current takes."""
    width, of_measured, write_width = 120e-9, 60e-9, 60e-9
    length, overlap, gate = 60e-9, 60e-9, 0.0124
    off_a_per_m = 2e-18 / 1e-6
    fit = fit_law(CURVE)
    capacitance = gate * width * (length + 2 * overlap)
    return Cell(
        name="ito-2t0c",
        description="Oxide 2T0C cell of indium tin oxide: measured transfer curve, retention from the off-current.",
        polarity="pair",
        law=_law(
            [c * width / of_measured for c in fit.law.coefficients],
            "measured drain current of an ITO transistor, W = L = 60 nm, drain at 1 V, forward sweep "
            f"({_ITO_DATA}; the backward sweep has less than half of it at 0.9 V), "
            f"{fit.law.source.partition(', ')[2]}; times 2 for the read transistor of that repository's gain cell, "
            f"W = 120 nm, L = 60 nm ({_ITO_CARD}). Assumed: current grows with width, and is at a bit line of 0.45 V "
            "what it is at 1 V",
        ),
        retention=Retention(
            tau=_rounded(capacitance * REFERENCE_VOLTAGE_V / (off_a_per_m * write_width)),
            unit="s",
            source=f"computed: C x 0.45 V / I. I = 2e-18 A/um, off-current of an ITO transistor at -0.5 V ({_LIU}), "
            "x 60 nm, the write transistor's width. C = 0.0124 F/m2 x 120 nm x (60 nm + 2 x 60 nm), gate of the read "
            f"transistor and its overlaps (sizes and capacitance: {_ITO_CARD}). Assumed: the cell leaks to ground, by "
            "nothing else than its write transistor, held at -0.5 V",
            ends_at_v=-REFERENCE_VOLTAGE_V,
        ),
    )


def pmos_3t() -> Cell:
    """Three PMOS of 65 nm: current by a model of a transistor of that class, measured retention."""
    read = Transistor(
        width_m=120e-9,
        length_m=65e-9 - 30e-9 - 2 * 5.25e-9,
        mobility=0.00574,
        saturation_m_per_s=7e4,
        oxide_f_per_m2=3.9 * _PERMITTIVITY / 1.95e-9,
        threshold_v=0.365,
        slope=1.5,
        temperature_c=27.0,
    )
    y = np.linspace(-REFERENCE_VOLTAGE_V, REFERENCE_VOLTAGE_V, 37)
    # The source of the storage transistor is at the supply, 0.9 V; its current flows into the bit line.
    given = -read.saturated_a(REFERENCE_VOLTAGE_V - y)
    return Cell(
        name="pmos-3t",
        description="Silicon 3T PMOS cell of 65 nm: computed law, measured retention of 1.25 ms at 85 °C.",
        polarity="pair",
        law=_law(
            rising_fit(y, given, 5, sign=-1),
            "computed, not measured: saturation current of the EKV model with a saturating velocity at 0.9 V and "
            "27 °C, order 5, of threshold -0.365 V, oxide 1.95 nm, mobility 57.4 cm2/(V s), 7e4 m/s, channel 24.5 nm "
            f"at 65 nm drawn ({_PTM}). Assumed: that technology stands for the cell's, W = 120 nm, slope factor 1.5, "
            "no select transistor in series, mobility at low field",
        ),
        retention=Retention(
            tau=1.25,
            unit="ms",
            source=f"measured data retention time of a 64 kb array at 0.9 V and 85 °C ({_CHUN}). Assumed: it is the "
            "time constant, and the cell leaks to its supply, as its PMOS write transistor's junction does",
            ends_at_v=REFERENCE_VOLTAGE_V,
        ),
    )


CELLS: dict[str, Callable[[], Cell]] = {"ito-2t0c": ito_2t0c, "pmos-3t": pmos_3t}


def printed(name: str) -> str:
    """The cell file."""
    fields = CELLS[name]().model_dump(mode="json", exclude_none=True)
    head = f"# Written by: python -m tools.published_cells {name}\n"
    return head + yaml.safe_dump(fields, sort_keys=False, allow_unicode=True, width=110)


def _law(coefficients: list[float] | np.ndarray, source: str) -> PolynomialLaw:
    return PolynomialLaw(coefficients=tuple(map(_rounded, coefficients)), unit="C/s", source=source)


def _rounded(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else value


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in CELLS:
        raise SystemExit(f"usage: python -m tools.published_cells NAME, a name being one of {', '.join(CELLS)}.")
    sys.stdout.write(printed(sys.argv[1]))
