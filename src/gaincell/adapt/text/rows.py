"""Rows of token ids from a mixture of texts: each source's share of them, documents whole where a row holds them."""

import hashlib
import json
import logging
import math
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gaincell.adapt.seeds import seeded
from gaincell.adapt.text.archive import members
from gaincell.adapt.text.clean import Cleaner, evaluation_texts, is_scored_on, pieces, without_common_lines
from gaincell.adapt.text.copied import copy_passages
from gaincell.adapt.text.fetch import fetch, texts_folder
from gaincell.adapt.text.mixture import Mixture, Source, load_mixture
from gaincell.adapt.text.readers import documents
from gaincell.atomic import written_aside
from gaincell.errors import InputError
from gaincell.evaluate.perplexity import encode
from gaincell.evaluate.text import TO_LEARN
from gaincell.evaluate.text_prefix import prefix_of
from gaincell.progress import Progress

#: Of what this file and its neighbours make of the same mixture: rows that were kept by another one are made anew.
FORM = 2
#: Documents that are looked through for one that fits into the rest of a row.
LOOKAHEAD = 64
#: Shorter rests are not looked through: no document is so short.
SMALLEST_REST = 16

logger = logging.getLogger("gaincell")


@dataclass(frozen=True)
class MixedRows:
    """Rows of a mixture, and what they are of.

    Attributes:
        ids: (N, T) int32.
        sources: of each row, which of `mixture.sources` it is of: (N,).
        mixture: what was asked for, without the sources that could not be fetched.
        counts: of each source, how many documents were kept, and left out for which reason.
    """

    ids: Tensor
    sources: Tensor
    mixture: Mixture
    counts: dict[str, dict[str, int]]


def mixture_rows(
    tokenizer: Any,
    mixture: Mixture | str | Path = "mixture",
    tokens: int = 1_000_000,
    length: int = 1024,
    seed: int = 0,
    progress: Progress | None = None,
    *,
    allow_missing: bool = False,
    cache: Path | str | None = None,
) -> Tensor:
    """Rows of token ids (N, length), int32, of a mixture of texts, fetched where they are not here yet.

    Every row is of one source, of which each has its share of the rows, to within one row; own text, which a model
    writes, is none of them. Rows of all sources stand in an order drawn from the seed. The same arguments give the same
    rows; they are kept in the cache folder.

    Documents stand one after the other, each ended by the tokenizer's end-of-text token (or an empty line, where it has
    none), so that a model can tell them apart as in its pre-training. Into the rest of a row goes the longest of the
    next documents that fits; only where none does one is cut, and goes on at the beginning of the next row. In front of
    every row stands what the tokenizer puts in front of a text. In the mixture's `copied` share of the rows a passage
    comes a second time.

    Args:
        tokenizer: the model's tokenizer.
        mixture: "mixture", the path of a mixture file, or what was read from one.
        tokens: how many, rounded up to whole rows.
        length: tokens of a row.
        seed: of the choice and order of documents and rows.
        progress: called with (stage, done, total); stages are "fetch" and "rows".
        allow_missing: go on without the sources that cannot be fetched; the others' shares grow in proportion.
        cache: the folder to keep archives and rows in; the user's cache folder by default.

    Raises:
        InputError: a mixture file that is none, a source that cannot be fetched or has too few tokens.
    """
    return mix(tokenizer, mixture, tokens, length, seed, progress, allow_missing=allow_missing, cache=cache).ids


