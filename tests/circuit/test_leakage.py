"""What leaks in a card's transistors, and what that does to what a cell keeps."""

import pytest

from gaincell import InputError
from gaincell.circuit import Ngspice
from gaincell.circuit.cards import Leakage, generic_card, load_card
from gaincell.circuit.cards.generic import HIGH_K
from gaincell.circuit.conditions import conditions_of
from gaincell.circuit.decay import Decay, decay_of
from gaincell.circuit.decks.cell import Write, gain_cell
from gaincell.circuit.leakage import leakages_of


def decay(ngspice: Ngspice, leakage: Leakage, write: Write = "transmission") -> Decay:
    card = generic_card(leakage=leakage)
    return decay_of(gain_cell(card, write), conditions_of(card, write), ngspice)


def test_without_leakage_only_the_channel_conducts(ngspice: Ngspice) -> None:
    for one in leakages_of(generic_card(), ngspice):
        assert one.gate_a_m2 == 0
        assert one.drain_a_m * 1e6 < 1e-6  # pA/um, of gmin
        assert 1 < one.channel_a_m * 1e6 < 100


def test_leakage_is_what_the_card_says(ngspice: Ngspice) -> None:
    """Oxide: what BSIM4's coefficients of SiO2 give at the card's thickness. High-k: less by what was published."""
    oxide, high_k = (leakages_of(generic_card(leakage=name), ngspice) for name in ("oxide", "high-k"))
    assert [one.gate_a_m2 * 1e-4 for one in oxide] == pytest.approx([9.7, 0.26], rel=0.02)  # A/cm2
    for one, other, factor in zip(oxide, high_k, HIGH_K, strict=True):
        assert one.gate_a_m2 == pytest.approx(factor * other.gate_a_m2, rel=1e-3)
    for one in (*oxide, *high_k):
        assert one.drain_a_m * 1e6 == pytest.approx(1.01, rel=0.02)  # GIDL of 1 pA/um, junction of 10 fA/um


def test_junctions_rise_with_temperature_and_tunnelling_hardly_does(ngspice: Ngspice) -> None:
    card = generic_card(leakage="oxide")
    (cold, _), (hot, _) = (leakages_of(card, ngspice, temperature_c=t) for t in (27.0, 85.0))
    assert hot.gate_a_m2 == pytest.approx(cold.gate_a_m2, rel=0.05)
    junction = 1e-8  # A/m at 27 degrees
    # half of a band gap of 1.1 eV
    assert 30 < (hot.drain_a_m - cold.drain_a_m + junction) / junction < 80


def test_what_leaks_decides_what_a_cell_keeps(ngspice: Ngspice) -> None:
    """The published 5 ms are those of a cell without: what tunnels through 1.5 nm of oxide empties it in 25 us."""
    kept = {name: decay(ngspice, name) for name in ("off", "high-k", "oxide")}
    assert kept["off"].tau_s == pytest.approx(5e-3, rel=0.1)
    assert kept["oxide"].tau_s == pytest.approx(25e-6, rel=0.1)
    within = 0.9 / 14
    off, high_k, oxide = (kept[name].kept_s(within) or 0.0 for name in ("off", "high-k", "oxide"))
    assert off > 50 * high_k
    assert high_k > 10 * oxide > 0


def test_a_write_device_that_does_not_leak_does_not_help_where_gates_do(ngspice: Ngspice) -> None:
    """The gates of the read transistors hang on the same node."""
    cmos, oxide = (decay(ngspice, "oxide", write).tau_s for write in ("transmission", "oxide"))
    assert oxide == pytest.approx(cmos, rel=0.1)


def test_the_models_of_silicon_have_their_own() -> None:
    with pytest.raises(InputError, match="leakage 'oxide' is of the generic card"):
        load_card("sky130", leakage="oxide")
