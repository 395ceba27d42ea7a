"""From a pre-trained model to one that fits the hardware."""

from gaincell.adapt.adapt import AdaptResult, adapt
from gaincell.adapt.settings import AdaptSettings

__all__ = ["AdaptResult", "AdaptSettings", "adapt"]
