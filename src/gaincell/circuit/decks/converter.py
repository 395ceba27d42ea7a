"""A column of cells, the integrator on its bit line, and the circuit that turns the charge into a pulse."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gaincell.circuit.cards import Card
from gaincell.circuit.decks.bench import START_S, bench, word_line
from gaincell.circuit.decks.cell import CellCircuit, Conditions
from gaincell.circuit.errors import NoData
from gaincell.circuit.ngspice import Deck
from gaincell.circuit.rawfile import Plot

_OPTIONS = "chgtol=1e-17 abstol=1e-12 reltol=1e-3 gmin=1e-15 method=gear"

_RESET_S = 4e-9
_PAUSE_S = 1e-9
_AFTER_S = 2e-9
# The integration capacitor is turned round half a pause after the first of two reads, and has the rest to settle.
_TURN_S = 2e-9


@dataclass(frozen=True)
class Converter:
    """A charge-to-pulse circuit.

    After a reset the column's charge is integrated; then a reference current takes it back, and the pulse lasts until
    a comparator sees the integrator at its zero again, or at most `pulse_max_s`. Op-amp, reference current and
    switches are ideal; the comparator is three inverters of the card, the first held at its threshold during the reset.

    Attributes:
        full_c: charge that gives the longest pulse, in C.
        swing_v: what that charge does to the integrator's output, in V; an assumption.
        limit_v: where the op-amp's output stops, on both sides of the zero level, in V; an assumption.
        gain: of the op-amp; an assumption.
        signed: take the charge back with the sign that the comparator saw, for pulses of either sign.
        differential: two reads onto one integrator, for pulses of either sign: first the negative ones, then the
            integration capacitor is turned round by ideal switches, then the positive ones.
        preset_c: charge added after the reads by an ideal source, in C.
        load_f: between the comparator's inverters, in F; an assumption.
        strength: width of its first inverter's NMOS in units of the card's narrowest; the PMOS has `ratio` times that.
        ratio: see there.
    """

    full_c: float
    swing_v: float = 0.35
    limit_v: float = 0.42
    gain: float = 1000.0
    signed: bool = False
    differential: bool = False
    preset_c: float = 0.0
    load_f: float = 0.2e-15
    strength: float = 1.0
    ratio: float = 2.5


@dataclass(frozen=True)
class ColumnCell:
    """Cells of a column that hold the same voltage and get the same pulse.

    Attributes:
        stored_v: before the read, in V.
        width_s: of the pulse, in s; negative for one in the first read of a differential converter.
        count: how many cells.
    """

    stored_v: float
    width_s: float
    count: int = 1


@dataclass(frozen=True)
class Conversion:
    """What a column's conversion gave.

    Attributes:
        charge_c: charge that the cells drew from the bit line, in C; less that of the first read if there are two.
        width_s: the pulse, in s; negative for a charge of the other sign if the converter is signed.
        energy_j: from the supply, without the cells and the op-amp: comparator over the whole deck, and the reference
            current while the pulse lasts, in J.
        read_j: of the reads, in J: what the cells draw from their supply, and what the integrator gives to the bit line
            while the cells together draw from it, at full supply.
    """

    charge_c: float
    width_s: float
    energy_j: float
    read_j: float


def column_deck(
    cell: CellCircuit,
    conditions: Conditions,
    card: Card,
    converter: Converter,
    cells: Sequence[ColumnCell],
    wire_ohm: float = 0.0,
) -> Deck:
    """One column: cells on a bit line, farthest first, and a converter.

    Args:
        cell: of the column.
        conditions: of the circuit.
        card: the comparator's transistors.
        converter: the charge-to-pulse circuit.
        cells: in their order along the bit line.
        wire_ohm: resistance of the bit line from one entry of `cells` to the next, in ohm.
    """
    times = _times(conditions, converter)
    lines = [] if card.text in cell.text else [card.text]  # a user's netlist has other transistors
    for k, member in enumerate(cells):
        net = f"rbl{k}" if wire_ohm else "rbl"
        if wire_ohm:
            following = f"rbl{k + 1}" if k + 1 < len(cells) else "rbl"
            lines.append(f"rw{k} {net} {following} {wire_ohm:g}\n")
        # equal cells draw equal currents: one is simulated, and its currents are drawn `count` times
        for into, whole, meter in ((net, f"cell{k}", "n"), ("vdd", f"vdd{k}", "d")):
            lines.append(f"v{meter}{k} {into} {whole} 0\nf{meter}{k} {into} 0 v{meter}{k} {member.count - 1}\n")
        nets = {pin: pin for pin in cell.pins}
        nets |= {"store": f"s{k}", "rbl": f"cell{k}", "rwl": f"w{k}", "rwlb": f"w{k}b", "vdd": f"vdd{k}"}
        start = times.reads_s[0 if member.width_s < 0 else -1]
        lines.append(word_line(f"w{k}", conditions, abs(member.width_s), start))
        lines.append(f".ic v(s{k})={member.stored_v:.9g}\n{cell.instance(str(k), nets)}\n")
    lines.append(_converter(conditions, card, converter))
    lines.append(f".tran 20p {times.end_s:.9g} 0 50p\n")
    text = bench("a column and its charge-to-pulse circuit", cell, conditions, "".join(lines), _OPTIONS)
    return Deck(text, ("v(out)", "v(c3)", "i(vsum)", "i(vcmp)", "i(vdd)", "v(sense)"), times.end_s)


@dataclass(frozen=True)
class _Times:
    reads_s: tuple[float, ...]
    preset_s: float
    convert_s: float
    end_s: float


def _times(conditions: Conditions, converter: Converter) -> _Times:
    reads = [START_S + _RESET_S + _PAUSE_S]
    if converter.differential:
        reads.append(reads[0] + conditions.pulse_max_s + _TURN_S)
    preset = reads[-1] + conditions.pulse_max_s + _PAUSE_S
    convert = preset + (_PAUSE_S if converter.preset_c else 0)
    return _Times(tuple(reads), preset, convert, convert + conditions.pulse_max_s + _AFTER_S)


def _capacitor(conditions: Conditions, converter: Converter, times: _Times) -> str:
    """The integration capacitor, and the switches that turn it round between two reads."""
    size = f"{converter.full_c / converter.swing_v:.6g}"
    if not converter.differential:
        return f"cint out sum {size}\n"
    turn, edge = times.reads_s[0] + conditions.pulse_max_s + _PAUSE_S / 2, conditions.edge_s
    return (
        f"cint ca cb {size}\n"
        f"vfirst first 0 pwl(0 1 {turn:.9g} 1 {turn + edge:.9g} 0)\n"
        f"vsecond second 0 pwl(0 0 {turn + edge:.9g} 0 {turn + 2 * edge:.9g} 1)\n"
        # in series with the capacitor, so with less resistance than others: the reference current would see an offset
        ".model turn sw vt=0.5 vh=0 ron=1 roff=1e15\n"
        "sfa out ca first 0 turn\nsfb sum cb first 0 turn\n"
        "ssa out cb second 0 turn\nssb sum ca second 0 turn\n"
    )


def _preset(conditions: Conditions, converter: Converter, times: _Times) -> str:
    """The source of the preset's charge."""
    if not converter.preset_c:
        return ""
    edge, length = conditions.edge_s, _PAUSE_S / 2
    points = ((0, 0), (0, 0), (edge, 1), (length, 1), (length + edge, 0))
    peak = converter.preset_c / length
    start = times.preset_s - _PAUSE_S / 2
    shape = " ".join(f"{start + t if i else 0:.9g} {peak * x:.9g}" for i, (t, x) in enumerate(points))
    return f"ipre sum 0 pwl({shape})\n"


