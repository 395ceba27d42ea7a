"""A run directory: what was done stays done, whole or not at all."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from gaincell.adapt.settings import AdaptSettings, named
from gaincell.atomic import written_aside
from gaincell.config import GainCellConfig
from gaincell.errors import InputError
from gaincell.files import read_lines, read_object, reading
from gaincell.models.tensorfile import read_tensors, write_tensors

_KEY = "gaincell_run"


class Run:
    """The folder of one adaptation: `config.json`, `metrics.jsonl`, and one safetensors file per finished layer.

    A line of metrics is a finished layer's, written with `save`, a step's, written with `log`, or what came out at
    the end, written with `conclude`.

    Every file is written aside and renamed, so that a killed run leaves only finished ones.

    Args:
        folder: created if missing; `claimed` by this process.
        config: what identifies the run; a folder that holds another one is refused.
        new: whether the folder may be a new one.

    Raises:
        InputError: the folder belongs to another run, or to none where it must.
    """

    def __init__(self, folder: Path | str, config: dict[str, Any], *, new: bool = True) -> None:
        self.folder = Path(folder)
        path = self.folder / "config.json"
        if path.is_file():
            check_same(self.folder, config)
        elif not new:
            raise InputError(f"{self.folder} holds no run that has begun; check the path.")
        else:
            with written_aside(path) as aside:
                aside.write_text(json.dumps(config, indent=2), "utf-8")

    def load(self, stage: str, layer: int, module: nn.Module) -> dict[str, Any] | None:
        """Put a finished layer's parameters into `module` and return its metrics; None if it is not finished."""
        path = self._path(stage, layer)
        metrics = [m for m in self.metrics() if (m["stage"], m.get("layer")) == (stage, layer)]
        if not path.is_file() or not metrics:
            return None
        with reading(path):
            module.load_state_dict(read_tensors(path))
        return metrics[-1]

    def save(self, stage: str, layer: int, tensors: dict[str, Tensor], metrics: dict[str, Any]) -> None:
        """Keep a finished layer's parameters and metrics."""
        kept = {name: tensor.detach().contiguous().clone() for name, tensor in tensors.items()}
        write_tensors(self._path(stage, layer), kept, _KEY, {"stage": stage, "layer": layer})
        self._write([m for m in self.metrics() if (m["stage"], m.get("layer")) != (stage, layer)] + [metrics])

    def finished(self, stage: str, layer: int) -> bool:
        """Whether `load` would find a layer."""
        done = any((m["stage"], m.get("layer")) == (stage, layer) for m in self.metrics())
        return done and self._path(stage, layer).is_file()

    def log(self, metrics: dict[str, Any]) -> None:
        """Append one step's metrics, with its "stage" and "step"."""
        with (self.folder / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(metrics) + "\n")

    def conclude(self, metrics: dict[str, Any]) -> None:
        """Keep what came out at the end, in place of what did so before; it has a "stage" of its own."""
        self._write([m for m in self.metrics() if m["stage"] != metrics["stage"]] + [metrics])

    def rewind(self, stage: str, step: int) -> None:
        """Forget what was logged of a stage after `step`, and half a line that a kill left."""
        self._write(self.until(stage, step))

    def until(self, stage: str, step: int) -> list[dict[str, Any]]:
        """The metrics but for those of a stage after `step`."""
        return [m for m in self.metrics() if m["stage"] != stage or m.get("step", 0) <= step]

    def check_reached(self, stage: str, layers: Iterable[int]) -> None:
        """Raise InputError unless a stage has a checkpoint, or all of these layers are finished."""
        checkpoints = (self.folder / stage).glob("step-*.safetensors")
        if not any(checkpoints) and not all(self.finished(stage, layer) for layer in layers):
            raise InputError(
                f"{self.folder} has no checkpoint of '{stage}' yet; let the run go on, or name the stages that it has."
            )

    def keep(self, name: str, tensor: Tensor) -> None:
        """Keep one tensor beside the layers."""
        write_tensors(self.folder / f"{name}.safetensors", {name: tensor.cpu()}, _KEY, {"holds": name})

    def tensor(self, name: str) -> Tensor | None:
        """A tensor that was kept, or None."""
        path = self.folder / f"{name}.safetensors"
        if not path.is_file():
            return None
        with reading(path):
            return read_tensors(path)[name]

    def holds(self, stage: str) -> bool:
        """Whether any layer of a stage is finished."""
        return any(m["stage"] == stage for m in self.metrics())

    def metrics(self) -> list[dict[str, Any]]:
        """One entry per finished layer or step of a stage, in the order in which they finished."""
        path = self.folder / "metrics.jsonl"
        found = read_lines(path) if path.is_file() else []
        with reading(path):
            for entry in found:
                if not isinstance(entry["stage"], str) or not isinstance(entry.get("step", 0), int):
                    raise ValueError("an entry names no stage or step")
        return found

    def _write(self, lines: list[dict[str, Any]]) -> None:
        with written_aside(self.folder / "metrics.jsonl") as aside:
            aside.write_text("".join(json.dumps(m) + "\n" for m in lines), "utf-8")

    def _path(self, stage: str, layer: int) -> Path:
        return self.folder / stage / f"layer-{layer:03d}.safetensors"


def check_same(folder: Path, config: dict[str, Any], *, part: bool = False) -> None:
    """Raise InputError if a folder holds another run; with `part`, of what this part of a config says."""
    path = folder / "config.json"
    if not path.is_file():
        return
    present = read_object(path, "it is not a run's config any more: choose another output folder")
    kept = present.get("settings")
    try:
        config, present = _identity(config), _identity(present)
    except InputError as error:
        raise InputError(f"{path}: {str(error).rstrip('.')}; choose another output folder.") from None
    if isinstance(kept, dict) and "learning_leak" not in named(kept):
        # A run from before the setting: its layers learned with their own leak, and those that are left as is said now.
        present["settings"]["learning_leak"] = config["settings"]["learning_leak"]
    differing = sorted(k for k in (config if part else config | present) if config.get(k) != present.get(k))
    if differing:
        told = f"{', '.join(differing)} differ{_settings_apart(config, present)}"
        raise InputError(f"{folder} belongs to another run ({told}); choose another output folder.")


def _settings_apart(config: dict[str, Any], present: dict[str, Any]) -> str:
    """Which settings are others than a folder's, and what they are there."""
    here, there = config.get("settings"), present.get("settings")
    if not isinstance(here, dict) or not isinstance(there, dict):
        return ""
    apart = [f"{k} is {there.get(k)} there" for k in sorted(here | there) if here.get(k) != there.get(k)]
    return f": {', '.join(apart)}" if apart else ""


def _identity(config: dict[str, Any]) -> dict[str, Any]:
    """A run's config, its settings and its design point as they are read today, however the latter is computed: what is
    newer than the run has its default there.
    """
    settings, fields = config.get("settings"), config.get("design_point")
    if isinstance(settings, dict):
        config = config | {"settings": named(AdaptSettings().model_dump(mode="json")) | named(settings)}
    if not isinstance(fields, dict):
        return config
    try:
        return config | {"design_point": GainCellConfig(**fields).without("execution")}
    except InputError:
        return config
