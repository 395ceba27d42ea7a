"""What cells of one sign take: a pair's second cell, and reference cells, each counted."""

from typing import Any

import pytest

from gaincell import GainCellConfig, estimate
from gaincell.cell import Cell
from gaincell.hardware import HardwareParameters
from gaincell.hardware.action_counts import CONVERSION, FIRST, SECOND, Drive, cell_charge, head_actions, writes
from gaincell.hardware.activity import REFERENCE, Activity
from gaincell.hardware.energy import components
from gaincell.hardware.geometry import geometry
from gaincell.hardware.refresh import time_constant_s
from gaincell.hardware.workload import Layer

LAYER, DEFAULT = Layer("full_attention", 1, 1, 64, 64), HardwareParameters()
MODEL = {"num_hidden_layers": 2, "num_attention_heads": 2, "hidden_size": 128}


def cell(polarity: str, coefficients: tuple[float, ...] = (5.0, 10.0), **retention: Any) -> Cell:
    law = {"coefficients": coefficients, "unit": "model", "source": "made up"}
    holds = {"tau": 5, "unit": "ms", "source": "made up", **retention}
    return Cell.model_validate({"name": "own", "polarity": polarity, "law": law, "retention": holds})


def design(polarity: str, **fields: Any) -> GainCellConfig:
    own = cell(polarity, (0.0, 10.0) if polarity == "push_pull" else (5.0, 10.0))
    return GainCellConfig(cell=own, **fields)


def counts(config: GainCellConfig) -> dict[tuple[str, str], float]:
    at, drive = geometry(LAYER, config, DEFAULT), Drive(*(0.25 + 0.01 * n for n in range(len(Drive._fields))))
    found: dict[tuple[str, str], float] = {}
    for part, component, times in head_actions(at, drive, config, DEFAULT):
        found[part, component] = found.get((part, component), 0.0) + times
    return found


@pytest.mark.parametrize("fields", [{}, {"query_sign": "offset_binary", "normaliser": "column"}])
def test_cells_and_lines_are_counted(fields: dict[str, Any]) -> None:
    alone, pair, beside = (geometry(LAYER, design(x, **fields), DEFAULT) for x in ("push_pull", "pair", "reference"))
    assert pair.cells == 2 * alone.cells
    assert pair.written == 2 * alone.written
    # One column of reference cells for every sub-tile along the window, and one line of them across the values.
    assert beside.cells == alone.cells + 16 * alone.key_rows + 1024
    assert beside.written == alone.written
    assert (alone.pulse_lines, pair.pulse_lines, beside.pulse_lines) == (2, 1, 1)
    assert pair.lines.word.cells == 2 * alone.lines.word.cells
    assert pair.lines.pulse.cells == 2 * alone.lines.pulse.cells
    assert (beside.lines.word.cells, beside.lines.pulse.cells) == (1024 + 16, alone.value_columns + 1)


def test_actions_are_those_of_every_cell() -> None:
    alone, pair, beside = (counts(design(x)) for x in ("push_pull", "pair", "reference"))
    same = {name for name in alone if name[1] not in ("cell", "line", "dac")}
    assert all(alone[name] == pair[name] == beside[name] for name in same)
    assert pair[CONVERSION, "dac"] == 2 * alone[CONVERSION, "dac"]
    assert beside[CONVERSION, "dac"] == alone[CONVERSION, "dac"]
    # A zero draws 5 of the 4.5 that a value of 0.45 V adds to its line.
    still, drive = 5.0 / 4.5, {name: 0.25 + 0.01 * n for n, name in enumerate(Drive._fields)}
    assert cell_charge(design("reference"), 0.0) == pytest.approx(still)
    assert cell_charge(design("pair"), 0.45) == pytest.approx(10.0 / 9.0)
    added = beside[FIRST, "cell"] - alone[FIRST, "cell"]
    assert added == pytest.approx(16 * 64 * drive["query_pulse"] * still)
    assert beside[SECOND, "cell"] - alone[SECOND, "cell"] == pytest.approx(1024 * drive["phi"] * still)


def test_each_cell_of_a_pair_is_written_by_a_dac_and_a_line_of_its_own() -> None:
    both = []
    for polarity in ("push_pull", "pair"):
        config = design(polarity)
        both.append(
            {x.component: x.times for x in writes("write", 1.0, geometry(LAYER, config, DEFAULT), config, DEFAULT)}
        )
    alone, pair = both
    assert pair["dac"] == 2 * alone["dac"]
    assert pair["line"] == 4 * alone["line"], "twice the lines, each past twice the cells"
    assert pair["flip_flop"] == alone["flip_flop"], "the codes are kept once"


def test_what_is_assumed_of_activity_follows_what_cells_draw() -> None:
    """Evenly over all voltages a linear pair's cells draw 10, and a value adds 4.5 |y| / 0.45 V to its line."""
    alone, pair = (Activity.reference(design(x)) for x in ("push_pull", "pair"))
    assert float(alone.key_charge[0, 0]) == REFERENCE["key_charge"]
    even = sum(abs(step / 128 - 1) for step in range(257)) / 257
    assert float(pair.key_charge[0, 0]) == pytest.approx(REFERENCE["key_charge"] * 10.0 / (9.0 * even))
    assert float(pair.phi[0, 0]) == REFERENCE["phi"]


def test_a_characterised_cells_read_energy_is_that_of_one_cell() -> None:
    energy = {"source": "test", "read_full_j": 4e-14, "read_mean_j": 2e-14, "conversion_j": 1e-12, "write_j": 1e-14}
    own = cell("pair").model_dump() | {"circuit": {"energy": energy}}
    own["law"] = {"coefficients": (5e-6, 10e-6), "unit": "C/s", "source": "made up"}
    parts = components(GainCellConfig(cell=Cell.model_validate(own)), DEFAULT)
    # 9.5e-6 C/s draw 4e-14 J, and a pair of +0.45 V adds 9e-6.
    assert parts.cell.energy_j == pytest.approx(4e-14 * 9.0 / 9.5)


def test_a_cell_that_decays_to_ground_moves_further() -> None:
    """From 0.9 V to ground in the time in which 0.45 V above zero would lose the limit's share."""
    plain = GainCellConfig(cell=cell("pair"))
    ground = plain.replace(cell=cell("pair", ends_at_v=-0.45))
    assert time_constant_s(plain, 0.2) == 5e-3
    reached = 0.2 * time_constant_s(ground, 0.2)
    assert 0.9 * (1 - 2.718281828459045 ** (-reached / 5e-3)) == pytest.approx(0.45 * (1 - 2.718281828459045**-0.2))


def test_an_estimate_tells_whose_area_the_cell_has() -> None:
    alone, pair = (estimate(MODEL, design(x)) for x in ("push_pull", "pair"))
    assert not alone.notes
    assert "six transistors" in pair.notes[0]
    assert pair.area["cells"]["cell"] == 2 * alone.area["cells"]["cell"]
    assert pair.area["DACs"]["dac"] == 2 * alone.area["DACs"]["dac"]
    assert pair.energy_j > alone.energy_j
    assert pair.latency_s >= alone.latency_s
    parts = DEFAULT.parts.cell.model_dump()
    own = HardwareParameters.model_validate({"components": {"cell": {**parts, "area_m2": 3e-13}}})
    assert not estimate(MODEL, design("pair"), own).notes
