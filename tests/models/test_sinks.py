"""What the digital side adds: predictions per head from a layer's input, and tokens kept out of the arrays."""

import copy
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from model_cases import CONFIG, converted, logits, tokens

from gaincell.models import RingCache, scalers_of
from gaincell.models.intake import layer_input
from gaincell.models.sinks import DigitalSinks, HeadPredictor


@given(st.integers(1, 3), st.integers(1, 6), st.integers(0, 2000))
def test_a_prediction_is_linear_in_input_and_logarithm_of_position(rows: int, length: int, start: int) -> None:
    g = torch.Generator().manual_seed(start)
    predictor = HeadPredictor(4, 8, bias=0.5).double()
    with torch.no_grad():
        for p in predictor.parameters():
            p += torch.randn(p.shape, generator=g, dtype=torch.float64)
    x = torch.randn(rows, length, 8, generator=g, dtype=torch.float64)
    before = (start + torch.arange(length)).expand(rows, -1)
    got = predictor(x, before)
    assert got.shape == (rows, 4, length)
    weight, log_weight, bias = predictor.weight, predictor.log_weight, predictor.bias
    t = length - 1
    want = weight @ x[0, t] + log_weight * torch.log(torch.tensor(1.0 + start + t, dtype=torch.float64)) + bias
    torch.testing.assert_close(got[0, :, t], want)


@given(st.integers(0, 1000))
def test_mixing_is_a_weighted_mean_and_the_first_token_keeps_its_own_value(seed: int) -> None:
    g = torch.Generator().manual_seed(seed)
    sinks = DigitalSinks(4, 2, 8)
    with torch.no_grad():
        sinks.share.weight.copy_(torch.randn(4, 8, generator=g))
        sinks.share.bias.zero_()
    out, first, x = (torch.randn(shape, generator=g) for shape in ((2, 4, 5, 3), (2, 2, 1, 3), (2, 5, 8)))
    before = torch.arange(5).expand(2, -1)
    mixed, value = sinks.mix(out, first, x, before), first.repeat_interleave(2, 1)
    share = torch.sigmoid(sinks.share(x, before))[..., None]
    torch.testing.assert_close(mixed[:, :, 1:], (share * out + (1 - share) * value)[:, :, 1:])
    assert torch.equal(mixed[:, :, :1], value)


def test_every_option_counts_and_a_cache_gives_what_the_whole_sequence_gives() -> None:
    """Else the tests of generation, which run at this design point, would show nothing about them."""
    ids = tokens(2, 40)
    with_all = logits(converted("llama"), ids)
    for options in ({"score_preset": False}, {"sinks": "none"}):
        model = converted("llama", config=CONFIG.replace(**options))
        model.load_state_dict(converted("llama").state_dict(), strict=False)
        assert not torch.allclose(logits(model, ids), with_all, atol=1e-3)
    model = converted("llama")
    norms = []
    for scalers in scalers_of(model).values():
        assert scalers.sinks is not None
        norms.append(scalers.sinks.shortest)
    assert (torch.stack(norms) > 0).all()
    cache, parts = RingCache(model), []
    with torch.no_grad():
        for part in ids.split([13, 1, 1, 20, 5], 1):
            parts.append(model(part, past_key_values=cache, use_cache=True).logits)
    torch.testing.assert_close(torch.cat(parts, 1), with_all, atol=1e-9, rtol=1e-9)


class CutShortError(Exception):
    """Stands for whatever ends a forward pass early."""


def test_a_forward_pass_cut_short_leaves_a_model_that_can_be_copied() -> None:
    model = converted("llama", torch.float32)
    scalers = next(iter(scalers_of(model).values()))

    def cut(*operands: object) -> None:
        raise CutShortError

    scalers.observer = cut
    with pytest.raises(CutShortError):
        model(tokens(1, 5), use_cache=False)  # with its graph
    scalers.observer = None
    ids = tokens(1, 20)
    assert torch.equal(logits(copy.deepcopy(model), ids), logits(model, ids))
    with pytest.raises(RuntimeError, match="call its attention module"):
        layer_input(scalers)  # no activations stay behind


def test_threads_on_one_model_answer_as_each_alone() -> None:
    model = converted("llama")
    inputs = [tokens(1, length, seed=length) for length in (20, 13, 9, 5)]
    options = {"max_new_tokens": 4, "do_sample": False, "pad_token_id": 0, "eos_token_id": None}

    def work(ids: torch.Tensor) -> list[torch.Tensor]:
        return [torch.cat((logits(model, ids)[0].argmax(-1), model.generate(ids, **options)[0])) for _ in range(2)]

    alone = [work(ids) for ids in inputs]
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-4)  # threads meet in every layer
    try:
        with ThreadPoolExecutor(len(inputs)) as pool:
            together = list(pool.map(work, inputs))
    finally:
        sys.setswitchinterval(before)
    for found, expected in zip(together, alone, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_a_cache_that_inference_mode_made_goes_on_outside() -> None:
    model, ids = converted("llama"), tokens(1, 12)
    whole, cache = logits(model, ids), RingCache(model)
    with torch.inference_mode():
        model(ids[:, :8], past_key_values=cache, use_cache=True)
    with torch.no_grad():
        rest = [model(ids[:, i : i + 1], past_key_values=cache, use_cache=True).logits for i in range(8, 12)]
    torch.testing.assert_close(torch.cat(rest, 1), whole[:, 8:], atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("prompt", [1, 6])
def test_tokens_read_without_gradient_may_be_followed_by_some_that_learn(prompt: int) -> None:
    model, ids = converted("llama"), tokens(1, 14)
    whole, cache = logits(model, ids), RingCache(model)
    with torch.no_grad():
        model(ids[:, :prompt], past_key_values=cache, use_cache=True)
        for i in range(prompt, 9):
            model(ids[:, i : i + 1], past_key_values=cache, use_cache=True)
    found = model(ids[:, 9:], past_key_values=cache, use_cache=True).logits
    torch.testing.assert_close(found, whole[:, 9:], atol=1e-9, rtol=1e-9)
    found.sum().backward()
    for scalers in scalers_of(model).values():
        assert scalers.sinks is not None
        gradient = scalers.sinks.share.weight.grad
        assert gradient is not None
        assert gradient.any()
