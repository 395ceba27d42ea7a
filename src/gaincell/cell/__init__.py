"""One gain cell: its charge law, pulse law and retention, what else is known of its circuit, and from where."""

from gaincell.cell.cell import Cell, cell_names, load_cell, save_cell
from gaincell.cell.figures import CellConditions, CircuitFigures
from gaincell.cell.law import PolynomialLaw
from gaincell.cell.polarity import Polarity
from gaincell.cell.pulse import PulseLaw
from gaincell.cell.retention import LevelRetention, Retention, RetentionSpread, RetentionTable

__all__ = [
    "Cell",
    "CellConditions",
    "CircuitFigures",
    "LevelRetention",
    "Polarity",
    "PolynomialLaw",
    "PulseLaw",
    "Retention",
    "RetentionSpread",
    "RetentionTable",
    "cell_names",
    "load_cell",
    "save_cell",
]
