"""What maps say against the equations: rows that add up, the mask, sinks, and the model left as it was."""

import pytest
import torch
from model_cases import CONFIG, converted, tokens, unconverted

from gaincell import GainCellConfig, InputError
from gaincell.models import attention_maps, scalers_of

PLAIN = GainCellConfig.named("leroux2025").replace(
    window=16, subtile_columns=4, leak_per_token=None, score_saturation=3.7, output_scale=2.3
)
FAMILIES = ["llama", "gpt2", "gemma3"]


@pytest.mark.parametrize("family", FAMILIES)
def test_softmax_rows_add_up_and_see_the_past(family: str) -> None:
    model, ids = unconverted(family, torch.float64), tokens(1, 20)[0]
    before = model.config._attn_implementation
    maps = attention_maps(model, ids)
    assert maps.pulses is None
    assert maps.weights.shape[1:] == (4, 20, 20)
    torch.testing.assert_close(maps.weights.sum(-1), torch.ones(maps.weights.shape[:3]))
    assert not maps.weights.triu(1).any()
    assert model.config._attn_implementation == before


@pytest.mark.parametrize("family", FAMILIES)
def test_gain_cells_show_pulses_over_their_sum(family: str) -> None:
    model, ids = converted(family, config=PLAIN), tokens(1, 20)[0]
    maps = attention_maps(model, ids)
    found = model(ids[None], use_cache=False, output_attentions=True).attentions
    phi = torch.stack([each[0] for each in found]).float()
    assert maps.pulses is not None
    torch.testing.assert_close(maps.pulses, phi.sum(-1))
    torch.testing.assert_close(maps.weights * maps.pulses[..., None], phi)
    silent = maps.pulses == 0
    torch.testing.assert_close(maps.weights.sum(-1), (~silent).float())


def test_digital_sinks_have_their_share_on_the_first_token() -> None:
    model, ids = converted("llama", config=CONFIG), tokens(1, 20)[0]
    with torch.no_grad():
        for scalers in scalers_of(model).values():
            assert scalers.sinks is not None
            scalers.sinks.share.weight.zero_()
            scalers.sinks.share.log_weight.zero_()
            scalers.sinks.share.bias.fill_(float(torch.logit(torch.tensor(0.25))))
            assert scalers.preset is not None
            scalers.preset.bias.fill_(0.5)
    maps = attention_maps(model, ids)
    torch.testing.assert_close(maps.weights[:, :, 0, 0], torch.ones(3, 4))
    torch.testing.assert_close(maps.weights[:, :, 1:, 0], torch.full((3, 4, 19), 0.75))
    assert maps.pulses is not None
    spoken = maps.pulses[:, :, 1:] > 0
    assert spoken.any()
    torch.testing.assert_close(maps.weights[:, :, 1:, 1:].sum(-1), 0.25 * spoken.float())


def test_what_cannot_be_mapped() -> None:
    with pytest.raises(InputError, match=r"shape \(T,\)"):
        attention_maps(unconverted("llama"), tokens(1, 8))
