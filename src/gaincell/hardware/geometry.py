"""How one layer's attention lies on arrays: lines, cells and read-outs, counted."""

from dataclasses import dataclass

from gaincell.config import GainCellConfig
from gaincell.hardware.parameters import HardwareParameters
from gaincell.hardware.wires import Wires, wires
from gaincell.hardware.workload import Layer


@dataclass(frozen=True)
class Geometry:
    """One pair of arrays, and how many of them a layer has.

    Attributes:
        window: columns of the pair: tokens.
        tiles: sub-tiles along the window.
        key_dim: rows that hold keys; where a sub-tile has fewer, they are cut over several, whose bit lines join.
        value_dim: rows that hold values, cut likewise.
        offset_rows: more rows of the first array, for offset-binary queries.
        reference_columns: more output lines of the second array, for the normaliser.
        written_columns: those of them that a DAC writes ('ideal'); a bias line holds the others.
        readout_lines: output lines of a sub-tile that are built, used or not: one for every sub-tile row.
        pairs: pairs of arrays in one layer.
        turns: queries that follow each other on one pair.
        lines: its lines, and into what they are cut.
    """

    window: int
    tiles: int
    key_dim: int
    value_dim: int
    offset_rows: int
    reference_columns: int
    written_columns: int
    readout_lines: int
    pairs: int
    turns: int
    lines: Wires

    @property
    def key_rows(self) -> int:
        """Rows of the first array."""
        return self.key_dim + self.offset_rows

    @property
    def value_columns(self) -> int:
        """Output lines of the second array that are in use."""
        return self.value_dim + self.reference_columns

    @property
    def written(self) -> int:
        """Cells of one token that DACs write: key, value, and what options add."""
        return self.key_rows + self.value_dim + self.written_columns

    @property
    def drivers(self) -> int:
        """Drivers that stand between the segments of its lines.

        A query's row has a word line and its inverse, and so has a column's pulse in the second array; a value that is
        written has a line of its own.
        """
        along_window = (2 * self.key_rows + self.written) * (self.lines.word.segments - 1)
        return along_window + 2 * self.window * (self.lines.pulse.segments - 1)

    @property
    def cells(self) -> int:
        """Gain cells of the pair; rows that keys and values do not fill have none."""
        return self.window * (self.key_rows + self.value_columns)

    @property
    def utilisation(self) -> float:
        """Output lines in use over those built."""
        return self.value_columns / self.readout_lines


def geometry(layer: Layer, config: GainCellConfig, parameters: HardwareParameters) -> Geometry:
    """Lay a layer that attends out at a design point, in arrays of the point's window."""
    rows = config.subtile_rows
    key_stacked, value_stacked = -(-layer.key_dim // rows), -(-layer.value_dim // rows)
    references = {"none": 0, "ideal": 1, "column": len(config.normaliser_ranges)}[config.normaliser]
    in_turn = parameters.kv_sharing == "in_turn"
    offset_rows = key_stacked * parameters.offset_rows if config.query_sign == "offset_binary" else 0
    return Geometry(
        window=config.window,
        tiles=config.tiles,
        key_dim=layer.key_dim,
        value_dim=layer.value_dim,
        offset_rows=offset_rows,
        reference_columns=references,
        written_columns=references if config.normaliser == "ideal" else 0,
        readout_lines=value_stacked * rows + references,
        pairs=layer.kv_heads if in_turn else layer.heads,
        turns=layer.group if in_turn else 1,
        lines=wires(config, parameters, layer.key_dim + offset_rows, layer.value_dim + references),
    )
