"""What is in an archive, read without unpacking it and without running anything in it."""

import io
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import IO

from gaincell.errors import InputError

#: Bytes of one file and of all that are asked for, at most: an archive may unpack to any size.
FILE_BYTES, ALL_BYTES = 256 << 20, 2 << 30

_AR, _AR_HEADER = b"!<arch>\n", 60
_DAMAGED = (
    *(zipfile.BadZipFile, tarfile.TarError, lzma.LZMAError, zlib.error),
    *(EOFError, OSError, ValueError, RuntimeError, NotImplementedError),  # of encrypted members, and the like
)


def members(path: Path, patterns: tuple[str, ...], without: tuple[str, ...] = ()) -> Iterator[tuple[str, bytes]]:
    """Name and content of the files of an archive whose names match one of the patterns.

    Args:
        path: a wheel or zip; a tar, compressed or not; a Debian package; or any other file, which is its own content.
        patterns: as of a shell, where "*" stands for "/" as well.
        without: patterns of those that are not asked for all the same.

    Raises:
        InputError: it is damaged, has names that lead out of it, unpacks to too much, or nothing in it matches.
    """
    found = False
    try:
        total = 0
        for name, size, content in _entries(path):
            if not _matches(name, patterns) or _matches(name, without):
                continue
            total += size
            if size > FILE_BYTES or total > ALL_BYTES:
                raise InputError(f"{path} unpacks to too much at {name} ({total:,} bytes); ask for fewer of its files.")
            data = content.read(size + 1)
            if len(data) > size:
                raise InputError(f"{path} holds more of {name} than it says; it is no archive to trust.")
            found = True
            yield name, data
    except InputError:
        raise
    except _DAMAGED as error:
        raise InputError(f"{path} is damaged, or no archive that can be read ({error!s:.120}).") from None
    if not found:
        raise InputError(f"{path} holds no file that matches {', '.join(patterns)}.")


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _entries(path: Path) -> Iterator[tuple[str, int, IO[bytes]]]:
    """Name, size and content of all files."""
    with path.open("rb") as file:
        start = file.read(len(_AR))
        file.seek(0)
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(file) as archive:
                for entry in sorted(archive.infolist(), key=lambda entry: entry.filename):
                    _check_inside(entry.filename, path)
                    if not entry.is_dir():
                        with archive.open(entry) as content:
                            yield entry.filename, entry.file_size, content
        elif start == _AR:
            yield from _tar(io.BytesIO(_debian_data(file, path)), path)
        elif tarfile.is_tarfile(path):
            yield from _tar(file, path)
        else:
            yield path.name, path.stat().st_size, file


def _tar(file: IO[bytes], path: Path) -> Iterator[tuple[str, int, IO[bytes]]]:
    with tarfile.open(fileobj=file) as archive:
        for entry in archive:  # as they lie in it: to go back in a compressed one is to begin anew
            _check_inside(entry.name, path)
            content = archive.extractfile(entry) if entry.isreg() else None
            if content is not None:
                yield entry.name.removeprefix("./"), entry.size, content


def _check_inside(name: str, path: Path) -> None:
    parts = PurePosixPath(name.replace("\\", "/"))
    if parts.is_absolute() or ".." in parts.parts or (len(name) > 1 and name[1] == ":"):
        raise InputError(f"{path} holds a file '{name}', whose name leads out of it; it is no archive to trust.")


def _debian_data(file: IO[bytes], path: Path) -> bytes:
    """The tar of a Debian package's files (deb(5)): a member of an ar archive, each after a header of 60 bytes."""
    file.seek(len(_AR))
    while header := file.read(_AR_HEADER):
        name, size = header[:16].decode("ascii", "replace").strip().rstrip("/"), int(header[48:58])
        if name.startswith("data.tar"):
            if name.endswith(".zst"):
                raise InputError(
                    f"{path} is compressed with zstd, which this Python cannot read; choose another package."
                )
            data = file.read(size)
            if len(data) < size:
                raise InputError(f"{path} is damaged: it ends amid {name}.")
            return data
        file.seek(size + size % 2, 1)
    raise InputError(f"{path} is no Debian package: it holds no data.tar.")
