"""How long a write takes where a design point simulates what it is off by."""

from typing import Any

import pytest

from gaincell import GainCellConfig, InputError
from gaincell.cell import Cell
from gaincell.hardware import GPT2, HardwareParameters, estimate

PAPER = GainCellConfig.named("leroux2025")


def cell(time_s: float, settling_s: float | None) -> Cell:
    errors: dict[str, Any] = {"source": "test", "time_s": time_s, "levels_v": [-0.45, 0.45]}
    errors["error_v"] = [[0.0, 0.01], [-0.01, 0.0]]
    write = {"source": "test", "settling_s": settling_s, "error_v": 0.0, "errors": errors}
    return Cell.model_validate({**PAPER.cell.model_dump(), "circuit": {"write": write}})


@pytest.mark.parametrize(
    ("time_s", "settling_s", "ideal_s", "off_s"),
    [(10e-9, 1e-9, 65e-9, 65e-9), (10e-9, 30e-9, 85e-9, 65e-9), (25e-9, 1e-9, 65e-9, 80e-9)],
)
def test_a_token_waits_for_its_write(time_s: float, settling_s: float, ideal_s: float, off_s: float) -> None:
    """To settle within half a step, or, where what is left is simulated, for as long as that took."""
    config = PAPER.replace(cell=cell(time_s, settling_s))
    assert estimate(GPT2, config).per_layer.latency_s == pytest.approx(ideal_s)
    assert estimate(GPT2, config.replace(writes="cell")).per_layer.latency_s == pytest.approx(off_s)


def test_a_cell_that_does_not_settle_has_a_latency_where_its_errors_are_simulated() -> None:
    config = PAPER.replace(cell=cell(10e-9, None))
    with pytest.raises(InputError, match="no latency can be given"):
        estimate(GPT2, config)
    assert estimate(GPT2, config.replace(writes="cell")).per_layer.latency_s == pytest.approx(65e-9)


def test_a_refresh_that_reads_has_no_price() -> None:
    with pytest.raises(InputError, match="refresh 'read' has no price"):
        estimate(GPT2, PAPER.replace(refresh="read", refresh_tokens=100))


def test_a_write_beside_which_no_query_counts_is_refused() -> None:
    with pytest.raises(InputError, match=r"of 1 s for a token, the phases of a query take too little"):
        estimate(GPT2, PAPER.replace(cell=cell(1.0, 1e-9), writes="cell"))


@pytest.mark.parametrize("absurd", [{"cell_pitch_m": 1e12}, {"line_thickness_m": 1e-30}, {"stacked_layers": 10**18}])
def test_absurd_hardware_is_refused(absurd: dict[str, float]) -> None:
    with pytest.raises(InputError):
        estimate(GPT2, PAPER, HardwareParameters(**absurd))  # pyright: ignore[reportArgumentType]
