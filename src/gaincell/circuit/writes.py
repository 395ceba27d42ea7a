"""How fast and how well a cell is written."""

import itertools
from dataclasses import dataclass

import numpy as np

from gaincell.circuit.decks.bench import START_S
from gaincell.circuit.decks.cell import CellCircuit, Conditions
from gaincell.circuit.decks.store import write_deck, write_results
from gaincell.circuit.ngspice import Ngspice


@dataclass(frozen=True)
class Writes:
    """Cells while they are written.

    Attributes:
        time_s: since the write word line rose (P,), in s.
        stored_v: stored voltages (K, P), in V.
        steps_v: from and to which voltage each was written (K pairs), in V.
        within_v: distance from its target, in V, within which a cell has settled: half a step of eight levels.
        settling_s: the longest time that takes, in s; None where it is not over when the word line goes off.
        error_v: largest departure from the target after the word line went off, in V.
        energy_j: mean energy of a write, in J.
    """

    time_s: np.ndarray
    stored_v: np.ndarray
    steps_v: tuple[tuple[float, float], ...]
    within_v: float
    settling_s: float | None
    error_v: float
    energy_j: float


def writes_of(circuit: CellCircuit, conditions: Conditions, ngspice: Ngspice) -> Writes:
    """All writes between the lowest, the zero and the highest stored voltage.

    Raises:
        CircuitError: a simulation failed.
    """
    steps = tuple(itertools.permutations((0.0, conditions.zero_v, conditions.vdd_v), 2))
    half_step = conditions.vdd_v / 7 / 2
    plot = ngspice.run(write_deck(circuit, conditions, steps))[0]
    settled, error, charge = write_results(plot, steps, half_step)
    return Writes(
        time_s=plot.axis - START_S,
        stored_v=np.array([plot[f"v(s{k})"] for k in range(len(steps))]),
        steps_v=steps,
        within_v=half_step,
        settling_s=float(settled.max()) if np.isfinite(settled).all() else None,
        error_v=float(np.abs(error).max()),
        energy_j=float(np.mean(np.maximum(charge, 0)) * conditions.vdd_v),
    )
