"""A gain cell as a subcircuit: ours with three kinds of write transistor, or a user's own netlist."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import takewhile
from pathlib import Path
from typing import Literal

from gaincell.cell.cell import is_file
from gaincell.circuit.cards import Card, Corner
from gaincell.circuit.netlist import Line, read_netlist
from gaincell.errors import InputError

Write = Literal["transmission", "boosted", "oxide"]

#: What a cell's pins can be. The first five are required. `wwlb` and `rwlb` are driven as the inverses of `wwl` and
#: `rwl`; `vdd` and `vss` are the supplies.
ROLES = ("store", "wwl", "wbl", "rwl", "rbl", "wwlb", "rwlb", "vdd", "vss")
REQUIRED = ROLES[:5]

#: Longer writes are not simulated, in s.
LONGEST_WRITE_S = 1e-5


@dataclass(frozen=True)
class Conditions:
    """Under what voltages and times a cell is characterised.

    Attributes:
        vdd_v: supply; stored voltages, which are what write bit lines carry, lie between 0 and this.
        zero_v: where the read bit line is held; the stored voltage that stands for zero.
        write_high_v: write word line while it writes.
        write_low_v: write word line while it holds.
        pulse_max_s: longest read pulse.
        edge_s: rise and fall time of every pulse; an assumption.
        temperature_c: of the circuit, in degrees Celsius; an assumption.
        read_high_v: read word line while it is on, and the supply less this its inverse; None: the supply.
        write_s: how long the write word line is on when a value is written; an assumption: of the published 65 ns of a
            token, what the estimates take for writing.

    Raises:
        InputError: a level that is no number, or a zero level that is not between ground and supply.
    """

    vdd_v: float = 0.9
    zero_v: float = 0.45
    write_high_v: float = 0.9
    write_low_v: float = 0.0
    pulse_max_s: float = 15e-9
    edge_s: float = 50e-12
    temperature_c: float = 27.0
    read_high_v: float | None = None
    write_s: float = 10e-9

    def __post_init__(self) -> None:
        levels = {"supply": self.vdd_v, "zero level": self.zero_v, "read word line": self.read_v}
        levels |= {"write word line": self.write_high_v, "write word line's rest": self.write_low_v}
        for name, value in levels.items():
            if not math.isfinite(value):
                raise InputError(f"the {name} must be a voltage, not {value:g}.")
        if not self.edge_s < self.write_s <= LONGEST_WRITE_S:
            raise InputError(
                f"a write takes longer than its edges of {self.edge_s * 1e9:g} ns, and {LONGEST_WRITE_S * 1e6:g} us at "
                f"most, not {self.write_s * 1e9:g} ns."
            )
        if not 0 < self.zero_v < self.vdd_v:
            raise InputError(
                f"the zero level, {self.zero_v:g} V, must lie between ground and the supply of {self.vdd_v:g} V."
            )

    @property
    def read_v(self) -> float:
        """Read word line while it is on, in V."""
        return self.vdd_v if self.read_high_v is None else self.read_high_v


@dataclass(frozen=True)
class CellCircuit:
    """A cell that decks can place.

    Attributes:
        name: what it is called in cell files.
        source: where its netlist and models come from.
        text: netlist with its models and its subcircuit.
        subcircuit: the subcircuit's name.
        pins: role of each pin, in the order of the subcircuit's header.
        parameters: given to every instance.
        mismatch_v: deviation in V, one sigma, of each parameter that shifts a threshold.
        corner: of its transistors; None where that is not known.
        write_shift_v: value and deviation in V, one sigma, of the parameter `write_shift` that shifts the thresholds of
            the write device; None where there is no such parameter, or nothing is known of how it differs.
    """

    name: str
    source: str
    text: str
    subcircuit: str
    pins: tuple[str, ...]
    parameters: Mapping[str, float] = field(default_factory=dict)
    mismatch_v: Mapping[str, float] = field(default_factory=dict)
    corner: Corner | None = None
    write_shift_v: tuple[float, float] | None = None

    def instance(self, name: str, nets: Mapping[str, str], **parameters: float) -> str:
        """One line that places a cell, with the nets that its roles are connected to."""
        values = {**self.parameters, **parameters}
        given = " ".join(f"{key}={value:.9g}" for key, value in values.items())
        return f"x{name} {' '.join(nets[pin] for pin in self.pins)} {self.subcircuit} {given}"


# High stored voltages draw current out of the bit line, low ones push current into it. The transistors that the read
# word lines switch (sn, sp) stand between the bit line and those whose gate is the storage node (rn, rp).
_READ = """\
xrn dn store vss vss gaincell_nfet w={w_rn} l={l_rn} dvt={dvt_rn}
xsn rbl rwl dn vss gaincell_nfet w={w_sn} l={l_sn} dvt={dvt_sn}
xrp dp store vdd vdd gaincell_pfet w={w_rp} l={l_rp} dvt={dvt_rp}
xsp rbl rwlb dp vdd gaincell_pfet w={w_sp} l={l_sp} dvt={dvt_sp}
cstore store vss {c_store}
"""
_NMOS_WRITE = "xwn wbl wwl store vss gaincell_nfet w={w_wn} l={l_wn} dvt={write_shift}\n"
_PMOS_WRITE = "xwp wbl wwlb store vdd gaincell_pfet w={w_wn} l={l_wn} dvt={write_shift}\n"
# An oxide-semiconductor transistor as the charge-sheet model of Enz, Krummenacher and Vittoz (Analog Integrated
# Circuits and Signal Processing 8, 83 (1995)): slope factor 1.25, threshold 0.5 V, transconductance parameter
# 8 uA/V^2 at width = length. Assumptions for an InGaZnO device; no junction and no gate leakage.
_OXIDE_WRITE = """\
bw wbl store i = 2*1.25*8u*v(ut)^2*(
+ ln(1+exp(((v(wwl)-0.5-{write_shift})/1.25-v(store))/(2*v(ut))))^2
+ -ln(1+exp(((v(wwl)-0.5-{write_shift})/1.25-v(wbl))/(2*v(ut))))^2)
but ut 0 v = 8.617333e-5*(temper+273.15)
cgs wwl store 0.05f
"""
_WRITES: dict[Write, str] = {"transmission": _NMOS_WRITE + _PMOS_WRITE, "boosted": _NMOS_WRITE, "oxide": _OXIDE_WRITE}

#: High and low level of the write word line that each kind needs at a supply of 0.9 V, in V; assumptions.
WRITE_LEVELS_V: dict[Write, tuple[float, float]] = {
    "transmission": (0.9, 0.0),
    "boosted": (1.2, -0.3),
    "oxide": (1.8, -0.2),
}

#: Width and length of each read transistor, in m. Picked by hand among some 2,000 tries for a law like the published.
_SIZES = {"rn": (0.12e-6, 0.4e-6), "sn": (0.10e-6, 0.1e-6), "rp": (0.28e-6, 0.4e-6), "sp": (0.30e-6, 0.1e-6)}


def gain_cell(
    card: Card, write: Write = "transmission", write_shift_v: float | None = None, capacitor_f: float = 8e-15
) -> CellCircuit:
    """Our push-pull cell (Leroux et al. 2025 describe its function, not its sizes).

    Args:
        card: its transistors.
        write: a transmission gate, one NMOS whose word line is boosted, or an oxide-semiconductor transistor.
        write_shift_v: added to the threshold of the write transistors, in V: a slower write, a longer retention. By
            default the card's; none for an oxide transistor.
        capacitor_f: of the storage node besides the transistors' gates, in F; an assumption.
    """
    if write_shift_v is None:
        write_shift_v = 0.0 if write == "oxide" else card.write_shift_v
    sizes = {f"{axis}_{part}": size for part, pair in _SIZES.items() for axis, size in zip("wl", pair, strict=True)}
    sizes |= {"w_wn": card.narrowest_m, "l_wn": card.shortest_m} | dict(card.sizes)
    shifts = [f"dvt_{part}" for part in _SIZES]
    sigma = {
        f"dvt_{part}": card.pelgrom_v_m[part.endswith("p")] / (sizes[f"w_{part}"] * sizes[f"l_{part}"]) ** 0.5
        for part in _SIZES
    }
    write_sigma = card.pelgrom_v_m[0] / (sizes["w_wn"] * sizes["l_wn"]) ** 0.5
    defaults = sizes | dict.fromkeys(shifts, 0.0) | {"write_shift": write_shift_v, "c_store": capacitor_f}
    header = "\n".join(f"+ {name}={value:.9g}" for name, value in defaults.items())
    text = f"{card.text}.subckt gaincell {' '.join(ROLES)}\n{header}\n{_READ}{_WRITES[write]}.ends\n"
    return CellCircuit(
        name=f"{card.name}-{write}",
        source=f"{card.source}; write: {write}, {write_shift_v * 1e3:+g} mV, {capacitor_f * 1e15:g} fF",
        text=text,
        subcircuit="gaincell",
        pins=ROLES,
        mismatch_v=sigma,
        corner=card.corner,
        write_shift_v=None if write == "oxide" else (write_shift_v, write_sigma),
    )


_SUBCKT = re.compile(r"\.subckt (\S+)(.*)")


def cell_from_netlist(
    path: Path,
    *,
    pins: Mapping[str, str] | None = None,
    subcircuit: str | None = None,
    pelgrom_v_m: tuple[float, float] = (1.5e-9, 1.5e-9),
) -> CellCircuit:
    """A user's own cell.

    The netlist holds the models (or includes them) and a subcircuit whose pins are named by their role: `store`, `wwl`,
    `wbl`, `rwl` and `rbl`, and where it has them `wwlb`, `rwlb`, `vdd` and `vss`, in any order. Parameters of the
    subcircuit named dvt_NAME shift a threshold, in V; where it has w_NAME and l_NAME too, in m, mismatch is drawn for
    them.

    Args:
        path: the netlist. It must be a circuit only; what a cell may contain is under `docs/circuit.md`, and the files
            that it includes are read here (`gaincell.circuit.netlist`).
        pins: role to the pin's name, where the subcircuit names it otherwise. That of `store` may be a net inside, as
            memory compilers write cells: it is made a pin.
        subcircuit: its name; the last one of the file by default.
        pelgrom_v_m: A_vt in V m of its mismatch: NMOS, and PMOS, whose NAME ends with p. An assumption.

    Raises:
        InputError: not readable, no such subcircuit, a pin missing or unknown, or more than a circuit.
    """
    if not is_file(path):
        raise InputError(f"netlist '{path}' is not a file; check the path.")
    lines = read_netlist(path)
    headers = (_SUBCKT.match(line.text) for line in lines if line.path == path)
    found = {header[1]: header[2] for header in headers if header}
    if not found:
        raise InputError(f"{path} holds no .subckt; put the cell into one, with pins {' '.join(REQUIRED)}.")
    name = subcircuit.lower() if subcircuit else list(found)[-1]
    if name not in found:
        raise InputError(f"{path} has no subcircuit '{subcircuit}', only {', '.join(found)}; name one of them.")
    words = re.sub(r" *= *", "=", found[name]).split()
    nodes = [word for word in words if "=" not in word and word != "params:"]
    roles = {given.lower(): role for role, given in (pins or {}).items()}
    unknown = [role for role in roles.values() if role not in ROLES]
    if unknown:
        raise InputError(f"a cell has no pin role '{unknown[0]}'; roles are {', '.join(ROLES)}.")
    for net in [net for net, role in roles.items() if role == "store" and net not in nodes and "store" not in nodes]:
        lines = _with_pin(lines, path, name, net)
        nodes.append(net)
    order = tuple(roles.get(node, node) for node in nodes)
    for role in REQUIRED:
        if role not in order:
            raise InputError(f"subcircuit '{name}' of {path} has no pin '{role}'; name it so, or say which one it is.")
    for role in order:
        if role not in ROLES:
            raise InputError(f"subcircuit '{name}' of {path} has a pin '{role}' of no known role ({', '.join(ROLES)}).")
    if len(set(order)) < len(order):
        raise InputError(f"subcircuit '{name}' of {path} has two pins of one role; every role is one pin.")
    return CellCircuit(
        name=path.stem,
        source=f"netlist {path.name}, subcircuit {name}",
        text="".join(f"{line.text}\n" for line in lines),
        subcircuit=name,
        pins=order,
        mismatch_v=_mismatch(dict(word.split("=", 1) for word in words if "=" in word), pelgrom_v_m),
    )


def _with_pin(lines: list[Line], path: Path, subcircuit: str, net: str) -> list[Line]:
    """A netlist whose subcircuit has one of its nets as a pin, in front of its parameters.

    Raises:
        InputError: nothing in the subcircuit is connected to such a net.
    """
    headers = [_SUBCKT.match(line.text) if line.path == path else None for line in lines]
    at = next(n for n, header in enumerate(headers) if header and header[1] == subcircuit)
    body = takewhile(lambda line: not line.text.startswith(".ends"), lines[at + 1 :])
    if net in _GROUND or not any(net in _nets(line.text) for line in body):
        raise InputError(f"subcircuit '{subcircuit}' of {path} has no net '{net}'; name its storage node.")
    text = re.sub(r"(?= params:| \S+ *=|$)", f" {net}", lines[at].text, count=1)
    return [*lines[:at], replace(lines[at], text=text), *lines[at + 1 :]]


_GROUND = ("0", "gnd")
#: How many nets an element has, by its letter; a subcircuit's instance has all words but its last.
_NETS = {**dict.fromkeys("bcdfhilrvw", 2), **dict.fromkeys("jqz", 3), **dict.fromkeys("egms", 4)}


def _nets(line: str) -> list[str]:
    """The nets of an element's line; of another line none."""
    words = re.sub(r" *= *", "=", line).split()
    if words[0].startswith("x"):
        return [word for word in words[1:] if "=" not in word and word != "params:"][:-1]
    return words[1 : 1 + _NETS.get(words[0][0], 0)]


_NUMBER = re.compile(r"([-+]?[\d.]+(?:e[-+]?\d+)?)(meg|[fpnumkg])?[a-z]*", re.IGNORECASE)
_SUFFIX = {"f": 1e-15, "p": 1e-12, "n": 1e-9, "u": 1e-6, "m": 1e-3, "k": 1e3, "meg": 1e6, "g": 1e9}


def _mismatch(parameters: Mapping[str, str], pelgrom_v_m: tuple[float, float]) -> dict[str, float]:
    """Deviation in V of each parameter dvt_NAME that has a width and a length as plain numbers."""
    sizes = {}
    for name, text in parameters.items():
        number = _NUMBER.fullmatch(text.strip("{}'"))
        if number:
            sizes[name] = float(number[1]) * _SUFFIX.get((number[2] or "").lower(), 1.0)
    parts = [name.removeprefix("dvt_") for name in parameters if name.startswith("dvt_")]
    return {
        f"dvt_{part}": pelgrom_v_m[part.endswith("p")] / (sizes[f"w_{part}"] * sizes[f"l_{part}"]) ** 0.5
        for part in parts
        if sizes.get(f"w_{part}", 0) > 0 and sizes.get(f"l_{part}", 0) > 0
    }
