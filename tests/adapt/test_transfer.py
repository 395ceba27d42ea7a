"""Layer-wise transfer, one layer at a time."""

from pathlib import Path

import torch
from transformers import AutoModelForCausalLM

import gaincell
from gaincell import GainCellConfig
from gaincell.adapt.layers import LayerWalk, massive
from gaincell.adapt.settings import AdaptSettings
from gaincell.adapt.transfer import transfer_layer


def first_tokens_error(path: Path, design: GainCellConfig, weight: float) -> float:
    """Relative error of the first tokens' outputs after transfer of the first layer."""
    torch.manual_seed(0)
    model = gaincell.convert_(AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32), design)
    walk = LayerWalk(model, torch.randint(0, 97, (16, 48)), 4)
    module, teaching = next(iter(walk.modules.values())), walk.advance(0)
    before, after = transfer_layer(module, teaching, AdaptSettings(sink_weight=weight, steps=40), 0)
    assert after < before
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
    before, after = transfer_layer(module, teaching, AdaptSettings(projection_lr=1e6, steps=3), 0)
    assert after == before
    for name, value in module.state_dict().items():
        assert torch.equal(value, start[name]), name
