"""A cell of the user's own: what a netlist must name, and that it then is the cell."""

from pathlib import Path

import numpy as np
import pytest

from gaincell import InputError
from gaincell.circuit import Ngspice
from gaincell.circuit.cards import generic_card
from gaincell.circuit.characterize import characterize
from gaincell.circuit.decay import decay_of
from gaincell.circuit.decks.cell import CellCircuit, Conditions, cell_from_netlist, gain_cell
from gaincell.circuit.decks.read import Reads, read_deck, read_results

HEADER = ".subckt mine rbl store wbl wwl rwl\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("* nothing\n", "no .subckt"),
        ("R1 a b 1k\n", "'r1' stands outside of a subcircuit"),
        (".subckt mine store wwl wbl rbl\n.ends\n", "no pin 'rwl'"),
        (".subckt mine store wwl wbl rwl rbl vpp\n.ends\n", "pin 'vpp' of no known role"),
        (".subckt mine store wwl wbl rwl rbl rbl\n.ends\n", "two pins of one role"),
        (".subckt mine wwl wbl rwl rbl\nm1 sn wwl wbl 0 n\n.ends\n", "no pin 'store'"),
        (HEADER + ".ends\n.tran 1n 1u\n", "'.tran'"),
        (HEADER + ".ends\n.control\nshell rm -rf x\n.endc\n", "'.control'"),
    ],
)
def test_what_a_netlist_must_have(text: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.cir"
    path.write_text(text)
    with pytest.raises(InputError, match=words):
        cell_from_netlist(path)


@pytest.mark.parametrize("line", [".include ~/hidden.inc", ".lib ~/hidden.lib tt", ".include gone.inc", ".include ."])
def test_a_file_that_cannot_be_looked_into_is_refused(line: str, tmp_path: Path) -> None:
    (tmp_path / "mine.cir").write_text(f"{line}\n{HEADER}.ends\n")
    with pytest.raises(InputError, match="includes a file that cannot be read"):
        cell_from_netlist(tmp_path / "mine.cir")


def test_a_control_section_in_an_included_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "my models.inc").write_text("* models\n  .control\nshell true\n.endc\n")
    (tmp_path / "mine.cir").write_text('.include "my models.inc"\n' + HEADER + ".ends\n")
    with pytest.raises(InputError, match=r"'\.control'"):
        cell_from_netlist(tmp_path / "mine.cir")


def test_unknown_names(tmp_path: Path) -> None:
    path = tmp_path / "mine.cir"
    with pytest.raises(InputError, match="not a file"):
        cell_from_netlist(path)
    path.write_text(HEADER + ".ends\n")
    with pytest.raises(InputError, match=r"no subcircuit 'other', only mine"):
        cell_from_netlist(path, subcircuit="other")
    with pytest.raises(InputError, match="no pin role 'gate'"):
        cell_from_netlist(path, pins={"gate": "store"})


def test_the_header_may_go_over_lines_and_have_parameters(tmp_path: Path) -> None:
    path = tmp_path / "mine.cir"
    path.write_text(
        "* models\n.SUBCKT Mine SN WWL\n+ WBL rwl rbl VDD w_rn = 0.2u l_rn=800n dvt_rn=0\n+ dvt_other=0\n.ends\n"
    )
    cell = cell_from_netlist(path, pins={"store": "sn"})
    assert cell.pins == ("store", "wwl", "wbl", "rwl", "rbl", "vdd")
    # A_vt over the root of the area: 1.5 mV um / sqrt(0.2 um x 0.8 um)
    assert cell.mismatch_v == pytest.approx({"dvt_rn": 1.5e-3 / 0.4})


def read(cell: CellCircuit, ngspice: Ngspice) -> Reads:
    levels, widths = (0.0, 0.45, 0.9), (3e-9, 15e-9)
    return read_results(ngspice.run(read_deck(cell, Conditions(), levels, widths))[0], (3, 2))


