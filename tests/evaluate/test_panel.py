"""The panel's figures against their definitions, on tiny models."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gaincell.errors import InputError
from gaincell.evaluate.panel import GENRES, measure_panel, panel
from gaincell.evaluate.panel.copying import DISTANCES, copying, repeated_rows
from gaincell.evaluate.panel.repetition import continuations, repeated_share
from gaincell.evaluate.panel.score import score, windows
from gaincell.evaluate.ratio_interval import mean_ratio_interval, ratio_interval
from gaincell.models import convert_
from gaincell.models.load import load_model

SMALL = {"tokens": 160, "length": 128, "prompts": 3, "rows": 1}


@pytest.fixture(autouse=True)
def little_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(panel, "NEW_TOKENS", 8)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    sys.path.insert(0, str(Path(__file__).parents[1] / "cli"))
    from command_tools import save_tiny

    folder = tmp_path_factory.mktemp("models") / "tiny"
    save_tiny(folder)
    return folder


def loader(folder: Path, config: str | None = None, scale: float = 1.0) -> Callable[[], Any]:
    def load() -> Any:
        model, tokenizer = load_model(folder)
        model.lm_head.weight.data *= scale
        return (model if config is None else convert_(model, config)), tokenizer

    return load


@pytest.mark.parametrize("prefix", [[], [0]])
def test_losses_and_divergence_are_those_of_the_definition_in_float64(tiny: Path, prefix: list[int]) -> None:
    original, other = loader(tiny, scale=40.0)()[0], loader(tiny, "extended", 40.0)()[0]
    ids = torch.randint(2, 258, (300,), generator=torch.Generator().manual_seed(1)).tolist()
    rows = windows(ids, prefix, 140)
    found = score(original, other, rows, len(prefix))
    losses, theirs, apart = [], [], []
    for row in rows:
        x = torch.tensor([row])
        with torch.no_grad():
            p, q = ((m(x, use_cache=False).logits[0].double()).log_softmax(-1) for m in (original, other))
        for place in range(max(1, len(prefix)), len(row)):
            theirs.append(-float(p[place - 1, row[place]]))
            losses.append(-float(q[place - 1, row[place]]))
            apart.append(sum(float(a.exp() * (a - b)) for a, b in zip(p[place - 1], q[place - 1], strict=True)))
    assert len(found.losses) == len(losses) == len(ids) - (0 if prefix else len(rows))
    np.testing.assert_allclose(found.losses, losses, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found.original, theirs, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found.divergence, apart, rtol=1e-3, atol=1e-5)
    assert np.mean(apart) > 0.01


def test_windows_hold_every_token_once() -> None:
    assert windows(list(range(10)), [], 4) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert windows(list(range(9)), [], 4) == [[0, 1, 2, 3], [4, 5, 6, 7]]  # nothing stands before the last
    assert windows(list(range(4)), [7], 4) == [[7, 0, 1, 2], [7, 3]]


def test_a_model_that_equals_the_original_is_at_1_and_0(tiny: Path, tmp_path: Path) -> None:
    models = {"original": loader(tiny), "same": loader(tiny), "converted": loader(tiny, "extended")}
    found = measure_panel(models, cache=tmp_path, **SMALL).to_dict()
    assert list(found["models"]) == list(models)
    assert list(found["genres"]) == [genre.name for genre in GENRES]
    original, same, converted = found["models"].values()
    assert same["ratio"] == pytest.approx(1, abs=1e-12)
    assert same["divergence"] == pytest.approx(0, abs=1e-12)
    assert same["repeated"] == original["repeated"]
    assert same["copying"] == original["copying"]
    assert original["ratio"] is None
    assert original["genres"]["code"]["ratio"] is None
    assert converted["divergence"] > 1e-5
    ratios = [converted["genres"][name]["ratio"] for name in found["genres"]]
    assert converted["ratio"] == pytest.approx(np.exp(np.mean(np.log(ratios))))
    assert converted["genres"][converted["worst"]]["ratio"] == max(ratios)
    for name, one in converted["genres"].items():
        assert one["ratio"] == pytest.approx(one["perplexity"] / original["genres"][name]["perplexity"])
        assert one["tokens"] == 158  # two windows, of which the first tokens are not scored
    json.dumps(found, allow_nan=False)


def test_a_run_that_was_cut_short_goes_on_where_it_was(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = {"original": loader(tiny), "converted": loader(tiny, "extended")}
    whole = measure_panel(models, cache=tmp_path / "other", **SMALL)
    calls = []

    def counted(*args: Any, **kwargs: Any) -> Any:
        calls.append(args)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return score(*args, **kwargs)

    monkeypatch.setattr(panel, "score", counted)
    where = {"out": tmp_path / "out", "cache": tmp_path / "cache"}
    with pytest.raises(KeyboardInterrupt):
        measure_panel(models, **where, **SMALL)
    assert not (tmp_path / "out" / "panel.json").exists()
    assert measure_panel(models, **where, **SMALL) == whole
    assert len(calls) == 4 + len(GENRES) - 3
    # All of it is there now, and the original's too, whatever it is measured beside.
    monkeypatch.setattr(panel, "score", lambda *_: pytest.fail("computed again"))
    monkeypatch.setattr(panel, "continuations", lambda *_: pytest.fail("written again"))
    monkeypatch.setattr(panel, "copying", lambda *_, **__: pytest.fail("copied again"))
    assert measure_panel(models, **where, **SMALL) == whole
    alone = measure_panel({"original": loader(tiny)}, cache=tmp_path / "cache", **SMALL)
    assert alone.models[0] == whole.models[0]
    kept = json.loads((tmp_path / "out" / "panel.json").read_text("utf-8"))
    assert kept["models"]["converted"]["ratio"] == whole.models[1].ratio


def test_answers_of_another_model_are_not_taken(tiny: Path, tmp_path: Path) -> None:
    where = {"out": tmp_path / "out", "cache": tmp_path / "cache"}
    found = [
        measure_panel({"original": loader(tiny), "one": loader(tiny, name)}, **where, **SMALL).models[1].divergence
        for name in ("extended", "leroux2025")
    ]
    assert found[0] != found[1]


def test_what_cannot_be_measured_is_refused(tiny: Path, tmp_path: Path) -> None:
    def other_words() -> Any:
        model, tokenizer = load_model(tiny)
        model.resize_token_embeddings(300)
        return model, tokenizer

    with pytest.raises(InputError, match="needs a model"):
        measure_panel({})
    with pytest.raises(InputError, match="2048 positions"):
        measure_panel({"original": loader(tiny)}, cache=tmp_path, length=4096)
    with pytest.raises(InputError, match="two tokens"):
        measure_panel({"original": loader(tiny)}, cache=tmp_path, length=1)
    with pytest.raises(InputError, match="odd does not predict the tokens"):
        measure_panel({"original": loader(tiny), "odd": other_words}, cache=tmp_path, **SMALL)


def test_the_mean_has_an_interval_around_it() -> None:
    generator = np.random.default_rng(0)
    pairs = []
    for shift in (0.1, 0.3):
        base = generator.normal(3, 1, 4096)
        pairs.append(((base + generator.normal(shift, 0.5, 4096)).tolist(), base.tolist()))
    low, high = mean_ratio_interval(pairs) or (0, 0)
    assert low < np.exp(0.2) < high
    assert high / low < 1.05
    one = mean_ratio_interval(pairs[:1]) or (0, 0)
    assert one == pytest.approx(ratio_interval(*pairs[0]))
    assert mean_ratio_interval([*pairs, ([1.0] * 100, [1.0] * 100)]) is None
    with pytest.raises(InputError):
        mean_ratio_interval([([1.0], [1.0, 2.0])])


def test_repeated_share_by_hand() -> None:
    assert repeated_share([1, 2, 3]) == 0  # not one phrase
    assert repeated_share(list(range(20))) == 0
    assert repeated_share([5] * 12) == pytest.approx(8 / 9)
    assert repeated_share([1, 2, 3, 4] * 4) == pytest.approx(9 / 13)
    assert repeated_share([1, 2, 1, 2, 9], phrase=2) == pytest.approx(1 / 4)


@given(st.lists(st.integers(0, 3), max_size=40))
def test_repeated_share_is_a_share(tokens: list[int]) -> None:
    phrases = [tuple(tokens[i : i + 4]) for i in range(len(tokens) - 3)]
    again = sum(phrase in phrases[:place] for place, phrase in enumerate(phrases))
    assert repeated_share(tokens) == pytest.approx(again / len(phrases) if phrases else 0)


@pytest.mark.parametrize("config", [None, "extended"])
def test_continuations_are_greedy_and_never_end(tiny: Path, config: str | None) -> None:
    model, _ = loader(tiny, config, scale=40.0)()
    prompts = [[5, 9, 40, 7], [7, 7, 60, 9]]
    found = continuations(model, prompts, 6, barred=[0, 1])
    for prompt, written in zip(prompts, found, strict=True):
        text = list(prompt)
        for token in written:
            with torch.no_grad():
                logits = model(torch.tensor([text]), use_cache=False).logits[0, -1]
            logits[[0, 1]] = -torch.inf
            assert logits[token] >= logits.max() - 1e-3  # the ring adds in another order
            text.append(token)


class Copier:
    """Predicts what followed the last time that the token was there: what a head that copies does."""

    device = torch.device("cpu")

    def __call__(self, ids: torch.Tensor, use_cache: bool, logits_to_keep: int) -> Any:
        row = ids[0].tolist()
        logits = torch.zeros(1, len(row), 2000)
        for place, token in enumerate(row):
            before = [i for i in range(place) if row[i] == token]
            if before:
                logits[0, place, row[before[-1] + 1]] = 1.0
        return SimpleNamespace(logits=logits[:, -logits_to_keep:])


class Guesser:
    device = torch.device("cpu")

    def __call__(self, ids: torch.Tensor, use_cache: bool, logits_to_keep: int) -> Any:
        seed = int(ids.sum())
        return SimpleNamespace(logits=torch.rand(1, logits_to_keep, 50, generator=torch.Generator().manual_seed(seed)))


def test_copying_is_all_of_what_a_copying_model_does_and_chance_of_a_guessing_one() -> None:
    model: Any = Copier()
    for one in copying(model, range(1000, 2000), [3], rows=2):
        assert one.accuracy == 1
        assert one.asked == 126
    guesser: Any = Guesser()
    found = copying(guesser, range(50), [], rows=200, distances=(40,), block=20)[0]
    assert found.asked == 3800
    # 1 in 50; five standard deviations of a binomial
    assert abs(found.accuracy - 0.02) < 5 * (0.02 * 0.98 / 3800) ** 0.5


def test_rows_repeat_at_their_distance_and_nowhere_else() -> None:
    for distance in DISTANCES:
        rows = repeated_rows(range(100, 1100), distance, 3, seed=4)
        assert rows.shape == (3, distance + 64)
        assert rows.shape[1] <= 1024
        for row in rows.tolist():
            assert row[:64] == row[distance:]
            assert len(set(row[:distance])) == distance
            assert min(row) >= 100
        assert torch.equal(rows, repeated_rows(range(100, 1100), distance, 3, seed=4))
        assert not torch.equal(rows, repeated_rows(range(100, 1100), distance, 3, seed=5))


def test_without_divergence_the_figures_are_the_same(tiny: Path, tmp_path: Path) -> None:
    models = {"original": loader(tiny), "other": loader(tiny, "extended")}
    how: dict[str, Any] = {"tokens": 64, "length": 32, "prompts": 0, "rows": 0, "cache": tmp_path}
    whole, short = (measure_panel(models, divergence=each, **how).models[1] for each in (True, False))
    assert (short.divergence, whole.divergence is None) == (None, False)
    assert (short.ratio, short.interval, short.worst) == (whole.ratio, whole.interval, whole.worst)
