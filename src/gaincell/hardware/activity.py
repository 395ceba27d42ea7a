"""What the arrays of a running model do, as plain arrays: the data that energy depends on. Never imports a model."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Self

from gaincell.cell import PolynomialLaw
from gaincell.config import GainCellConfig
from gaincell.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: What stands for a model that was not watched: means over all heads of SmolLM2-135M at 'leroux2025', first 1,024
#: tokens of the State of the Union addresses, by `gaincell cost leroux2025 --activity speeches --out FOLDER` with an
#: earlier adapter than the one that ships, whose means differ by up to a fifth: parts were fitted to the published
#: energies at these. Assumed to hold for other models, texts and design points, and for the published energies, whose
#: activity is not published.
REFERENCE = {
    "query_pulse": 0.25,
    "query_active": 0.563,
    "key_charge": 0.0682,
    "phi": 0.0165,
    "phi_active": 0.201,
    "phi_full": 0.0,
    "value_charge": 0.0044,
    "readout": 0.035,
}
#: Highest stored voltage and zero of that design point.
_REFERENCE_V = (0.9, 0.45)
#: Evenly spaced voltages that stand for a cell without levels (assumption): as many as a design point can have.
UNQUANTISED_LEVELS = 256
#: A head is called saturated where more than this share of its pulses have full width.
SATURATED = 0.9

_CODES = ("key_codes", "value_codes")
#: No mean exceeds 1 but those of charge; pulse widths are sums of float32 steps, so they may by their rounding.
_CHARGES, _ROUNDING = ("key_charge", "value_charge"), 1e-6


@dataclass(frozen=True, eq=False)
class Activity:
    """Means over the queries of a text, per query head, of what the lines, cells and columns in use do.

    Arrays are float64, (layers, Hq) unless said otherwise; one number for all heads has shape (1, 1). A column is in
    use for a query if it holds a token in the query's window: one not yet written, and a token that is kept digitally,
    count nowhere. Charges are per stored value and of either sign (a push-pull cell takes current for both), in units
    of what a pulse of T_max draws for a value of +0.45 V. They are those of the aged cell, leak included. Of cells of
    one sign they are what all cells of a value draw, a pair's both, over what +0.45 V adds to its line; references are
    counted apart, from pulses.

    Attributes:
        query_pulse: width of the pulses on the query lines, in T_max. With differential queries both reads together;
            offset-binary ones as they are put on the lines, (q + 1)/2, the rows of the offset not counted.
        query_active: share of query lines with a pulse.
        key_charge: pulse |f(y_key)| / |f(0.45 V)| over every query, column in use and row of head_dim.
        phi: width of the pulses between the two products, in T_max, over columns in use.
        phi_active: share of them with phi > 0.
        phi_full: share of them with phi = 1.
        value_charge: phi |f(y_value)| / |f(0.45 V)| over every query, column in use and row of head_dim.
        readout: |code| over the largest code of the sub-tiles' read-outs, over sub-tiles with a column in use; those
            of the normaliser's columns not counted.
        key_codes: share of stored keys at each level, (layers, Hkv, stored_levels).
        value_codes: the same of stored values.
        tokens: how many queries.
        text: what the model read, in a few words.
        digital: heads, as (layer, head), that are none of the arrays': 0 in every mean, and not dead.

    Raises:
        InputError: an array of another shape, or with a number that is negative, not finite, or above 1 where only a
            charge may be.
    """

    query_pulse: "NDArray[np.float64]"
    query_active: "NDArray[np.float64]"
    key_charge: "NDArray[np.float64]"
    phi: "NDArray[np.float64]"
    phi_active: "NDArray[np.float64]"
    phi_full: "NDArray[np.float64]"
    value_charge: "NDArray[np.float64]"
    readout: "NDArray[np.float64]"
    key_codes: "NDArray[np.float64]"
    value_codes: "NDArray[np.float64]"
    tokens: int
    text: str
    digital: tuple[tuple[int, int], ...] = ()

    def __post_init__(self) -> None:
        if isinstance(self.tokens, bool) or not isinstance(self.tokens, int) or self.tokens < 0:
            raise InputError(f"activity: tokens must be a whole number of queries; got {self.tokens!r}.")
        if not isinstance(self.text, str):
            raise InputError(f"activity: text must be words; got {type(self.text).__name__}.")
        try:
            digital = tuple((int(layer), int(head)) for layer, head in self.digital)
        except (TypeError, ValueError):
            raise InputError("activity: digital must be pairs of layer and head.") from None
        object.__setattr__(self, "digital", digital)
        for name in self.arrays():
            object.__setattr__(self, name, _array(name, getattr(self, name)))
        heads, codes = self.phi.shape, self.key_codes.shape
        grouped = len(codes) == 3 and codes[0] == heads[0] and heads[-1] % codes[1] == 0
        for name, array in self.arrays().items():
            wanted = codes if name in _CODES else heads
            if len(heads) != 2 or array.shape != wanted or (name in _CODES and not grouped):
                raise InputError(
                    f"activity: '{name}' has shape {array.shape}; give (layers, heads), the same for every mean, and "
                    "(layers, key/value heads, levels) for both codes."
                )
        for layer, head in digital:
            if not (0 <= layer < heads[0] and 0 <= head < heads[1]):
                raise InputError(f"activity: digital names head {head} of layer {layer}, which is not among {heads}.")

    def arrays(self) -> "dict[str, NDArray[np.float64]]":
        """Every array by its name."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("tokens", "text", "digital")}

    @property
    def dead(self) -> "NDArray[np.bool_]":
        """Heads without a single pulse between the products: (layers, Hq)."""
        dead = self.phi_active == 0
        for place in self.digital:
            dead[place] = False
        return dead

    @property
    def saturated(self) -> "NDArray[np.bool_]":
        """Heads whose pulses nearly all have full width: (layers, Hq)."""
        return self.phi_full > SATURATED

    @classmethod
    def reference(cls, config: GainCellConfig) -> Self:
        """What is assumed where no model was watched: `REFERENCE`, and uniform codes of as many levels as there are.

        Of another range of stored voltages, or another zero in it, the codes are assumed to be the same: cells draw
        charge as their law has it at the voltages that these codes are then. Cells of one sign draw as much more than
        a value adds to its line as they do over all voltages, evenly.
        """
        levels = config.stored_levels or UNQUANTISED_LEVELS
        ratio = _mean_drawn(config) / _mean_charge(config, *_REFERENCE_V)
        means = {name: [[mean * (ratio if name in _CHARGES else 1.0)]] for name, mean in REFERENCE.items()}
        codes = {name: [[[1 / levels] * levels]] for name in _CODES}
        arrays = {**means, **codes}
        return cls.from_dict({**arrays, "tokens": 0, "text": "as SmolLM2-135M has on speeches (assumption)"})

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        arrays = {name: array.tolist() for name, array in self.arrays().items()}
        digital = {"digital": [list(place) for place in self.digital]} if self.digital else {}
        return {**arrays, "tokens": self.tokens, "text": self.text, **digital}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """What `to_dict` gave.

        Raises:
            InputError: a field that is missing or unknown, and as the class itself.
        """
        names = {f.name for f in fields(cls)}
        if not isinstance(data, Mapping):
            raise InputError(f"activity must be a mapping of fields to values, but is {type(data).__name__}.")
        for name in sorted(names - set(data) - {"digital"}):
            raise InputError(f"activity: field '{name}' is missing; add it.")
        for name in sorted(map(str, set(data) - names)):
            raise InputError(f"activity: unknown field '{name}'; remove it or correct its name.")
        return cls(**data)


