"""Recorded activity as plain arrays: round trip, refusals, and the assumption that stands for none."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tools.pages.data import kept

from gaincell.config import GainCellConfig
from gaincell.errors import InputError
from gaincell.hardware.activity import REFERENCE, Activity

PAPER = GainCellConfig.named("leroux2025")


def fields(layers: int = 2, heads: int = 4, kv_heads: int = 2, levels: int = 8) -> dict:
    generator = np.random.default_rng(0)
    names = Activity.reference(PAPER).arrays()
    means = {name: generator.random((layers, heads)).tolist() for name in names if not name.endswith("codes")}
    codes = {name: np.full((layers, kv_heads, levels), 1 / levels).tolist() for name in ("key_codes", "value_codes")}
    return {**means, **codes, "tokens": 5, "text": "five tokens"}


@given(st.integers(0, 3), st.integers(1, 3), st.integers(1, 3), st.integers(2, 9))
def test_round_trip_through_json(layers: int, kv_heads: int, group: int, levels: int) -> None:
    given = fields(layers or 1, kv_heads * group, kv_heads, levels)
    activity = Activity.from_dict(json.loads(json.dumps(given)))
    assert activity.to_dict() == given
    assert all(array.dtype == np.float64 for array in activity.arrays().values())
    assert Activity.from_dict(json.loads(json.dumps(activity.to_dict()))).to_dict() == given


BAD = {
    "missing": ({"phi": ...}, "field 'phi' is missing"),
    "unknown": ({"psi": 1}, "unknown field 'psi'"),
    "negative": ({"phi": [[0.1, 0.1, 0.1, 0.1], [0.1, 0.1, 0.1, -0.1]]}, "'phi' holds -0.1"),
    "not a number": ({"readout": [[math.nan] * 4] * 2}, "'readout' holds nan"),
    "infinite": ({"key_charge": [[math.inf] * 4] * 2}, "'key_charge' holds inf"),
    "null": ({"phi": None}, "'phi' holds nan"),
    "per cent": ({"phi_active": [[50.0] * 4] * 2}, "'phi_active' holds 50.*at most 1"),
    "words": ({"phi": "much"}, "'phi' is not an array of numbers"),
    "ragged": ({"phi": [[0.1], [0.1, 0.2]]}, "'phi' is not an array of numbers"),
    "one head too many": ({"phi_full": [[0.1] * 5] * 2}, r"'phi_full' has shape \(2, 5\)"),
    "no layers": ({"phi": [0.1] * 4}, "has shape"),
    "codes without heads": ({"key_codes": [[0.5, 0.5]] * 2}, r"'key_codes' has shape \(2, 2\)"),
    "other levels for values": ({"value_codes": [[[0.5, 0.5]] * 2] * 2}, "'value_codes' has shape"),
    "heads that do not divide": ({"key_codes": [[[1.0]] * 3] * 2, "value_codes": [[[1.0]] * 3] * 2}, "'key_codes'"),
    "no heads for codes": ({"key_codes": [[], []], "value_codes": [[], []]}, "has shape"),
    "tokens": ({"tokens": -1}, "tokens must be a whole number"),
    "text": ({"text": 3}, "text must be words"),
}


@pytest.mark.parametrize("case", BAD)
def test_one_sentence_says_what_is_wrong(case: str) -> None:
    changes, words = BAD[case]
    data = {name: value for name, value in {**fields(), **changes}.items() if value is not ...}
    with pytest.raises(InputError, match=words) as error:
        Activity.from_dict(data)
    assert str(error.value).startswith("activity: ")
    assert str(error.value).endswith(".")
    assert "\n" not in str(error.value)


def test_something_else_than_a_mapping() -> None:
    with pytest.raises(InputError, match="is list"):
        Activity.from_dict([1])  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("levels", [8, 16, None])
def test_reference_is_the_same_everywhere_but_for_its_levels(levels: int | None) -> None:
    found = Activity.reference(PAPER.replace(stored_levels=levels))
    assert {name: array.item() for name, array in found.arrays().items() if name in REFERENCE} == REFERENCE
    np.testing.assert_allclose(found.key_codes, np.full((1, 1, levels or 256), 1 / (levels or 256)))


def test_reference_is_what_was_recorded() -> None:
    recorded = kept("activity.json")["leroux2025"]
    for name, mean in REFERENCE.items():
        assert mean == pytest.approx(np.mean(recorded["activity"][name]), rel=0.02, abs=1e-4)
