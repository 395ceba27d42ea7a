"""Recorded activity as plain arrays: round trip, refusals, and the assumption that stands for none."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gaincell.config import GainCellConfig
from gaincell.errors import InputError
from gaincell.hardware.activity import REFERENCE_PHI, Activity

PAPER = GainCellConfig.preset("leroux2025")
EXTENDED = GainCellConfig.preset("extended")


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


@pytest.mark.parametrize("sign", ["unsigned", "differential", "offset_binary"])
@pytest.mark.parametrize("levels", [2, 7, 16, None])
def test_reference_queries_are_the_mean_of_all_codes(sign: str, levels: int | None) -> None:
    config = PAPER.replace(query_sign=sign, query_levels=levels)
    widths = np.linspace(0, 1, levels or 100_001)
    if sign == "differential":
        widths = np.concatenate([widths, widths[1:]])
    found = Activity.reference(config)
    assert found.query_pulse.item() == pytest.approx(widths.mean(), rel=1e-4)
    assert found.query_active.item() == pytest.approx((widths > 0).mean(), rel=1e-4)


@pytest.mark.parametrize("config", [PAPER, EXTENDED, PAPER.replace(stored_levels=256)])
def test_reference_cells_are_the_mean_of_the_codes_that_are_stored(config: GainCellConfig) -> None:
    """Against the operator's own conversion."""
    import torch

    from gaincell.ops.convert import code_voltage

    levels = config.stored_levels or 0
    charge = config.cell.model_law(code_voltage(torch.arange(levels), config, torch.float64))
    cell = float(charge.abs().mean()) / config.cell.model_law(0.45)
    found = Activity.reference(config)
    assert found.key_charge.item() == pytest.approx(found.query_pulse.item() * cell)
    assert found.value_charge.item() == pytest.approx(REFERENCE_PHI * cell)
    assert found.phi.item() == REFERENCE_PHI
    assert Activity.reference(config, phi=0.5).value_charge.item() == pytest.approx(0.5 * cell)
    np.testing.assert_allclose(found.key_codes, np.full((1, 1, levels), 1 / levels))
    assert all(array.shape in ((1, 1), (1, 1, levels)) for array in found.arrays().values())


def test_reference_of_cells_without_levels_is_the_limit_of_many() -> None:
    free = Activity.reference(PAPER.replace(stored_levels=None))
    assert free.key_charge.item() == Activity.reference(PAPER.replace(stored_levels=256)).key_charge.item()


@pytest.mark.parametrize("phi", [-0.1, 1.1, math.nan])
def test_reference_refuses_what_is_no_pulse_width(phi: float) -> None:
    with pytest.raises(InputError, match="'phi' holds"):
        Activity.reference(PAPER, phi=phi)
