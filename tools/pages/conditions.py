"""What cells keep at two temperatures, at corners, with leakage and without, beside published ones: docs/conditions.md.

python -m tools.pages conditions simulate   # needs ngspice and SkyWater's models

Two minutes of simulations, kept in docs/data/conditions.json. Without the word, what was kept is shown.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from gaincell.atomic import written_aside
from gaincell.circuit import Ngspice
from gaincell.circuit.cards import Card, Corner, Leakage, load_card
from gaincell.circuit.cards.sky130 import MODELS_SHA256
from gaincell.circuit.conditions import conditions_of
from gaincell.circuit.decay import decay_of
from gaincell.circuit.decks.cell import Write, gain_cell
from gaincell.circuit.leakage import leakages_of
from gaincell.circuit.writes import writes_of
from gaincell.report.numbers import number, scaled
from tools.pages.data import DATA, kept
from tools.pages.markdown import table

COLD_C, HOT_C = 27.0, 85.0
CORNERS: tuple[Corner, ...] = get_args(Corner)
LEAKAGES: tuple[Leakage, ...] = get_args(Leakage)


@dataclass(frozen=True)
class Kind:
    """A cell of the table: its card, the leakage of that, and its write device."""

    card: Literal["generic", "sky130"]
    leakage: Leakage
    write: Write

    @property
    def name(self) -> str:
        """As the record has it."""
        return f"{self.card}, {self.leakage}, {self.write}"

    @property
    def label(self) -> str:
        """As the page has it."""
        leaks = "" if self.card == "sky130" else f", leakage {self.leakage}"
        return f"`{self.card}`{leaks}, {self.write} write"


KINDS = (
    *(Kind("generic", leakage, "transmission") for leakage in LEAKAGES),
    Kind("sky130", "off", "transmission"),
    *(Kind("generic", leakage, "oxide") for leakage in LEAKAGES),
    Kind("sky130", "off", "oxide"),
)


@dataclass(frozen=True)
class Published:
    """A published cell, and ours that is nearest to it.

    Attributes:
        what: the cell and where it was measured.
        told: its retention as published.
        value_s: the same in s.
        source: of it.
        kind: ours.
        at: temperature of ours, in degrees Celsius.
        figure: of ours: "tau_s" or "kept_s".
        why: what makes them differ, where one is more than three times the other.
    """

    what: str
    told: str
    value_s: float
    source: str
    kind: Kind
    at: float
    figure: Literal["tau_s", "kept_s"]
    why: str = ""


_PLAIN, _HIGH_K, _OXIDE = KINDS[0], KINDS[1], KINDS[4]
PUBLISHED = (
    Published(
        "push-pull CMOS cell of the paper",
        "tau 5 ms",
        5e-3,
        "Leroux et al., Nature Computational Science 5, 813 (2025)",
        _PLAIN,
        COLD_C,
        "tau_s",
    ),
    Published(
        "asymmetric 2T cell, 65 nm low-power CMOS, 85 °C, 99.9 % of bits",
        "110 µs",
        110e-6,
        "Chun et al., IEEE J. Solid-State Circuits 47, 547 (2012)",
        _PLAIN,
        HOT_C,
        "kept_s",
    ),
    Published(
        "3T-1C cell, 65 nm CMOS, 99.99 % of bits",
        "16 µs",
        16e-6,
        "Harel et al., IEEE Solid-State Circuits Letters (2022), doi 10.1109/LSSC.2022.3182531",
        _PLAIN,
        HOT_C,
        "kept_s",
    ),
    Published(
        "3T-1C cell with boosted levels, 65 nm CMOS",
        "over 100 µs",
        100e-6,
        "Harel et al., IEEE J. Solid-State Circuits (2024), doi 10.1109/JSSC.2024.3489793",
        _PLAIN,
        HOT_C,
        "kept_s",
    ),
    Published(
        "cells in 28 nm CMOS before 2020: less than a tenth of 77 µs",
        "under 7.7 µs",
        7.7e-6,
        "Giterman et al., IEEE Solid-State Circuits Letters 3, 110 (2020)",
        _HIGH_K,
        HOT_C,
        "kept_s",
    ),
    Published(
        "2T cell, 28 nm high-k CMOS, 300 K: over 6 s at 4 K are over a million times that",
        "some 6 µs",
        6e-6,
        "Saligram et al., IEEE Custom Integrated Circuits Conference (2021)",
        _HIGH_K,
        COLD_C,
        "kept_s",
    ),
    Published(
        "3T cell, 16 nm FinFET, 0.6 V",
        "77 µs",
        77e-6,
        "Giterman et al., IEEE Solid-State Circuits Letters 3, 110 (2020)",
        _HIGH_K,
        HOT_C,
        "kept_s",
        "fins, at 0.6 V, where less tunnels through gates; ours is planar, at 0.9 V",
    ),
    Published(
        "IGZO 2T0C cell, 3 bits in an array",
        "over 100 s",
        100.0,
        "Li et al., Science Advances 11, eadu4323 (2025)",
        _OXIDE,
        COLD_C,
        "kept_s",
    ),
    Published(
        "IGZO 2T0C cell, threshold over 1.2 V, room temperature",
        "10 ks",
        1e4,
        "Hu et al., IEEE International Electron Devices Meeting (2022)",
        _OXIDE,
        COLD_C,
        "kept_s",
        "its threshold is over 1.2 V, ours is assumed at 0.5 V with -0.2 V on the word line: `--write-shift` moves it",
    ),
    Published(
        "the same at 85 °C",
        "7 ks",
        7e3,
        "as above",
        _OXIDE,
        HOT_C,
        "kept_s",
        "as above: ours leaks by its channel, which rises with temperature; theirs is too far off for that to show",
    ),
)


def contents(simulate: str | None = None) -> dict[str, str]:
    """What was simulated; with the word, it is simulated anew first."""
    if simulate is not None:
        record = measured(Ngspice())
        with written_aside(DATA / "conditions.json") as aside:
            aside.write_text(json.dumps(record, indent=1) + "\n", "utf-8")
    record = kept("conditions.json")
    return {"retention": retention(record), "leakage": leakage(record), "published": published(record)}


def digest(card: Card) -> str:
    """Which models a record is of."""
    known = MODELS_SHA256[card.corner]
    return known if card.name.startswith("sky130") else hashlib.sha256(card.text.encode()).hexdigest()


def cell(kind: Kind, corner: Corner, temperature_c: float, ngspice: Ngspice) -> dict[str, float | None]:
    """What a cell forgets, in s: the time constant, and how long it keeps every voltage to half a step."""
    card = load_card(kind.card, corner, kind.leakage)
    circuit, conditions = gain_cell(card, kind.write), conditions_of(card, kind.write, temperature_c=temperature_c)
    decay, writes = decay_of(circuit, conditions, ngspice), writes_of(circuit, conditions, ngspice)
    return {
        "tau_s": decay.tau_s,
        "decayed": len(decay.rows),
        "kept_s": decay.kept_s(writes.within_v),
        "settling_s": writes.settling_s,
    }


def measured(ngspice: Ngspice) -> dict[str, Any]:
    """All of the record."""
    points: list[tuple[Corner, float]] = [(corner, t) for corner in CORNERS for t in (COLD_C, HOT_C)]
    cards = {f"{one}, {leaks}": load_card(one, "tt", leaks) for one in ("generic",) for leaks in LEAKAGES}
    cards["sky130, off"] = load_card("sky130")
    return {
        "cards": {name: digest(card) for name, card in cards.items()},
        "cells": {
            kind.name: {f"{corner}, {t:g}": cell(kind, corner, t, ngspice) for corner, t in points} for kind in KINDS
        },
        "leakages": {
            name: {
                f"{t:g}": [asdict(one) for one in leakages_of(card, ngspice, temperature_c=t)] for t in (COLD_C, HOT_C)
            }
            for name, card in cards.items()
        },
    }


def _time(value_s: float | None) -> str:
    return "over 1000 s" if value_s is None else scaled(value_s, "s")


def retention(record: dict[str, Any]) -> str:
    """A row for each cell: typical at both temperatures, and what it keeps hot at corners."""
    columns = [
        "Cell",
        "tau, 27 °C",
        "kept",
        "tau, 85 °C",
        "kept",
        *(f"{corner}: kept, 85 °C" for corner in CORNERS[1:]),
    ]
    rows = []
    for kind in KINDS:
        found = record["cells"][kind.name]
        cold, hot = (found[f"tt, {t:g}"] for t in (COLD_C, HOT_C))
        times = [cold["tau_s"], cold["kept_s"], hot["tau_s"], hot["kept_s"]]
        times += [found[f"{corner}, {HOT_C:g}"]["kept_s"] for corner in CORNERS[1:]]
        rows.append((kind.label, *map(_time, times)))
    return table(columns, rows)


def leakage(record: dict[str, Any]) -> str:
    """Currents of single transistors."""
    columns = ("", *(f"`{name.split(',')[0]}`, {name.split(', ')[1]}" for name in record["leakages"]))
    columns = tuple(column.replace("`sky130`, off", "`sky130`") for column in columns)
    units = (
        ("gate_a_m2", "gate, on", "A/cm²", 1e-4),
        ("drain_a_m", "drain to bulk, off", "pA/µm", 1e6),
        ("channel_a_m", "channel, off", "pA/µm", 1e6),
    )
    rows = []
    for name, label, unit, factor in units:
        for which, polarity in enumerate(("NMOS", "PMOS")):
            for t in (COLD_C, HOT_C):
                values = [factor * card[f"{t:g}"][which][name] for card in record["leakages"].values()]
                shown = [number(value, 3) if value > 1e-6 else "0" for value in values]
                rows.append((f"{label}, {polarity}, {t:g} °C, in {unit}", *shown))
    return table(columns, rows)


def ours(one: Published, record: dict[str, Any]) -> float | None:
    """Our figure beside a published one, in s."""
    return record["cells"][one.kind.name][f"tt, {one.at:g}"][one.figure]


def published(record: dict[str, Any]) -> str:
    """Published cells beside ours."""
    columns = (
        "Published cell",
        "retention",
        "source",
        "ours",
        "ours / published",
        "what differs, where more than 3 times",
    )
    rows = []
    for one in PUBLISHED:
        value = ours(one, record)
        figure = "tau" if one.figure == "tau_s" else "kept"
        told = f"{_time(value)} ({one.kind.label}, {figure}, {one.at:g} °C)"
        ratio = "" if value is None else f"{value / one.value_s:.2g}"
        rows.append((one.what, one.told, one.source, told, ratio, one.why))
    return table(columns, rows)
