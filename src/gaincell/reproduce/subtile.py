"""A sub-tile of 64 x 64 cells, from queries, keys and values to its output."""

from typing import TYPE_CHECKING

import numpy as np

from gaincell.config import GainCellConfig
from gaincell.report.plots import Series, can_plot, xy_plot
from gaincell.reproduce.context import Context
from gaincell.reproduce.entry import RELEASED, Entry, Findings, Row

if TYPE_CHECKING:
    from torch import Tensor

#: The published law, folded from the ten coefficients (i, j) of y^i V_in^j at V_in = 0.9 V; written out here anew, so
#: that the cell file is checked, too.
_FIT = (
    (0.17393044, 0.15653739, 0.14088365, 0.12679529),
    (5.51975209, 4.96777688, 4.4709992),
    (-1.44776001, -1.30298401),
    (46.05483778,),
)
_WORD_LINE_V, _ZERO_V, _S_SAT, _OUTPUT_SCALE = 0.9, 0.45, 80.0, 40.0
#: Outputs in the figure.
_SHOWN = 400


def run(context: Context) -> Findings:
    """Charges, pulses and outputs of our operator beside the authors', or beside their equations."""
    import torch

    from gaincell.ops import Ring, attention, attention_map

    if context.reference is None:
        theirs, source = law_alone(), "the published equations, in NumPy and float64"
        reach = (
            "Without --reference this holds our operator against the published equations on random operands, not "
            "against what the authors computed; nothing is quantised and nothing leaks."
        )
    else:
        theirs, source = context.reference.subtile(), RELEASED
        reach = (
            "Theirs was computed partly in bfloat16, so that 0.5 % of the range is their own rounding; nothing is "
            "quantised and nothing leaks."
        )
    config = GainCellConfig.named("leroux2025").replace(
        query_levels=None, stored_levels=None, output_levels=None, leak_per_token=0.0
    )
    q, k, v = (torch.from_numpy(theirs[name])[:, None] for name in ("Q", "K", "V"))
    # A preset of one half and four times the saturation show S between -2 S_sat and 2 S_sat, where phi clips at 0.
    wide = config.replace(score_saturation=4 * config.score_saturation)
    half = torch.full(q.shape[:3], 0.5, dtype=q.dtype)
    ours: dict[str, Tensor] = {
        "S": (attention_map(q, k, wide, preset=half) - 0.5) * wide.score_saturation,
        "phi_S": attention_map(q, k, config),
        "output": attention(q, k, v, config),
    }
    written = Ring(len(q), 1, q.shape[-1], config).extend(q, k, v)
    causal = np.tril(np.ones(theirs["S"].shape[1:], bool))
    rows = []
    for name, what in (("S", "charge S"), ("phi_S", "pulse phi(S)"), ("output", "output")):
        found, expected = ours[name][:, 0].numpy(), theirs[name]
        if name == "S":
            found, expected = found[:, causal], expected[:, causal]
        rows.append(Row(f"{what}, root mean square", _rms(expected), _rms(found), "", source, "gaincell.attention"))
        rows.append(Row(f"{what}, largest difference", None, 100 * _worst(found, expected), "% of its range"))
    ring = 100 * _worst(written[:, 0].numpy(), theirs["output"])
    rows.append(Row("output token by token, largest difference", None, ring, "% of its range", "", "gaincell.ops.Ring"))
    label = "published" if context.reference is not None else "published equations"
    plot = _plot(theirs["output"].ravel(), ours["output"].numpy().ravel(), label) if can_plot() else ""
    return Findings(tuple(rows), reach, plot)


def _plot(expected: np.ndarray, found: np.ndarray, label: str) -> str:
    shown = np.linspace(0, len(expected) - 1, _SHOWN).astype(int)
    ends = [float(expected.min()), float(expected.max())]
    return xy_plot(
        "subtile",
        [Series("equal", ends, ends), Series("outputs", expected[shown].tolist(), found[shown].tolist(), "points")],
        x=f"output, {label}",
        y="output, ours",
    )


def law_alone(seed: int = 0) -> dict[str, np.ndarray]:
    """The published equations on random operands, by the names of `Reference.subtile`; (10, 64, 64) each."""
    rng = np.random.default_rng(seed)
    q, k, v = (rng.uniform(0, high, (10, 64, 64)) for high in (1.0, 0.9, 0.9))
    coefficients = [sum(c * _WORD_LINE_V**j for j, c in enumerate(row)) for row in _FIT]

    def charge(volts: np.ndarray) -> np.ndarray:
        return sum((c * (volts - _ZERO_V) ** i for i, c in enumerate(coefficients)), np.zeros_like(volts))

    s = np.tril(q @ charge(k).transpose(0, 2, 1))
    phi = np.clip(s / _S_SAT, 0, 1)
    return {"Q": q, "K": k, "V": v, "S": s, "phi_S": phi, "output": np.clip(phi @ charge(v) / _OUTPUT_SCALE, -1, 1)}


def _rms(x: np.ndarray) -> float:
    return float(np.sqrt(np.mean(x**2)))


def _worst(found: np.ndarray, expected: np.ndarray) -> float:
    """The largest difference, as a fraction of the range."""
    return float(np.abs(found - expected).max() / np.ptp(expected))


ENTRY = Entry(
    "subtile",
    "the outputs of a sub-tile",
    "Ten sub-tiles of 64 x 64 cells: charges, pulses and outputs of the two products, causal, with the cubic law.",
    run,
    ("reference",),
)
