"""What the hardware is built from: each part's energy, area and time, with their source."""

from gaincell.hardware.components.catalogue import Components
from gaincell.hardware.components.component import Component

__all__ = ["Component", "Components"]