def _mean_charge(config: GainCellConfig, highest_v: float, zero_v: float) -> float:
    """Mean size of a value's charge over voltages between 0 and the highest, evenly."""
    return _mean(config.cell.model_law, highest_v, zero_v)


def _mean_drawn(config: GainCellConfig) -> float:
    """The same of what its cells draw together, at the design point's voltages."""
    cell, at = config.cell, (config.stored_max_v, config.zero_v)
    if cell.polarity == "push_pull":
        return _mean_charge(config, *at)
    own = _mean(cell.model_cell_law, *at)  # a pair's voltages are as far below zero as above
    return 2.0 * own if cell.polarity == "pair" else own


def _mean(law: PolynomialLaw, highest_v: float, zero_v: float) -> float:
    steps = UNQUANTISED_LEVELS
    return sum(abs(law(highest_v * step / steps - zero_v)) for step in range(steps + 1)) / (steps + 1)


def _array(name: str, values: Any) -> "NDArray[np.float64]":
    import numpy as np

    try:
        array = np.array(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise InputError(f"activity: '{name}' is not an array of numbers; give nested lists of equal length.") from None
    top = np.inf if name in _CHARGES else 1.0 + _ROUNDING
    wrong = array[~(np.isfinite(array) & (array >= 0) & (array <= top))]
    if wrong.size:
        limit = "0 and finite" if name in _CHARGES else "0 and at most 1"
        raise InputError(f"activity: '{name}' holds {wrong[0]:g}; every number must be at least {limit}.")
    return array
