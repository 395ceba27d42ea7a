"""Saved models load as what they are wherever gaincell is installed, without a word of it in the program.

transformers does not know the section that a converted model has in its `config.json`: it would log a warning, leave
the section out, and attend with softmax. So torch, when it is imported, calls `watch` (entry-point group
`torch.backends`; `TORCH_DEVICE_BACKEND_AUTOLOAD=0` switches it off), and transformers, when it comes to its list of
sections, finds one that imports `gaincell.models` on first use. Until then nothing else is imported.
"""

import sys
from collections.abc import Sequence
from typing import Any

#: The list is in the first. Who imports that one before torch imports torch from the midst of it, too late to be told
#: when it is complete; it is when the second is.
WATCHED = ("transformers.quantizers.auto", "transformers.modeling_utils")


def watch() -> None:
    """Wait for transformers to be imported."""
    if not any(isinstance(finder, _Watcher) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Watcher())


class _Watcher:
    """Finds no module itself, but has `_enlist` called when one of `WATCHED` has been executed."""

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: Any = None) -> Any:
        if name not in WATCHED:
            return None
        others = (finder for finder in sys.meta_path if finder is not self and hasattr(finder, "find_spec"))
        spec = next(filter(None, (finder.find_spec(name, path, target) for finder in others)), None)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def execute_and_enlist(module: Any) -> None:
                execute(module)
                _enlist()

            spec.loader.exec_module = execute_and_enlist
        return spec


class _Section:
    """Stands in transformers' list until `gaincell.models` is imported, which puts its own class there."""

    @staticmethod
    def from_dict(*args: Any, **kwargs: Any) -> Any:
        from gaincell.models import GainCellCheckpointConfig

        return GainCellCheckpointConfig.from_dict(*args, **kwargs)


def _enlist() -> None:
    known = getattr(sys.modules.get(WATCHED[0]), "AUTO_QUANTIZATION_CONFIG_MAPPING", None)
    if isinstance(known, dict):
        known.setdefault("gaincell", _Section)
