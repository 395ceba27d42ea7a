"""Hugging Face models that attend in gain cells. Importing this registers them with transformers."""

from gaincell.models.adapter import AdapterInfo, adapter_info, adapter_names, load_adapter, save_adapter, seal_adapter
from gaincell.models.attention_maps import AttentionMaps, attention_maps
from gaincell.models.attention_modules import attention_modules, design_point, positions_of, scalers_of
from gaincell.models.compare_heads import HeadErrors, head_errors
from gaincell.models.config_section import GainCellCheckpointConfig
from gaincell.models.convert import check_servable, convert_
from gaincell.models.demo_model import load_demo_model
from gaincell.models.fingerprint import base_hash
from gaincell.models.interface import register
from gaincell.models.observe import attention_activity
from gaincell.models.quantiser import register_quantiser
from gaincell.models.ring_cache import RingCache
from gaincell.models.scalers import HeadScalers

register()
register_quantiser()

__all__ = [
    "AdapterInfo",
    "AttentionMaps",
    "GainCellCheckpointConfig",
    "HeadErrors",
    "HeadScalers",
    "RingCache",
    "adapter_info",
    "adapter_names",
    "attention_activity",
    "attention_maps",
    "attention_modules",
    "base_hash",
    "check_servable",
    "convert_",
    "design_point",
    "head_errors",
    "load_adapter",
    "load_demo_model",
    "positions_of",
    "save_adapter",
    "scalers_of",
    "seal_adapter",
]
