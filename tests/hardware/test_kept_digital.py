"""What layers and heads that stay digital cost, beside the arrays of the others."""

import json
from typing import Any

import numpy as np
import pytest

from gaincell import GainCellConfig, InputError
from gaincell.hardware import Activity, Estimate, HardwareParameters, Workload, estimate
from gaincell.hardware.activity import REFERENCE
from gaincell.hardware.digital import digital_attention
from gaincell.hardware.energy import total
from gaincell.hardware.kept_digital import KEPT
from gaincell.hardware.throughput import throughput

#: Layers, query heads, key/value heads and head_dim.
SHAPE = Workload.uniform(4, 6, 2, 64)
POINT = GainCellConfig.named("extended")


def cost(*digital: int | str, parameters: HardwareParameters | None = None, **given: Any) -> Estimate:
    return estimate(SHAPE, POINT.replace(digital=digital), parameters, **given)


def built(**digital: Any) -> HardwareParameters:
    return HardwareParameters(digital=digital)


def kept_j(found: Estimate) -> float:
    return sum(j for part, j in found.parts.items() if part.startswith(KEPT))


def test_a_digital_layer_is_the_opponent_with_its_bits_and_has_no_arrays() -> None:
    plain, found = cost(), cost(1)
    alike = POINT.replace(query_levels=2**16, stored_levels=None, storage="uniform")
    rival = digital_attention(
        Workload.uniform(1, 6, 2, 64),
        alike,
        HardwareParameters(reference_levels=2**16, digital={"probability_bits": 16, "bank_bits": 8192}),
    )
    assert kept_j(found) == pytest.approx(rival.energy_j)
    assert found.energy_j == pytest.approx(0.75 * plain.energy_j + rival.energy_j)
    assert found.area_m2 == pytest.approx(0.75 * plain.area_m2 + rival.area_m2)
    assert found.latency_s == pytest.approx(0.75 * plain.latency_s + rival.latency_s)
    assert found.digital_layers_s == pytest.approx(rival.latency_s)
    assert [total(layer) for layer in found.layers] == pytest.approx(
        [0.25 * plain.energy_j, rival.energy_j, *[0.25 * plain.energy_j] * 2]
    )
    assert sum(map(total, found.layer_areas)) == pytest.approx(found.area_m2)
    assert (found.heads, found.numbers, found.pairs_built) == (24, (0, 2, 3), 18)


def test_heads_one_by_one_are_the_layer() -> None:
    whole, heads = cost(2), cost(*(f"2.{head}" for head in range(6)))
    assert heads.energy_j == pytest.approx(whole.energy_j)
    assert heads.area_m2 == pytest.approx(whole.area_m2)
    assert heads.latency_s == pytest.approx(whole.latency_s)


@pytest.mark.parametrize("sharing", ["in_turn", "copies"])
def test_a_mixed_layer_has_arrays_of_its_analog_heads(sharing: Any) -> None:
    p = HardwareParameters(kv_sharing=sharing) if sharing == "in_turn" else HardwareParameters()
    plain, group, one = cost(parameters=p), cost("0.0", "0.1", "0.2", parameters=p), cost("0.0", parameters=p)
    pairs = {"in_turn": (8, 7, 8), "copies": (24, 21, 23)}[sharing]
    assert (plain.pairs_built, group.pairs_built, one.pairs_built) == pairs
    # A whole group goes: the other one's arrays do what they did.
    assert group.energy_j - kept_j(group) == pytest.approx(plain.energy_j * 7 / 8)
    assert plain.energy_j * 7 / 8 < one.energy_j - kept_j(one) < plain.energy_j
    assert kept_j(one) < kept_j(group) < 3 * kept_j(one)  # keys and values are read once for all three
    first = one.arrays[0]
    assert first.latency_s == max(first.digital_s, plain.arrays[0].latency_s)