def mix(
    tokenizer: Any,
    mixture: Mixture | str | Path,
    tokens: int,
    length: int,
    seed: int = 0,
    progress: Progress | None = None,
    *,
    allow_missing: bool = False,
    cache: Path | str | None = None,
    left_out: Callable[[str], bool] | None = None,
) -> MixedRows:
    """As `mixture_rows`, with what the rows are of.

    Args:
        left_out: whether a document must not be learned from, besides the texts that gaincell scores on; such rows are
            not kept.
    """
    mixture = mixture if isinstance(mixture, Mixture) else load_mixture(mixture)
    prefix = prefix_of(tokenizer)
    if tokens < 1 or length < len(prefix) + 2:
        raise InputError(f"a mixture of {tokens} tokens in rows of {length} is too small; ask for more.")
    mixture, archives = _fetched(mixture, allow_missing, cache, progress)
    count = math.ceil(tokens / length)
    path = texts_folder(cache) / f"rows-{_key(tokenizer, mixture, archives, count, length, seed)}.npz"
    found = None if left_out is not None else _kept(path, mixture)
    if found is not None:
        return found
    scored = is_scored_on()
    cleaner = Cleaner(mixture.filters, lambda text: scored(text) or (left_out is not None and left_out(text)))
    parts, counts, done, numbers = [], {}, 0, _numbers(mixture, count)
    for source, archive, wanted in zip(mixture.sources, archives, numbers, strict=True):
        counts[source.name] = Counter()
        some = []
        for row in _source_rows(
            tokenizer, source, archive, mixture, wanted, length, seed, cleaner, counts[source.name]
        ):
            some.append(row)
            done += 1
            if progress is not None:
                progress("rows", done, count)
        parts.append(some)
    ids = np.array([row for some in parts for row in some], np.int32)
    order = torch.randperm(count, generator=seeded("mixture", seed)).numpy()
    ids = copy_passages(ids[order], mixture.copied, len(prefix), seed)
    of = np.repeat(np.arange(len(numbers)), numbers)[order]
    if left_out is None:
        with written_aside(path) as aside, aside.open("wb") as file:
            np.savez(file, ids=ids, sources=of, counts=np.array(json.dumps(counts)))
    return MixedRows(torch.from_numpy(ids), torch.from_numpy(of), mixture, {k: dict(v) for k, v in counts.items()})


def _fetched(
    mixture: Mixture, allow_missing: bool, cache: Path | str | None, progress: Progress | None
) -> tuple[Mixture, list[Path | None]]:
    """The mixture of what could be fetched, and the archives of its sources."""
    archives: dict[str, Path | None] = {}
    missing: dict[str, str] = {}
    for number, source in enumerate(mixture.sources):
        try:
            archives[source.name] = None if source.kind == "packaged" else fetch(source, cache)
        except InputError as error:
            if not allow_missing:
                raise InputError(
                    f"{str(error).rstrip('.')}; or go on without such sources by --allow-missing."
                ) from None
            missing[source.name] = str(error)
            logger.warning("left out of the mixture: %s", error)
        if progress is not None:
            progress("fetch", number + 1, len(mixture.sources))
    if missing:
        if not archives:
            raise InputError(f"no source of the mixture can be had; {next(iter(missing.values()))}")
        mixture = mixture.without(set(missing))
    return mixture, list(archives.values())


def _numbers(mixture: Mixture, count: int) -> list[int]:
    """How many of `count` rows each source has: its share to within one row, by largest remainders."""
    total = math.fsum(source.share for source in mixture.sources)
    exact = [source.share / total * count for source in mixture.sources]
    numbers = [math.floor(share) for share in exact]
    left = sorted(range(len(exact)), key=lambda i: numbers[i] - exact[i])
    for i in left[: count - sum(numbers)]:
        numbers[i] += 1
    return numbers


def read_source(source: Source, archive: Path | None, mixture: Mixture) -> list[str]:
    """The documents of a source as they lie in its archive, pages without their menus, long ones cut."""
    if archive is None:
        found = [TO_LEARN[source.package]()]
    else:
        found = [
            text
            for name, data in members(archive, source.files, source.without)
            for text in documents(source, name, data)
        ]
    if source.reader == "html":
        found = without_common_lines(found, mixture.filters)
    return [piece for text in found for piece in pieces(text, source)]


