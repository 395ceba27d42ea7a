"""Dead and saturated heads are found, and shares are those of the attention map."""

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

import gaincell
from gaincell import GainCellConfig, InputError
from gaincell.models import head_activity, scalers_of


def test_planted_heads_are_found() -> None:
    torch.manual_seed(0)
    shape = LlamaConfig(
        vocab_size=50,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
    )
    model, ids = LlamaForCausalLM(shape).eval(), torch.randint(0, 50, (2, 20))
    with pytest.raises(InputError, match="softmax"):
        head_activity(model, ids)
    design = GainCellConfig.preset("extended").replace(window=16, subtile_columns=8, sinks="none")
    first, second = scalers_of(gaincell.convert_(model, design)).values()
    assert first.preset is not None
    assert second.preset is not None
    with torch.no_grad():
        first.preset.bias.copy_(torch.tensor([-50.0, 50.0, 0.5, 0.5]))
        second.preset.bias.fill_(0.5)
    activity = head_activity(model, ids)
    assert activity.dead.nonzero().tolist() == [[0, 0]]
    assert activity.saturated.nonzero().tolist() == [[0, 1]]
    torch.testing.assert_close(activity.mean[0, :2], torch.tensor([0.0, 1.0]))
    assert ((activity.mean[1] > 0.3) & (activity.mean[1] < 0.7)).all()
