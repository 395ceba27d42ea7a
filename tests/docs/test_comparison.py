"""What the page that compares seven models says in words is what its tables say in figures."""

import pytest
from tools.pages.comparison import (
    AS_BUILT,
    BATCHES,
    DRAM,
    FOR_REFRESH,
    H100,
    OPEN,
    SRAM,
    Case,
    alone_energies,
    beside_energies,
    cases,
    h100s,
    least,
)

from gaincell.hardware.datasheets import H100_SXM
from gaincell.hardware.opponents import OURS, opponents
from gaincell.hardware.roofline import attention_roofline
from gaincell.hardware.throughput import throughput

CASES = list(cases())
SMALL = "gpt2"
OF_EXPERTS = "DeepSeek-V3"
every = pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.model}-{case.context}")


def test_no_context_is_longer_than_the_models_positions() -> None:
    assert all(case.workload.positions and case.context <= case.workload.positions for case in CASES)
    ends = {case.model: case.context for case in CASES if case.ends}
    assert ends == {SMALL: 1024, "Qwen3-8B": 40960, "Mistral-7B-v0.1": 32768}


@every
def test_alone_gain_cells_take_least_energy_and_time(case: Case) -> None:
    taken = alone_energies(case)
    assert least(taken)[0] == OURS
    assert taken[SRAM] < taken[DRAM] < taken[H100]
    for batch in BATCHES:
        assert case.ours.latency_s < min(case.elsewhere[SRAM].latency_s, h100s(case, batch)[1])


@pytest.mark.parametrize("case", [case for case in CASES if case.model != OF_EXPERTS], ids=lambda case: case.name[0])
def test_beside_the_rest_of_a_model_digital_takes_least_but_for_the_small_one(case: Case) -> None:
    for batch in BATCHES:
        taken = beside_energies(case, case.paced(FOR_REFRESH, batch))
        assert least(taken)[0] == (OURS if case.model == SMALL else SRAM)
        assert taken[OURS][1] < taken[H100][0]
    plain = beside_energies(case, case.paced(AS_BUILT, 1))
    other = {("Llama-3.1-70B", 131072): H100, ("Llama-3.1-70B", 4096): OPEN}
    other |= {("Llama-3.1-8B", 131072): OPEN, ("gemma-3-27b", 131072): OPEN}
    assert least({OURS: plain[OURS], H100: plain[H100]})[0] == other.get((case.model, case.context), OURS)


@every
def test_an_h100_with_a_cache_of_4_bits_wins_no_row_and_makes_one_open(case: Case) -> None:
    narrow = opponents(case.ours, [H100_SXM], bytes_per_number=0.5)[-1].energy_j
    assert least({**alone_energies(case), H100: narrow})[0] == OURS
    if case.model != OF_EXPERTS:
        ours = beside_energies(case, case.paced(FOR_REFRESH, 1))[OURS]
        expected = OPEN if (case.model, case.context) == ("Llama-3.1-70B", 131072) else OURS
        assert least({OURS: ours, H100: narrow})[0] == expected


@every
def test_digital_is_smaller_and_h100s_are_fewer(case: Case) -> None:
    digital_m2 = case.elsewhere[SRAM].area_m2
    assert digital_m2 is not None
    assert digital_m2 < case.ours.area_m2
    for batch in BATCHES:
        assert h100s(case, batch)[0] <= throughput(case.ours, batch).chips


@every
def test_h100s_hold_every_users_cache_and_their_energy_of_a_token_is_that_of_one_user(case: Case) -> None:
    gpus, latency_s = h100s(case, 64)
    one = attention_roofline(case.workload, case.context, H100_SXM)
    users = -(-64 // gpus)
    assert users * one.moved_bytes <= H100_SXM.memory_bytes
    assert latency_s == pytest.approx(users * one.latency_s)
    batch = attention_roofline(case.workload, case.context, H100_SXM, users)
    assert batch.energy_range_j == pytest.approx(one.energy_range_j)


@pytest.mark.parametrize(
    ("taken", "winner", "by"),
    [
        ({"a": (1, 1), "b": (3, 3), "c": (2, 8)}, "a", (2, 8)),
        ({"a": (3, 3), "b": (2, 8)}, OPEN, None),
        ({"a": (9, 9), "b": (2, 8)}, "b", (9 / 8, 9 / 2)),
    ],
)
def test_ranges_that_overlap_leave_it_open(taken: dict, winner: str, by: tuple[float, float] | None) -> None:
    assert least(taken) == (winner, by)
