"""How fast and how well a cell is written, and how well it keeps what it holds while it is read."""

import itertools
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
from pydantic import ValidationError

from gaincell.cell.figures import ReadDisturb, WriteErrors
from gaincell.circuit.decks.bench import START_S
from gaincell.circuit.decks.cell import CellCircuit, Conditions
from gaincell.circuit.decks.disturb import disturb_deck, disturb_results
from gaincell.circuit.decks.store import write_deck, write_results
from gaincell.circuit.ngspice import Ngspice

#: Voltages between the lowest and the highest that cells hold and are written to, and reads that they are watched for.
_LEVELS = 5
_READS = (1.0, 4.0, 16.0, 64.0, 256.0, 1024.0)


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


def write_errors(circuit: CellCircuit, conditions: Conditions, ngspice: Ngspice) -> WriteErrors | None:
    """What writes of `conditions.write_s` between all of five stored voltages are off by, 2 ns after they ended.

    Returns:
        None where such a write leaves a cell no nearer to its target than it was: the word line is not on for long
        enough.

    Raises:
        CircuitError: a simulation failed.
    """
    stored_v = np.linspace(0.0, conditions.vdd_v, _LEVELS)
    steps = [(float(before), float(target)) for target in stored_v for before in stored_v]
    plot = ngspice.run(write_deck(circuit, conditions, steps, conditions.write_s))[0]
    error = [float(plot[f"v(s{k})"][-1]) - target for k, (_, target) in enumerate(steps)]
    with suppress(ValidationError):
        return WriteErrors(
            time_s=conditions.write_s,
            levels_v=_above_zero(stored_v, conditions),
            error_v=tuple(tuple(error[i : i + _LEVELS]) for i in range(0, len(error), _LEVELS)),
            source=f"ngspice, {len(steps)} writes of {conditions.write_s * 1e9:g} ns; {circuit.source}",
        )
    return None


def read_disturb(circuit: CellCircuit, conditions: Conditions, ngspice: Ngspice) -> ReadDisturb | None:
    """What up to 1,024 full reads, one right after the other, add to five stored voltages, beside what cells leak.

    Returns:
        None where that is beyond what a cell file takes for a stored voltage.

    Raises:
        CircuitError: a simulation failed.
    """
    stored_v = np.linspace(0.0, conditions.vdd_v, _LEVELS)
    plot = ngspice.run(disturb_deck(circuit, conditions, stored_v.tolist(), _READS))[0]
    shift = disturb_results(plot, conditions, _LEVELS, _READS)
    with suppress(ValidationError):
        return ReadDisturb(
            reads=_READS,
            written_v=_above_zero(stored_v, conditions),
            shift_v=tuple(tuple(map(float, row)) for row in shift),
            source=f"ngspice, {_LEVELS} stored voltages, read without a pause for as long as so many full reads take, "
            f"less cells that are not read; {circuit.source}",
        )
    return None


def _above_zero(stored_v: np.ndarray, conditions: Conditions) -> tuple[float, ...]:
    return tuple(float(x) - conditions.zero_v for x in stored_v)
