"""From a pre-trained model to one that fits the hardware."""

import inspect
import sys
from types import ModuleType

from gaincell.adapt.adapt import AdaptResult, adapt
from gaincell.adapt.settings import AdaptSettings

__all__ = ["AdaptResult", "AdaptSettings", "adapt"]


class _CallablePackage(ModuleType):
    """Python binds an imported package's name in its parent: what `gaincell.adapt` means must not depend on that."""

    __call__ = staticmethod(adapt)
    __signature__ = inspect.signature(adapt)


sys.modules[__name__].__class__ = _CallablePackage