def test_activity_of_digital_heads_counts_for_nothing() -> None:
    phi = np.full((4, 6), 0.5)
    arrays = {name: phi for name in ("query_pulse", "query_active", "phi", "phi_active", "phi_full", "readout")}
    arrays |= {name: phi for name in ("key_charge", "value_charge")}
    codes = np.full((4, 2, 8), 1 / 8)
    loud = {name: array.copy() for name, array in arrays.items()}
    for array in loud.values():
        array[1] = array[3, 4] = 0.0
    energies = []
    for each in (arrays, loud):
        given: dict[str, Any] = {**each, "key_codes": codes, "value_codes": codes}
        energies.append(cost(1, "3.4", activity=Activity(**given, tokens=8, text="made up")).energy_j)
    assert energies[0] == energies[1]


@pytest.mark.parametrize("change", [{"kept_bits": 8}, {"kept_memory": "dram"}, {"kept_bank_bits": 65536}])
def test_how_they_are_built_counts(change: dict[str, Any]) -> None:
    plain, found = cost(1), cost(1, parameters=built(**change))
    assert (found.energy_j, found.latency_s) != (plain.energy_j, plain.latency_s)
    assert cost(parameters=built(**change)).energy_j == cost().energy_j


def test_its_time_counts_towards_the_age_of_tokens_and_in_throughput() -> None:
    plain, slow = cost(), cost(1, parameters=built(kept_bank_bits=1 << 17))
    assert slow.retention_ratio > 4 * plain.retention_ratio
    assert throughput(slow, 2).tokens_per_s < throughput(plain, 2).tokens_per_s / 4
    assert throughput(slow, 2).operations == throughput(plain, 2).operations
    assert slow.prompt(10).latency_s > 10 * slow.digital_layers_s


def test_it_is_told() -> None:
    found = cost(1, "0.3")
    rows = {row.name: row.value for row in found.table()}
    assert rows["digital heads"] == 7
    assert rows["energy, digital heads"] == pytest.approx(1e9 * kept_j(found))
    assert any("7 heads attend in digital, among them those of 1 whole layers" in note for note in found.notes)
    told = found.to_dict()
    assert (told["digital"], told["layers_with_arrays"]) == (["0.3", 1], [0, 2, 3])


@pytest.mark.parametrize(
    ("digital", "message"),
    [
        ((4,), r"digital names 4, but the layers of this model that attend are 0 \.\.\. 3"),
        (("1.6",), r"head 6 of layer 1, whose query heads are 0 \.\.\. 5"),
        ((0, 1, 2, 3), "leave one of them to gain cells"),
    ],
)
def test_what_is_not_there_is_refused(digital: tuple[int | str, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        cost(*digital)
    with pytest.raises(InputError, match="cannot hold"):
        cost(1, parameters=built(kept_memory="dram", dram_stack_bits=1000))


@pytest.mark.parametrize("known", [((1, 2),), ((1, 2), (3, 4)), tuple((0, head) for head in range(6))])
def test_activity_measured_with_heads_digital_that_arrays_compute_here_is_refused(
    known: tuple[tuple[int, int], ...],
) -> None:
    arrays = {name: np.full((4, 6), 0.5) for name in REFERENCE}
    codes = np.full((4, 2, 8), 1 / 8)
    measured = Activity(**arrays, key_codes=codes, value_codes=codes, tokens=8, text="made up", digital=known)
    measured = Activity.from_dict(json.loads(json.dumps(measured.to_dict())))
    entries = [f"{layer}.{head}" for layer, head in known]
    assert cost(*entries, 2, activity=measured).energy_j > 0
    with pytest.raises(InputError, match=f"head {known[-1][1]} of layer {known[-1][0]} digital, which attends in"):
        cost(*entries[:-1], activity=measured)


def test_one_number_for_all_heads_cannot_be_a_digital_heads() -> None:
    assumed = Activity.from_dict({**Activity.reference(POINT).to_dict(), "digital": [[0, 0]]})
    with pytest.raises(InputError, match="head 0 of layer 0 digital"):
        cost(0, activity=assumed)
