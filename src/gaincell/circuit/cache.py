"""Results kept by content: the same netlist, included files, options and ngspice are not simulated twice."""

import hashlib
import json
import logging
import os
import re
import tempfile
import zipfile
import zlib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from gaincell.circuit.rawfile import Plot

_INCLUDE = re.compile(
    r"""^\s*\.(include|inc|lib)\s+(?:"([^"\n]+)"|'([^'\n]+)'|(\S+))[ \t]*(\S+)?""", re.IGNORECASE | re.MULTILINE
)
# Further ways for a netlist to depend on what is not in its text: such a run is never kept.
_OUTSIDE = re.compile(
    r"^\s*\.(control|csparam|(?!(?:inc|include|lib)\s)(?:inc|lib))|\b\w*file\s*=|^\s*(pre_|\*#)",
    re.IGNORECASE | re.MULTILINE,
)

#: What a folder of results may take; characterising a cell takes some 30 MB.
LIMIT_BYTES = 1 << 30
#: How much of that is left when the oldest results had to go, so that not every new one has to look again.
_KEPT = 0.9

_log = logging.getLogger(__name__)


class Cache:
    """A folder of results, one file each. Safe with several processes: a file is there whole or not at all.

    Args:
        folder: where; made on first use. It may be deleted at any time.
        limit_bytes: what all results may take; the least recently used go first.
    """

    def __init__(self, folder: Path, limit_bytes: int = LIMIT_BYTES) -> None:
        self._folder, self._limit_bytes = folder, limit_bytes

    def load(self, key: str) -> list[Plot] | None:
        """What was kept under a key; None where there is nothing, or nothing that can be read."""
        path = self._folder / f"{key}.npz"
        try:
            # opened here: np.load leaves a damaged archive open
            with path.open("rb") as kept, np.load(kept, allow_pickle=False) as file:
                header = json.loads(str(file["header"]))
                plots = [
                    Plot(plot["name"], {name: file[f"{i}-{j}"] for j, name in enumerate(plot["signals"])})
                    for i, plot in enumerate(header)
                ]
        except FileNotFoundError:
            return None
        except (OSError, ValueError, LookupError, TypeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            _log.warning("a kept simulation result cannot be read (%s); it is simulated anew", error)
            return None
        with suppress(OSError):
            os.utime(path)  # used now; file systems seldom note that themselves
        return plots

    def store(self, key: str, plots: Sequence[Plot]) -> None:
        """Keep results. Where that fails (a full disk), a note is logged and nothing is left behind."""
        header = json.dumps([{"name": plot.name, "signals": list(plot.signals)} for plot in plots])
        arrays: dict[str, Any] = {
            f"{i}-{j}": column for i, plot in enumerate(plots) for j, column in enumerate(plot.signals.values())
        }
        aside = None
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            # a name of its own, so that two processes with the same deck do not write to one file
            handle, aside = tempfile.mkstemp(prefix=f".{key}.", dir=self._folder)
            with os.fdopen(handle, "wb") as file:
                np.savez(file, header=np.array(header), **arrays)
            os.replace(aside, self._folder / f"{key}.npz")
            aside = None
            self._make_room()
        except OSError as error:
            _log.warning("a simulation result could not be kept in %s: %s", self._folder, error.strerror or error)
            if aside is not None:
                with suppress(OSError):
                    os.unlink(aside)

    def size_bytes(self) -> int:
        """What the results take; 0 where there are none."""
        return sum(file.st_size for _, file in self._files())

    def _files(self) -> list[tuple[Path, os.stat_result]]:
        found = []
        for path in self._folder.glob("*"):
            with suppress(OSError):  # another process may remove it
                found.append((path, path.stat()))
        return found

    def _make_room(self) -> None:
        """Remove what was not used for longest, where there is more than may be."""
        files = sorted(self._files(), key=lambda entry: entry[1].st_mtime_ns)
        total = sum(file.st_size for _, file in files)
        if total <= self._limit_bytes:
            return
        for path, file in files[:-1]:  # never the one just kept
            if total <= _KEPT * self._limit_bytes:
                break
            with suppress(OSError):
                path.unlink()
                total -= file.st_size


def content_key(texts: Sequence[str], version: str, options: Sequence[str]) -> str | None:
    """A name for everything that a run's results depend on; None where they depend on more than can be read.

    Args:
        texts: the whole netlist that ngspice is given, and those of the files that it includes.
        version: of ngspice.
        options: its command-line options.
    """
    if any(_OUTSIDE.search(text) for text in texts):
        return None
    digest = hashlib.sha256()
    for part in (version, *options, *texts):
        digest.update(part.encode() + b"\0")
    return digest.hexdigest()


def included_files(netlist: str, folder: Path) -> tuple[dict[Path, str], bool]:
    """The texts of all files that a netlist includes, and so on down, and whether all could be read.

    Args:
        netlist: its text.
        folder: what its relative paths start from; those of an included file start from its own folder.
    """
    files: dict[Path, str] = {}
    complete, waiting = True, [(netlist, folder)]
    while waiting:
        text, folder = waiting.pop()
        for kind, *names, section in _INCLUDE.findall(text):
            try:
                path = (folder / "".join(names)).resolve()
                if path in files:
                    continue
                if not path.is_file():
                    raise FileNotFoundError  # what is no plain file could be read for ever
                files[path] = path.read_text("latin-1")
                waiting.append((files[path], path.parent))
            except (OSError, ValueError, RuntimeError):
                complete &= kind.lower() == "lib" and not section  # the heading of a library's section looks the same
    return files, complete
