"""An interval of a ratio: it holds the truth 95 times in 100, shrinks with more text, is exact without noise."""

import math

import numpy as np
import pytest

from gaincell import InputError
from gaincell.evaluate.ratio_interval import BLOCK, ratio_interval


def test_models_that_differ_by_a_constant_leave_nothing_unsure() -> None:
    losses = np.random.default_rng(0).exponential(3.0, 20 * BLOCK)
    interval = ratio_interval((losses + math.log(1.1)).tolist(), losses.tolist())
    assert interval == pytest.approx((1.1, 1.1))


def test_the_true_ratio_lies_inside_about_as_often_as_it_should() -> None:
    rng, inside, widths = np.random.default_rng(1), 0, []
    for _ in range(200):
        common = rng.normal(size=40).repeat(BLOCK)  # neighbours go together
        difference = 0.05 + 0.1 * common + rng.normal(scale=0.5, size=40 * BLOCK)
        low, high = ratio_interval(difference.tolist(), [0.0] * len(difference)) or (0.0, 0.0)
        inside += low <= math.exp(0.05) <= high
        widths.append(high - low)
    assert 0.89 <= inside / 200 <= 0.98
    few = ratio_interval(difference[: 10 * BLOCK].tolist(), [0.0] * (10 * BLOCK)) or (0.0, 0.0)
    assert few[1] - few[0] > 1.3 * float(np.mean(widths))


def test_too_little_text_has_no_interval_and_other_text_is_refused() -> None:
    assert ratio_interval([1.0] * 7 * BLOCK, [1.0] * 7 * BLOCK) is None
    with pytest.raises(InputError, match="paired"):
        ratio_interval([1.0], [1.0, 2.0])
