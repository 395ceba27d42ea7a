"""One point of a study: values, and the figures that came of them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gaincell.errors import InputError

#: Every figure of a point, of each of which less is better: its unit, and what it is.
FIGURES: dict[str, tuple[str, str]] = {
    "kl": ("nats", "KL(original || adapted) of the next token"),
    "perplexity_ratio": ("", "perplexity, in units of the original's"),
    "energy_j": ("J", "energy of attention, all layers, one token"),
    "head_energy_j": ("J", "energy of attention, mean of a head, one token"),
    "latency_s": ("s", "latency of attention, all layers, one token"),
    "area_m2": ("m2", "area of the arrays, all layers"),
}
#: Those that a model has to run for.
OF_QUALITY = ("kl", "perplexity_ratio")


@dataclass(frozen=True)
class Point:
    """A design point of a study.

    Attributes:
        number: in the storage.
        values: of the fields that are varied.
        fidelity: what was done before its quality was measured.
        figures: by name, see `FIGURES`; none where it was refused.
        refused: why the design point cannot be had; None where it can.
        feasible: whether all limits are kept.
    """

    number: int
    values: dict[str, Any]
    fidelity: str
    figures: dict[str, float]
    refused: str | None = None
    feasible: bool = True

    def __str__(self) -> str:
        return ", ".join(f"{name} {told(value)}" for name, value in self.values.items())

    def of(self, names: Sequence[str]) -> tuple[float, ...]:
        """Some of its figures."""
        return tuple(self.figures[name] for name in names)

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        return {
            "number": self.number,
            "values": self.values,
            "fidelity": self.fidelity,
            "figures": self.figures,
            "refused": self.refused,
            "feasible": self.feasible,
        }


def told(value: Any) -> str:
    """A value in a table."""
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    return f"{value:g}" if isinstance(value, float) else str(value)


def check_objectives(names: Sequence[str], *, runs: bool) -> None:
    """Refuse objectives that are none, or that nothing is there to measure for.

    Args:
        names: what is to be small.
        runs: whether a model and an adapter are there to run.

    Raises:
        InputError: which.
    """
    for name in names:
        check_figure("--objective", name, runs)
    if len(set(names)) < len(names) or len(names) < 2:
        raise InputError("--objective: a front is between two figures at least, each given once.")


def read_limits(given: Mapping[str, float] | Sequence[str], *, runs: bool) -> dict[str, float]:
    """Limits, each the most that a figure may be.

    Args:
        given: "FIGURE=MOST" each, or the limits by figure.
        runs: as in `check_objectives`.

    Raises:
        InputError: no such figure, one given twice, or a limit that is no number above 0.
    """
    found: dict[str, float] = {}
    pairs = given.items() if isinstance(given, Mapping) else [spec.partition("=")[::2] for spec in given]
    for name, most in pairs:
        check_figure("--limit", name, runs)
        if name in found:
            raise InputError(f"--limit {name} is given twice; leave it out once.")
        try:
            found[name] = float(most)
        except ValueError:
            found[name] = math.nan
        if not 0 < found[name] < math.inf:
            raise InputError(f"--limit {name}={most}: '{most}' is no number above 0; write it as in energy_j=2e-6.")
    return found


def check_figure(option: str, name: str, runs: bool) -> None:
    """Refuse what an option names as a figure.

    Args:
        option: as people type it.
        name: the figure.
        runs: as in `check_objectives`.

    Raises:
        InputError: no such figure, or one of quality where no model runs.
    """
    if name not in FIGURES:
        raise InputError(f"{option}: '{name}' is no figure of a design point; choose one of {', '.join(FIGURES)}.")
    if name in OF_QUALITY and not runs:
        raise InputError(
            f"{option} {name} needs a model that runs and what it learned; name a shipped adapter as the model, or a "
            "model's folder with --from ADAPTER."
        )
