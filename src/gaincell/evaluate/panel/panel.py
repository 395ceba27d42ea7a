"""The panel measured: models beside their original on texts of many kinds, and what they write and find besides."""

import hashlib
import json
import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import platformdirs
import torch
from transformers import PreTrainedModel

from gaincell.atomic import written_aside
from gaincell.errors import InputError
from gaincell.evaluate.model_identity import identity
from gaincell.evaluate.panel.copying import BLOCK, DISTANCES, Copying, copying
from gaincell.evaluate.panel.repetition import continuations, repeated_share
from gaincell.evaluate.panel.score import score, windows
from gaincell.evaluate.panel.texts import GENRES, panel_hash
from gaincell.evaluate.perplexity import encode
from gaincell.evaluate.ratio_interval import mean_ratio_interval, ratio_interval
from gaincell.evaluate.text_prefix import prefix_of
from gaincell.files import read_object, reading, with_hash
from gaincell.models import positions_of
from gaincell.progress import Progress

logger = logging.getLogger("gaincell")

#: Grows when panel.json, or what is kept on the way, changes its form.
VERSION = 1

#: Tokens of a prompt, and of what is written after it.
PROMPT_TOKENS, NEW_TOKENS = 64, 96
#: Tokens between the prompts that come from one text.
_PROMPTS_APART = 1024

Loader = Callable[[], tuple[PreTrainedModel, Any]]


@dataclass(frozen=True)
class GenreResult:
    """One model on one genre.

    Attributes:
        perplexity: exp of the mean negative log-likelihood per scored token.
        tokens: scored tokens.
        ratio: to the original's perplexity on the same tokens; None of the original.
        interval: the ratio's 95 % interval (`ratio_interval`); None where the text is too short to tell.
        divergence: mean over the scored tokens of KL(original || model), in nats; None of the original.
    """

    perplexity: float
    tokens: int
    ratio: float | None = None
    interval: tuple[float, float] | None = None
    divergence: float | None = None


@dataclass(frozen=True)
class ModelResult:
    """One model on the whole panel.

    Attributes:
        name: what it is called.
        genres: by name.
        ratio: geometric mean of the genres' ratios; None of the original.
        interval: its 95 % interval (`mean_ratio_interval`).
        divergence: mean of the genres' divergences.
        worst: the genre of the largest ratio.
        repeated: share of phrases of four tokens that were there before, mean over `prompts` continuations.
        prompts: how many continuations.
        copying: how much it finds in its context, by distance.
    """

    name: str
    genres: dict[str, GenreResult]
    ratio: float | None
    interval: tuple[float, float] | None
    divergence: float | None
    worst: str | None
    repeated: float
    prompts: int
    copying: list[Copying]

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        genres = {name: dict(vars(genre)) for name, genre in self.genres.items()}
        copied = [{**vars(one), "accuracy": one.accuracy} for one in self.copying]
        return {**vars(self), "genres": genres, "copying": copied}


@dataclass(frozen=True)
class PanelResult:
    """What the panel says of several models, the original first.

    Attributes:
        models: in the order in which they were given.
        tokens: of each text, at most.
        length: tokens of a window.
    """

    models: list[ModelResult]
    tokens: int
    length: int

    def to_dict(self) -> dict[str, Any]:
        """What panel.json holds: plain values, the models by name."""
        about = {"version": VERSION, "panel": panel_hash(), "tokens": self.tokens, "length": self.length}
        genres = {genre.name: genre.title for genre in GENRES}
        return {**about, "genres": genres, "models": {model.name: model.to_dict() for model in self.models}}


