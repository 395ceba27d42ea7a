"""Design points whose circuits are not ideal, in one way or several, for the tests of the operator."""

from dataclasses import replace

import torch
from hypothesis import assume
from hypothesis import strategies as st
from ops_cases import TRIED, Case, cases
from torch import Tensor

from gaincell.cell import Cell, Retention


def characterised(cell: Cell, pulse_max_s: float, gain: float, offsets: tuple[float, float]) -> Cell:
    """A cell with figures of its circuit, large enough to see; its law in C/s, feedthrough a tenth of a full pulse."""
    conversion = {"source": "test", "nonlinearity": 0, "below_zero_s": 0, "saturated_s": pulse_max_s}
    converters = [{**conversion, "gain": gain, "offset_s": x * pulse_max_s} for x in offsets]
    charge = cell.law(0.45) * 1e-6 * pulse_max_s
    feedthrough = (0.1 * charge, -0.2 * charge, 0.05 * charge)
    read = {"source": "test", "feedthrough": feedthrough, "nonlinearity": 0, "law_residual": 0, "disturb_v": 0}
    kinds = ("charge_to_pulse", "signed_charge_to_pulse")
    circuit = {"read": read, **dict(zip(kinds, converters, strict=True))}
    law = {"coefficients": [c * 1e-6 for c in cell.law.coefficients], "unit": "C/s", "source": "test"}
    return Cell.model_validate({**cell.model_dump(), "law": law, "circuit": circuit})


def with_table(cell: Cell) -> Cell:
    """A cell whose voltages fall unevenly, and towards another level than zero."""
    time = [0.0, 0.7, 2.0, 40.0, 200.0]
    stored = [[y, 0.9 * y + 0.01, 0.6 * y - 0.03 * y * y, 0.1, 0.1] for y in (0.4, -0.4, 0.1, -0.2)]
    table = {"time": time, "stored": stored}
    return cell.model_copy(update={"retention": Retention(tau=1.0, unit="us", source="test", table=table)})


KINDS = ("mismatch", "spread", "refresh", "retention", "charge_to_pulse", "feedthrough", "score_noise", "readout_noise")


@st.composite
def imperfect(draw: st.DrawFn, most_tokens: int = 48, kinds: tuple[str, ...] = KINDS) -> Case:
    """A case whose circuits are not ideal, in one way or several."""
    case = draw(cases(most_tokens=most_tokens))
    of = st.sampled_from(kinds)
    drawn = draw(st.one_of(of.map(lambda x: {x}), st.sets(of, min_size=2)))
    fields = {}
    if "mismatch" in drawn:
        gain, zero_v = draw(st.sampled_from(((0.2, 0.05), (0.2, 0.0), (0.0, 0.05))))
        fields = {"mismatch_seed": draw(st.integers(0, 2**63 - 1)), "mismatch_gain": gain, "mismatch_zero_v": zero_v}
    if drawn & {"charge_to_pulse", "feedthrough"}:
        # Where a charge of few levels cancels but for rounding, a circuit that jumps at zero has no right answer.
        assume(case.config.stored_levels is None and "retention" not in drawn)
        offsets = draw(st.sampled_from(((0.1, 0.07), (-0.1, 0.07), (0.1, -0.07))))
        fields["cell"] = characterised(case.config.cell, case.config.pulse_max_s, 1.3, offsets)
        fields["charge_to_pulse"] = "cell" if "charge_to_pulse" in drawn else "ideal"
        fields["feedthrough"] = "feedthrough" in drawn
    if "retention" in drawn:
        fields["cell"] = with_table(fields.get("cell", case.config.cell))
        levels = case.config.stored_levels or draw(st.sampled_from((2, 8)))
        fields |= {"retention": "table", "leak_per_token": None, "leak_form": "cell", "stored_levels": levels}
        fields |= {"token_period_s": draw(st.sampled_from((0.0, 0.1, 0.9))) * 1e-6 or 1e-9}
    if "refresh" in drawn:
        fields["refresh_tokens"] = draw(st.sampled_from((1, 2, 3, 7, 40)))
    if "spread" in drawn:
        assume(fields.get("leak_form", case.config.leak_form) == "cell")
        fields |= {"retention_seed": draw(st.integers(0, 2**63 - 1)), "retention_spread": 0.6}
    for name in drawn & {"score_noise", "readout_noise"}:
        fields |= {name: 0.1, "noise_seed": draw(st.integers(0, 2**63 - 1))}
    return replace(case, config=case.config.replace(**fields))


def assert_same(found: Tensor, expected: Tensor, path: str) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9, msg=lambda text: f"{path}: {text}")
    TRIED["imperfect circuits: outputs compared"] += found.numel()
