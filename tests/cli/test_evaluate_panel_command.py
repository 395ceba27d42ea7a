"""`gaincell evaluate --panel`."""

import json
from pathlib import Path

import pytest
from command_tools import Run

from gaincell.evaluate.panel import GENRES

SHORT = ("--panel", "--tokens", 128, "--length", 128)


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setattr("gaincell.evaluate.panel.panel.NEW_TOKENS", 8)
    monkeypatch.setattr("platformdirs.user_cache_path", lambda *_: folder)


def test_models_are_shown_beside_their_original(
    tiny: Path, tiny_converted: Path, tmp_path: Path, gaincell: Run
) -> None:
    ended = gaincell("evaluate", tiny, "--also", tiny_converted, *SHORT, "--out", "run")
    assert ended.code == 0, ended
    assert all(genre.name in ended.out for genre in GENRES)
    assert "geometric mean" in ended.out
    assert "converted: worst genre" in ended.out
    assert "copied over 64 tokens" in ended.out
    assert "converted, texts: 9 of 9" in ended.err
    kept = json.loads((tmp_path / "run" / "panel.json").read_text("utf-8"))
    ended = gaincell("evaluate", tiny, "--also", tiny_converted, *SHORT, "--out", "run", "--json")
    found = json.loads(ended.out)
    assert found.pop("seconds") < 60
    assert found == kept
    assert list(found["models"]) == ["tiny", "converted"]


def test_the_original_alone(tiny: Path, gaincell: Run) -> None:
    found = json.loads(gaincell("evaluate", tiny, *SHORT, "--json").out)["models"]["tiny"]
    assert found["ratio"] is None
    assert found["genres"]["novel"]["perplexity"] > 1


def test_a_converted_model_without_its_original_is_refused(tiny_converted: Path, gaincell: Run) -> None:
    gaincell("evaluate", tiny_converted, *SHORT).assert_refused("converted", "--also", "original")


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("--config", "extended"), ["--config", "leave"]),
        (("--mismatch-seed", 1), ["--mismatch-seed", "leave"]),
        (("--text", "novel"), ["--text", "leave"]),
        (("--stride", 64), ["--stride", "leave"]),
        (("--limit", 3), ["--limit", "--tasks"]),
        (("--batch", 3), ["--batch", "--tasks"]),
        (("--online",), ["--online", "--tasks"]),
        (("--tasks", "paper"), ["--tasks and --panel"]),
        (("--length", 4096), ["4096", "2048 positions"]),
        (("--out", "file"), ["--out"]),
        (("--also", "absent"), ["absent"]),
    ],
)
def test_options_that_do_not_go_together(
    tiny: Path, tmp_path: Path, args: tuple[object, ...], words: list[str], gaincell: Run
) -> None:
    (tmp_path / "file").write_text("")
    gaincell("evaluate", tiny, "--panel", *args).assert_refused(*words)


def test_also_and_out_ask_for_what_they_go_with(tiny: Path, gaincell: Run) -> None:
    gaincell("evaluate", tiny, "--also", "demo").assert_refused("--also", "--tasks or --panel")
    gaincell("evaluate", tiny, "--out", "run").assert_refused("--out", "--tasks or --panel")


def test_the_panel_is_refused_as_text_to_learn_from(tiny: Path, tmp_path: Path, gaincell: Run) -> None:
    (tmp_path / "words.txt").write_text(GENRES[6].text(), "utf-8")
    gaincell("adapt", tiny, "--text", "words.txt", "--quick", "--out", "run").assert_refused("panel", "(code)")
    assert not (tmp_path / "run").exists()
