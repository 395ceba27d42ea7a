"""A PostgreSQL of its own, where there is one; and a tiny model that adaptation found scalers for."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


def _programs() -> Path | None:
    """Where PostgreSQL's programs lie: Debian keeps them off the path."""
    found = shutil.which("initdb")
    places = [Path(found).parent] if found else []
    places += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((place for place in places if (place / "initdb").exists()), None)


@pytest.fixture
def postgres() -> Iterator[str]:
    """The address of a database that runs as long as the test, in a folder of its own, without a port."""
    programs = _programs()
    if programs is None:
        pytest.skip("needs PostgreSQL")
    root = os.getuid() == 0
    if root and not shutil.which("runuser"):
        pytest.skip("PostgreSQL does not run as root, and there is no runuser")
    as_user = ["runuser", "-u", "postgres", "--"] if root else []
    folder = Path(tempfile.mkdtemp(prefix="gaincell-pg-", dir="/tmp"))
    if root:
        shutil.chown(folder, "postgres", "postgres")
    data = folder / "data"

    def call(program: str, *args: object) -> None:
        command = [*as_user, str(programs / program), *map(str, args)]
        subprocess.run(command, check=True, capture_output=True, cwd=folder, timeout=120)

    call("initdb", "--no-sync", "--auth=trust", "--username=postgres", "-D", data)
    call("pg_ctl", "-D", data, "-w", "-l", folder / "log", "-o", f"-F -k {folder} -c listen_addresses=''", "start")
    try:
        yield f"postgresql://postgres@/postgres?host={folder}"
    finally:
        call("pg_ctl", "-D", data, "-m", "immediate", "stop")
        shutil.rmtree(folder)
