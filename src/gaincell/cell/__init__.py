"""One gain cell: its charge law, its retention, and where they come from."""

from gaincell.cell.cell import Cell, cell_presets, load_cell
from gaincell.cell.law import PolynomialLaw
from gaincell.cell.retention import Retention

__all__ = ["Cell", "PolynomialLaw", "Retention", "cell_presets", "load_cell"]
