"""Where models can run on this machine."""

import torch

from gaincell.errors import InputError


def check_device(device: str) -> None:
    """Refuse a device that models cannot run on here, before anything is loaded.

    Args:
        device: as torch calls it: cpu, cuda, cuda:1, mps.

    Raises:
        InputError: torch knows none of that name, or finds none here.
    """
    try:
        runs = torch.device(device).type != "meta" and bool(torch.ones(1, device=device).item())
    except (RuntimeError, AssertionError, NotImplementedError, ImportError):
        runs = False
    if not runs:
        there = ["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
        there += ["mps"] * torch.backends.mps.is_available()
        raise InputError(f"--device {device}: torch has no such device here; choose from {', '.join(there)}.")
