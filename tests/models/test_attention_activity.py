"""What the arrays do, against the equations pair by pair; what must hold of it; dead and saturated heads."""

import math
from collections import defaultdict
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from model_cases import CONFIG, converted, tokens, unconverted
from torch import Tensor
from transformers import PreTrainedModel

from gaincell import GainCellConfig, InputError
from gaincell.cell import Cell
from gaincell.hardware.activity import Activity
from gaincell.models import attention_activity, interface, scalers_of
from gaincell.ops import naive_attention
from gaincell.ops.quantise import query_pulse, stored_code, stored_voltage
from gaincell.ops.readout import Readout

SMALL = {"window": 8, "subtile_columns": 4, "score_saturation": 3.7, "output_scale": 2.3, "leak_per_token": 0.02}
PAPER = GainCellConfig.named("leroux2025").replace(**SMALL)
EXTENDED = GainCellConfig.named("extended").replace(**SMALL)


def one_sign(polarity: str) -> Cell:
    """Leaks to ground."""
    law = {"coefficients": (6.0, 14.0, 9.0, 12.0), "unit": "model", "source": "made up"}
    retention = {"tau": 5, "unit": "ms", "source": "made up", "ends_at_v": -0.45}
    return Cell.model_validate({"name": "own", "polarity": polarity, "law": law, "retention": retention})


POINTS = {
    "leroux2025": PAPER,
    "extended": EXTENDED,
    "offset-binary, counter": PAPER.replace(query_sign="offset_binary", query_levels=42, readout="counter"),
    "factored leak": EXTENDED.replace(leak_form="factored"),
    "unquantised": PAPER.replace(query_levels=None, stored_levels=None, output_levels=None),
    "no leak": PAPER.replace(leak_per_token=0.0),
    "pairs": EXTENDED.replace(cell=one_sign("pair")),
    "cells beside a reference": PAPER.replace(cell=one_sign("reference")),
}


@dataclass
class Operands:
    """What one layer's operator was called with: q, k, v, preset, absent."""

    q: Tensor
    k: Tensor
    v: Tensor
    config: GainCellConfig
    preset: Tensor | None
    absent: Tensor | None


def operands_of(model: PreTrainedModel, ids: Tensor, monkeypatch: pytest.MonkeyPatch) -> list[Operands]:
    calls: list[Operands] = []
    attend = interface.attention

    def record(q, k, v, config, *, pad, preset, absent, validate):
        calls.append(Operands(q, k, v, config, preset, absent))
        return attend(q, k, v, config, pad=pad, preset=preset, absent=absent, validate=validate)

    with monkeypatch.context() as patch, torch.no_grad():
        patch.setattr(interface, "attention", record)
        model(ids, use_cache=False)
    return calls


def counted(config: GainCellConfig) -> GainCellConfig:
    """Cells without levels are counted at 256."""
    return config.replace(stored_levels=config.stored_levels or 256)


