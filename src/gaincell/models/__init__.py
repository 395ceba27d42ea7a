"""Hugging Face models that attend in gain cells. Importing this registers them with transformers."""

from gaincell.models.cache import RingCache
from gaincell.models.checkpoint import GainCellCheckpointConfig
from gaincell.models.convert import attention_modules, check_servable, convert_, design_point, scalers_of
from gaincell.models.demo import load_demo_model
from gaincell.models.interface import register
from gaincell.models.scalers import HeadScalers

register()

__all__ = [
    "GainCellCheckpointConfig",
    "HeadScalers",
    "RingCache",
    "attention_modules",
    "check_servable",
    "convert_",
    "design_point",
    "load_demo_model",
    "scalers_of",
]
