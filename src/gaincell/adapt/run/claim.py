"""A run folder belongs to one process at a time."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from gaincell.errors import InputError

_LOCK = ".lock"


@contextmanager
def claimed(folder: Path | str) -> Iterator[None]:
    """Keep a run folder to this process for as long as the block lasts; blocks of one process may be nested.

    The operating system holds the lock (flock, on a file in the folder) and ends it with the process, however that
    ends. Of several processes under `accelerate launch` the first claims the folder for all.

    Args:
        folder: created if missing, and then removed again if nothing came to lie in it.

    Raises:
        InputError: another process has it, or it holds files that are not a run's.
    """
    if int(os.environ.get("RANK", "0")):
        yield
        return
    folder = Path(folder)
    there = folder.exists()
    if there and not (folder / "config.json").is_file() and not _empty(folder):
        raise InputError(f"{folder} holds something else; choose another output folder.")
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder.resolve() / _LOCK, timeout=0, is_singleton=True)
    try:
        lock.acquire()
    except Timeout:
        raise InputError(
            f"another process is at work in {folder}; wait until it has ended, or choose another output folder."
        ) from None
    try:
        yield
    finally:
        if not there:
            with suppress(OSError):
                if _empty(folder):
                    (folder / _LOCK).unlink()
                    folder.rmdir()
        lock.release()


def _empty(folder: Path) -> bool:
    """Whether nothing lies in a folder but a lock and what a full disk left."""
    return folder.is_dir() and all(path.suffix == ".part" or path.name == _LOCK for path in folder.iterdir())
