"""From a pre-trained model to one that fits the hardware."""

import inspect
import sys
from types import ModuleType

from gaincell.adapt.adaptation import adapt
from gaincell.adapt.outcome import Outcome
from gaincell.adapt.paper_recipe import paper_recipe
from gaincell.adapt.settings import AdaptSettings, DistillSettings, TransferSettings
from gaincell.adapt.stage import AdaptResult
from gaincell.adapt.text import mixture_rows
from gaincell.adapt.text.held_out import check_held_out
from gaincell.adapt.text.sources import load_source

__all__ = [
    "AdaptResult",
    "AdaptSettings",
    "DistillSettings",
    "Outcome",
    "TransferSettings",
    "adapt",
    "check_held_out",
    "load_source",
    "mixture_rows",
    "paper_recipe",
]


class _CallablePackage(ModuleType):
    """Python binds an imported package's name in its parent: what `gaincell.adapt` means must not depend on that."""

    __call__ = staticmethod(adapt)
    __signature__ = inspect.signature(adapt)


sys.modules[__name__].__class__ = _CallablePackage
