"""Layer-wise transfer, one layer at a time."""

import math
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

import gaincell
from gaincell import GainCellConfig
from gaincell.adapt.settings import AdaptSettings
from gaincell.adapt.stages.layers import LayerWalk, massive
from gaincell.adapt.stages.transfer import transfer_layer


def first_tokens_error(path: Path, design: GainCellConfig, weight: float) -> float:
    """Relative error of the first tokens' outputs after transfer of the first layer."""
    torch.manual_seed(0)
    model = gaincell.convert_(AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32), design)
    walk = LayerWalk(model, torch.randint(0, 97, (16, 48)), 4)
    module, teaching = next(iter(walk.modules.values())), walk.advance(0)
    went = transfer_layer(module, teaching, AdaptSettings(transfer={"sink_weight": weight, "steps": 40}), 0)
    assert went.after < went.before
    assert (went.rate, went.kept) == (1.0, False)
    with torch.no_grad():
        out = module(hidden_states=teaching.inputs[:4], **{**teaching.kwargs, "attention_mask": None})[0][:, 0]
    target = teaching.outputs[:4, 0]
    return float((out - target).square().sum() / target.square().sum())


def test_first_tokens_keep_their_output_where_they_have_a_term_of_their_own(
    small_llama: Path, small_design: GainCellConfig
) -> None:
    without, kept = (first_tokens_error(small_llama, small_design, weight) for weight in (0.0, 1.0))
    assert kept < 0.5 * without


def test_massive_tokens_are_those_with_long_hidden_states(small_llama: Path, small_design: GainCellConfig) -> None:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_pretrained(small_llama, dtype=torch.float32)
    with torch.no_grad():
        model.get_input_embeddings().weight[7] *= 100
    ids = torch.randint(8, 97, (6, 12))
    ids[2, 5] = ids[4, 0] = 7
    assert torch.equal(massive(gaincell.convert_(model, small_design), ids, 3), ids == 7)


def test_a_layer_that_learned_nothing_is_left_as_it_was(small_llama: Path, small_design: GainCellConfig) -> None:
    torch.manual_seed(0)
    model = gaincell.convert_(AutoModelForCausalLM.from_pretrained(small_llama, dtype=torch.float32), small_design)
    walk = LayerWalk(model, torch.randint(0, 97, (8, 24)), 4)
    module, teaching = next(iter(walk.modules.values())), walk.advance(0)
    start = {name: value.clone() for name, value in module.state_dict().items()}
    went = transfer_layer(module, teaching, AdaptSettings(transfer={"projection_lr": 1e6, "steps": 3, "tries": 2}), 0)
    assert went.after == went.before
    assert (went.rate, went.kept) == (pytest.approx(1 / 3), True)
    for name, value in module.state_dict().items():
        assert torch.equal(value, start[name]), name


def test_a_layer_that_got_worse_tries_again_at_lower_rates(small_llama: Path, small_design: GainCellConfig) -> None:
    torch.manual_seed(0)
    model = gaincell.convert_(AutoModelForCausalLM.from_pretrained(small_llama, dtype=torch.float32), small_design)
    walk = LayerWalk(model, torch.randint(0, 97, (8, 24)), 4)
    module, teaching = next(iter(walk.modules.values())), walk.advance(0)
    start = {name: value.clone() for name, value in module.state_dict().items()}
    settings = AdaptSettings(
        transfer={"steps": 8, "projection_lr": 3.0, "scaler_lr": 3.0, "predictor_lr": 3.0, "tries": 8}
    )
    went = transfer_layer(module, teaching, settings, 0)
    assert went.after < went.before
    assert not went.kept
    again = round(math.log(went.rate, 1 / 3))
    assert 1 <= again < 8
    # The try that counts is what the rates would have given at once.
    found = {name: value.clone() for name, value in module.state_dict().items()}
    module.load_state_dict(start)
    lower = {name: 3.0 * went.rate for name in ("projection_lr", "scaler_lr", "predictor_lr")}
    assert transfer_layer(module, teaching, AdaptSettings(transfer={"steps": 8, **lower}), 0).rate == 1.0
    for name, value in module.state_dict().items():
        torch.testing.assert_close(value, found[name], msg=name)
