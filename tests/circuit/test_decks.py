"""What our cell does in each bench, held against what it must do whatever its transistors are."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gaincell.circuit import Ngspice
from gaincell.circuit.cards import generic_card
from gaincell.circuit.decay import decay_of
from gaincell.circuit.decks.bench import word_line
from gaincell.circuit.decks.cell import WRITE_LEVELS_V, Conditions, Write, cell_from_netlist, gain_cell
from gaincell.circuit.decks.converter import ColumnCell, Conversion, Converter, column_deck, conversion
from gaincell.circuit.decks.read import mismatch_deck, read_deck, read_results
from gaincell.circuit.decks.store import hold_deck, write_deck, write_results

CARD = generic_card()
CELL = gain_cell(CARD)
CONDITIONS = Conditions()
LONGEST = CONDITIONS.pulse_max_s


def convert(ngspice: Ngspice, converter: Converter, *cells: ColumnCell, wire_ohm: float = 0.0) -> Conversion:
    deck = column_deck(CELL, CONDITIONS, CARD, converter, cells, wire_ohm)
    return conversion(ngspice.run(deck)[0], CONDITIONS, CARD, converter)


@pytest.mark.parametrize("write", ["transmission", "boosted", "oxide"])
def test_charge_is_linear_in_time_and_rises_with_the_stored_voltage(ngspice: Ngspice, write: Write) -> None:
    high, low = WRITE_LEVELS_V[write]
    conditions = replace(CONDITIONS, write_high_v=high, write_low_v=low)
    levels, widths = np.linspace(0, 0.9, 7), np.array([3e-9, 9e-9, 15e-9])
    deck = read_deck(gain_cell(CARD, write), conditions, levels.tolist(), widths.tolist())
    charge = read_results(ngspice.run(deck)[0], (7, 3)).charge_c
    slope = (charge[:, 2] - charge[:, 0]) / (widths[2] - widths[0])
    middle = charge[:, 0] + slope * (widths[1] - widths[0])
    assert np.abs(charge[:, 1] - middle).max() < 1e-3 * charge[-1, -1]
    assert (np.diff(slope) > 0).all()
    assert slope[0] < 0 < slope[-1]


def test_the_charge_taken_back_is_the_charge(ngspice: Ngspice) -> None:
    """Whatever the comparator: the reference current times the pulse is the charge, but for the comparator's delay."""
    full = 300e-15
    runs = [convert(ngspice, Converter(full), ColumnCell(0.9, w * LONGEST, 8)) for w in (0.2, 0.4, 0.6, 0.8)]
    charge, width = (np.array([getattr(run, name) for run in runs]) for name in ("charge_c", "width_s"))
    delay = width - charge / full * LONGEST
    assert np.ptp(delay) < 0.01 * LONGEST  # linear within 1 % of T_max
    assert (delay > 0).all()
    assert delay.max() < 0.02 * LONGEST


def test_nothing_below_zero_and_the_longest_pulse_above_the_full_charge(ngspice: Ngspice) -> None:
    below = convert(ngspice, Converter(300e-15), ColumnCell(0.0, LONGEST, 8))
    assert below.charge_c < 0
    assert below.width_s == 0
    above = convert(ngspice, Converter(300e-15), ColumnCell(0.9, LONGEST, 16))
    assert above.charge_c > 300e-15
    assert above.width_s == pytest.approx(LONGEST, rel=1e-9)


def test_the_signed_variant_tells_the_sign(ngspice: Ngspice) -> None:
    converter = Converter(300e-15, signed=True)
    for stored in (0.0, 0.9):
        run = convert(ngspice, converter, ColumnCell(stored, 0.5 * LONGEST, 8))
        assert run.width_s == pytest.approx(run.charge_c / 300e-15 * LONGEST, abs=0.02 * LONGEST)
        assert np.sign(run.width_s) == np.sign(stored - 0.45)


