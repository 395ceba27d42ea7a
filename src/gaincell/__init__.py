"""gaincell: transformer attention computed in analog gain-cell memory, from circuit to language model."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from gaincell.version import __version__

if TYPE_CHECKING:
    from gaincell.adapt import adapt
    from gaincell.config import GainCellConfig
    from gaincell.errors import InputError
    from gaincell.evaluate import perplexity
    from gaincell.hardware import estimate
    from gaincell.models import convert_, load_adapter, load_demo_model
    from gaincell.ops import attention

#: Public name -> where it lives. Resolved on first use, so that `import gaincell` needs neither torch nor transformers.
_HOMES = {
    "GainCellConfig": "gaincell.config",
    "InputError": "gaincell.errors",
    "adapt": "gaincell.adapt",
    "attention": "gaincell.ops",
    "convert_": "gaincell.models",
    "estimate": "gaincell.hardware",
    "load_adapter": "gaincell.models",
    "load_demo_model": "gaincell.models",
    "perplexity": "gaincell.evaluate",
}

__all__ = [
    "GainCellConfig",
    "InputError",
    "__version__",
    "adapt",
    "attention",
    "convert_",
    "estimate",
    "load_adapter",
    "load_demo_model",
    "perplexity",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'gaincell' has no attribute '{name}'")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