def measure_panel(
    models: Mapping[str, Loader],
    *,
    tokens: int = 8192,
    length: int = 1024,
    prompts: int = 16,
    rows: int = 8,
    divergence: bool = True,
    out: Path | None = None,
    cache: Path | None = None,
    progress: Progress | None = None,
) -> PanelResult:
    """Measure models beside their original on the panel, which nothing is learned from (see `gaincell.adapt`).

    **Perplexity and KL** per genre, on windows that do not overlap: each is scored whole, but for the first token of a
    window where the tokenizer puts nothing in front of texts. A token has half a window before it on average, and is
    computed once: that is half the cost of windows that overlap by half, for a perplexity some percent higher in every
    model alike. KL is taken from both models' distributions over the whole vocabulary.

    **Repetition**: the likeliest tokens after the starts of the panel's texts, in turn (`repeated_share`).

    **Copying**: random tokens that come again, by distance (`gaincell.evaluate.panel.copying`); distances that neither
    the window nor the vocabulary reaches are left out.

    Args:
        models: what each is called, and a call that loads it with its tokenizer; the first is the original. That one
            and one other are in memory at a time.
        tokens: of each genre's text, at most.
        length: tokens of a window, what the tokenizer puts in front of a text among them.
        prompts: how many texts are begun.
        rows: rows of random tokens for each distance; 0 asks for no copying.
        divergence: whether to take KL; without, the original computes nothing where its losses are kept.
        out: a folder that keeps answers as they come, genre by genre (what is there is not computed again), and
            panel.json.
        cache: a folder that keeps the original's; by default in the user's cache folder.
        progress: called with (what is measured, done, in all).

    Raises:
        InputError: no model, a model of another vocabulary than the original's, or a window that the model has no
            positions for.
        OSError: a folder cannot be written to, or the disk is full.
    """
    if not models:
        raise InputError("the panel needs a model, the original; give one.")
    (name, load), *others = models.items()
    original, tokenizer = load()
    original.eval()
    asked = _Asked(original, tokenizer, tokens=tokens, length=length, prompts=prompts, rows=rows)
    cache = platformdirs.user_cache_path("gaincell") / "panel" if cache is None else cache
    first = _Answers(cache, "original", identity(original))
    scored = {}
    for other, load_other in others:
        model, its_tokenizer = load_other()
        _check_same_vocabulary(original, tokenizer, model, its_tokenizer, other)
        model.eval()
        answers = _Answers(out, other, identity(model), first.model)
        scored[other] = _measure(other, model, original, asked, answers, first, progress, divergence)
        del model
    base = _measure(name, None, original, asked, first, first, progress)
    found = [_result(name, base, None), *(_result(other, one, base) for other, one in scored.items())]
    result = PanelResult(found, tokens, length)
    if out is not None:
        _write(out / "panel.json", result.to_dict())
    return result


