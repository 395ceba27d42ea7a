"""One gain cell: its charge law, its retention, what else is known of its circuit, and where they come from."""

from gaincell.cell.cell import Cell, cell_presets, load_cell, save_cell
from gaincell.cell.figures import CircuitFigures
from gaincell.cell.law import PolynomialLaw
from gaincell.cell.retention import Retention, RetentionTable

__all__ = [
    "Cell",
    "CircuitFigures",
    "PolynomialLaw",
    "Retention",
    "RetentionTable",
    "cell_presets",
    "load_cell",
    "save_cell",
]
