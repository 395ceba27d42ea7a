"""What docs/conditions.md shows is of the cards that ship, comes out again, and is explained where it is far off."""

import shutil
from pathlib import Path

import pytest
from tools.pages.conditions import HOT_C, KINDS, LEAKAGES, PUBLISHED, cell, digest, ours
from tools.pages.data import kept

from gaincell.circuit import Ngspice
from gaincell.circuit.cards import generic_card


def test_the_record_is_of_the_cards_that_ship() -> None:
    record = kept("conditions.json")
    assert set(record["cells"]) == {kind.name for kind in KINDS}
    for leakage in LEAKAGES:
        assert record["cards"][f"generic, {leakage}"] == digest(generic_card(leakage=leakage)), "make it anew"


@pytest.mark.skipif(shutil.which("ngspice") is None, reason="ngspice is not installed")
def test_what_was_recorded_comes_out_again(tmp_path: Path) -> None:
    kind = KINDS[0]
    found = cell(kind, "ff", HOT_C, Ngspice(cache=tmp_path))
    for name, value in kept("conditions.json")["cells"][kind.name][f"ff, {HOT_C:g}"].items():
        assert found[name] == pytest.approx(value, rel=0.02)


def test_what_is_far_from_published_says_why() -> None:
    record = kept("conditions.json")
    for one in PUBLISHED:
        value = ours(one, record)
        assert value is not None
        assert bool(one.why) == (not 1 / 3 <= value / one.value_s <= 3), one.what
