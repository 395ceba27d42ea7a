"""Columns taken out of a running model are what its operator computed with."""

import numpy as np
import pytest
from model_cases import CONFIG, converted, tokens, unconverted

from gaincell import InputError
from gaincell.circuit.compare import behaviour
from gaincell.models.subtiles import take_subtiles


@pytest.mark.parametrize("changes", [{}, {"query_sign": "unsigned", "storage": "uniform", "score_preset": False}])
def test_pulses_follow_from_the_codes_that_were_taken(changes: dict[str, str]) -> None:
    config = CONFIG.replace(**changes, leak_per_token=0.02, leak_form="cell")
    model = converted("llama", config=config)
    tiles = take_subtiles(model, tokens(1, 40), 6, tokens=4, channels=3)
    assert len({tile.name.split(",")[0] for tile in tiles}) == 3  # every layer
    fired = 0.0
    for tile in tiles:
        assert tile.whole
        pulse = np.array(tile.pulses) / 15
        for codes, age, phi in zip(tile.keys, tile.ages, tile.phi, strict=True):
            _, charge = behaviour(codes, [age] * len(codes), config)
            computed = np.clip(pulse @ charge / config.score_saturation + tile.preset, 0, 1)
            assert phi in (0, pytest.approx(computed, abs=1e-5))  # 0: a token that is kept digitally
            fired += phi
        assert np.array(tile.values).shape == (3, 4)
    assert fired > 0


def test_few_tokens_are_chosen_and_the_longest_pulses_between_them() -> None:
    tiles = take_subtiles(converted("llama"), tokens(1, 40), 4, tokens=1)
    assert [tile.sampled for tile in tiles] == [True, False] * 2
    for tile in tiles:
        assert (len(tile.tokens), len(tile.keys), len(tile.phi)) == (1, 1, 4)
        if not tile.sampled:
            assert tile.phi[tile.tokens[0]] == max(tile.phi)


def test_what_cannot_be_taken_is_refused() -> None:
    with pytest.raises(InputError, match="softmax"):
        take_subtiles(unconverted("llama"), tokens(1, 40), 2)
    with pytest.raises(InputError, match="too few"):
        take_subtiles(converted("llama"), tokens(1, 6), 2)
    with pytest.raises(InputError, match="query_levels"):
        take_subtiles(converted("llama", config=CONFIG.replace(query_levels=None)), tokens(1, 40), 2)
