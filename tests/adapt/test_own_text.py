"""Text to learn from: the same rows however many are asked for, kept, and never what is tested on."""

import importlib.machinery
import signal
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, PreTrainedModel
from warm import ended, start

from gaincell import InputError
from gaincell.adapt import check_held_out, load_source
from gaincell.adapt.run.folder import Run
from gaincell.adapt.settings import AdaptSettings
from gaincell.adapt.text.cut import cut_rows, read_rows, text_rows
from gaincell.adapt.text.held_out import keep_learned, share_learned
from gaincell.adapt.text.own_text import LEFT_OUT, OPENERS, check_written, own_text, write_text
from gaincell.evaluate import default_text, library, novel
from gaincell.models.tensorfile import read_metadata, write_tensors


class Letters:
    """One token a letter, with or without a chat template."""

    bos_token_id = pad_token_id = 0
    eos_token_id = 1

    def __init__(self, chat: bool = True) -> None:
        self.chat_template = "a template" if chat else None

    def __call__(self, text: str, **_: Any) -> dict[str, list[int]]:
        return {"input_ids": [ord(letter) % 94 + 3 for letter in text]}

    def apply_chat_template(self, messages: list[dict[str, str]], **_: Any) -> str:
        return f"U{messages[0]['content'][:3]}A"


class Begun(Letters):
    """Puts a first token in front of texts, as its chat template does."""

    bos_token_id = 2

    def __call__(self, text: str, *, add_special_tokens: bool = True, **_: Any) -> dict[str, list[int]]:
        ids = [2 if letter == "^" else ord(letter) % 90 + 5 for letter in text]
        return {"input_ids": [2] * add_special_tokens + ids}

    def apply_chat_template(self, messages: list[dict[str, str]], **_: Any) -> str:
        return f"^U{messages[0]['content'][:3]}A"


def load(path: Path) -> PreTrainedModel:
    return AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)


def test_rows_depend_on_seed_and_block_alone(small_llama: Path) -> None:
    model = load(small_llama)
    texts = {n: write_text(model, Letters(), n, 12, 3, block=4) for n in (2, 4, 10)}
    assert [tuple(text.shape) for text in texts.values()] == [(2, 12), (4, 12), (10, 12)]
    assert torch.equal(texts[10][:4], texts[4])
    assert torch.equal(texts[4][:2], texts[2])
    assert len({tuple(row) for row in texts[10].tolist()}) == 10
    assert not torch.equal(write_text(model, Letters(), 4, 12, 4, block=4), texts[4])
    assert not torch.equal(write_text(model, Letters(), 4, 12, 3, block=4, temperature=0.5), texts[4])


def test_openers_of_every_kind(small_llama: Path) -> None:
    text = write_text(load(small_llama), Letters(), 16, 40, 0).tolist()
    chats = [i for i in range(16) if text[i][:1] == Letters()("U")["input_ids"] and i % 4 == 1]
    assert chats == [1, 5, 9, 13]
    assert [i for i in range(16) if text[i][0] == Letters.bos_token_id] == [3, 11]
    assert not any(0 in row[1:] for row in text)
    words = {Letters()(word)["input_ids"][0] for word in OPENERS}
    assert {text[i][0] for i in (0, 4, 8, 12)} <= words
    assert not {text[i][0] for i in (2, 6, 7, 10, 14, 15)} <= words, "they begin amid a text, not with an opener"
    for i, row in enumerate(text):
        ends = [place for place, token in enumerate(row) if token == Letters.eos_token_id]
        assert i in chats or not ends
        for place in ends:  # the next question follows an answer's end
            assert row[place + 1 : place + 2] in (Letters()("U")["input_ids"], [])
    plain = write_text(load(small_llama), Letters(chat=False), 16, 12, 0)
    assert not (plain == Letters.eos_token_id).any()


def test_every_row_begins_as_the_tokenizer_says(small_llama: Path, tmp_path: Path) -> None:
    model, path = load(small_llama), tmp_path / "text.safetensors"
    rows = own_text(model, Begun(), path, 16, 120, 0)
    assert (rows[:, 0] == 2).all()
    question = Begun()("U", add_special_tokens=False)["input_ids"]
    assert all(rows[i, 1:2].tolist() == question for i in (1, 5, 9, 13))
    asked = rows[1::4]
    ended = (asked[:, :-1] == Begun.eos_token_id).nonzero()
    assert len(ended)
    assert all(asked[row, place + 1 : place + 2].tolist() == question for row, place in ended.tolist())
    words = {Begun()(word, add_special_tokens=False)["input_ids"][0] for word in OPENERS}
    assert {int(rows[i, 1]) for i in (0, 4, 8, 12)} <= words
    assert torch.equal(rows[2], write_text(model, Begun(), 3, 136, 0, block=16)[2, :120]), "the same tokens left out"
    assert (rows == 2).sum() == 16
    # Kept by a version that left it out:
    kept, recipe = rows.int(), read_metadata(path, "gaincell_text", "text")
    write_tensors(path, {"ids": kept}, "gaincell_text", {k: v for k, v in recipe.items() if k != "prefix"})
    with pytest.raises(InputError, match=r"another recipe \(prefix differ\)"):
        own_text(model, Begun(), path, 16, 120, 0)


