"""How the cells of one array differ in how long they hold."""

import numpy as np

from gaincell.cell import RetentionSpread
from gaincell.circuit.decay import Decay
from gaincell.circuit.decks.cell import CellCircuit, Conditions
from gaincell.circuit.decks.store import hold_deck
from gaincell.circuit.ngspice import Ngspice

#: Cells of one netlist; ngspice's time grows faster than their number.
_PER_RUN = 50
#: Cells are watched for so many times what the typical one is kept, and the slowest for so many times that again.
_LONGER, _TRIES = 20.0, 3
#: A spread below this says that no threshold of a write device was among those that were drawn.
_TELLING = 0.01


def leak_spread(
    circuit: CellCircuit,
    conditions: Conditions,
    ngspice: Ngspice,
    decay: Decay,
    within_v: float,
    cells: int,
    seed: int,
) -> RetentionSpread | None:
    """The spread of how long cells keep the voltage that is lost first, their thresholds drawn by Pelgrom's law.

    Both transistors of a transmission gate get one shift, so a cell's two leaks go together. Thresholds of the other
    transistors do next to nothing to a leak, but those of a netlist may be its write transistor's, so they are drawn.

    Returns:
        None where no threshold that was drawn moves it, or some cell loses nothing while it is watched.

    Raises:
        CircuitError: a simulation failed.
    """
    kept = [(level.kept, row) for row, level in enumerate(decay.levels(within_v)) if level.kept]
    if not kept:
        return None
    typical_s, row = min(kept)
    stored_v = float(decay.y_v[row, 0]) + conditions.zero_v
    drawn = _drawn(circuit, cells, seed)
    times, left, end_s = np.full(cells, np.nan), np.arange(cells), typical_s
    for _ in range(_TRIES):
        end_s *= _LONGER
        parts = [left[i : i + _PER_RUN] for i in range(0, len(left), _PER_RUN)]
        decks = [hold_deck(circuit, conditions, [stored_v] * len(x), end_s, [drawn[n] for n in x]) for x in parts]
        for part, plots in zip(parts, ngspice.run_all(decks), strict=True):
            for k, n in enumerate(part):
                times[n] = _reached_s(plots[0].axis, np.abs(plots[0][f"v(s{k})"] - stored_v), within_v)
        left = np.flatnonzero(np.isnan(times))
        if not len(left):
            break
    sigma = float(np.log(times).std(ddof=1))
    if not sigma > _TELLING:  # nan where some cell never lost it
        return None
    source = (
        f"ngspice, {cells} cells that hold {stored_v:g} V to within {within_v * 1e3:.0f} mV, thresholds drawn by "
        f"Pelgrom's law with seed {seed}; {circuit.source}"
    )
    return RetentionSpread(sigma=sigma, cells=cells, source=source)


def _drawn(circuit: CellCircuit, cells: int, seed: int) -> list[dict[str, float]]:
    """Parameters of every cell."""
    generator = np.random.default_rng([seed, 1])  # another stream than that of the read currents
    found = [
        {name: float(x * sigma) for (name, sigma), x in zip(circuit.mismatch_v.items(), row, strict=True)}
        for row in generator.standard_normal((cells, len(circuit.mismatch_v)))
    ]
    if circuit.write_shift_v is not None:
        value, sigma = circuit.write_shift_v
        for one, x in zip(found, generator.standard_normal(cells), strict=True):
            one["write_shift"] = float(value + sigma * x)
    return found


def _reached_s(time_s: np.ndarray, moved_v: np.ndarray, within_v: float) -> float:
    first = int(np.argmax(moved_v > within_v))
    if moved_v[first] <= within_v:
        return float("nan")
    return float(np.interp(within_v, moved_v[first - 1 : first + 1], time_s[first - 1 : first + 1]))
