"""Archives are read without unpacking them, and nothing in them is run."""

from pathlib import Path

import pytest
from text_archives import deb_bytes, make_zip, tar_bytes

from gaincell.adapt.text import archive
from gaincell.adapt.text.archive import members
from gaincell.errors import InputError

FILES = {"a/one.txt": "first", "a/b/two.txt": "zweite ü", "three.py": "x = 1"}


def write(path: Path, kind: str, files: dict[str, str]) -> Path:
    if kind == "zip":
        return make_zip(path, files)
    path.write_bytes(deb_bytes(files) if kind == "deb" else tar_bytes(files, kind))
    return path


@pytest.mark.parametrize("kind", ["zip", "w", "w:gz", "w:xz", "deb"])
def test_every_kind_of_archive_gives_the_files_that_match(kind: str, tmp_path: Path) -> None:
    path = write(tmp_path / "archive", kind, FILES)
    found = {name: data.decode() for name, data in members(path, ("*.txt",))}
    assert found == {name: text for name, text in FILES.items() if name.endswith(".txt")}
    assert [name for name, _ in members(path, ("*",), ("*.txt",))] == ["three.py"]


@pytest.mark.parametrize("kind", ["zip", "w:gz", "deb"])
@pytest.mark.parametrize("name", ["../out.txt", "a/../../out.txt", "/etc/out.txt", "C:\\out.txt"])
def test_an_archive_with_names_that_lead_out_of_it_is_refused(kind: str, name: str, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    path = write(tmp_path / "in" / "archive", kind, {name: "x"})
    with pytest.raises(InputError, match="leads out of it"):
        list(members(path, ("*",)))
    assert [p.name for p in tmp_path.rglob("*") if p.is_file()] == ["archive"]


def test_a_plain_file_is_its_own_content(tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    path.write_text("some words", "utf-8")
    assert list(members(path, ("*",))) == [("words.txt", b"some words")]


def test_more_than_the_limits_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_zip(tmp_path / "archive", {"a.txt": "x" * 100, "b.txt": "y" * 100})
    monkeypatch.setattr(archive, "ALL_BYTES", 150)
    with pytest.raises(InputError, match=r"unpacks to too much at b\.txt"):
        list(members(path, ("*",)))
    monkeypatch.setattr(archive, "FILE_BYTES", 50)
    with pytest.raises(InputError, match=r"unpacks to too much at a\.txt"):
        list(members(path, ("*",)))


def test_nothing_that_matches_is_told(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "archive", FILES)
    with pytest.raises(InputError, match=r"holds no file that matches \*\.html"):
        list(members(path, ("*.html",)))


@pytest.mark.parametrize("kind", ["w:gz", "deb"])
@pytest.mark.parametrize("cut", [0.3, 0.6, 0.9])
def test_half_an_archive_is_refused_in_a_sentence(kind: str, cut: float, tmp_path: Path) -> None:
    whole = write(tmp_path / "archive", kind, {f"{i}.txt": str(i) * 500 for i in range(20)})
    data = whole.read_bytes()
    whole.write_bytes(data[: int(len(data) * cut)])
    with pytest.raises(InputError, match="is damaged"):
        list(members(whole, ("*",)))
