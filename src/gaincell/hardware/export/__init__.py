"""A design point for other tools: components for hwcomponents, an architecture for AccelForge. Imports neither."""

from gaincell.hardware.export.accelforge import write_accelforge
from gaincell.hardware.export.hwcomponents import write_hwcomponents

__all__ = ["write_accelforge", "write_hwcomponents"]
