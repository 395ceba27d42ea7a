"""A design with some of its numbers changed: an estimate for every choice of their values."""

import itertools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from gaincell.config import GainCellConfig
from gaincell.errors import InputError
from gaincell.hardware.estimation import Estimate, estimate
from gaincell.hardware.parameters import HardwareParameters

#: Doublings that a range may have.
MOST = 64


class Choice(NamedTuple):
    """One value of every number that is swept.

    Attributes:
        values: by name.
        found: the estimate, or why the model cannot have these.
    """

    values: dict[str, float]
    found: Estimate | InputError

    def __str__(self) -> str:
        return ", ".join(f"{name} {value:g}" for name, value in self.values.items())


def numbers_of(config: GainCellConfig, parameters: HardwareParameters) -> dict[str, float]:
    """What can be swept: the numbers of a design point and of the hardware, by name."""
    fields = itertools.chain(config, parameters)
    return {name: x for name, x in fields if isinstance(x, int | float) and not isinstance(x, bool)}


def doublings(first: float, last: float) -> list[float]:
    """A number above 0 and its doublings, up to another that is not smaller; of whole numbers, whole ones.

    Raises:
        InputError: another order, or more than `MOST` of them.
    """
    if not 0 < first <= last < first * 2.0**MOST:
        raise InputError(f"go from a number above 0 to one that is not smaller, in {MOST} doublings.")
    values = [first]
    while values[-1] * 2 <= last:
        values.append(values[-1] * 2)
    return values


def sweep(
    swept: Mapping[str, Sequence[float]], model: object, config: GainCellConfig, parameters: HardwareParameters
) -> list[Choice]:
    """An estimate for every choice of values, the last number changing fastest.

    Args:
        swept: the values of each number, by one of the names of `numbers_of`.
        model: what `estimate` takes.
        config: the design point, for all other numbers.
        parameters: the hardware likewise.
    """
    every = (dict(zip(swept, values, strict=True)) for values in itertools.product(*swept.values()))
    return [Choice(values, _found(values, model, config, parameters)) for values in every]


def _found(
    values: dict[str, float], model: object, config: GainCellConfig, parameters: HardwareParameters
) -> Estimate | InputError:
    own = {name: value for name, value in values.items() if name in type(config).model_fields}
    others = {name: value for name, value in values.items() if name not in own}
    try:
        changed = type(parameters)(**{**dict(parameters), **others}) if others else parameters
        return estimate(model, config.replace(**own), changed)
    except InputError as error:
        return error
