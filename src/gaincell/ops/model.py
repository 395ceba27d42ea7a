"""The two arrays of a head as numbers: what every path computes, read from the design point once."""

from dataclasses import dataclass, fields
from functools import cached_property, lru_cache

from torch import Tensor

from gaincell.cell.figures import ReadDisturb, WriteErrors
from gaincell.config import GainCellConfig
from gaincell.ops.gate import Gate
from gaincell.ops.leak import decay_table
from gaincell.ops.readout import Normaliser, Readout
from gaincell.ops.terms import Terms, backward_law
from gaincell.ops.variation import Noise


@dataclass(frozen=True, eq=False)
class ArrayModel:
    """What both products and the circuits between and behind them are made of.

    Parts that may be None are those that a path may lack: `needs` names the ones that are there.

    Attributes:
        config: the design point that it was read from.
        gate: what makes pulses of the first product.
        readout: what makes numbers of the second.
        key: charge of a stored key, such that pulses times it, summed over head_dim, is what the gate takes.
        value: charge of a stored value, such that phi times it, summed over a sub-tile, is in counts of the read-out.
        back_key: as `key`, of the law of the backward pass; the same object where that is the cell's own.
        back_value: as `value`, likewise.
        normaliser: what the outputs are divided by, or None.
        feedthrough: charges that come with every pulse whatever its width, of a key and a value cell, or None.
        noise: of both products, or None.
        mismatch: standard deviations of the cells' gain and of their zero in volt, or None where all are equal.
        leak_spread: standard deviation of ln(retention time) from cell to cell, or None where all leak alike.
        refresh: tokens after which a token is written anew, or None.
        retention_table: what is left of every code at every age, and its derivative, where that is no exponential.
        write_error: the cell file's, where a value is not written exactly, or None.
        read_disturb: the cell file's, where reads shift what cells hold, or None.
        tabled_write: true where a voltage that is none of a code decays by a table or is shifted by reads, else None.
    """

    config: GainCellConfig
    gate: Gate
    readout: Readout
    key: Terms
    value: Terms
    back_key: Terms
    back_value: Terms
    normaliser: Normaliser | None = None
    feedthrough: tuple[Terms, Terms] | None = None
    noise: Noise | None = None
    mismatch: tuple[float, float] | None = None
    leak_spread: float | None = None
    refresh: int | None = None
    retention_table: tuple[Tensor, Tensor] | None = None
    write_error: WriteErrors | None = None
    read_disturb: ReadDisturb | None = None
    tabled_write: bool | None = None

    @cached_property
    def needs(self) -> frozenset[str]:
        """What a path must serve: the parts that need not be there, and are."""
        parts = [part.name for part in fields(self) if part.default is None and getattr(self, part.name) is not None]
        return frozenset(part.replace("_", " ") for part in parts)

    @property
    def aged(self) -> bool:
        """Whether its terms are `gaincell.ops.terms.AgedTerms`."""
        return self.leak_spread is not None or self.tabled_write is not None

    def output(self, out: Tensor, z: Tensor | None) -> Tensor:
        """What leaves the arrays, (B, H, T, D): the sum of read-outs, over Z (B, H, T) where there is a normaliser."""
        return out if self.normaliser is None or z is None else self.normaliser.divide(out, z)


@lru_cache(maxsize=128)  # every layer of a model
def array_model(config: GainCellConfig) -> ArrayModel:
    """The arrays of a design point."""
    gate, readout = Gate(config.gate), Readout.of(config)
    law, back_law = config.cell.model_cell_law, backward_law(config)
    score, output = gate.scale(config), readout.scale / config.output_scale
    key, value = Terms.of(law, config, score), Terms.of(law, config, output)
    back_key, back_value = key, value
    if back_law is not law:
        back_key, back_value = Terms.of(back_law, config, score), Terms.of(back_law, config, output)
    circuit, writes = config.cell.circuit, config.writes == "cell"
    first, second = (Terms.of_feedthrough(config, scale) for scale in (score, output))
    return ArrayModel(
        config,
        gate,
        readout,
        key,
        value,
        back_key,
        back_value,
        normaliser=Normaliser.of(config),
        feedthrough=None if first is None or second is None else (first, second),
        noise=Noise.of(config),
        mismatch=config.mismatch,
        leak_spread=config.leak_spread,
        refresh=config.refresh_tokens,
        retention_table=decay_table(config) if config.retention == "table" else None,
        write_error=circuit.write.errors if writes and circuit and circuit.write else None,
        read_disturb=circuit.read.disturb if config.read_disturb == "cell" and circuit and circuit.read else None,
        tabled_write=True if writes and config.tabled else None,
    )
