"""Word and bit lines: their delay, how far a driver reaches, what segments cost, and what is published already."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gaincell.cell import Retention
from gaincell.config import GainCellConfig
from gaincell.hardware import GPT2, Components, Estimate, HardwareParameters, Workload, estimate
from gaincell.hardware.action_counts import CONVERSION
from gaincell.hardware.chip_hops import HOP
from gaincell.hardware.timeline import TRAVEL, timeline
from gaincell.hardware.wires import DISTRIBUTED, added_delay_s, published_wires, wires

PAPER = GainCellConfig.named("leroux2025")
LASTING = PAPER.replace(
    cell=PAPER.cell.model_copy(update={"retention": Retention(tau=1e9, unit="s", source="a cell that does not leak")})
)
DEFAULT = HardwareParameters()


def at(window: int, parameters: HardwareParameters = DEFAULT, **options: Any) -> Estimate:
    return estimate(GPT2, LASTING.replace(window=window, **options), parameters)


def with_part(name: str, **figures: float) -> HardwareParameters:
    parts = Components()
    part = getattr(parts, name).model_copy(update=figures)
    return HardwareParameters(components=parts.model_copy(update={name: part}))


def test_the_coefficient_is_that_of_a_distributed_line() -> None:
    """A ladder of 200 sections, stepped at one end and open at the other, reaches half at 0.38 R x C."""
    n, step = 200, 1e-3
    ladder = np.diag(np.full(n, 2.0)) - np.diag(np.ones(n - 1), 1) - np.diag(np.ones(n - 1), -1)
    ladder[-1, -1] = 1.0
    implicit = np.linalg.inv(np.eye(n) + step * n**2 * ladder)  # R x C of the whole line is 1
    driven = np.zeros(n)
    driven[0] = step * n**2
    voltage, steps = np.zeros(n), 0
    while voltage[-1] < 0.5:
        voltage, steps = implicit @ (voltage + driven), steps + 1
    assert steps * step == pytest.approx(DISTRIBUTED, abs=0.006)


@pytest.mark.parametrize(("cells", "delay_s"), [(1024, 0.2e-9), (8192, 12.75e-9), (131072, 3.26e-6)])
def test_a_line_in_one_piece_goes_with_the_square_of_its_length(cells: int, delay_s: float) -> None:
    line = at(cells).geometry.lines.word
    assert line.undriven_s == pytest.approx(delay_s, rel=0.01)
    pitch_m, farad = 1e-6, 0.3e-15
    ohm = 2.7e-8 * pitch_m / (90e-9 * 180e-9)
    assert line.undriven_s == pytest.approx(0.38 * ohm * farad * cells**2)


def test_what_is_published_holds_its_wires_already() -> None:
    found = at(1024)
    assert found.timeline.latency_s == pytest.approx(65e-9)
    lines = found.geometry.lines
    assert lines == published_wires()
    assert 0 < lines.delay_s < 0.005 * 65e-9
    assert added_delay_s(lines) == 0
    assert TRAVEL not in {phase.name for phase in estimate(GPT2, GainCellConfig.named("extended")).timeline.phases}
    assert lines.word.segments == lines.pulse.segments == 1
    assert found.geometry.drivers == 0
    assert not any("driver" in of for of in (*found.energy_components.values(), *found.area.values()))
    rows = {row.name: row.value for row in found.table()}
    assert rows["delay of word and bit lines"] == pytest.approx(0.2, rel=0.01)
    assert rows["of it, beyond the published array's"] == 0


def test_segments_by_hand() -> None:
    """One step of 1 ns lets a driver reach 2,294 cells, so 8,192 take four of them."""
    found, p = at(8192), DEFAULT
    lines = found.geometry.lines
    assert lines.reach == pytest.approx(math.sqrt(1e-9 / (0.38 * (2.7e-8 / 90e-9 / 180e-9 * 1e-6) * 0.3e-15)))
    assert lines.word.segments == 4
    rest = 8192 - 3 * 2294.157
    assert lines.word.delay_s == pytest.approx(3e-9 + (rest / 2294.157) ** 2 * 1e-9 + 3 * 0.1e-9, rel=1e-5)
    plain = timeline(LASTING.replace(window=8192), HardwareParameters(line_resistivity=0))
    assert found.timeline.latency_s == pytest.approx(plain.latency_s + lines.delay_s - published_wires().delay_s)
    # 64 rows of a query with their inverse, and 128 values that are written, pass three drivers each.
    assert found.geometry.drivers == 3 * (2 * 64 + 128)
    driver = Components().driver
    assert found.area_parts["line drivers"] == pytest.approx(144 * 768 * driver.area_m2)
    active = 0.563  # of a query's lines, as the reference has
    assert found.energy_components[CONVERSION]["driver"] == pytest.approx(
        144 * 3 * (2 * 64 * active + 128) * driver.energy_j, rel=0.001
    )
    dacs = found.area["DACs"]["dac"] / at(1024).area["DACs"]["dac"]
    assert dacs == pytest.approx(4)  # one a segment, since a driver hands on a code
    assert p.line_step_share == 1.0


def test_bit_lines_of_larger_subtiles_are_in_one_piece() -> None:
    fine, coarse = at(8192), at(8192, subtile_columns=8192)
    assert coarse.geometry.lines.value.segments == 1
    assert coarse.geometry.lines.value.delay_s == pytest.approx(12.75e-9, rel=0.01)
    assert added_delay_s(coarse.geometry.lines) - added_delay_s(fine.geometry.lines) == pytest.approx(
        coarse.geometry.lines.value.delay_s - fine.geometry.lines.value.delay_s
    )


def test_what_travels_along_segments_keeps_no_part_busy() -> None:
    found, still = at(131072), at(131072, HardwareParameters(line_resistivity=0))
    travel = [phase for phase in found.timeline.phases if phase.name == TRAVEL]
    assert [phase.duration_s for phase in travel] == [added_delay_s(found.geometry.lines)]
    assert travel[0].duration_s > 50e-9
    assert found.prompt_interval_s < found.timeline.latency_s
    assert found.timeline.phases[0] == still.timeline.phases[0]


windows = st.integers(1, 4000).map(lambda tiles: 64 * tiles)
figures = st.sampled_from(["line_resistivity", "cell_pitch_m", "line", "driver"])


@settings(max_examples=40)
@given(windows, st.integers(1, 300), figures, st.floats(1, 10))
def test_no_longer_line_and_no_slower_metal_is_faster(window: int, more: int, what: str, factor: float) -> None:
    changes: dict[str, HardwareParameters] = {
        "line_resistivity": HardwareParameters(line_resistivity=factor * DEFAULT.line_resistivity),
        "cell_pitch_m": HardwareParameters(cell_pitch_m=factor * 1e-6),
        "line": with_part("line", energy_j=factor * Components().line.energy_j),
        "driver": with_part("driver", latency_s=factor * Components().driver.latency_s),
    }
    config = LASTING.replace(window=window)
    plain = wires(config, DEFAULT, 64, 64)
    longer = wires(LASTING.replace(window=window + 64 * more), DEFAULT, 64 + more, 64 + more)
    for other in (longer, wires(config, changes[what], 64, 64)):
        assert other.delay_s >= plain.delay_s * (1 - 1e-9)
        assert other.word.segments >= plain.word.segments
        assert added_delay_s(other) >= added_delay_s(plain) - 1e-18
    assert plain.word.delay_s <= plain.word.undriven_s + (plain.word.segments - 1) * Components().driver.latency_s


@pytest.mark.parametrize(
    "changed",
    [
        HardwareParameters(line_resistivity=2 * DEFAULT.line_resistivity),
        HardwareParameters(line_resistivity=DEFAULT.line_resistivity / 2),
        HardwareParameters(line_width_m=2 * DEFAULT.line_width_m),
        HardwareParameters(line_thickness_m=2 * DEFAULT.line_thickness_m),
        HardwareParameters(cell_pitch_m=0.5e-6),
        HardwareParameters(line_step_share=0.5),
        with_part("driver", energy_j=1e-15),
        with_part("driver", area_m2=1e-12),
        with_part("driver", latency_s=1e-12),
        with_part("line", energy_j=1e-15),
    ],
    ids=str,
)
def test_every_figure_of_the_user_changes_the_result(changed: HardwareParameters) -> None:
    plain, found = at(8192), at(8192, changed)
    assert (found.latency_s, found.energy_j, found.area_m2) != (plain.latency_s, plain.energy_j, plain.area_m2)


@pytest.mark.parametrize("share", [0.1, 0.5, 1.0])
def test_more_drivers_take_less_time_and_more_area(share: float) -> None:
    fewer, more = (at(131072, HardwareParameters(line_step_share=x)) for x in (2 * share, share))
    assert more.latency_s < fewer.latency_s
    assert more.area_m2 > fewer.area_m2
    assert more.energy_j > fewer.energy_j


def test_lines_without_capacitance_delay_nothing() -> None:
    free = with_part("line", energy_j=0)
    assert at(131072, free).geometry.lines.reach is None
    assert at(131072, free).geometry.lines.delay_s == 0
    assert at(131072, free).to_dict()["geometry"]["lines"]["word"]["segments"] == 1


def test_a_pair_that_is_larger_than_a_chip_hops() -> None:
    one = estimate(Workload.uniform(1, 1, 1, 64), LASTING)
    small = HardwareParameters(chip_area_m2=one.area_m2 / 3.5)
    found, plain = at(1024, small), at(1024)
    assert found.latency_s == pytest.approx(plain.latency_s + 12 * 3 * 100e-9)  # out, and a tree of four chips
    bits = 64 * 4 + 64 * (5 + 4)
    assert found.parts[HOP] == pytest.approx(144 * 3 * bits * 1.3e-12)
    assert HOP not in plain.parts
    assert found.energy_j == pytest.approx(plain.energy_j + found.parts[HOP])
    for name in ("chip_hop_s", "chip_hop_j_per_bit"):
        dearer = at(1024, small.model_copy(update={name: 2 * getattr(small, name)}))
        assert (dearer.latency_s > found.latency_s) == (name == "chip_hop_s")
        assert (dearer.energy_j > found.energy_j) == (name == "chip_hop_j_per_bit")
    wide = estimate(Workload.uniform(12, 12, 12, 4096), LASTING)  # whose pulses pass a driver, too
    assert wide.geometry.lines.pulse.segments == 2
    assert wide.geometry.drivers == 2 * 1024
