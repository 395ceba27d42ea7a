"""Columns in ngspice beside the behavioural model, as tables."""

from dataclasses import replace

from gaincell import GainCellConfig
from gaincell.circuit.compare import Compared
from gaincell.report import tables
from gaincell.study.compare_columns import Columns

ONE = Compared(
    product="first",
    name="a column",
    sampled=False,
    **{"behavioural": 0.5, "circuit": 0.51, "law": 0.004, "feedthrough": 0.006, "column": 0.0, "wires": 0.0},
    **{"pulses": 0.0, "behavioural_pulse": 0.5, "circuit_pulse": 0.52, "ideal_pulse": 0.51},
    **{"read_j": 1e-12, "conversion_j": 1e-12},
)


def differences(*compared: Compared) -> tables.Table:
    """The table of what makes these columns differ."""
    return tables.columns(Columns(GainCellConfig.named("leroux2025"), compared, (), {}))[1]


def test_differences_are_told_in_units_of_the_columns_range() -> None:
    found = differences(ONE, replace(ONE, behavioural=0.3, circuit=0.31))
    assert found.rows[0][-1] == "5.00%"  # 0.01 of a range of 0.2
    assert "range" not in found.title


def test_columns_of_one_charge_have_no_range_to_divide_by() -> None:
    for compared in ((ONE,), (ONE, replace(ONE, circuit=0.51 + 1e-15))):
        found = differences(*compared)
        assert {row[-1] for row in found.rows} == {""}
        assert found.title.endswith("all of one charge, so that nothing is told in units of their range")
