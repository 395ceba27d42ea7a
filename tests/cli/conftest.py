"""A tiny model with a tokenizer, and the command line run in this process."""

import logging
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_tools import TEXT, Ended, Run, save_tiny


@pytest.fixture
def gaincell(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """The command, in this process, in an empty folder."""
    from transformers.utils import logging as transformers_logging

    from gaincell.cli.app import run

    monkeypatch.chdir(tmp_path)
    capsys.readouterr()

    def call(*args: object) -> Ended:
        code = run([str(arg) for arg in args])
        captured = capsys.readouterr()
        return Ended(code, captured.out, captured.err)

    yield call
    transformers_logging.enable_progress_bar()
    transformers_logging.set_verbosity_warning()
    logger = logging.getLogger("gaincell")
    logger.handlers.clear()
    logger.propagate = True


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny random Llama and a byte tokenizer."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    save_tiny(folder)
    return folder


@pytest.fixture
def text_file(tmp_path: Path) -> Path:
    path = tmp_path / "words.txt"
    path.write_text(TEXT, "utf-8")
    return path


@pytest.fixture
def tiny_copy(tiny: Path, tmp_path: Path) -> Path:
    """The tiny model in a folder to spoil."""
    return Path(shutil.copytree(tiny, tmp_path / "spoiled"))


@pytest.fixture(scope="session")
def tiny_converted(tiny: Path) -> Path:
    """The tiny model, converted to 'extended' and saved."""
    from gaincell.models import convert_
    from gaincell.models.load import load_model, save_model

    model, tokenizer = load_model(tiny)
    return save_model(convert_(model, "extended"), tokenizer, tiny.with_name("converted"))


@pytest.fixture
def tiny_converted_copy(tiny_converted: Path, tmp_path: Path) -> Path:
    """The converted model in a folder to spoil."""
    return Path(shutil.copytree(tiny_converted, tmp_path / "spoiled-converted"))
