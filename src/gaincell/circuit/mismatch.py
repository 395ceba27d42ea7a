"""How the cells of one array differ."""

from dataclasses import dataclass

import numpy as np

from gaincell.cell import PolynomialLaw
from gaincell.cell.figures import Mismatch
from gaincell.cell.polarity import sign_of
from gaincell.circuit.decks.cell import CellCircuit, Conditions
from gaincell.circuit.decks.read import mismatch_deck
from gaincell.circuit.ngspice import Ngspice

_LEVELS = 37
#: Cells of one netlist; ngspice's time grows faster than their number.
_PER_RUN = 50


@dataclass(frozen=True)
class Spread:
    """The cells that were drawn, one by one.

    Attributes:
        zero_v: stored voltage that gives no current (N,), in V; of cells of one sign, that of the zero level's mean.
        gain: read current of the highest less that of the lowest stored voltage (N,), in units of the mean.
    """

    zero_v: np.ndarray
    gain: np.ndarray


def mismatch_of(
    circuit: CellCircuit,
    conditions: Conditions,
    ngspice: Ngspice,
    law: PolynomialLaw,
    *,
    full_v: float,
    cells: int,
    seed: int,
) -> tuple[Mismatch, Spread]:
    """Read currents of `cells` cells whose thresholds are drawn from normal distributions (`circuit.mismatch_v`).

    Their spread is told in units of the law at `full_v` above zero.

    Raises:
        CircuitError: a simulation failed.
    """
    sigma_v = np.array(list(circuit.mismatch_v.values()))
    shifts_v = np.random.default_rng(seed).standard_normal((cells, len(sigma_v))) * sigma_v
    stored_v = np.linspace(0, conditions.vdd_v, _LEVELS)
    parts = [shifts_v[i : i + _PER_RUN] for i in range(0, cells, _PER_RUN)]
    decks = [mismatch_deck(circuit, conditions, stored_v.tolist(), part) for part in parts]
    runs = zip(decks, ngspice.run_all(decks), strict=True)
    current = np.array([-plots[0][name] for deck, plots in runs for name in deck.signals])
    middle = slice(_LEVELS // 4, -(_LEVELS // 4))  # there the current rises through zero
    # Of a cell of one sign, where it gives what such cells give at the zero level on average.
    mean = current.mean(axis=0)
    at_zero = np.interp(conditions.zero_v, stored_v, mean) if sign_of(stored_v - conditions.zero_v, mean) else 0.0
    zero_v = np.array([np.interp(at_zero, row[middle], stored_v[middle]) for row in current])
    gain = current[:, -1] - current[:, 0]
    spread = Spread(zero_v, gain / gain.mean())
    figures = Mismatch(
        current=float(current.std(axis=0, ddof=1).max() / abs(law(full_v))),
        zero_crossing_v=float(zero_v.std(ddof=1)),
        gain=float(spread.gain.std(ddof=1)),
        samples=cells,
        seed=seed,
        source=f"ngspice, DC, thresholds drawn by Pelgrom's law; {circuit.source}",
    )
    return figures, spread
