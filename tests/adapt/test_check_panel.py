"""What is in the panel is not learned from, whoever gives it."""

import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from gaincell.adapt import AdaptSettings, adapt, paper_recipe
from gaincell.adapt.text.panel_refused import check_panel
from gaincell.errors import InputError
from gaincell.evaluate.panel import GENRES
from gaincell.evaluate.perplexity import encode
from gaincell.models.load import load_model


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    sys.path.insert(0, str(Path(__file__).parents[1] / "cli"))
    from command_tools import save_tiny

    folder = tmp_path_factory.mktemp("models") / "tiny"
    save_tiny(folder)
    return folder


def rows_of(tokenizer: Any, text: str, length: int = 256) -> torch.Tensor:
    ids = encode(tokenizer, text)
    return torch.tensor(ids[: len(ids) // length * length]).view(-1, length)


@pytest.mark.parametrize("genre", GENRES, ids=lambda genre: genre.name)
def test_rows_with_a_passage_are_refused_with_the_genres_name(tiny: Path, genre: Any) -> None:
    tokenizer = load_model(tiny)[1]
    clean = rows_of(tokenizer, "A dog that nobody had seen before came in and lay down by the fire. " * 40)
    check_panel(tokenizer, None, clean)
    check_panel(tokenizer, None, None)
    held = torch.cat((clean, rows_of(tokenizer, genre.text()[5000:5600])[:1]))
    with pytest.raises(InputError, match=rf"row {len(clean)} .*\({genre.name}\)"):
        check_panel(tokenizer, None, held)
    with pytest.raises(InputError, match=rf"the text .*\({genre.name}\)"):
        check_panel(None, f"Once upon a time.\n\n{genre.text()[5000:5600]}", None)
    check_panel(None, None, held)  # nothing to read it with


@pytest.mark.parametrize("run", [adapt, paper_recipe])
@pytest.mark.parametrize("as_ids", [False, True])
def test_who_gives_it_to_learn_from_is_refused_before_anything_is_written(
    tiny: Path, tmp_path: Path, run: Any, as_ids: bool
) -> None:
    model, tokenizer = load_model(tiny)
    text = GENRES[3].text()
    given: dict[str, Any] = {"calibration": rows_of(tokenizer, text)} if as_ids else {"text": text}
    settings = AdaptSettings(rows=16, length=256, distill={"tokens": 4096})
    with pytest.raises(InputError, match=r"\(technical\)"):
        run(model, "leroux2025", tokenizer=tokenizer, out=tmp_path / "run", settings=settings, **given)
    assert not (tmp_path / "run").exists()
    assert not any("gaincell" in name for name, _ in model.named_modules())


def test_own_text_is_looked_at_too(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, tokenizer = load_model(tiny)
    held = rows_of(tokenizer, GENRES[1].text())[:16]
    monkeypatch.setattr("gaincell.adapt.text.own_text.own_text", lambda *_, **__: held)
    settings = AdaptSettings(rows=16, length=256)
    with pytest.raises(InputError, match=r"\(novel\)"):
        adapt(
            model, "extended", tokenizer=tokenizer, out=tmp_path, settings=settings, stages=("statistics", "transfer")
        )
