"""One process at a time in a run folder, whatever became of the one before."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from gaincell import InputError
from gaincell.adapt.run.claim import claimed

_HOLD = """
import sys
from gaincell.adapt.run.claim import claimed
with claimed(sys.argv[1]):
    print("held", flush=True)
    input()
"""


def holder(folder: Path) -> subprocess.Popen[str]:
    """A process that has claimed a folder, and keeps it until its stdin ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_second_process_is_refused_until_the_first_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "run"
    with holder(folder) as first:
        with pytest.raises(InputError, match="another process is at work in"), claimed(folder):
            pass
        with monkeypatch.context() as second_of_several:
            second_of_several.setenv("RANK", "1")  # under `accelerate launch` the first has claimed it for all
            with claimed(folder):
                pass
        os.kill(first.pid, signal.SIGKILL)
    (folder / "config.json").write_text("{}")
    with claimed(folder), claimed(folder):
        pass
    with holder(folder) as next_one:
        next_one.communicate("\n", timeout=60)
    assert next_one.returncode == 0


def test_a_claim_to_which_nothing_came_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), claimed(tmp_path / "run"), claimed(tmp_path / "run"):
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "letter.txt").write_text("Dear")
    with pytest.raises(InputError, match="something else"), claimed(tmp_path):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]
