"""Text of every kind to learn from: a mixture of sources, fetched on demand and never shipped."""

from gaincell.adapt.text.mixed_with_own import Calibration, mixed_calibration
from gaincell.adapt.text.mixture import Mixture, Source, load_mixture
from gaincell.adapt.text.rows import MixedRows, mix, mixture_rows

__all__ = ["Calibration", "MixedRows", "Mixture", "Source", "load_mixture", "mix", "mixed_calibration", "mixture_rows"]