def test_our_cell_as_a_users_netlist_is_our_cell(ngspice: Ngspice, tmp_path: Path) -> None:
    ours = gain_cell(generic_card())
    theirs = ours.text.replace(".subckt gaincell store wwl wbl rwl rbl", ".subckt gaincell rbl sn wwl wbl rwl")
    theirs = theirs.replace(" store", " sn")
    path = tmp_path / "mine.cir"
    path.write_text(theirs)
    found = cell_from_netlist(path, pins={"store": "sn"})
    assert found.pins != ours.pins
    assert np.allclose(read(found, ngspice).charge_c, read(ours, ngspice).charge_c, rtol=1e-6, atol=0)
    assert found.mismatch_v == pytest.approx(ours.mismatch_v)


@pytest.mark.parametrize("parameters", ["", " wide=1u", " params: wide = 1u"])
def test_a_storage_node_that_is_no_pin_is_made_one(parameters: str, tmp_path: Path) -> None:
    path, body = tmp_path / "compiled.cir", "r1 sn wbl 1k\nc1 sn 0 1f\n.ends\n"
    path.write_text(f".subckt bit rbl wbl rwl wwl{parameters}\n{body}")
    cell = cell_from_netlist(path, pins={"store": "SN"})
    assert cell.pins == ("rbl", "wbl", "rwl", "wwl", "store")
    assert cell.text.splitlines()[0].split(" wide")[0].removesuffix(" params:") == ".subckt bit rbl wbl rwl wwl sn"
    for no_net in ("sm", "1k", "0"):
        with pytest.raises(InputError, match=f"has no net '{no_net}'"):
            cell_from_netlist(path, pins={"store": no_net})


def test_verilog_a_is_told_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "cell.va").write_text('`include "disciplines.vams"\nmodule cell(a, b);\nendmodule\n')
    with pytest.raises(InputError, match=r"is Verilog-A.*'gaincell fit'\.$"):
        cell_from_netlist(tmp_path / "cell.va")


def test_a_cell_of_resistors_draws_what_ohm_says(ngspice: Ngspice, tmp_path: Path) -> None:
    path = tmp_path / "mine.cir"
    path.write_text(
        HEADER + "cs store 0 10f\nrw store wbl 1e18\nb1 rbl 0 i = v(rwl) > 0.45 ? (v(store)-0.45)/1e5 : 0\nd1 wwl 0 x\n"
        ".ends\n.model x d(is=1e-30)\n"
    )
    charge = read(cell_from_netlist(path), ngspice).charge_c
    # 0.45 V over 100 kOhm for 3 ns and 15 ns; a tenth of an edge of 50 ps is the time step's part in it
    assert charge == pytest.approx(np.outer([-4.5e-6, 0, 4.5e-6], [3e-9, 15e-9]), rel=2e-3, abs=1e-19)


def test_the_cell_of_the_documentation_works(ngspice: Ngspice, tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "circuit.md").read_text("utf-8")
    path = tmp_path / "my_cell.cir"
    path.write_text(page.split('```text title="my_cell.cir"\n')[1].split("```")[0])
    cell = cell_from_netlist(path)
    charge = read(cell, ngspice).charge_c
    assert (charge[0] < 0).all()
    assert (charge[-1] > 0).all()
    assert list(cell.mismatch_v) == ["dvt_rn"]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("v1 store 0 0.6\nr1 store rbl 1meg\n", "something in the cell drives it"),
        ("c1 store 0 1f\n", "is no multiplier"),
    ],
)
def test_what_is_no_cell_is_told(ngspice: Ngspice, body: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "mine.cir").write_text(HEADER + body + ".ends\n")
    with pytest.raises(InputError, match=words):
        characterize(cell_from_netlist(tmp_path / "mine.cir"), generic_card(), ngspice=ngspice)


def test_a_cell_that_does_not_hold_is_told(ngspice: Ngspice) -> None:
    card = generic_card()
    with pytest.raises(InputError, match="does not hold what is written"):
        decay_of(gain_cell(card), Conditions(write_high_v=0.9, write_low_v=0.9), ngspice)
