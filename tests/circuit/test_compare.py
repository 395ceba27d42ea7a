"""Columns of an array, simulated as circuits beside what the behavioural model computes."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gaincell import GainCellConfig, InputError
from gaincell.cell import Cell, PolynomialLaw, load_cell
from gaincell.circuit import Ngspice
from gaincell.circuit.cards import generic_card
from gaincell.circuit.compare import behaviour, compare, random_subtiles, window_energy
from gaincell.circuit.decks.cell import Conditions, gain_cell
from gaincell.circuit.decks.read import read_deck, read_results
from gaincell.circuit.subtile import load_subtiles

# gaincell circuit compare leroux2025 --order 7 --wire 0 --random 6 --save tests/circuit/columns.json
COLUMNS = Path(__file__).with_name("columns.json")

CARD = generic_card()
CIRCUIT = gain_cell(CARD)


PAIR = Cell(
    name="one sign",
    polarity="pair",
    law=PolynomialLaw(coefficients=(4e-6, 7e-6), unit="C/s", source="a line"),
    retention=load_cell("leroux2025").retention,
)


def simulated_cell(ngspice: Ngspice, order: int = 3) -> Cell:
    """The charge law as `gaincell characterize` takes it, without what else that does."""
    stored, widths = np.linspace(0, 0.9, 19), (3e-9, 15e-9)
    plots = ngspice.run(read_deck(CIRCUIT, Conditions(), stored.tolist(), widths))
    charge = read_results(plots[0], (19, 2)).charge_c
    slope = (charge[:, 1] - charge[:, 0]) / (widths[1] - widths[0])
    coefficients = tuple(map(float, np.polynomial.polynomial.polyfit(stored - 0.45, slope, order)))
    law = PolynomialLaw(coefficients=coefficients, unit="C/s", source="ngspice")
    return Cell(name="simulated", law=law, retention=load_cell("leroux2025").retention)


def test_real_columns_agree_within_two_percent(ngspice: Ngspice) -> None:
    config, tiles = load_subtiles(COLUMNS)
    config = config.replace(cell=simulated_cell(ngspice, order=7))
    found = compare(tiles[:2], config, CIRCUIT, CARD, ngspice=ngspice, wire_ohm=0)
    assert [one.product for one in found] == ["first"] * 4 + ["second"] * 2
    for one in found:
        assert abs(one.difference) < 0.02  # of S_sat, or of the read-out's full scale
        parts = (one.law, one.feedthrough, one.column, one.wires, one.pulses)
        assert sum(parts) == pytest.approx(one.difference, abs=1e-12)
        assert abs(one.column) < 0.005  # single cells, added up, are the column
        assert one.wires == one.pulses == 0
        # the comparator's delay is what the pulses differ by, beside the charge
        assert abs(one.circuit_pulse - one.ideal_pulse) < 0.02
        assert one.read_j > 0
        assert one.conversion_j > 0
    assert max(abs(one.circuit) for one in found) > 0.1


def test_wires_and_driven_pulses_are_told_apart(ngspice: Ngspice) -> None:
    """A sub-tile of four tokens with all its keys: the circuit's own pulses drive its second product."""
    config = GainCellConfig.named("leroux2025").replace(
        cell=simulated_cell(ngspice), window=4, subtile_columns=4, score_saturation=20.0, output_scale=8.0
    )
    (tile,) = random_subtiles(config, dim=8, count=1, seed=3)
    draw = np.random.default_rng(0)
    keys = tuple(tuple(map(int, draw.integers(3, 8, 8))) for _ in range(4))
    tile = replace(tile, pulses=(15,) * 8, tokens=(0, 1, 2, 3), keys=keys, values=((7, 7, 6, 5),), phi=(1.0,) * 4)
    found = compare([tile], config, CIRCUIT, CARD, ngspice=ngspice, wire_ohm=300)
    *first, second = found
    assert all(0.1 < one.behavioural_pulse <= 1 for one in first)
    assert any(abs(one.wires) > 1e-3 for one in first)  # that is a lot of wire
    assert all(one.wires * one.circuit < 0 for one in first)  # it takes charge away
    driven = sum(one.circuit_pulse - one.behavioural_pulse for one in first)
    assert second.pulses * driven > 0
    assert second.behavioural == pytest.approx(
        sum(
            one.behavioural_pulse * config.cell.model_law(code * 0.9 / 7 - 0.45)
            for one, code in zip(first, tile.values[0], strict=True)
        )
        / 8.0,
        rel=1e-6,
    )


def test_energy_of_a_window_is_that_of_its_columns(ngspice: Ngspice) -> None:
    config = GainCellConfig.named("leroux2025").replace(
        cell=simulated_cell(ngspice), window=64, subtile_columns=4, output_scale=8.0
    )
    tiles = random_subtiles(config, dim=4, count=3)
    found = compare(tiles, config, CIRCUIT, CARD, ngspice=ngspice, wire_ohm=0)
    first, second = (window_energy(found, product, config, dim=4) for product in ("first", "second"))
    assert first is not None
    assert second is not None
    assert first.read_j == pytest.approx(64 * np.mean([one.read_j for one in found if one.product == "first"]))
    assert second.columns == 3  # of 16 sub-tiles with 4 output lines each
    one = sum(one.conversion_j for one in found if one.product == "second") / 3
    assert second.conversion_j == pytest.approx(16 * 4 * one)
    assert window_energy(found[:1], "first", config, dim=4) is None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"cell": "leroux2025"}, "without a charge"),
        ({"query_sign": "offset_binary"}, "offset-binary"),
        ({"query_levels": None}, "query_levels"),
        ({"stored_max_v": 1.2}, "stored_max_v"),
        ({"cell": PAIR}, "polarity 'pair'"),
    ],
)
def test_what_no_deck_has_is_refused(changes: dict[str, object], words: str) -> None:
    law = PolynomialLaw(coefficients=(0.0, 7e-6), unit="C/s", source="a line")
    cell = Cell(name="line", law=law, retention=load_cell("leroux2025").retention)
    config = GainCellConfig.named("leroux2025").replace(**{"cell": cell, **changes})
    with pytest.raises(InputError, match=words):
        compare([], config, CIRCUIT, CARD)


def test_what_is_computed_beside_a_circuit_is_ideal() -> None:
    config = GainCellConfig.named("leroux2025").replace(token_period_s=1e-6)
    deviant = config.replace(mismatch_seed=1, mismatch_gain=0.1, mismatch_zero_v=0.02, score_noise=0.1)
    for found, expected in zip(
        behaviour([0, 3, 7], [0, 5, 99], deviant), behaviour([0, 3, 7], [0, 5, 99], config), strict=True
    ):
        np.testing.assert_array_equal(found, expected)
