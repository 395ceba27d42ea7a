"""A panel of texts that nothing is learned from, and what models do on it beside their original."""

from gaincell.evaluate.panel.panel import GenreResult, ModelResult, PanelResult, measure_panel
from gaincell.evaluate.panel.passages import PanelPassages, drop_panel
from gaincell.evaluate.panel.texts import GENRES, Genre, panel_hash

__all__ = [
    "GENRES",
    "Genre",
    "GenreResult",
    "ModelResult",
    "PanelPassages",
    "PanelResult",
    "drop_panel",
    "measure_panel",
    "panel_hash",
]
