"""What writes are off by and what reads shift, from the circuit."""

import numpy as np
import pytest

from gaincell.circuit import Ngspice
from gaincell.circuit.cards import generic_card
from gaincell.circuit.decks.bench import START_S, bench
from gaincell.circuit.decks.cell import Conditions, gain_cell
from gaincell.circuit.decks.disturb import disturb_deck, disturb_results
from gaincell.circuit.ngspice import Deck
from gaincell.circuit.writes import read_disturb, write_errors
from gaincell.errors import InputError

CELL, CONDITIONS = gain_cell(generic_card()), Conditions()
N = 16


def test_one_long_pulse_is_as_good_as_many_reads(ngspice: Ngspice) -> None:
    """Sixteen pulses with 2 ns between them, in our cell at its lowest and highest voltage."""
    stored, edge, period = (0.0, 0.9), CONDITIONS.edge_s, CONDITIONS.pulse_max_s + 2e-9
    width = CONDITIONS.pulse_max_s - edge
    train = f"{START_S:.6g} {edge:.3g} {edge:.3g} {width:.6g} {period:.6g})"
    lines = [f"vr rwlx 0 pulse(0 0.9 {train}\nvrb rwlxb 0 pulse(0.9 0 {train}\n"]
    for k, v in enumerate(stored):
        nets = {pin: pin for pin in CELL.pins}
        nets |= {"store": f"s{k}", "rbl": f"rbl{k}", "rwl": "rwlx", "rwlb": "rwlxb"}
        lines.append(f"vb{k} rbl{k} 0 0.45\n.ic v(s{k})={v:g}\n{CELL.instance(str(k), nets)}\n")
    end = START_S + N * period
    text = bench("many reads", CELL, CONDITIONS, "".join(lines) + f".tran 1n {end:.9g} 0 1n\n")
    plot = ngspice.run(Deck(text, ("v(s0)", "v(s1)"), end))[0]
    many = [plot[f"v(s{k})"][-1] - plot[f"v(s{k})"][0] for k in range(2)]
    long = ngspice.run(disturb_deck(CELL, CONDITIONS, stored, (N,)))[0]
    assert disturb_results(long, CONDITIONS, 2, (N,))[:, 0] == pytest.approx(many, rel=0.02)
    assert min(np.abs(many)) > 2e-3


def test_reads_shift_less_and_less(ngspice: Ngspice) -> None:
    found = read_disturb(CELL, CONDITIONS, ngspice)
    assert found is not None
    highest = np.array(found.shift_v[-1])
    assert (np.diff(highest[:-1]) < 0).all(), "the highest voltage falls"
    assert abs(highest[-1] - highest[-2]) < 0.05 * abs(highest[-1]), "up to a limit"
    assert found.written_v == pytest.approx((-0.45, -0.225, 0.0, 0.225, 0.45))


def test_a_write_that_is_too_short_leaves_some_of_what_was_there(ngspice: Ngspice) -> None:
    slow = gain_cell(generic_card(), write_shift_v=0.15)
    found = [write_errors(slow, Conditions(write_s=time), ngspice) for time in (2e-9, 20e-9)]
    assert found[0] is not None
    assert found[1] is not None
    assert found[0].residual > 10 * found[1].residual
    assert found[0].time_s == 2e-9
    none = write_errors(gain_cell(generic_card(), write_shift_v=0.6), Conditions(write_s=1e-9), ngspice)
    assert none is not None
    assert none.residual == pytest.approx(0.93, abs=0.07), "hardly written at all"


@pytest.mark.parametrize("time", [0.0, 1e-11, 1.0, float("nan")])
def test_writes_of_no_time_are_refused(time: float) -> None:
    with pytest.raises(InputError, match="a write takes longer than its edges"):
        Conditions(write_s=time)
