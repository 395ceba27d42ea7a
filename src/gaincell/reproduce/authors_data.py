"""The authors' data, in a folder that the user names: read where it lies, never shipped."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from gaincell.cell.cell import is_file, read_json
from gaincell.errors import InputError

SUBTILE = "subtile_64x64_cubic_unquantised.npz"
CURVES = "openwebtext_training_curves.json"
ARRAYS = ("Q", "K", "V", "S", "phi_S", "output")


class Reference:
    """Data that Leroux et al. released with their training code (MIT licence), under the names in `SUBTILE`, `CURVES`.

    Args:
        folder: where both files lie.

    Raises:
        InputError: there is no such folder, or it lacks a file.
    """

    def __init__(self, folder: Path) -> None:
        for name in (SUBTILE, CURVES):
            if not is_file(folder / name):
                raise InputError(f"--reference {folder} holds no {name}; name the folder with the authors' data.")
        self.folder = folder

    def content(self) -> bytes:
        """Both files' bytes."""
        return b"".join((self.folder / name).read_bytes() for name in (SUBTILE, CURVES))

    def subtile(self) -> dict[str, np.ndarray]:
        """Q, K (volt), V (volt), S, phi_S and output of ten 64 x 64 sub-tiles, (10, 64, 64) each, in float64.

        Raises:
            InputError: the file is damaged.
        """
        path = self.folder / SUBTILE
        try:
            with np.load(path, allow_pickle=False) as data:
                arrays = {name: data[name].astype(np.float64) for name in ARRAYS}
        except Exception as error:  # whatever a damaged archive provokes
            raise InputError(f"{path} cannot be read ({error}); fetch it again.") from None
        if any(array.shape != arrays["Q"].shape or array.ndim != 3 for array in arrays.values()):
            raise InputError(f"{path} holds arrays of other shapes than published; fetch it again.")
        return arrays

    def curves(self) -> dict[str, tuple[list[float], list[float]]]:
        """Iterations and cross-entropy of each training run.

        Raises:
            InputError: the file is damaged.
        """
        path = self.folder / CURVES
        data: dict[str, Any] = read_json(path)
        try:
            found = {
                " ".join(name.split()): ([float(x) for x in run["iterations"]], [float(x) for x in run[_LOSS]])
                for name, run in data.items()
            }
        except (TypeError, KeyError, ValueError, json.JSONDecodeError):
            raise InputError(f"{path} holds no training curves; fetch it again.") from None
        return {name: curve for name, curve in found.items() if name != "null"}


_LOSS = "Cross entropy loss"
