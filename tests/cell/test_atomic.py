"""What is written aside: whole or not at all, by however many writers."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gaincell.atomic import folder_written_aside, written_aside


def write(path: Path, text: str) -> None:
    with written_aside(path) as aside:
        aside.write_text(text, "utf-8")


def test_many_writers_at_once_and_the_last_ones_file_stays_whole(tmp_path: Path) -> None:
    path, texts = tmp_path / "results.json", [str(i) * 10_000 for i in range(100)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda text: write(path, text), texts))
    assert path.read_text("utf-8") in texts
    assert os.listdir(tmp_path) == ["results.json"]


def test_processes_at_once(tmp_path: Path) -> None:
    code = f"""
from pathlib import Path
from gaincell.atomic import written_aside
for i in range(50):
    with written_aside(Path({str(tmp_path / "shared")!r})) as aside:
        aside.write_text(str(i) * 1000)
"""
    writers = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(3)]
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    assert (tmp_path / "shared").read_text() == "49" * 1000
    assert os.listdir(tmp_path) == ["shared"]


def test_folders_at_once(tmp_path: Path) -> None:
    path = tmp_path / "model"

    def save(number: int) -> None:
        with folder_written_aside(path) as aside:
            for name in ("config.json", "weights"):
                (aside / name).write_text(str(number), "utf-8")

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(save, range(60)))
    assert (path / "config.json").read_text("utf-8") == (path / "weights").read_text("utf-8")
    assert os.listdir(tmp_path) == ["model"]


def test_what_a_kill_left_is_removed_by_the_next_writer_and_what_another_writes_is_not(tmp_path: Path) -> None:
    path = tmp_path / "layer.safetensors"
    code = f"""
import os
from pathlib import Path
from gaincell.atomic import written_aside
with written_aside(Path({str(path)!r})) as aside:
    aside.write_text("half")
    os._exit(9)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 9
    (left,) = tmp_path.iterdir()
    assert left.suffix == ".part"
    with written_aside(path) as other:
        other.write_text("other", "utf-8")
        write(path, "whole")
        assert other.read_text("utf-8") == "other"
        assert not left.exists()
    assert path.read_text("utf-8") == "other"


def test_nothing_stays_where_the_block_fails(tmp_path: Path) -> None:
    path = tmp_path / "a"
    write(path, "before")

    def fail() -> None:
        with written_aside(path) as aside:
            aside.write_text("half", "utf-8")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert path.read_text("utf-8") == "before"
    assert os.listdir(tmp_path) == ["a"]


def test_it_is_on_the_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    sync, rename = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda file: (done.append("synced"), sync(file)))
    monkeypatch.setattr(os, "replace", lambda *paths: (done.append("renamed"), rename(*paths)))
    write(tmp_path / "a", "text")
    assert done[:2] == ["synced", "renamed"]


@pytest.mark.parametrize("name", ["n" * 255, "\N{GREEK SMALL LETTER MU}" * 127, "a b.[x]*"])
def test_any_name_that_the_system_takes(name: str, tmp_path: Path) -> None:
    write(tmp_path / name, "text")
    assert os.listdir(tmp_path) == [name]