def test_two_reads_subtract(ngspice: Ngspice) -> None:
    """Pulses of both signs onto one integrator, and a preset after them: an ideal converter but for its delay."""
    full = 300e-15
    plus, minus = ColumnCell(0.9, 0.8 * LONGEST, 4), ColumnCell(0.8, -0.6 * LONGEST, 2)
    charges = [convert(ngspice, Converter(full), replace(c, width_s=abs(c.width_s))).charge_c for c in (plus, minus)]
    delay = convert(ngspice, Converter(full), plus).width_s - charges[0] / full * LONGEST
    for preset in (0.0, 0.2, -0.2):
        run = convert(ngspice, Converter(full, differential=True, preset_c=preset * full), plus, minus)
        assert run.charge_c == pytest.approx(charges[0] - charges[1], rel=0.005)
        expected = (run.charge_c / full + preset) * LONGEST + delay
        assert run.width_s == pytest.approx(expected, abs=0.002 * LONGEST)


def test_what_a_column_takes_from_the_supply(ngspice: Ngspice) -> None:
    """All that cells at the highest voltage draw comes from the integrator; alike cells are counted, not left out."""
    one, eight = (convert(ngspice, Converter(300e-15), ColumnCell(0.9, LONGEST, n)) for n in (1, 8))
    assert one.read_j == pytest.approx(CONDITIONS.vdd_v * one.charge_c, rel=0.05)
    assert eight.read_j == pytest.approx(8 * one.read_j, rel=0.02)
    apart = convert(ngspice, Converter(300e-15), *[ColumnCell(0.3, LONGEST)] * 3)
    assert apart.read_j == pytest.approx(convert(ngspice, Converter(300e-15), ColumnCell(0.3, LONGEST, 3)).read_j)


@pytest.mark.parametrize("width_s", [1e-12, 30e-12, 50e-12, 50.0001e-12, 80e-12, 1e-9])
def test_a_pulse_shorter_than_its_edges_keeps_their_slope(width_s: float) -> None:
    line = word_line("w", CONDITIONS, width_s, start_s=40e-9).splitlines()[0]
    points = np.array(line.split("pwl(")[1].rstrip(")").split(), float).reshape(-1, 2)
    time, volt = points.T
    assert (np.diff(time) > 0).all()
    slopes = np.diff(volt) / np.diff(time)
    assert np.abs(slopes).max() == pytest.approx(CONDITIONS.vdd_v / CONDITIONS.edge_s, rel=1e-3)
    assert volt.max() == pytest.approx(CONDITIONS.vdd_v * min(width_s / CONDITIONS.edge_s, 1), rel=1e-3)


def test_a_column_adds_its_cells(ngspice: Ngspice) -> None:
    cells = [ColumnCell(0.9, 12e-9), ColumnCell(0.1, 5e-9), ColumnCell(0.7, 15e-9), ColumnCell(0.45, 0.0)]
    single = 0.0
    for cell in cells[:3]:
        deck = read_deck(CELL, CONDITIONS, [cell.stored_v], [cell.width_s])
        single += read_results(ngspice.run(deck)[0], (1, 1)).charge_c[0, 0]
    together = convert(ngspice, Converter(300e-15), *cells).charge_c
    assert together == pytest.approx(single, rel=0.01)
    # the bit line's drop over three ohm is microvolts here
    assert convert(ngspice, Converter(300e-15), *cells, wire_ohm=1.5).charge_c == pytest.approx(together, rel=1e-3)


