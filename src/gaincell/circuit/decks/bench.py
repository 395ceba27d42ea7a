"""What every deck has around its cells: options, supplies, word lines."""

from gaincell.circuit.decks.cell import CellCircuit, Conditions

#: When the first pulse of a deck begins, in s: after the operating point has settled.
START_S = 1e-9

#: Shorter times are none, in s: a deck's times are written with nine digits.
_SHORTEST_S = 1e-14

#: ngspice's own chgtol, 1e-14 C, is more than a cell stores.
OPTIONS = "chgtol=1e-19 abstol=1e-13 vntol=1e-6 reltol=1e-4 gmin=1e-15 itl4=100"


def bench(title: str, cell: CellCircuit, conditions: Conditions, body: str, options: str = OPTIONS) -> str:
    """A netlist from its title line on: options, the cell's models, supplies and idle write lines, and `body`.

    It defines the nets vdd, vss (ground), wwl and wwlb (holding), and wbl (at the zero level).
    """
    high, low = conditions.write_high_v, conditions.write_low_v
    return (
        f"* {title}\n.options {options} temp={conditions.temperature_c:g}\n{cell.text}\n"
        f"vdd vdd 0 {conditions.vdd_v:g}\nvvss vss 0 0\n"
        f"vwbl wbl 0 {conditions.zero_v:g}\nvwwl wwl 0 {low:g}\nvwwlb wwlb 0 {high:g}\n{body}"
    )


def word_line(name: str, conditions: Conditions, width_s: float, start_s: float = START_S) -> str:
    """Sources for the net `name` and its inverse, `name`b: one pulse, `width_s` wide at half its height.

    One that is shorter than its edges is a triangle, as high as it gets by then.
    """
    vdd, high, edge = conditions.vdd_v, conditions.read_v, conditions.edge_s
    if width_s < _SHORTEST_S:
        return f"v{name} {name} 0 0\nv{name}b {name}b 0 {vdd:g}\n"
    up = min(edge, width_s)
    rise, fall = start_s - edge / 2, start_s + width_s - edge / 2

    def pwl(off: float, on: float) -> str:
        peak = off + (on - off) * up / edge
        flat = ((fall, peak),) if width_s - edge > _SHORTEST_S else ()
        points = ((0, off), (rise, off), (rise + up, peak), *flat, (fall + up, off))
        return "pwl(" + " ".join(f"{t:.9g} {v:g}" for t, v in points) + ")"

    return f"v{name} {name} 0 {pwl(0, high)}\nv{name}b {name}b 0 {pwl(vdd, vdd - high)}\n"
