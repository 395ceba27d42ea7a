"""The pulse law of a cell file on every path, and what a path that does not know a field does."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from imperfect_cases import characterised, with_table
from ops_cases import Case, assert_same_gradients, cases, dense_attention, gradients
from test_wear import worn

import gaincell
from gaincell import GainCellConfig, InputError
from gaincell.cell import PulseLaw, load_cell
from gaincell.ops import attention_map, blocked, naive, naive_attention, stepwise, triton
from gaincell.ops.gate import Gate
from gaincell.ops.model import array_model

#: A toe that curves, as a comparator's does; a jump amid the ramp; and pulses that never get full.
TOE = PulseLaw(at=(-0.05, 0.05, 0.2, 0.9, 1.1), width=(0.0, 0.01, 0.12, 0.93, 1.0), source="a test")
STEP = PulseLaw(at=(0.1, 0.5, 0.5, 0.9), width=(0.0, 0.2, 0.5, 0.8), source="a test")


@st.composite
def gated(draw: st.DrawFn) -> Case:
    """A case whose cell has a pulse law of its own."""
    case, law = draw(cases(most_tokens=40)), draw(st.sampled_from((TOE, STEP)))
    cell = case.config.cell.model_copy(update={"pulse": law})
    return replace(case, config=case.config.replace(cell=cell, pulse_law="cell"))


@given(gated())
def test_every_path_follows_the_cells_pulse_law(case: Case) -> None:
    expected, phi = naive_attention(case.q, case.k, case.v, case.config, **case.options)
    found = gaincell.attention(case.q, case.k, case.v, case.config, **case.options)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(case.stream(case.chunks), expected, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(case.stream((1,)), expected, rtol=1e-9, atol=1e-9)
    found = attention_map(case.q, case.k, case.config, **case.options)
    torch.testing.assert_close(found, phi, rtol=1e-9, atol=1e-9)


@settings(max_examples=settings().max_examples // 2)
@given(gated())
def test_gradients_through_a_pulse_law_are_those_of_the_dense_form(case: Case) -> None:
    config = case.config.replace(stored_levels=None, storage="uniform")
    assume(case.preset is not None or config.query_levels is None)  # no charge lies on a corner of the polyline

    case = replace(case, config=config)
    assert_same_gradients(case, gaincell.attention, gradients(case, dense_attention))


@pytest.mark.parametrize("law", [TOE, STEP])
def test_widths_are_the_laws_and_gradients_its_slopes(law: PulseLaw) -> None:
    gate, x = Gate(law), torch.linspace(-0.5, 1.5, 4001, dtype=torch.float64) + 1e-7
    assert np.allclose(gate.width(x), law(x.numpy()))
    steep = gate.gradient(torch.ones_like(x), x)
    around = np.array([abs(x - corner) > 1e-3 for corner in law.at]).all(0)
    assert np.allclose(steep[around], ((law(x.numpy() + 1e-6) - law(x.numpy() - 1e-6)) / 2e-6)[around], atol=1e-6)
    ends = torch.tensor([law.at[0], law.at[-1]], dtype=torch.float64)
    assert bool((gate.gradient(torch.ones_like(ends), ends) > 0).all())


def test_a_new_gate_is_a_cell_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "toe.yaml"
    path.write_text(
        "name: toe\nlaw: {coefficients: [0.0, 20.0], unit: model, source: a bench}\n"
        "retention: {tau: 5, unit: ms, source: a bench}\n"
        "pulse: {at: [0.0, 0.1, 0.3, 1.2], width: [0.0, 0.01, 0.15, 1.0], source: a bench}\n"
    )
    config = GainCellConfig.named("leroux2025").replace(
        cell=str(path), window=16, subtile_columns=4, output_levels=None
    )
    generator = torch.Generator().manual_seed(2)
    q, k, v = (0.45 + 0.2 * torch.randn(1, 1, 40, 16, generator=generator).double() for _ in range(3))
    ideal, own = config, config.replace(pulse_law="cell", score_saturation=20.0)
    assert not torch.allclose(gaincell.attention(q, k, v, own), gaincell.attention(q, k, v, ideal))
    torch.testing.assert_close(gaincell.attention(q, k, v, own), naive_attention(q, k, v, own)[0])
    assert GainCellConfig.load(_saved(own, tmp_path)) == own
    with pytest.raises(InputError, match="cell 'leroux2025' has none"):
        config.replace(cell="leroux2025", pulse_law="cell")
    path.write_text(path.read_text().replace("0.15, 1.0]", "0.15, 1.5]"))
    with pytest.raises(InputError, match="at 1 at most"):
        load_cell(path)


def _saved(config: GainCellConfig, folder: Path) -> Path:
    (folder / "point.yaml").write_text(config.to_yaml())
    return folder / "point.yaml"


def test_what_a_path_may_lack_follows_from_the_arrays_and_each_path_names_what_it_serves() -> None:
    base = GainCellConfig.named("leroux2025")
    cell, wear = with_table(characterised(base.cell, base.pulse_max_s, 1.3, (0.1, 0.07))), worn(base.cell).circuit
    assert cell.circuit is not None
    assert wear is not None
    circuit = cell.circuit.model_copy(update={"read": wear.read, "write": wear.write})
    base = base.replace(cell=cell.model_copy(update={"pulse": TOE, "circuit": circuit}))
    mismatch = {"mismatch_seed": 1, "mismatch_gain": 0.1, "mismatch_zero_v": 0.0}
    period = {"leak_per_token": None, "token_period_s": 1e-8}
    table = {"retention": "table", **period}
    asked: dict[str, tuple[dict[str, object], set[str]]] = {
        "mismatch_seed": (mismatch, {"mismatch"}),
        "retention_seed": ({"retention_seed": 1, "retention_spread": 0.5}, {"leak spread"}),
        "refresh_tokens": ({"refresh_tokens": 5}, {"refresh"}),
        "refresh": ({"refresh": "read", "refresh_tokens": 5, **period}, {"refresh"}),
        "retention": (table, {"retention table"}),
        "writes": ({"writes": "cell"}, {"write error"}),
        "read_disturb": ({"read_disturb": "cell"}, {"read disturb"}),
        "charge_to_pulse": ({"charge_to_pulse": "cell"}, set()),  # which all paths compute
        "pulse_law": ({"pulse_law": "cell"}, set()),
        "feedthrough": ({"feedthrough": True}, {"feedthrough"}),
        "score_noise": ({"score_noise": 0.1}, {"noise"}),
        "readout_noise": ({"readout_noise": 0.1}, {"noise"}),
    }
    # A circuit that is new has to be told here: what it adds to the needs, or that every path computes it.
    marks = {name: field.json_schema_extra for name, field in GainCellConfig.model_fields.items()}
    assert asked.keys() == {
        name for name, mark in marks.items() if isinstance(mark, dict) and mark["kind"] == "circuit"
    }
    for fields, needs in asked.values():
        assert array_model(base.replace(**fields)).needs == needs
    everything = frozenset.union(*(array_model(base.replace(**fields)).needs for fields, _ in asked.values()))
    everything |= array_model(base.replace(normaliser="ideal")).needs | {"gradients"}
    everything |= array_model(base.replace(writes="cell", **table)).needs
    assert everything == blocked.SERVES | {"leak spread", "tabled write"} == naive.SERVES | {"gradients"}
    assert stepwise.SERVES == naive.SERVES
    assert {"gradients", "normaliser"} == triton.SERVES