def test_a_column_of_a_users_cells_has_the_cards_comparator(ngspice: Ngspice, tmp_path: Path) -> None:
    path = tmp_path / "mine.cir"
    path.write_text(
        ".subckt nfet a b\nr1 a b 1k\n.ends\n.subckt mine store wwl wbl rwl rbl\nc1 store 0 8f\nr1 wwl wbl 1e9\n"
        "b1 rbl 0 i = v(rwl) > 0.45 ? (v(store)-0.45)/1e5 : 0\n.ends\n"
    )
    cell, converter = cell_from_netlist(path), Converter(300e-15)
    deck = column_deck(cell, CONDITIONS, CARD, converter, [ColumnCell(0.9, LONGEST / 2, 4)])
    run = conversion(ngspice.run(deck)[0], CONDITIONS, CARD, converter)
    assert run.charge_c == pytest.approx(4 * 4.5e-6 * LONGEST / 2, rel=0.01)
    assert run.width_s == pytest.approx(run.charge_c / 300e-15 * LONGEST, abs=0.02 * LONGEST)


def test_equal_cells_draw_equal_charges(ngspice: Ngspice) -> None:
    three = convert(ngspice, Converter(300e-15), *[ColumnCell(0.9, 9e-9)] * 3)
    counted = convert(ngspice, Converter(300e-15), ColumnCell(0.9, 9e-9, 3))
    assert counted.charge_c == pytest.approx(three.charge_c, rel=1e-3)


def test_a_write_settles_before_the_word_line_goes_off(ngspice: Ngspice) -> None:
    steps = [(0.0, 0.9), (0.9, 0.0), (0.9, 0.45)]
    settled, error, charge = write_results(ngspice.run(write_deck(CELL, CONDITIONS, steps))[0], steps, 0.064)
    assert (settled > 0).all()
    assert (settled < 5e-9).all()
    assert np.abs(error).max() < 0.064
    # 8 fF and the gates of the read transistors, over 0.9 V
    assert charge[0] > 0.9 * 8e-15


def test_retention_grows_as_subthreshold_currents_fall(ngspice: Ngspice) -> None:
    def tau(shift: float) -> float:
        plot = ngspice.run(hold_deck(gain_cell(CARD, write_shift_v=shift), CONDITIONS, [0.9], 0.1))[0]
        y = plot["v(s0)"] - 0.45
        return float(plot.axis[np.argmax(y < y[0] / math.e)])

    # a decade of current per n ln(10) kT/q, with n between 1 and 1.7
    decades = math.log10(tau(0.15) / tau(0.05))
    assert 0.1 / (1.7 * math.log(10) * 0.02585) < decades < 0.1 / (math.log(10) * 0.02585)


@pytest.mark.parametrize("ohm", [1e12, 1e17])
def test_a_resistor_discharges_a_capacitor_with_its_time_constant(ngspice: Ngspice, ohm: float, tmp_path: Path) -> None:
    """8 ms and 800 s: neither is ngspice's own gmin (8 ms with its default, whatever the resistor)."""
    path = tmp_path / "rc.cir"
    path.write_text(
        f".subckt rc store wwl wbl rwl rbl\nc1 store 0 8f\nvz z 0 0.45\nr1 store z {ohm:g}\nr2 wwl wbl 1e9\n"
        "r3 rwl rbl 1e9\n.ends\n"
    )
    retention = decay_of(cell_from_netlist(path), CONDITIONS, ngspice).retention()
    assert retention.tau_s == pytest.approx(8e-15 * ohm, rel=0.01)
    assert retention.table is None


def test_cells_without_shifts_are_equal_and_a_shift_moves_the_zero(ngspice: Ngspice) -> None:
    levels = np.linspace(0.2, 0.7, 21)
    shifts = np.zeros((3, len(CELL.mismatch_v)))
    shifts[2, list(CELL.mismatch_v).index("dvt_rn")] = 0.02
    deck = mismatch_deck(CELL, CONDITIONS, levels.tolist(), shifts)
    plot = ngspice.run(deck)[0]
    first, second, shifted = (-plot[name] for name in deck.signals)
    assert np.allclose(first, second, rtol=1e-6)
    moved = np.interp(0, shifted, levels) - np.interp(0, first, levels)
    assert 0 < moved < 0.02  # the other transistor's share holds against it