def test_longer_rows_are_several_texts_each_beginning_in_its_own_way(small_llama: Path, tmp_path: Path) -> None:
    model, path = load(small_llama), tmp_path / "text.safetensors"
    rows = own_text(model, Begun(), path, 2, 64, 0, piece=20)
    assert (rows[:, 0] == 2).all()
    assert (rows == 2).sum() == 2, "in front of the row alone"
    texts = write_text(model, Begun(), 8, 21, 0, block=8, piece=20)[:, 1:]
    assert torch.equal(rows[:, 1:], texts.reshape(2, 80)[:, :63])
    with pytest.raises(InputError, match=r"another recipe \(piece differ\)"):
        own_text(model, Begun(), path, 2, 64, 0)


def test_text_that_is_not_all_written_is_refused(small_llama: Path, tmp_path: Path) -> None:
    path = tmp_path / "text.safetensors"
    own_text(load(small_llama), Letters(), path, 4, 12, 0)
    check_written(path, 4)
    for file, rows in ((path, 5), (path.with_name("none.safetensors"), 1)):
        with pytest.raises(InputError, match=f"has not {rows} rows of the model's own text yet"):
            check_written(file, rows)


def test_text_kept_by_a_version_that_knew_neither_prefix_nor_pieces_is_taken_where_there_is_none(
    small_llama: Path, tmp_path: Path
) -> None:
    model, path = load(small_llama), tmp_path / "text.safetensors"
    rows = own_text(model, Letters(), path, 4, 12, 0)
    recipe = read_metadata(path, "gaincell_text", "text")
    assert (recipe.pop("prefix"), recipe.pop("piece")) == ([], 256)
    write_tensors(path, {"ids": rows.int()}, "gaincell_text", recipe)
    assert torch.equal(own_text(model, Letters(), path, 4, 12, 0), rows)


