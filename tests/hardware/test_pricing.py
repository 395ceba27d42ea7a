"""An estimate with all that is asked for beside it, and models by name."""

import pytest

from gaincell.config import GainCellConfig
from gaincell.errors import InputError
from gaincell.hardware import HardwareParameters, estimate
from gaincell.hardware.datasheets import ACCELERATORS, H100_SXM
from gaincell.hardware.named import SHAPES, find_model
from gaincell.hardware.opponents import opponents
from gaincell.hardware.pricing import Beside, price
from gaincell.hardware.throughput import throughput
from gaincell.hardware.whole_token import estimate_whole

PAPER = GainCellConfig.named("leroux2025")
REFRESHED = HardwareParameters(refresh="rewrite")


def test_what_is_not_asked_for_is_not_told() -> None:
    plain, found = price(find_model("gpt2"), PAPER, HardwareParameters()), estimate(find_model("gpt2").fields, PAPER)
    assert plain.rows == found.table()
    assert plain.rivals == opponents(found, [H100_SXM])


def test_what_is_asked_for_follows_the_estimate_at_the_pace_of_the_rest() -> None:
    model, rival = find_model("llama3-8b"), ACCELERATORS["b200"]
    told = price(model, PAPER, REFRESHED, None, Beside(rest=H100_SXM, batch=3, against=[rival]))
    found, whole = estimate_whole(model.shape, PAPER, REFRESHED, None, H100_SXM, 3)
    assert told.rows == [*found.table(), *whole.table(), *throughput(found, 3).table()]
    assert told.notes[-1].startswith("An operation is")
    assert set(whole.notes) < set(told.notes)
    assert told.to_dict()["opponents"] == [each.to_dict(found) for each in opponents(found, [rival])]


def test_users_who_take_turns_beside_the_rest_are_refused() -> None:
    few = HardwareParameters(array_pairs=12)
    with pytest.raises(InputError, match="is of users with arrays of their own"):
        price(find_model("gpt2"), PAPER, few, None, Beside(rest=H100_SXM, batch=2))
    assert price(find_model("gpt2"), PAPER, few, None, Beside(batch=2)).rows


@pytest.mark.parametrize("name", SHAPES)
def test_shapes_are_known_whole(name: str) -> None:
    model = find_model(name)
    assert model.shape.attention is model.fields
    assert model.design_point is None


def test_an_adapter_has_its_own_design_point() -> None:
    assert find_model("extended").design_point == GainCellConfig.named("extended")
    with pytest.raises(InputError, match="neither one of gpt2, smollm2, demo"):
        find_model("nowhere")