class _Asked:
    """What every model is asked: rows of token ids, which together with the model decide every answer."""

    def __init__(
        self, model: PreTrainedModel, tokenizer: Any, *, tokens: int, length: int, prompts: int, rows: int
    ) -> None:
        self.prefix, positions = prefix_of(tokenizer), positions_of(model)
        longest = max(length, len(self.prefix) + PROMPT_TOKENS + NEW_TOKENS)
        if positions is not None and longest > positions:
            raise InputError(f"the panel asks for {longest} tokens in a row, but this model has {positions} positions.")
        if length < len(self.prefix) + 2 or tokens < 2:
            raise InputError(f"the panel needs windows and texts of two tokens at least; got {length} and {tokens}.")
        needed = max(tokens, _PROMPTS_APART * math.ceil(prompts / len(GENRES)) + PROMPT_TOKENS)
        texts = {genre.name: encode(tokenizer, genre.text(), needed) for genre in GENRES}
        self.windows = {genre: windows(ids[:tokens], self.prefix, length) for genre, ids in texts.items()}
        starts = [(ids, start * _PROMPTS_APART) for start in range(needed // _PROMPTS_APART) for ids in texts.values()]
        self.prompts = [[*self.prefix, *ids[start : start + PROMPT_TOKENS]] for ids, start in starts[:prompts]]
        special = {*tokenizer.all_special_ids, *tokenizer.added_tokens_decoder}
        known = range(_vocabulary(model))
        self.barred = sorted(special & set(known))
        self.words = sorted({*tokenizer.get_vocab().values()} & set(known) - special)
        reach = min(length - len(self.prefix) - BLOCK, len(self.words))
        self.distances = [distance for distance in DISTANCES if rows and distance <= reach]
        self.rows, self.tokenizer = rows, tokenizer


class _Answers:
    """One model's answers, each a file whose name tells model and question, so that a folder can hold any number."""

    def __init__(self, folder: Path | None, name: str, model: str, original: str = "") -> None:
        self.folder, self.name, self.model, self.original = folder, name, model, original

    def find(self, part: str, question: Any) -> Any:
        """The answer that is kept; None where there is none."""
        path = self._path(part, question)
        if path is None or not path.is_file():
            return None
        try:
            with reading(path):
                found = json.loads(path.read_text("utf-8"))
            if not isinstance(found, dict) or "answer" not in found:
                return found  # of before answers had a hash
            return read_object(path)["answer"]
        except InputError as error:
            logger.warning("%s", error)
            return None

    def keep(self, part: str, question: Any, answer: Any) -> None:
        """Keep an answer, where there is a folder to."""
        path = self._path(part, question)
        if path is not None:
            _write(path, with_hash({"answer": answer}))

    def _path(self, part: str, question: Any) -> Path | None:
        asked = json.dumps([VERSION, self.model, self.original, part, question])
        word = hashlib.sha256(asked.encode()).hexdigest()[:16]
        return None if self.folder is None else self.folder / "answers" / f"{self.name}-{part}-{word}.json"


def _measure(
    name: str,
    model: PreTrainedModel | None,
    original: PreTrainedModel,
    asked: _Asked,
    answers: _Answers,
    originals: _Answers,
    progress: Progress | None,
    divergence: bool = True,
) -> dict[str, Any]:
    """A model's answers to all that is asked, those that are kept and the others; `model` is None for the original.

    The original's losses are kept on the way: they cost nothing beside another model's.
    """
    texts: dict[str, Any] = {}
    total, done = sum(map(len, asked.windows.values())), 0
    for genre, rows in asked.windows.items():
        texts[genre], beside = answers.find(genre, rows), originals.find(genre, rows)
        report = _after(done, total, f"{name}, texts", progress)
        if texts[genre] is None and beside is not None and model is not None and not divergence:
            with _drawing():
                texts[genre] = {"losses": _rounded(score(model, None, rows, len(asked.prefix), report).original)}
        elif texts[genre] is None or beside is None:
            with _drawing():
                found = score(original, model, rows, len(asked.prefix), report)
            texts[genre] = {"losses": _rounded(found.original)}
            originals.keep(genre, rows, texts[genre])
            if model is not None:
                texts[genre] = {"losses": _rounded(found.losses), "divergence": _rounded(found.divergence)}
                answers.keep(genre, rows, texts[genre])
        done += len(rows)
        _after(done, total, f"{name}, texts", progress)(0)
    network = original if model is None else model
    question: Any = [asked.prompts, NEW_TOKENS, asked.barred]
    written = answers.find("repetition", question)
    if written is None:
        report = _after(0, NEW_TOKENS, f"{name}, writing", progress)
        with _drawing():
            tokens = continuations(network, asked.prompts, NEW_TOKENS, asked.barred, report) if asked.prompts else []
        written = {"shares": list(map(repeated_share, tokens)), "texts": list(map(asked.tokenizer.decode, tokens))}
        answers.keep("repetition", question, written)
    question = [asked.words, asked.prefix, asked.rows, asked.distances, BLOCK]
    copied = answers.find("copying", question)
    if copied is None:
        report = _after(0, asked.rows * len(asked.distances), f"{name}, copying", progress)
        with _drawing():
            found = copying(
                network, asked.words, asked.prefix, rows=asked.rows, distances=asked.distances, progress=report
            )
        copied = [dict(vars(one)) for one in found]
        answers.keep("copying", question, copied)
    return {"texts": texts, "repetition": written, "copying": copied}


def _after(before: int, total: int, what: str, progress: Progress | None) -> Callable[[int], None]:
    """Tells how far a part is, which begins when `before` of its whole are done."""

    def report(done: int) -> None:
        if progress is not None:
            progress(what, before + done, total)

    return report


def _rounded(values: Sequence[float]) -> list[float]:
    """To a billionth of a nat: less than float32 tells, and a third of the digits."""
    return [round(value, 9) for value in values]


def _result(name: str, found: dict[str, Any], base: dict[str, Any] | None) -> ModelResult:
    genres, pairs = {}, []
    for genre, one in found["texts"].items():
        losses = one["losses"]
        perplexity = _exp(math.fsum(losses) / len(losses))
        if base is None:
            genres[genre] = GenreResult(perplexity, len(losses))
            continue
        theirs = base["texts"][genre]["losses"]
        ratio = _exp((math.fsum(losses) - math.fsum(theirs)) / len(losses))
        divergence = math.fsum(one["divergence"]) / len(losses) if "divergence" in one else None
        genres[genre] = GenreResult(perplexity, len(losses), ratio, ratio_interval(losses, theirs), divergence)
        pairs.append((losses, theirs))
    ratios = {genre: one.ratio for genre, one in genres.items() if one.ratio is not None}
    apart = [one.divergence for one in genres.values() if one.divergence is not None]
    shares = found["repetition"]["shares"]
    return ModelResult(
        name=name,
        genres=genres,
        ratio=_exp(math.fsum(map(math.log, ratios.values())) / len(ratios)) if ratios else None,
        interval=mean_ratio_interval(pairs) if pairs else None,
        divergence=math.fsum(apart) / len(apart) if apart else None,
        worst=max(ratios, key=lambda genre: ratios[genre]) if ratios else None,
        repeated=math.fsum(shares) / len(shares) if shares else 0.0,
        prompts=len(shares),
        copying=[Copying(**one) for one in found["copying"]],
    )


def _check_same_vocabulary(
    original: PreTrainedModel, tokenizer: Any, model: PreTrainedModel, its_tokenizer: Any, name: str
) -> None:
    """Raise InputError where predictions of two models are not of the same tokens."""
    sample = GENRES[0].text()[:2000]
    if _vocabulary(original) != _vocabulary(model) or encode(tokenizer, sample) != encode(its_tokenizer, sample):
        raise InputError(
            f"{name} does not predict the tokens that the original does, so they cannot be compared; measure it beside "
            "the model that it was made of."
        )


def _vocabulary(model: PreTrainedModel) -> int:
    """How many tokens a model knows."""
    embedded: Any = model.get_input_embeddings()
    return len(embedded.weight)


@contextmanager
def _drawing() -> Iterator[None]:
    """Noise without a seed of its own is the same whether an answer is computed in one run or after a kill."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        yield


def _exp(value: float) -> float:
    return math.exp(min(value, 700.0))


def _write(path: Path, content: Any) -> None:
    with written_aside(path) as aside:
        aside.write_text(json.dumps(content), "utf-8")
