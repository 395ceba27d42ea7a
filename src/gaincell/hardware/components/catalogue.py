"""The parts that the hardware is built from, each with its default figures and their source.

Everything is at 28 nm and 0.9 V, the published node and supply, unless a part says otherwise. What is 'fitted' makes a
published total of one head (window 1024, head_dim 64) come out; the fits are written out as arithmetic, so that a
reader sees what was put in.
"""

from typing import Self

from pydantic import BaseModel, ConfigDict, model_validator

from gaincell.hardware.components.component import Component

_PAPER = "Leroux et al., Nature Computational Science 5, 813-824 (2025)"
_HOROWITZ = "Horowitz, ISSCC 2014"
_RUN = (
    "`gaincell characterize`: our cell and charge-to-pulse circuit with cards of a generic 28-nm class, not fitted to "
    "silicon"
)

# Lines, DACs and counters of the published head, from which the parts below are taken off where a total is published.
_COLUMNS, _ROWS, _TILES = 1024, 64, 16
_LINE_J = 0.3e-15 * 0.9**2
# Query pulses and their successors, on a word line and its inverse, and writes; by `activity.REFERENCE`.
_LINES_J = _LINE_J * _COLUMNS * _ROWS * (2 * 0.563 + 2 * 0.201 + 2)
_FLIP_J = 5e-15
_COUNT_J, _COUNTER_M2 = 2 * _FLIP_J, 5 * 6e-12
_ADD_J, _ADDER_M2 = 0.03e-12 * 28 / 45, 36e-12 * (28 / 45) ** 2
_READOUTS = _TILES * _ROWS
_CONVERSION_J = 330e-12 - _LINES_J - 2 * _ROWS * 3 * _FLIP_J  # 3 bits of key and value are stored once
_DIGITAL_J = _READOUTS * (0.035 * 15 * _COUNT_J + _ADD_J) + _ROWS * (4 + 9) * _FLIP_J  # 4 bits of query, 9 of output
_ANALOG_M2 = 2 * _COLUMNS * _ROWS * 1e-12 + 2 * _COLUMNS * 50e-12 + 3 * _ROWS * 100e-12
_CONTROL_M2 = (0.5e-6 - _ANALOG_M2 - _READOUTS * (_COUNTER_M2 + _ADDER_M2)) / _READOUTS


#: Parts whose `latency_s` a token can wait for.
TIMED = ("cell", "dac", "charge_to_pulse", "adder", "driver")