def _converter(conditions: Conditions, card: Card, converter: Converter) -> str:
    zero, vdd, times = conditions.zero_v, card.comparator_v, _times(conditions, converter)
    current = converter.full_c / conditions.pulse_max_s
    edge = conditions.edge_s
    reset_end, sample = START_S + _RESET_S, times.convert_s - edge
    inverters = []
    for stage, (into, out) in enumerate((("c0", "c1"), ("c1", "c2"), ("c2", "c3"))):
        width = converter.strength * card.narrowest_m
        inverters.append(
            f"xcn{stage} {out} {into} 0 0 gaincell_nfet w={width:.4g} l={card.shortest_m:.4g}\n"
            f"xcp{stage} {out} {into} vcmp vcmp gaincell_pfet w={width * converter.ratio:.4g} l={card.shortest_m:.4g}\n"
            f"cl{stage} {out} 0 {converter.load_f:g}\n"
        )
    # `sign` holds 1 or -1: for a signed converter what the comparator said just before the conversion
    sign = f"v(held) > {vdd / 2:g} ? 1 : -1" if converter.signed else "1"
    limit, initially = converter.limit_v, {"out": zero, "sum": zero, "rbl": zero, "c0": vdd / 2, "c1": vdd / 2}
    return (
        # the bit line enters through vsum, whose current is what the cells draw
        f".nodeset {' '.join(f'v({net})={volt:g}' for net, volt in initially.items())}\n"
        f"vsum sum rbl 0\n"
        f"bamp amp 0 v = {zero:g} + {limit:g}*tanh({converter.gain:g}*({zero:g}-v(sum))/{limit:g})\n"
        f"ramp amp out 100\n"
        f"{_capacitor(conditions, converter, times)}{_preset(conditions, converter, times)}"
        f".model ideal sw vt=0.5 vh=0 ron=100 roff=1e15\n"
        f"vreset reset 0 pwl(0 1 {reset_end - edge:.9g} 1 {reset_end:.9g} 0)\n"
        f"sint out sum reset 0 ideal\n"
        f"vcmp vcmp 0 {vdd:g}\n"
        f"caz out c0 20f\nsaz c1 c0 reset 0 ideal\n" + "".join(inverters) +
        # high at the first inverter's output: the integrator is below its zero
        f"vsample sample 0 pwl(0 1 {sample - edge:.9g} 1 {sample:.9g} 0)\n"
        f"ssense inverted held sample 0 ideal\ncheld held 0 10f\nbinv inverted 0 v = {vdd:g} - v(c3)\n"
        f"vwindow window 0 pwl(0 0 {times.convert_s - edge / 2:.9g} 0 {times.convert_s + edge / 2:.9g} 1)\n"
        f"bref sense 0 v = v(window) * ({sign})\n"
        f"bcur 0 sum i = {current:.9g}*v(sense)\n"
    )


