"""The two arrays of a head as numbers: what every path computes, read from the design point once."""

from dataclasses import dataclass
from functools import lru_cache

from gaincell.config import GainCellConfig
from gaincell.ops.convert import charge_scale
from gaincell.ops.gate import Gate, gate_of
from gaincell.ops.terms import Terms, backward_law


@dataclass(frozen=True, eq=False)
class ArrayModel:
    """What both products and the gate between them are made of.

    Attributes:
        gate: what makes pulses of the first product.
        key: charge of a key cell, such that pulses times it, summed over head_dim, is what the gate takes.
        value: charge of a value cell, such that phi times it, summed over a sub-tile, is in counts of the read-out.
        back_key: as `key`, of the law of the backward pass; the same object where that is the cell's own.
        back_value: as `value`, likewise.
        through: charges that come with every pulse whatever its width, of a key and a value cell; None without
            feedthrough.
    """

    gate: Gate
    key: Terms
    value: Terms
    back_key: Terms
    back_value: Terms
    through: tuple[Terms, Terms] | None


@lru_cache(maxsize=128)  # every layer of a model
def array_model(config: GainCellConfig) -> ArrayModel:
    """The arrays of a design point."""
    gate, law, back_law = gate_of(config), config.cell.model_law, backward_law(config)
    score, output = gate.scale(config), charge_scale(config)
    key, value = Terms.of(law, config, score), Terms.of(law, config, output)
    back_key, back_value = key, value
    if back_law is not law:
        back_key, back_value = Terms.of(back_law, config, score), Terms.of(back_law, config, output)
    first, second = (Terms.of_feedthrough(config, scale) for scale in (score, output))
    through = None if first is None or second is None else (first, second)
    return ArrayModel(gate, key, value, back_key, back_value, through)
