"""All that there is to tell of a model's attention at once: the estimate, and what was asked for beside it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gaincell.config import GainCellConfig
from gaincell.errors import InputError
from gaincell.hardware.datasheets import H100_SXM, Accelerator
from gaincell.hardware.energy import total
from gaincell.hardware.estimation import Estimate, Row, estimate
from gaincell.hardware.measure_gpu import Measurement, compare
from gaincell.hardware.named import NamedModel
from gaincell.hardware.opponents import Opponent, opponents
from gaincell.hardware.parameters import HardwareParameters
from gaincell.hardware.published_gpus import CAVEAT
from gaincell.hardware.roofline import WholeToken
from gaincell.hardware.throughput import OPERATIONS_CAVEAT, throughput
from gaincell.hardware.whole_token import estimate_whole

if TYPE_CHECKING:
    from gaincell.hardware.activity import Activity


@dataclass(frozen=True)
class Beside:
    """What an estimate is asked to stand beside.

    Attributes:
        rest: what computes the rest of the model, whose pace then decides on retention; None: attention alone.
        batch: users at once; None: nothing is said of them.
        measured: attention on a GPU, as it was measured.
        against: what computes the same attention, beside digital.
    """

    rest: Accelerator | None = None
    batch: int | None = None
    measured: Measurement | None = None
    against: Sequence[Accelerator] = (H100_SXM,)


@dataclass(frozen=True)
class Priced:
    """What attention of a model takes, as it is told.

    Attributes:
        found: the estimate.
        rows: its table, and those of what was asked for beside it.
        notes: what to know of them, in sentences.
        rivals: the same attention elsewhere.
    """

    found: Estimate
    rows: list[Row]
    notes: list[str]
    rivals: list[Opponent]

    def to_dict(self) -> dict[str, Any]:
        """Everything in SI units, rows in theirs, ready for JSON."""
        rivals = [each.to_dict(self.found) for each in self.rivals]
        told = {"rows": [row._asdict() for row in self.rows], "notes": self.notes, "opponents": rivals}
        return {**self.found.to_dict(), **told}


def price(
    model: NamedModel,
    config: GainCellConfig,
    parameters: HardwareParameters,
    activity: "Activity | None" = None,
    beside: Beside | None = None,
) -> Priced:
    """Estimate a model's attention, and put it beside what is asked for.

    Raises:
        InputError: as `estimate`, `estimate_whole` and `throughput`; or users who take turns on arrays beside the rest
            of the model.
    """
    asked = beside or Beside()
    whole = None
    if asked.rest is None:
        found = estimate(model.fields, config, parameters, activity)
    else:
        found, whole = estimate_whole(model.shape, config, parameters, activity, asked.rest, asked.batch or 1)
    rows, notes = found.table(), [*found.notes, *([CAVEAT] if found.gpu_ratios else [])]
    if activity is not None:
        rows += _activity_rows(found, estimate(model.fields, found.config, parameters))
    if whole is not None:
        rows += whole.table()
        notes += whole.notes
    if asked.batch is not None:
        more, said = _users(found, asked.batch, whole)
        rows += more
        notes += said
    if asked.measured is not None:
        rows += _measured_rows(asked.measured, config, parameters)
    return Priced(found, rows, notes, opponents(found, asked.against))


def _activity_rows(found: Estimate, assumed: Estimate) -> list[Row]:
    energies = sorted(total(layer) for layer in found.layers)
    figures = {
        "energy, the layer that takes least": energies[0],
        "energy, the layer that takes most": energies[-1],
        "energy, all layers, with the activity assumed by default": assumed.energy_j,
    }
    return [Row(name, value * 1e9, "nJ", None, None) for name, value in figures.items()]


def _users(found: Estimate, users: int, whole: WholeToken | None) -> tuple[list[Row], list[str]]:
    served = throughput(found, users)
    if whole is None:
        return served.table(), [OPERATIONS_CAVEAT]
    if users > 1 and served.shared:
        raise InputError(
            "a batch (--batch) beside the rest of the model (--rest) is of users with arrays of their own; leave "
            "array_pairs out."
        )
    step = "Times of the whole token are of a step that gives every user one; energies are of one token."
    return served.table(), [step, OPERATIONS_CAVEAT]


def _measured_rows(measured: Measurement, config: GainCellConfig, parameters: HardwareParameters) -> list[Row]:
    ours = estimate(measured.shape, config.replace(window=measured.window), parameters)
    rows = []
    for ratio in compare(ours.latency_s, ours.energy_j, measured):
        rows.append(Row(f"{ratio.name}, measured: latency / ours", ratio.latency, "x", None, None))
        rows.append(Row(f"{ratio.name}, measured: energy / ours", ratio.energy, "x", None, None))
    return rows