def pair_by_pair(o: Operands) -> dict[str, np.ndarray]:
    """Every mean of one layer from lists of what each line, cell, column and read-out does, by plain loops."""
    config, law, groups = o.config, o.config.cell.model_law, o.q.shape[1] // o.k.shape[1]
    pulse, (yk, yv) = query_pulse(o.q, config), (stored_voltage(x, counted(config)) for x in (o.k, o.v))
    pulse = (pulse + 1) / 2 if config.query_sign == "offset_binary" else pulse.abs()
    phi = naive_attention(o.q, o.k, o.v, config, preset=o.preset, absent=o.absent)[1]
    full = Readout.of(config)(torch.tensor(1.0, dtype=torch.float64))

    g, polarity, ends = config.cell.model_cell_law, config.cell.polarity, config.cell.retention.ends_at_v

    def charge(y: Tensor, age: int) -> Tensor:
        decay = math.exp(-config.leak * age)
        if polarity != "push_pull":
            return one(y, decay) - (one(-y, decay) if polarity == "pair" else g(0 * y))
        return law(y) * decay if config.leak_form == "factored" else law(y * decay)

    def one(y: Tensor, decay: float) -> Tensor:
        return g(ends + (y - ends) * decay)

    def drawn(y: Tensor, age: int) -> Tensor:
        """Of all cells of a value."""
        if polarity == "push_pull":
            return charge(y, age).abs()
        decay = math.exp(-config.leak * age)
        return one(y, decay).abs() + (one(-y, decay).abs() if polarity == "pair" else 0.0)

    means: dict[str, list[float]] = defaultdict(list)
    for h in range(o.q.shape[1]):
        seen: dict[str, list[Tensor]] = defaultdict(list)
        for b, t in np.ndindex(o.q.shape[0], o.q.shape[2]):
            seen["query_pulse"].append(pulse[b, h, t])
            seen["query_active"].append((pulse[b, h, t] > 1e-6).double())
            tiles: dict[int, list[Tensor]] = defaultdict(list)
            for s in range(max(0, t - config.window + 1), t + 1):
                if o.absent is not None and o.absent[b, h // groups, s]:
                    continue
                width = phi[b, h, t, s]
                key, value = (drawn(y[b, h // groups, s], t - s) for y in (yk, yv))
                read = charge(stored_voltage(o.v, config)[b, h // groups, s], t - s)
                seen["key_charge"].append(pulse[b, h, t] * key / law(0.45))
                seen["value_charge"].append(width * value / law(0.45))
                seen["phi"].append(width)
                seen["phi_active"].append((width > 0).double())
                seen["phi_full"].append((width == 1).double())
                tiles[s % config.window // config.subtile_columns].append(width * read / config.output_scale)
            for charges in tiles.values():
                seen["readout"].append(Readout.of(config)(torch.stack(charges).sum(0)).abs() / full)
        for name, values in seen.items():
            means[name].append(float(torch.stack(values).mean()))
    return {name: np.array(values) for name, values in means.items()}


@pytest.mark.parametrize("family", ["llama", "gpt2"])
@pytest.mark.parametrize("point", POINTS)
def test_every_mean_is_that_of_the_equations(point: str, family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, ids = converted(family, config=POINTS[point]), tokens(2, 13)
    activity = attention_activity(model, ids, "random tokens")
    assert (activity.tokens, activity.text) == (26, "random tokens")
    layers = operands_of(model, ids, monkeypatch)
    assert len(layers) == len(activity.phi)
    for layer, o in enumerate(layers):
        for name, wanted in pair_by_pair(o).items():
            np.testing.assert_allclose(activity.arrays()[name][layer], wanted, rtol=1e-9, err_msg=name)
        stored = torch.ones_like(o.k[..., 0], dtype=torch.bool) if o.absent is None else ~o.absent
        for name, x in (("key_codes", o.k), ("value_codes", o.v)):
            for h in range(x.shape[1]):
                codes = stored_code(x, counted(o.config))[:, h][stored[:, h]]
                shares = torch.bincount(codes.flatten(), minlength=activity.key_codes.shape[2]) / codes.numel()
                np.testing.assert_allclose(activity.arrays()[name][layer, h], shares, rtol=1e-6)


@pytest.mark.parametrize("point", POINTS)
def test_what_must_hold(point: str) -> None:
    activity = attention_activity(converted("llama", torch.float32, POINTS[point]), tokens(2, 40))
    assert (activity.phi > 0).any()
    assert (activity.phi <= activity.phi_active).all()
    assert (activity.phi_full <= activity.phi).all()
    assert (activity.query_pulse <= activity.query_active + 1e-6).all()
    cell = POINTS[point].cell
    both = {y: abs(cell.model_cell_law(y)) for y in (-0.45, 0.45)}
    largest = (sum(both.values()) if cell.polarity == "pair" else max(both.values())) / cell.model_law(0.45)
    assert (activity.key_charge <= largest * activity.query_pulse + 1e-6).all()
    assert (activity.value_charge <= largest * activity.phi + 1e-6).all()
    for codes in (activity.key_codes, activity.value_codes):
        np.testing.assert_allclose(codes.sum(2), 1.0)


@pytest.mark.parametrize("readout", ["reference", "counter"])
def test_a_read_out_of_two_levels_has_an_activity(readout: str) -> None:
    """Half a count rounds to zero: the reference then reports nothing at all; the counter has -1, 0 and 1."""
    model = converted("llama", config=PAPER.replace(output_levels=2, readout=readout, output_scale=0.1))
    activity = attention_activity(model, tokens(1, 13))
    assert all(np.isfinite(array).all() for array in activity.arrays().values())
    assert bool(activity.readout.any()) == (readout == "counter")


def test_the_mean_of_two_rows_is_the_mean_of_both_alone() -> None:
    model, ids = converted("llama", config=PAPER), tokens(2, 20)
    both, alone = attention_activity(model, ids), [attention_activity(model, row) for row in ids.split(1)]
    for name, array in both.arrays().items():
        np.testing.assert_allclose(array, sum(x.arrays()[name] for x in alone) / 2, rtol=1e-9, err_msg=name)


@pytest.mark.parametrize("point", POINTS)
def test_zero_queries_take_no_charge(point: str) -> None:
    """Nor do they start a pulse; offset-binary queries of -1 have no width either."""
    model = converted("llama", config=POINTS[point])
    with torch.no_grad():
        for scalers in scalers_of(model).values():
            scalers.q_scale.zero_()
            scalers.q_bias.fill_(-1.0 if scalers.config.query_sign == "offset_binary" else 0.0)
            if scalers.preset is not None:
                for parameter in scalers.preset.parameters():
                    parameter.zero_()
    activity = attention_activity(model, tokens(1, 20))
    silent = ["query_pulse", "query_active", "key_charge"]
    if POINTS[point].query_sign != "offset_binary":  # whose offset is then all that is left of a score
        silent += ["phi", "phi_active", "phi_full", "value_charge", "readout"]
        assert activity.dead.all()
    for name in silent:
        assert not activity.arrays()[name].any(), name


def test_a_text_whose_tokens_are_all_kept_digitally_does_nothing() -> None:
    activity = attention_activity(converted("llama", config=EXTENDED), tokens(1, 1))
    for name, array in activity.arrays().items():
        assert array.any() == name.startswith("query"), name


def test_watching_changes_nothing_and_ends() -> None:
    model, ids = converted("llama", config=EXTENDED), tokens(2, 20)
    model.train()
    before = model(ids, use_cache=False).logits
    activity = attention_activity(model, ids)
    assert model.training
    assert all(scalers.observer is None for scalers in scalers_of(model).values())
    assert torch.equal(model(ids, use_cache=False).logits, before)
    assert Activity.from_dict(activity.to_dict()).to_dict() == activity.to_dict()


def test_what_cannot_be_watched() -> None:
    ids = tokens(1, 8)
    with pytest.raises(InputError, match="softmax"):
        attention_activity(unconverted("llama"), ids)
    model = converted("llama", config=PAPER)
    for bad in (ids[0], ids[:, :0]):
        with pytest.raises(InputError, match=r"shape \(B, T\)"):
            attention_activity(model, bad)


def test_planted_heads_are_found() -> None:
    model = converted("llama", torch.float32, CONFIG.replace(sinks="none", score_saturation=80.0, leak_per_token=1e-4))
    first, second, third = scalers_of(model).values()
    with torch.no_grad():
        for scalers, bias in ((first, [-50.0, 50.0, 0.5, 0.5]), (second, [0.5] * 4), (third, [0.5] * 4)):
            assert scalers.preset is not None
            scalers.preset.weight.zero_()
            scalers.preset.log_weight.zero_()
            scalers.preset.bias.copy_(torch.tensor(bias))
    activity = attention_activity(model, tokens(2, 20))
    assert np.argwhere(activity.dead).tolist() == [[0, 0]]
    assert np.argwhere(activity.saturated).tolist() == [[0, 1]]
    np.testing.assert_allclose(activity.phi[0, :2], [0.0, 1.0])
    assert ((activity.phi[1:] > 0.3) & (activity.phi[1:] < 0.7)).all()


def test_activity_is_that_of_the_circuits_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    circuits = {"mismatch_seed": 3, "mismatch_gain": 0.3, "mismatch_zero_v": 0.1, "score_noise": 0.2, "noise_seed": 4}
    model, ids = converted("llama", config=EXTENDED.replace(**circuits)), tokens(2, 13)
    found, ideal = attention_activity(model, ids), attention_activity(converted("llama", config=EXTENDED), ids)
    for layer, o in enumerate(operands_of(model, ids, monkeypatch)):
        phi = naive_attention(o.q, o.k, o.v, o.config, preset=o.preset, absent=o.absent)[1]
        mean = phi.sum((0, 2, 3)) / (phi > 0).sum((0, 2, 3))
        assert found.phi[layer] / found.phi_active[layer] == pytest.approx(mean.numpy(), rel=1e-5)
    assert not np.allclose(found.phi, ideal.phi)
