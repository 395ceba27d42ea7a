"""What `make test` does on a machine that cannot be given the programs which some tests need."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

#: Found where Debian keeps it, whatever the path is.
POSTGRESQL = [] if list(Path("/usr/lib/postgresql").glob("*/bin/initdb")) else ["postgresql"]
SCRIPT = Path(__file__).with_name("programs.sh")


@pytest.mark.parametrize("able", [False, True], ids=["no apt-get", "an apt-get that fails"])
def test_a_program_that_cannot_be_had_is_named_and_the_tests_run_all_the_same(tmp_path: Path, able: bool) -> None:
    for name in ("env", "id"):
        os.symlink(shutil.which(name) or name, tmp_path / name)
    fakes = {"sudo": 'exec "$2" "$@"', **({"apt-get": "exit 100"} if able else {})}
    for name, does in fakes.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{does}\n")
        (tmp_path / name).chmod(0o755)
    done = subprocess.run(["/bin/sh", SCRIPT], env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
    told = done.stderr.splitlines()
    missing = ["ngspice", "chromium", *POSTGRESQL]
    assert told[0] == f"installing {' '.join(missing)} for the tests"
    assert [line.split("need ")[1].split(",")[0] for line in told[1:]] == missing


def test_nothing_is_installed_where_all_is_there(tmp_path: Path) -> None:
    for name in ("env", "id", "ngspice", "google-chrome", "initdb"):
        program = name if name in ("env", "id") else "true"
        os.symlink(shutil.which(program) or program, tmp_path / name)
    done = subprocess.run(["/bin/sh", SCRIPT], env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