def conversion(plot: Plot, conditions: Conditions, card: Card, converter: Converter) -> Conversion:
    """The result of a `column_deck`.

    Raises:
        NoData: the comparator is neither high nor low when the conversion begins.
    """
    times, time = _times(conditions, converter), plot.axis
    charge = given = 0.0
    for sign, start in zip((-1, 1)[-len(times.reads_s) :], times.reads_s, strict=True):
        end = start + conditions.pulse_max_s + _PAUSE_S / 2 - conditions.edge_s
        drawn = (time >= start - _PAUSE_S / 2) & (time <= end)
        charge += sign * np.trapezoid(plot["i(vsum)"][drawn], time[drawn])
        given += np.trapezoid(np.maximum(plot["i(vsum)"][drawn], 0), time[drawn])
    above = card.comparator_v - plot["v(c3)"] > card.comparator_v / 2  # the integrator is above its zero
    window = (time >= times.convert_s) & (time <= times.convert_s + conditions.pulse_max_s)
    if not window.any():
        raise NoData("the conversion has no time steps.")
    began = bool(above[window][0])
    changed = np.flatnonzero(above[window] != began)
    # between the last step before the change and the first after it, at half height
    end = times.convert_s + conditions.pulse_max_s
    if len(changed):
        at = np.flatnonzero(window)[changed[0]]
        level = plot["v(c3)"] - card.comparator_v / 2
        end = time[at - 1] + (time[at] - time[at - 1]) * level[at - 1] / (level[at - 1] - level[at])
    width = end - times.convert_s
    if not began:
        width = -width if converter.signed else 0.0
    supply = -np.trapezoid(plot["i(vcmp)"], time) * card.comparator_v
    reference = converter.full_c / conditions.pulse_max_s * conditions.vdd_v * abs(width)
    cells = -np.trapezoid(plot["i(vdd)"], time)
    read = conditions.vdd_v * (cells + given)
    return Conversion(float(charge), float(width), float(supply + reference), float(read))