@given(letters=st.integers(20, 200), length=st.integers(8, 12), distilled=st.integers(8, 30))
def test_rows_of_a_text_hold_it_once_behind_what_every_text_begins_with(
    letters: int, length: int, distilled: int
) -> None:
    text = "".join(chr(97 + i % 26) for i in range(letters))
    ids = Begun()(text, add_special_tokens=False)["input_ids"]
    count = letters // (length - 1)
    rows = read_rows(Begun(), text, count, length)
    assert (rows[:, 0] == 2).all()
    assert sorted(rows[:, 1:].tolist()) == sorted(ids[i * (length - 1) :][: length - 1] for i in range(count))
    settings = AdaptSettings(length=length, distill={"length": distilled, "tokens": 10_000})
    if count * (length - 1) >= distilled - 1:
        cut = cut_rows(Begun(), rows, settings.distill.length)
        assert (cut[:, 0] == 2).all()
        whole = rows[:, 1:].flatten()
        assert torch.equal(cut[:, 1:].flatten(), whole[: len(cut) * (distilled - 1)]) or distilled == length
        taken = text_rows(Begun(), text, None, settings)
        assert taken is not None
        assert taken.shape == (letters // (distilled - 1), distilled)
        assert (taken[:, 0] == 2).all()


class Counted:
    """Counts a model's forward passes."""

    def __init__(self, model: PreTrainedModel) -> None:
        self.calls = 0
        model.register_forward_pre_hook(self.count)

    def count(self, *_: Any) -> None:
        self.calls += 1


def test_kept_text_is_topped_up(small_llama: Path, tmp_path: Path) -> None:
    model, path = load(small_llama), tmp_path / "text.safetensors"
    counted, seen = Counted(model), []
    few = own_text(model, Letters(), path, 6, 12, 0, lambda *step: seen.append(step), block=4)
    steps = 12 + LEFT_OUT - 1
    assert counted.calls == 2 * steps
    assert seen[-1] == (2 * steps, 2 * steps)
    assert torch.equal(own_text(model, Letters(), path, 8, 12, 0, block=4)[:6], few)
    assert counted.calls == 2 * steps, "whole blocks are kept"
    many = own_text(model, Letters(), path, 9, 12, 0, block=4)
    assert counted.calls == 3 * steps
    assert torch.equal(many, write_text(model, Letters(), 9, 12, 0, block=4))
    assert torch.equal(own_text(model, Letters(), path, 6, 12, 0, block=4), few)
    found = read_metadata(path, "gaincell_text", "text")
    assert (found["seed"], found["length"], found["temperature"], found["block"]) == (0, 12, 1.0, 4)


def test_kept_text_is_topped_up_in_blocks_of_the_file_where_none_are_given(small_llama: Path, tmp_path: Path) -> None:
    model, path = load(small_llama), tmp_path / "text.safetensors"
    few = own_text(model, Letters(), path, 3, 12, 0)
    many = own_text(model, Letters(), path, 5, 12, 0)
    assert torch.equal(many[:3], few)
    assert torch.equal(many, write_text(model, Letters(), 5, 12, 0, block=3))


def test_kept_text_of_another_recipe_is_refused(small_llama: Path, tmp_path: Path) -> None:
    model, path = load(small_llama), tmp_path / "text.safetensors"
    own_text(model, Letters(), path, 4, 12, 0, block=4)
    before = path.read_bytes()
    for what, tokenizer, length, seed in (
        ("length", Letters(), 13, 0),
        ("seed", Letters(), 12, 1),
        ("openers", Letters(chat=False), 12, 0),
    ):
        with pytest.raises(InputError, match=rf"another recipe \({what} differ"):
            own_text(model, tokenizer, path, 4, length, seed, block=4)
    with torch.no_grad():
        model.lm_head.weight[0, 0] += 1
    with pytest.raises(InputError, match="model differ"):
        own_text(model, Letters(), path, 4, 12, 0, block=4)
    assert path.read_bytes() == before
    path.write_bytes(before[:-3])
    with pytest.raises(InputError, match="truncated"):
        own_text(model, Letters(), path, 4, 12, 0, block=4)


_CHILD = """
import sys, torch
torch.set_num_threads(1)
sys.path.insert(0, sys.argv[1])
from test_own_text import Letters, Path, load, own_text
own_text(load(Path(sys.argv[2])), Letters(), sys.argv[3], 400, 24, 0, block=4)
"""


def test_a_killed_writer_goes_on_to_the_same_text(small_llama: Path, tmp_path: Path) -> None:
    path = tmp_path / "text.safetensors"
    arguments = [str(Path(__file__).parent), str(small_llama), str(path)]
    child = start(_CHILD, *arguments)
    deadline = time.monotonic() + 120
    while not path.exists() and child.exitcode is None and time.monotonic() < deadline:
        time.sleep(0.002)
    child.kill()
    assert ended(child) == -signal.SIGKILL, "it finished before it could be killed"
    model = load(small_llama)
    counted = Counted(model)
    text = own_text(model, Letters(), path, 400, 24, 0, block=4)
    assert counted.calls < 100 * (24 + LEFT_OUT - 1), "the finished blocks are not written again"
    assert torch.equal(text[:20], write_text(model, Letters(), 20, 24, 0, block=4))


def ids(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 50_000, shape, generator=torch.Generator().manual_seed(seed))


def test_one_copied_window_is_found_where_it_is() -> None:
    training, evaluation = ids(30, 100), ids(2000, seed=1)
    check_held_out(training, evaluation)
    training[17, 40:72] = evaluation[1234:1266]
    with pytest.raises(InputError, match=r"^1 of 1969 .* token 1234, in training row 17 at token 40\)"):
        check_held_out(training, evaluation.tolist())
    training[17, 50] += 1
    check_held_out(training, evaluation)
    check_held_out(training, evaluation, n=22)
    with pytest.raises(InputError, match="1 of 1980 windows of 21"):
        check_held_out(training, evaluation, n=21)


def test_rows_do_not_join_and_short_ones_are_compared_whole() -> None:
    evaluation = ids(200)
    check_held_out(torch.stack((ids(64, seed=2), ids(64, seed=3))), evaluation)
    split = torch.stack(
        (torch.cat((ids(48, seed=4), evaluation[:16])), torch.cat((evaluation[16:32], ids(48, seed=5))))
    )
    check_held_out(split, evaluation)
    with pytest.raises(InputError, match="windows of 16"):
        check_held_out(evaluation[None, 100:116], evaluation)
    check_held_out(evaluation[None, :64], evaluation[:20])  # nothing to compare
    for constant in (0, 1):  # token ids that a plain polynomial would not tell apart
        repeated = torch.full((1, 64), constant)
        check_held_out(repeated, 1 - repeated[0])


def test_the_packaged_texts_share_nothing() -> None:
    words: dict[str, int] = {}
    learned, speeches, story = (
        torch.tensor([words.setdefault(word, len(words)) for word in text.split()])
        for text in (library(), default_text(), novel())
    )
    assert min(len(text) for text in (learned, speeches, story)) > 80_000
    check_held_out(learned[None], speeches, n=24)
    check_held_out(learned[None], story, n=12)


def test_packaged_texts_to_learn_from_are_sources_by_name() -> None:
    packaged, more = load_source("packaged"), load_source("library")
    assert more.startswith(packaged.strip())
    for kind in ("CHAPTER 1. Loomings.", "MEMBERS OF THE CONGRESS", "To Sherlock Holmes she is always"):
        assert kind in more
    assert len(more) > 2 * len(packaged)


def test_many_tokens_take_little_time() -> None:
    began = time.process_time()
    check_held_out(ids(2000, 512), ids(100_000, seed=1))
    assert time.process_time() - began < 10


class FakeData(ModuleType):
    """As much of `datasets` as is used."""

    def __init__(self, rows: Any) -> None:
        super().__init__("datasets")
        self.__spec__ = importlib.machinery.ModuleSpec("datasets", None)
        self.rows, self.asked = rows, []

    def load_dataset(self, *args: Any, **options: Any) -> Any:
        self.asked.append((args, options))
        if args[0] == "no/such":
            raise RuntimeError("Dataset 'no/such' doesn't exist\nsecond line")
        return self.rows

    def load_from_disk(self, name: str) -> Any:
        return {"train": self.rows}


def test_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.txt").write_text("one two")
    assert load_source(tmp_path / "a.txt") == "one two"
    monkeypatch.setitem(sys.modules, "datasets", None)
    monkeypatch.setattr("gaincell.adapt.text.sources.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"'own/er' is no file.*'gaincell\[data\]"):
        load_source("own/er")
    monkeypatch.undo()

    data = FakeData([{"n": 1, "text": f"row {i}"} for i in range(5)])
    monkeypatch.setitem(sys.modules, "datasets", data)
    assert load_source("own/er:raw") == "\n\n".join(f"row {i}" for i in range(5))
    assert data.asked == [(("own/er", "raw"), {"split": "train", "streaming": True})]
    assert load_source("own/er", characters=8) == "row 0\n\nrow 1"
    assert load_source(tmp_path) == load_source("own/er")
    for words, name, options in (
        (r"nor a data set that can be read \(Dataset 'no/such' doesn't exist\)", "no/such", {}),
        ("no split 'test', but train", tmp_path, {"split": "test"}),
    ):
        with pytest.raises(InputError, match=words):
            load_source(name, **options)
    for rows, words in (([{"n": 1}], "no column of text"), ([], "no column"), ([{"text": " "}], "holds no text")):
        data.rows = rows
        with pytest.raises(InputError, match=words):
            load_source("own/er")


@given(seed=st.integers(0, 2**31), common=st.integers(200, 2000))
def test_what_was_learned_is_known_again_from_one_window_in_eight(seed: int, common: int) -> None:
    rows, others = ids(4, 2000, seed=seed), ids(3000, seed=seed + 1)
    with TemporaryDirectory() as folder:
        run = Run(folder, {})
        assert share_learned(run.folder, others.tolist()) is None
        keep_learned(run, rows[:2])
        keep_learned(run, rows[2:], rows[:, :8])  # a later stage; rows shorter than a window
        assert (run.folder / "learned.safetensors").stat().st_size < 1.2 * rows.numel() + 200
        assert share_learned(run.folder, others.tolist()) == 0
        text = torch.cat((others[: 2000 - common], rows[0, :common])).tolist()
        assert share_learned(run.folder, text) == pytest.approx(common / 2000, abs=0.15)
        assert share_learned(run.folder, rows[3, :common].tolist()) == 1


def test_share_of_what_was_learned_is_unknown_where_rows_are_shorter_than_a_window(tmp_path: Path) -> None:
    rows = torch.arange(1024).view(-1, 16)
    run = Run(tmp_path, {})
    keep_learned(run, rows)
    assert share_learned(tmp_path, rows.flatten().tolist()) is None


def test_a_copied_window_is_found_far_down_many_rows() -> None:
    rows = torch.randint(0, 50_000, (9000, 32), generator=torch.Generator().manual_seed(0))
    with pytest.raises(InputError, match="training row 8500 at token 0"):
        check_held_out(rows, [1, 2, 3, *rows[8500].tolist()])
