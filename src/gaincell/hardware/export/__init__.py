"""A design point for other tools: components for hwcomponents, which is not imported."""

from gaincell.hardware.export.hwcomponents import write_hwcomponents

__all__ = ["write_hwcomponents"]