class Components(BaseModel):
    """Every part by name. A part that is given replaces the default one whole.

    Raises:
        ValidationError: a part that is not listed, or a figure that is missing, negative or in the wrong unit
            (`HardwareParameters` tells it in one sentence).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    cell: Component = Component(
        action="a pulse of `latency_s` on a cell that stores +0.45 V: supply x current x time",
        energy_j=40.6e-15,
        area_m2=1e-12,
        latency_s=15e-9,
        kind="circuit",
        source=f"energy: {_RUN}; area: six transistors, about 1 um2, {_PAPER}",
    )
    line: Component = Component(
        action="a word or bit line swings past one cell",
        energy_j=_LINE_J,
        kind="assumption",
        source="0.2 fF of wire (0.2 fF/um over a cell of 1 um) and 0.1 fF of gates, at 0.9 V",
    )
    driver: Component = Component(
        action="a segment of a word or write line is driven by the one before it",
        energy_j=48e-15,
        area_m2=6e-12,
        latency_s=0.1e-9,
        scaling="digital",
        kind="assumption",
        source="inverters 20 um wide: 60 fF of gates and drains at 0.9 V; 0.69 x 250 Ohm x the 0.7 pF of a segment, "
        "less than its 1 ns; area: 50 fingers of 0.13 um, 0.9 um high",
    )
    pulse_generator: Component = Component(
        action="one query value becomes a pulse",
        energy_j=_CONVERSION_J / (3 * _ROWS),
        area_m2=100e-12,
        kind="fitted",
        source=f"the 330 pJ that {_PAPER} gives for DACs, less what lines take here, over the values of one query, key "
        "and value alike (assumption); area: assumption",
    )
    dac: Component = Component(
        action="one key or value becomes a voltage",
        energy_j=_CONVERSION_J / (3 * _ROWS),
        area_m2=100e-12,
        kind="fitted",
        source="as the pulse generator's",
    )
    charge_to_pulse: Component = Component(
        action="one column's charge becomes a pulse: reset, integrator, comparator, discharge",
        energy_j=725e-15,
        area_m2=50e-12,
        kind="circuit",
        source=f"{_RUN}, without the amplifier's bias; area: assumption",
    )
    signed_charge_to_pulse: Component = Component(
        action="one output line's charge becomes a pulse and a sign",
        energy_j=725e-15,
        area_m2=50e-12,
        kind="assumption",
        source="as the plain one's",
    )
    counter: Component = Component(
        action="one count of the clock while a read-out's pulse lasts",
        energy_j=_COUNT_J,
        area_m2=_COUNTER_M2 / 5,
        scaling="digital",
        kind="assumption",
        source="two flip-flops of 5 fJ toggle on average; area: of one bit",
    )
    adder: Component = Component(
        action="one addition of 8 bits",
        energy_j=0.03e-12,
        area_m2=36e-12,
        node_m=45e-9,
        scaling="digital",
        kind="library",
        source=_HOROWITZ,
    )
    multiply_add: Component = Component(
        action="one multiplication and addition of 16-bit floats",
        energy_j=1.5e-12,
        area_m2=3000e-12,
        node_m=45e-9,
        scaling="digital",
        kind="library",
        source=f"{_HOROWITZ} (1.1 + 0.4 pJ, 1640 + 1360 um2); beside the arrays its area is not counted: a few units "
        "serve all heads",
    )
    product: Component = Component(
        action="one multiplication of 8-bit integers; of others it goes with the product of their bits",
        energy_j=0.2e-12,
        area_m2=282e-12,
        node_m=45e-9,
        scaling="digital",
        kind="library",
        source=f"{_HOROWITZ}; only in the digital opponent",
    )
    preset: Component = Component(
        action="one column's integrator is charged to the score preset: capacitor x swing x supply",
        energy_j=0.7e-12 * 0.2 * 0.9,
        kind="assumption",
        source="0.7 pF takes the charge of S_sat within a swing of 0.42 V (our circuit); a preset of 0.2 V on average",
    )
    flip_flop: Component = Component(
        action="one bit is stored in a register",
        energy_j=_FLIP_J,
        scaling="digital",
        kind="assumption",
        source="its area is in the control's",
    )
    control: Component = Component(
        action="control and routing of one read-out line, for one token",
        energy_j=(4e-9 - _DIGITAL_J) / _READOUTS,
        area_m2=_CONTROL_M2,
        scaling="digital",
        kind="fitted",
        source=f"the 4 nJ (113.7 mW, so for about 35 ns) and the 0.5 mm2 of a head that {_PAPER} gives, less what the "
        "other parts take here",
    )
    buffer: Component = Component(
        action="one bit of keys and values is read from an SRAM: of a copy for refresh, or of the digital opponent",
        energy_j=10e-12 / 64 * 28 / 45,
        area_m2=0.127e-12 * 1.5,
        scaling="digital",
        kind="library",
        source=f"energy: {_HOROWITZ} (64 bits of an 8-KB SRAM at 45 nm, 10 pJ), with the node; area: an SRAM cell of "
        "0.127 um2 at 28 nm (Wu et al., VLSI Technology 2009), and half as much again around it (assumption)",
    )

    @model_validator(mode="after")
    def _all_times_count(self) -> Self:
        for name in type(self).model_fields:
            if getattr(self, name).latency_s and name not in TIMED:
                raise ValueError(f"latency_s of '{name}' would change nothing: time is that of {', '.join(TIMED)}.")
        return self

    def at(self, node_m: float, supply_v: float) -> Self:
        """All parts at one node and supply, each by its own rule.

        Raises:
            InputError: a part without a rule was given elsewhere.
        """
        parts = {name: getattr(self, name).at(node_m, supply_v, name) for name in type(self).model_fields}
        return type(self)(**parts)
