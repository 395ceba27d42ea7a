"""ngspice where it is installed, with a cache of the test's own."""

import shutil
from pathlib import Path

import pytest

from gaincell.circuit import Ngspice


@pytest.fixture
def ngspice(tmp_path: Path) -> Ngspice:
    if shutil.which("ngspice") is None:
        pytest.skip("ngspice is not installed (Debian, Ubuntu: apt-get install ngspice)")
    return Ngspice(cache=tmp_path / "cache")
