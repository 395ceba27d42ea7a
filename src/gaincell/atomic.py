"""Files that are there whole or not at all."""

import errno
import itertools
import os
import platform
import shutil
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_numbers = itertools.count()
#: Of a file's name, what a name beside it keeps: system limits are 255 bytes, and a letter takes up to four.
_KEPT = 50
_TRIES = 1000


@contextmanager
def written_aside(path: Path) -> Iterator[Path]:
    """A file beside `path` to write to: on disk and renamed to `path` if the block ends well, removed if it does not.

    Folders above are made. Every writer has a name of its own, so that of several at once the last one's file stays,
    whole. What a kill left beside is removed by the next one on the same machine.
    """
    aside = _name_aside(path)
    try:
        yield aside
        _to_disk(aside)
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)
    with suppress(OSError):  # some file systems cannot; the file is whole without
        _to_disk(path.parent)


@contextmanager
def folder_written_aside(path: Path) -> Iterator[Path]:
    """The same for a folder: one beside `path` to write files to, which takes its place if the block ends well."""
    aside = _name_aside(path)
    old = aside.with_name(aside.name.removesuffix(".part") + ".old.part")
    aside.mkdir()
    try:
        yield aside
        for file in aside.rglob("*"):
            _to_disk(file)
        for _ in range(_TRIES):
            with suppress(FileNotFoundError):
                path.rename(old)
            try:
                aside.rename(path)
                break
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):  # these: another writer was faster
                    with suppress(OSError):
                        old.rename(path)
                    raise
                shutil.rmtree(old, ignore_errors=True)
        else:
            raise FileExistsError(errno.EEXIST, "others keep writing to the same folder", str(path))
    finally:
        for left in (aside, old):
            shutil.rmtree(left, ignore_errors=True)


def _name_aside(path: Path) -> Path:
    """A name beside `path` that is this writer's own."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beginning = f".{path.name[:_KEPT]}.{zlib.crc32(os.fsencode(path.name)):08x}"
    # folders may be shared by machines, and so may their numbers of processes
    machine = f"{zlib.crc32(platform.node().encode()):08x}"
    _remove_left(path.parent, f"{beginning}.{machine}.")
    return path.with_name(f"{beginning}.{machine}.{os.getpid()}.{next(_numbers)}.part")


def _to_disk(path: Path) -> None:
    """Wait until what was written is on the disk: after a power cut, a renamed file could be empty."""
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def _remove_left(folder: Path, beginning: str) -> None:
    """Remove what writers left that this machine's processes are not at work on any more."""
    with os.scandir(folder) as entries:
        left = [entry.name for entry in entries if entry.name.startswith(beginning) and entry.name.endswith(".part")]
    for name in left:
        process = name[len(beginning) :].partition(".")[0]
        if process.isdecimal() and not _is_alive(int(process)):
            shutil.rmtree(folder / name, ignore_errors=True)
            with suppress(OSError):
                (folder / name).unlink(missing_ok=True)


def _is_alive(process: int) -> bool:
    if os.name != "posix":  # signal 0 ends a process elsewhere
        return True
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
