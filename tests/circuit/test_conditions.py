"""Temperature, supply, levels and corner of a simulation: what they do, what a cell file says, and what is refused."""

import hashlib
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import pytest

from gaincell import GainCellConfig, InputError, estimate
from gaincell.cell import Cell, CellConditions, CircuitFigures, PolynomialLaw, load_cell, save_cell
from gaincell.cell.figures import Energy
from gaincell.circuit import Ngspice
from gaincell.circuit.cards import Corner, generic_card, load_card
from gaincell.circuit.cards.sky130 import MODELS_SHA256, models_path
from gaincell.circuit.characterize import rms_difference
from gaincell.circuit.compare import compare
from gaincell.circuit.conditions import characterised_at, conditions_of
from gaincell.circuit.decay import decay_of
from gaincell.circuit.decks.bench import word_line
from gaincell.circuit.decks.cell import WRITE_LEVELS_V, Conditions, Write, gain_cell
from gaincell.circuit.decks.read import read_deck, read_results
from gaincell.cli.app import run
from gaincell.hardware import HardwareParameters
from gaincell.hardware.components import Components

CARD = generic_card()
CORNERS = get_args(Corner)
ENERGY = Energy(source="a test", read_full_j=4e-14, read_mean_j=1e-14, conversion_j=1e-12, write_j=1e-15)


def cell_at(**changes: float) -> Cell:
    """The published cell's law and retention, as if it was characterised so."""
    conditions = conditions_of(CARD, "transmission", **changes)
    figures = CircuitFigures(conditions=characterised_at(gain_cell(CARD), conditions), energy=ENERGY)
    return load_cell("leroux2025").model_copy(update={"name": "mine", "circuit": figures})


@pytest.mark.parametrize("write", ["transmission", "boosted", "oxide"])
def test_what_is_not_given_is_as_it_was(write: Write) -> None:
    high, low = WRITE_LEVELS_V[write]
    assert conditions_of(CARD, write) == Conditions(write_high_v=high, write_low_v=low)


def test_what_is_not_given_follows_the_supply() -> None:
    found = conditions_of(CARD, "boosted", vdd_v=1.0)
    assert (found.zero_v, found.read_v, found.write_low_v) == (0.5, 1.0, -0.3)
    assert found.write_high_v == pytest.approx(1.3)


def test_the_read_word_line_has_its_own_level() -> None:
    line, inverse = word_line("w", conditions_of(CARD, "transmission", read_high_v=0.7), 9e-9).splitlines()
    assert max(map(float, line.rstrip(")").split()[4::2])) == 0.7
    assert min(map(float, inverse.rstrip(")").split()[4::2])) == pytest.approx(0.2)


