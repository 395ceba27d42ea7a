"""gpt-oss and its kin: a learned logit a head that takes part in softmax's sum goes where that sum goes."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from every_family import build, known
from model_cases import CONFIG, logits, tokens
from torch import nn
from transformers import PreTrainedModel

import gaincell
from gaincell import InputError
from gaincell.models import attention_modules, scalers_of


def gpt_oss() -> PreTrainedModel:
    if not known("gpt_oss"):
        pytest.skip("this transformers has no gpt_oss")
    model = build("gpt_oss", sliding_window=8, layer_types=["sliding_attention", "full_attention"]).double()
    model.set_experts_implementation("eager")  # the others have no float64
    return model


@contextmanager
def other_sinks(model: PreTrainedModel) -> Iterator[None]:
    modules: list[Any] = list(attention_modules(model).values())
    kept = [module.sinks.detach().clone() for module in modules]
    with torch.no_grad():
        for module in modules:
            module.sinks += 3.0
        yield
        for module, sinks in zip(modules, kept, strict=True):
            module.sinks.copy_(sinks)


def test_it_counts_for_softmax_and_not_for_gain_cells() -> None:
    model, ids = gpt_oss(), tokens(1, 20)
    before = logits(model, ids)
    with other_sinks(model):
        assert (logits(model, ids) - before).abs().max() > 1e-3
    sinks = [name for name, _ in model.named_parameters() if name.endswith("sinks")]
    gaincell.convert_(model, CONFIG)
    after = logits(model, ids)
    with other_sinks(model):
        assert torch.equal(logits(model, ids), after)
    assert [name for name, _ in model.named_parameters() if name.endswith("sinks")] == sinks != []


def test_a_layer_with_a_window_of_its_own_gets_a_ring_of_it() -> None:
    model = gaincell.convert_(gpt_oss(), CONFIG)
    assert [scalers.config.window for scalers in scalers_of(model).values()] == [8, 16]


def test_what_is_more_than_a_term_of_the_sum_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers.models.gpt_oss import modeling_gpt_oss

    softmax = modeling_gpt_oss.eager_attention_forward

    def with_sinks_in_the_output(module: Any, *args: Any, **kwargs: Any) -> Any:
        out, weights = softmax(module, *args, **kwargs)
        return out + module.sinks[:, None], weights

    monkeypatch.setattr(modeling_gpt_oss, "eager_attention_forward", with_sinks_in_the_output)
    with pytest.raises(InputError, match=r"computes more in model\.layers\.0\.self_attn than softmax"):
        gaincell.convert_(gpt_oss(), CONFIG)


def test_a_logit_that_is_not_learned_is_refused() -> None:
    model = gpt_oss()
    module: Any = model.model.layers[1].self_attn
    learned = module.sinks
    del module.sinks
    module.sinks = learned.detach().clone()  # what a layer might compute from its input
    with pytest.raises(InputError, match=r"attends in model\.layers\.1\.self_attn with s_aux"):
        gaincell.convert_(model, CONFIG)
    converted = gaincell.convert_(gpt_oss(), CONFIG)
    first: Any = next(iter(attention_modules(converted).values()))
    del first.sinks
    first.sinks = learned.detach()
    assert isinstance(learned, nn.Parameter)
    with pytest.raises(InputError, match="cannot serve an attention with s_aux"):
        logits(converted, tokens(1, 4))
