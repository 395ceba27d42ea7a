"""Checkpoints of distillation: what is trained, the optimiser's state and the step; the newest two are kept."""

import logging
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor

from gaincell.errors import InputError
from gaincell.models.tensorfile import read_tensors, write_tensors

logger = logging.getLogger("gaincell")

KEPT = 2
_KEY = "gaincell_checkpoint"


class Checkpoints:
    """The checkpoints in a folder, one safetensors file each, written aside and renamed.

    Tensors are whole in the file, however many processes share them in memory: a run goes on with any number.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def save(
        self, step: int, named: dict[str, nn.Parameter], optimiser: torch.optim.Optimizer, write: bool = True
    ) -> None:
        """Keep the state after `step` steps. Every process must call it; only the one with `write` writes."""
        tensors: dict[str, Tensor] = {}
        for name, p in named.items():
            tensors[f"parameter/{name}"] = _whole(p.detach())
            for key, value in optimiser.state.get(p, {}).items():
                tensors[f"{key}/{name}"] = _whole(value)
        if write:
            whole = {name: tensor.contiguous().cpu().clone() for name, tensor in tensors.items()}
            write_tensors(self._path(step), whole, _KEY, {"step": step})
            for old in sorted(self.folder.glob("step-*.safetensors"))[:-KEPT]:
                old.unlink()

    def load(self, named: dict[str, nn.Parameter], optimiser: torch.optim.Optimizer | None = None) -> int:
        """Put the newest readable checkpoint into the parameters and the optimiser; its step, or 0 if there is none."""
        for path in sorted(self.folder.glob("step-*.safetensors"), reverse=True):
            try:
                tensors = read_tensors(path)
                for name, p in named.items():
                    if tensors[f"parameter/{name}"].shape != p.shape:
                        raise InputError(f"{path} holds {name} in another shape")
            except (InputError, KeyError) as error:
                logger.warning("%s cannot be read (%s); going on from the one before", path, error)
                continue
            for name, p in named.items():
                with torch.no_grad():
                    p.copy_(_like(p, tensors[f"parameter/{name}"]))
            if optimiser is not None:
                for key, value in tensors.items():
                    kind, _, name = key.partition("/")
                    if kind != "parameter":
                        p = named[name]
                        optimiser.state[p][kind] = _like(p, value) if value.shape == p.shape and value.dim() else value
            return int(path.stem.removeprefix("step-"))
        return 0

    def _path(self, step: int) -> Path:
        return self.folder / f"step-{step:08d}.safetensors"


def _whole(tensor: Tensor) -> Tensor:
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def _like(p: Tensor, value: Tensor) -> Tensor:
    """A tensor laid out as the parameter is: on its device, and in its shards."""
    value = value.to(p.device)
    return distribute_tensor(value, p.device_mesh, p.placements) if isinstance(p, DTensor) else value
