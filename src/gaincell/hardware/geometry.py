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
        cells_per_value: cells that store one value, side by side along the lines that carry pulses: 2 of a pair.
        pulse_lines: lines that carry one pulse: a word line and its inverse for push-pull cells, else one.
        sign_columns: columns of reference cells in the first array, for cells of one sign: one for every sub-tile along
            the window; a bias line holds them.
        sign_lines: lines of such cells in the second array: one for every sub-tile across the values' rows.
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
    cells_per_value: int
    pulse_lines: int
    sign_columns: int
    sign_lines: int
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
        """Cells of one token that DACs write: those of key and value, and what options add."""
        return (self.key_rows + self.value_dim + self.written_columns) * self.cells_per_value

    @property
    def row_cells(self) -> int:
        """Cells that a query's pulse passes in the first array."""
        return self.window * self.cells_per_value + self.sign_columns

    @property
    def column_cells(self) -> int:
        """Cells that a column's pulse passes in the second array."""
        return self.value_columns * self.cells_per_value + self.sign_lines

    @property
    def drivers(self) -> int:
        """Drivers that stand between the segments of its lines.

        A query's row has a word line, with its inverse where cells are push-pull, and so has a column's pulse in the
        second array; a cell that is written has a line of its own.
        """
        along_window = (self.pulse_lines * self.key_rows + self.written) * (self.lines.word.segments - 1)
        return along_window + self.pulse_lines * self.window * (self.lines.pulse.segments - 1)

    @property
    def cells(self) -> int:
        """Gain cells of the pair of arrays; rows that keys and values do not fill have none."""
        return self.row_cells * self.key_rows + self.column_cells * self.window

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
    polarity, cells = config.cell.polarity, config.cell.cells_per_value
    sign_columns, sign_lines = (config.tiles, value_stacked) if polarity == "reference" else (0, 0)
    along = config.window * cells + sign_columns
    across = (layer.value_dim + references) * cells + sign_lines
    return Geometry(
        window=config.window,
        tiles=config.tiles,
        key_dim=layer.key_dim,
        value_dim=layer.value_dim,
        offset_rows=offset_rows,
        reference_columns=references,
        written_columns=references if config.normaliser == "ideal" else 0,
        cells_per_value=cells,
        pulse_lines=2 if polarity == "push_pull" else 1,
        sign_columns=sign_columns,
        sign_lines=sign_lines,
        readout_lines=value_stacked * rows + references,
        pairs=layer.kv_heads if in_turn else layer.heads,
        turns=layer.group if in_turn else 1,
        lines=wires(config, parameters, layer.key_dim + offset_rows, across, along),
    )
