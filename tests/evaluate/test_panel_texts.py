"""What the panel is, and that its texts are found wherever they stand."""

import hashlib
from importlib import resources

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gaincell.evaluate import library
from gaincell.evaluate.panel import GENRES, Genre, PanelPassages, drop_panel
from gaincell.evaluate.panel.passages import WINDOW


@pytest.fixture(scope="module")
def passages() -> PanelPassages:
    return PanelPassages()


@pytest.mark.parametrize("genre", GENRES, ids=lambda genre: genre.name)
def test_a_text_is_what_its_page_says(genre: Genre) -> None:
    found = hashlib.sha256(genre.text().encode()).hexdigest()
    assert found == genre.sha256
    assert found in (resources.files("gaincell.evaluate.panel") / "data" / "README.md").read_text("utf-8")


@pytest.mark.slow
def test_every_text_has_the_tokens_that_are_scored() -> None:
    from transformers import AutoTokenizer

    from gaincell.models.demo_model import fetch_demo_model

    tokenizer = AutoTokenizer.from_pretrained(fetch_demo_model(), local_files_only=True)
    assert len(GENRES) >= 9
    for genre in GENRES:
        ids = tokenizer(genre.text(), add_special_tokens=False, verbose=False)["input_ids"]
        assert len(ids) >= 8192, genre.name
        assert not set(ids) & set(tokenizer.all_special_ids), genre.name


def test_texts_share_no_passage_with_each_other_nor_with_those_to_learn_from(
    passages: PanelPassages, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert passages.find(library()) is None
    texts = [(genre.name, genre.text()) for genre in GENRES]
    for name, text in texts:
        assert passages.find(text) == name
        others = tuple(genre for genre in GENRES if genre.name != name)
        monkeypatch.setattr("gaincell.evaluate.panel.passages.GENRES", others)
        assert PanelPassages().find(text) is None, name
        monkeypatch.undo()


@given(st.sampled_from(GENRES), st.integers(0, 20_000), st.integers(0, 3))
def test_a_passage_is_found_however_it_is_laid_out(
    passages: PanelPassages, genre: Genre, start: int, layout: int
) -> None:
    words = genre.text()[start : start + 4 * WINDOW].split()
    told = [
        " ".join(words),
        "\n".join(words).upper(),
        " - ".join(words),
        "And so they said: " + "  ".join(words) + " (and more of that kind)",
    ][layout]
    found = passages.find(told)
    assert found in (genre.name, None)
    letters = [letter for letter in told.lower() if letter.isascii() and letter.isalnum()]
    if len(letters) >= 2 * WINDOW and len(set(letters[WINDOW : 2 * WINDOW])) >= 20:
        assert found == genre.name


def test_less_than_a_passage_is_not_found(passages: PanelPassages) -> None:
    text = GENRES[3].text()
    assert passages.find(text[1000 : 1000 + WINDOW - 1]) is None
    assert passages.find(text[1000 : 1000 + 2 * WINDOW]) == GENRES[3].name
    for nothing in ("", "0" * 500, "= " * 500, "words " * 300):
        assert passages.find(nothing) is None


def test_a_passage_is_found_where_parts_that_are_hashed_at_once_meet(
    passages: PanelPassages, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gaincell.evaluate.panel.passages._AT_ONCE", 50)
    passage = GENRES[4].text()[500:900]
    for before in range(0, 60, 7):
        assert passages.find("x" * before + passage) == GENRES[4].name


def test_documents_that_hold_a_passage_are_left_out() -> None:
    clean = ["A dog that nobody had seen before came in and lay down by the fire. " * 3, "Short."]
    held = f"{clean[0]}\n\n{GENRES[2].text()[3000:3400]}"
    assert list(drop_panel([clean[0], held, GENRES[5].text(), clean[1]])) == clean
