"""Draws that depend on what they are for, and on nothing that was drawn before."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def seeded(*key: object) -> torch.Generator:
    """A generator of its own for every key."""
    return torch.Generator().manual_seed(number_of(*key))


@contextmanager
def drawing(*key: object) -> Iterator[None]:
    """Let noise without a seed of its own be what the key says, and leave torch's generator where it was."""
    with torch.random.fork_rng(devices=[]):  # noise is drawn by a seed from the CPU's generator
        torch.default_generator.manual_seed(number_of(*key))
        yield


def number_of(*key: object) -> int:
    """A seed of its own for every key."""
    digest = hashlib.sha256(repr(key).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1
