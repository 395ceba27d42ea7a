"""The pieces of the search among roundings do what they say."""

import numpy as np
import pytest
from benchmarks.rounding import CLIP, HALF, IDEAS, Seen, even, hadamard, in_sequence, lloyd, nearest, scaled, shaped


def _moment(random: np.random.Generator) -> np.ndarray:
    turn = np.linalg.qr(random.normal(size=(16, 16)))[0]
    return turn * np.logspace(0, -3, 16) @ turn.T


@pytest.mark.parametrize("seed", range(5))
def test_the_shaped_map_does_least_harm(seed: int) -> None:
    random = np.random.default_rng(seed)
    stored, metric = _moment(random), _moment(random)

    def harm(turn: np.ndarray) -> float:
        back = np.linalg.inv(scaled(turn, stored))
        return float(np.trace(back.T @ metric @ back))

    least = np.sqrt(np.linalg.eigvals(stored @ metric).real).sum() ** 2 / 16
    assert harm(shaped(stored, metric)) == pytest.approx(least, rel=1e-6)
    for other in (np.eye(16), hadamard(16), np.linalg.eigh(stored)[1].T):
        assert harm(other) > 1.01 * least


def test_rounding_in_sequence_errs_less_by_its_metric() -> None:
    random = np.random.default_rng(0)
    x, metric = 0.6 * random.normal(size=(400, 16)), _moment(random)

    def error(rounded: np.ndarray) -> float:
        return float(np.einsum("ni,ij,nj->", rounded - x, metric, rounded - x))

    assert error(in_sequence(x, even(CLIP), metric)) < 0.7 * error(nearest(x, even(CLIP)))
    assert np.array_equal(in_sequence(x, even(CLIP), np.eye(16)), nearest(x, even(CLIP)))


def test_the_best_levels_of_a_normal_distribution_are_the_known_ones() -> None:
    x = np.random.default_rng(0).normal(size=400_000)
    assert lloyd(x)[4:] == pytest.approx(HALF, abs=0.02)


@pytest.mark.parametrize("idea", IDEAS)
def test_every_idea_comes_close_to_what_it_rounds(idea: str) -> None:
    random = np.random.default_rng(0)
    x, metric = random.normal(size=(400, 16)), _moment(random) + 0.1 * np.eye(16)
    rest = IDEAS[idea](Seen(x, random.uniform(0.8, 1.2, 16), metric))(x) - x
    assert np.einsum("ni,ij,nj->", rest, metric, rest) < 0.1 * np.einsum("ni,ij,nj->", x, metric, x)