def _source_rows(
    tokenizer: Any,
    source: Source,
    archive: Path | None,
    mixture: Mixture,
    wanted: int,
    length: int,
    seed: int,
    cleaner: Cleaner,
    counts: Counter[str],
) -> Iterator[list[int]]:
    """So many rows of one source; its documents again, in another order, where they are too few."""
    if not wanted:
        return
    there = read_source(source, archive, mixture)
    prefix, end = prefix_of(tokenizer), _end(tokenizer)
    kept: list[list[int]] = []

    def first() -> Iterator[list[int]]:
        for number in torch.randperm(len(there), generator=seeded("mixture", seed, source.name)).tolist():
            text = cleaner(there[number], source, counts)
            if text is not None:
                kept.append([*encode(tokenizer, text), *end])
                yield kept[-1]

    def all_times() -> Iterator[list[int]]:
        yield from first()
        for time in range(1, mixture.repeats):
            for number in torch.randperm(len(kept), generator=seeded("mixture", seed, source.name, time)).tolist():
                yield kept[number]

    made = 0
    for row in pack(all_times(), length - len(prefix)):
        if made == wanted:
            break
        made += 1
        yield prefix + row
    if made < wanted:
        raise InputError(
            f"source '{source.name}' has {sum(map(len, kept)):,} tokens, too few for the {wanted * length:,} that its "
            f"share takes even if all are met {mixture.repeats} times; ask for fewer tokens, or make its share smaller."
        )


def pack(texts: Iterator[list[int]], length: int) -> Iterator[list[int]]:
    """Full rows of `length` from documents, every token once; what does not fill a row at the end is left.

    The rest of a row goes to the longest of the next `LOOKAHEAD` documents that fits whole; where none does, the next
    one is cut and goes on in the next row.
    """
    coming: deque[list[int]] = deque()
    row: list[int] = []
    while True:
        while len(coming) < LOOKAHEAD and (text := next(texts, None)) is not None:
            coming.append(text)
        if not coming:
            return
        rest, place = length - len(row), 0
        if row and rest >= SMALLEST_REST:
            fitting = [i for i, text in enumerate(coming) if len(text) <= rest]
            place = max(fitting, key=lambda i: len(coming[i]), default=0)
        text = coming[place]
        del coming[place]
        row += text[:rest]
        if len(row) == length:
            yield row
            row = []
        if len(text) > rest:
            coming.appendleft(text[rest:])


def _end(tokenizer: Any) -> list[int]:
    if tokenizer.eos_token_id is not None:
        return [tokenizer.eos_token_id]
    return encode(tokenizer, "\n\n")


def _key(tokenizer: Any, mixture: Mixture, archives: list[Path | None], count: int, length: int, seed: int) -> str:
    """What decides every token of the rows."""
    files = [
        hashlib.sha256(archive.read_bytes()).hexdigest() if archive is not None and source.sha256 is None else None
        for source, archive in zip(mixture.sources, archives, strict=True)
    ]
    scored = [hashlib.sha256(text.encode()).hexdigest() for text in evaluation_texts()]
    vocabulary = sorted(tokenizer.get_vocab().items(), key=lambda pair: pair[1])
    sample = encode(tokenizer, " ".join(word for word, _ in vocabulary[:: max(1, len(vocabulary) // 512)]))
    told = [FORM, mixture.model_dump(mode="json"), files, scored, count, length, seed, vocabulary, sample]
    told += [prefix_of(tokenizer), _end(tokenizer)]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:24]


def _kept(path: Path, mixture: Mixture) -> MixedRows | None:
    """The rows in a file; None where there is none, or none that can be read."""
    if not path.is_file():
        return None
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as held:
            ids, of, counts = held["ids"], held["sources"], json.loads(str(held["counts"]))
    except Exception:  # whatever a damaged file provokes: it is made anew
        logger.warning("%s is damaged; its rows are made anew", path)
        return None
    return MixedRows(torch.from_numpy(ids), torch.from_numpy(of), mixture, counts)
