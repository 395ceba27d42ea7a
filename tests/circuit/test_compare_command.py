"""`gaincell circuit compare`: what it cannot use is told in one sentence."""

from pathlib import Path

import pytest

from gaincell.cli.app import run


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["no_such.json"], "no_such.json"),
        (["other.json"], "holds no sub-tiles"),
        (["other.json", "--card", "bsim"], "bsim"),
        (["extended", "--order", "12"], "order 12"),
        (["extended", "--netlist", "no_such.cir"], "no_such.cir"),
        (["extended", "--save", "."], "--save"),
        (["extended", "--card", "sky130"], "gaincell circuit fetch"),
        (["extended", "--columns", "1"], "--columns"),
    ],
)
def test_unusable_input(
    args: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    Path("other.json").write_text("{}")
    assert run(["circuit", "compare", *args]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert words in captured.err.splitlines()[-1]