def test_a_hot_cell_forgets_sooner_and_a_lower_word_line_reads_less(ngspice: Ngspice) -> None:
    cell = gain_cell(CARD)
    cold, hot = (decay_of(cell, conditions_of(CARD, "transmission", temperature_c=t), ngspice).tau_s for t in (27, 85))
    assert cold is not None
    assert hot is not None
    assert hot < cold / 10

    def charge(**changes: float) -> float:
        deck = read_deck(cell, conditions_of(CARD, "transmission", **changes), [0.9], [9e-9])
        return float(read_results(ngspice.run(deck)[0], (1, 1)).charge_c[0, 0])

    assert charge(read_high_v=0.7) < charge()


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--temperature", "200"], "a temperature of 200 °C is beyond what card generic-28nm is for"),
        (["--temperature", "nan"], "a temperature of nan °C"),
        (["--vdd", "3.3"], "a supply of 3.3 V is beyond"),
        (["--zero", "0.9"], "between ground and the supply"),
        (["--read-high", "inf"], "the read word line must be a voltage"),
    ],
)
def test_what_a_card_is_not_for_is_refused(args: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["characterize", *args]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert words in captured.err.splitlines()[-1]


@pytest.mark.parametrize("name", ["generic", "sky130"])
def test_corners_are_slow_and_fast_as_their_names_say(name: Literal["generic", "sky130"], ngspice: Ngspice) -> None:
    """By the read current of either transistor at the cell's supply; the NMOS is named first."""
    if name == "sky130" and not all(models_path(corner).is_file() for corner in MODELS_SHA256):
        pytest.skip("no SkyWater models; run 'gaincell circuit fetch'")

    def currents(corner: Corner) -> tuple[float, float]:
        card = load_card(name, corner)
        deck = read_deck(gain_cell(card), conditions_of(card, "transmission"), [0.0, 0.9], [9e-9])
        charge = read_results(ngspice.run(deck)[0], (2, 1)).charge_c
        return float(charge[1, 0]), float(-charge[0, 0])

    typical = currents("tt")
    for corner in CORNERS[1:]:
        for letter, own, middle in zip(corner, currents(corner), typical, strict=True):
            assert own < 0.95 * middle if letter == "s" else own > 1.05 * middle


def test_the_typical_card_is_the_one_that_was() -> None:
    """What was simulated with it is found in the cache, and cell files of it stay as they are."""
    digest = hashlib.sha256(generic_card().text.encode()).hexdigest()
    assert digest == "d438e294ede56e91581f2159f623c50ec1ea09843a546cafd3f7bfcc2a0af118"
    assert generic_card().name == "generic-28nm"


def test_the_cell_file_keeps_them_and_older_ones_have_none(tmp_path: Path) -> None:
    cell = cell_at(temperature_c=85.0)
    save_cell(cell, tmp_path / "cell.yaml")
    kept = load_cell(tmp_path / "cell.yaml").conditions
    assert kept is not None
    assert (kept.temperature_c, kept.vdd_v, kept.zero_v, kept.corner) == (85.0, 0.9, 0.45, "tt")
    assert "conditions" not in CircuitFigures(energy=ENERGY).model_dump()
    assert load_cell("leroux2025").conditions is None


def test_a_zero_level_above_the_supply_is_no_cell_file() -> None:
    with pytest.raises(ValueError, match="must lie below vdd_v"):
        CellConditions(
            source="a test",
            **{"temperature_c": 27, "vdd_v": 0.9, "zero_v": 1.0, "read_high_v": 0.9},
            **{"write_high_v": 0.9, "write_low_v": 0},
        )


def test_a_design_point_reads_its_cell_as_it_was_characterised() -> None:
    point = GainCellConfig.named("leroux2025")
    assert point.replace(cell=cell_at()).zero_v == 0.45
    with pytest.raises(InputError, match=r"bit line at 0.5 V, but zero_v is 0.45"):
        point.replace(cell=cell_at(zero_v=0.5))
    low = cell_at(vdd_v=0.8, zero_v=0.45)
    with pytest.raises(InputError, match=r"supply of 0.8 V, below stored_max_v 0.9"):
        point.replace(cell=low)
    assert point.replace(cell=low, stored_max_v=0.8).stored_max_v == 0.8


def test_cost_tells_the_temperature_and_refuses_energies_of_another_supply() -> None:
    point = GainCellConfig.named("leroux2025").replace(cell=cell_at(temperature_c=85.0))
    shape = {"num_hidden_layers": 1, "num_attention_heads": 1, "hidden_size": 64}
    assert any("at 85 °C, corner tt" in note for note in estimate(shape, point).notes)
    other = point.replace(cell=cell_at(vdd_v=1.0, zero_v=0.45))
    given = HardwareParameters()
    own = Components.model_validate({"cell": given.components.cell.model_dump()})
    for parameters in (None, given.model_copy(update={"components": own})):  # converters are the cell's own in both
        with pytest.raises(InputError, match="the energies of cell 'mine' are of a supply of 1 V"):
            estimate(shape, other, parameters)


def test_energy_of_a_read_is_that_of_the_charge_at_the_reference_voltage() -> None:
    """What was characterised at another highest voltage stands for the charge that it drew there."""
    from gaincell.hardware.energy import components

    law = load_cell("leroux2025").law
    point = GainCellConfig.named("leroux2025").replace(cell=cell_at(zero_v=0.4), zero_v=0.4)
    found = components(point, HardwareParameters()).cell.energy_j
    assert found == pytest.approx(ENERGY.read_full_j * law(0.45) / law(0.5))


def test_a_law_is_held_beside_the_published_one_where_both_are_known() -> None:
    """The published law itself is no different from it, over more voltages and over fewer."""
    law = load_cell("leroux2025").law
    for lowest, highest in ((-0.45, 0.45), (-0.3, 0.3), (-0.3, 0.6)):
        y = np.linspace(lowest, highest, 19)
        assert rms_difference(law, y) == 0.0
        doubled = tuple(c * (2.0 if i > 1 else 1.0) for i, c in enumerate(law.coefficients))
        steeper = law.model_copy(update={"coefficients": doubled})
        assert 0.01 < rms_difference(steeper, y) < 0.2


def test_columns_are_simulated_at_the_temperature_that_their_cell_is_of() -> None:
    law = PolynomialLaw(coefficients=(0.0, 1e-6), unit="C/s", source="a test")
    cell = cell_at(temperature_c=85.0).model_copy(update={"law": law})
    point = GainCellConfig.named("leroux2025").replace(cell=cell)
    with pytest.raises(InputError, match="characterised at temperature_c"):
        compare([], point, gain_cell(CARD), CARD)
