"""The paired comparison: what it says of two models on the same items."""

from math import exp

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gaincell.evaluate.tasks.paired import PairedTexts, compare, compare_texts

pairs = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60)


@given(pairs)
def test_swapping_the_models_turns_the_difference_round(items: list[tuple[bool, bool]]) -> None:
    original, this = zip(*items, strict=True)
    one, other = compare(original, this), compare(this, original)
    assert one.difference == -other.difference == (sum(this) - sum(original)) / len(items)
    assert one.interval == pytest.approx((-other.interval[1], -other.interval[0]))
    assert one.mcnemar_p == pytest.approx(other.mcnemar_p)
    assert (one.only_original, one.only_this) == (other.only_this, other.only_original)


@given(pairs)
def test_a_model_against_itself_differs_by_nothing(items: list[tuple[bool, bool]]) -> None:
    right = [a for a, _ in items]
    same = compare(right, right)
    assert (same.difference, same.mcnemar_p) == (0, 1)
    assert same.interval[0] < 0 < same.interval[1]


def test_mcnemar_is_the_exact_sign_test_of_the_discordant_items() -> None:
    # five items that only the original gets right, none the other way: 2 * 2^-5
    found = compare([True] * 5 + [True, False], [False] * 5 + [True, False])
    assert found.mcnemar_p == pytest.approx(2 * 0.5**5)


def test_the_interval_covers_the_true_difference_as_often_as_it_says() -> None:
    generator = np.random.default_rng(0)
    both, lost, won = 0.3, 0.12, 0.06  # chances that both, only the original, only the other gets an item right
    covered = 0
    for _ in range(2000):
        kind = generator.choice(4, size=60, p=[both, lost, won, 1 - both - lost - won])
        interval = compare(list(kind <= 1), list((kind == 0) | (kind == 2))).interval
        covered += interval[0] <= won - lost <= interval[1]
    assert covered / 2000 == pytest.approx(0.95, abs=0.02)


def test_lists_of_other_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="argument 2 is shorter"):
        compare([True, False], [True])
    with pytest.raises(ValueError, match="no items"):
        compare([], [])


def test_the_interval_of_a_ratio_of_perplexities_covers_the_truth() -> None:
    """Texts of unequal lengths, drawn from a known ratio: 95 of 100 intervals hold it."""
    generator, held, draws = np.random.default_rng(0), 0, 600
    for _ in range(draws):
        words = generator.integers(500, 8000, 62)
        original = -3.3 * words
        this = original - 0.18 * words - 0.6 * np.sqrt(words) * generator.normal(size=62)
        found = compare_texts(original.tolist(), this.tolist(), words.tolist())
        assert found.interval is not None
        held += found.interval[0] < np.exp(0.18) < found.interval[1]
    assert 0.93 < held / draws < 0.97


def test_the_same_model_has_the_same_perplexity() -> None:
    found = compare_texts([-5.0, -9.0], [-5.0, -9.0], [2, 3])
    assert (found.ratio, found.interval) == (1.0, (1.0, 1.0))
    assert compare_texts([-5.0], [-6.0], [2]) == PairedTexts(pytest.approx(exp(0.5)), None)
