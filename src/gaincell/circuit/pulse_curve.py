"""The pulse law of a charge-to-pulse circuit, from the columns that were simulated."""

import numpy as np

from gaincell.cell import PulseLaw


def measured_law(score: np.ndarray, pulse: np.ndarray, source: str) -> PulseLaw:
    """The polyline through what was simulated, from the largest charge without a pulse to the first full pulse.

    Args:
        score: charges (N,) in units of the one that stands for S_sat, in any order.
        pulse: the pulses that they started (N,), in units of the longest. Where noise of the solver lets one be
            shorter than that of a smaller charge, the longer one stands for both.
        source: how they were found.
    """
    order = np.argsort(score, kind="stable")
    x, width = score[order], np.clip(np.maximum.accumulate(pulse[order]), 0.0, 1.0)
    first = max(int(np.flatnonzero(width > 0.0)[0]) - 1, 0)
    last = int(np.flatnonzero(width >= width[-1])[0])
    x, width = x[first : last + 1], width[first : last + 1]
    if width[0] > 0.0:  # every charge that was tried starts one: so does any smaller one, as far as is known
        x, width = np.insert(x, 0, x[0]), np.insert(width, 0, 0.0)
    apart = np.append(True, np.diff(x) > 0.0) | (np.append(0.0, np.diff(width)) > 0.0)
    return PulseLaw(at=tuple(map(float, x[apart])), width=tuple(map(float, width[apart])), source=source)
