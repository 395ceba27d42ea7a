"""A converted model is causal, does not see pads, keeps its window, and is computed in float32."""

import pytest
import torch
from model_cases import CONFIG, FAMILIES, LAYERS, converted, logits, positions, tokens, unconverted
from torch import Tensor
from transformers import PreTrainedModel
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

import gaincell
from gaincell import InputError
from gaincell.models import attention_modules, scalers_of
from gaincell.models.intake import layer_input, taking_in
from gaincell.ops import naive_attention


@pytest.fixture(scope="module", params=FAMILIES)
def model(request: pytest.FixtureRequest) -> PreTrainedModel:
    return converted(request.param)


def same(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)


def test_a_later_token_never_changes_an_earlier_output(model: PreTrainedModel) -> None:
    ids, other = tokens(2, 40), tokens(2, 40, seed=3)
    other[:, :23] = ids[:, :23]
    before, after = logits(model, ids), logits(model, other)
    same(after[:, :23], before[:, :23])
    assert (after[:, 23:] - before[:, 23:]).abs().mean() > 1e-3


def test_a_left_padded_row_is_the_row_alone(model: PreTrainedModel) -> None:
    rows = [tokens(1, 40), tokens(1, 29, seed=3), tokens(1, 1, seed=4)]
    longest = 45
    ids = torch.cat([torch.nn.functional.pad(row, (longest - row.shape[1], 0)) for row in rows])
    mask = torch.stack([torch.arange(longest) >= longest - row.shape[1] for row in rows]).long()
    batch = logits(model, ids, attention_mask=mask, position_ids=positions(mask))
    for i, row in enumerate(rows):
        same(batch[i : i + 1, longest - row.shape[1] :], logits(model, row))
    other = torch.where(mask.bool(), ids, tokens(3, longest, seed=5))
    changed = logits(model, other, attention_mask=mask, position_ids=positions(mask))
    same(changed[mask.bool()], batch[mask.bool()])


def test_a_right_padded_row_is_the_row_alone(model: PreTrainedModel) -> None:
    ids, mask = tokens(2, 40), torch.ones(2, 40, dtype=torch.long)
    mask[1, 27:] = 0
    batch = logits(model, ids, attention_mask=mask, position_ids=positions(mask))
    same(batch[1:, :27], logits(model, ids[1:, :27]))
    same(batch[:1], logits(model, ids[:1]))


def test_a_row_of_pads_alone_disturbs_nobody(model: PreTrainedModel) -> None:
    ids, mask = tokens(2, 20), torch.ones(2, 20, dtype=torch.long)
    mask[1] = 0
    batch = logits(model, ids, attention_mask=mask, position_ids=positions(mask))
    same(batch[:1], logits(model, ids[:1]))
    assert bool(batch.isfinite().all())


def test_a_token_that_left_every_window_has_no_influence(model: PreTrainedModel) -> None:
    ids, other = tokens(1, 90), tokens(1, 90)
    other[:, 1:5] = tokens(1, 4, seed=3)  # the first one is a sink, which the digital side keeps for good
    reach = sum(s.config.window - 1 for s in scalers_of(model).values())
    before, after = logits(model, ids), logits(model, other)
    same(after[:, 5 + reach :], before[:, 5 + reach :])
    assert (after[:, : 5 + reach] - before[:, : 5 + reach]).abs().mean() > 1e-5


def test_the_attention_is_the_operator_between_its_scalers(model: PreTrainedModel) -> None:
    """What a layer's arrays get and give, caught on the way, against the oracle."""
    seen: list[tuple[torch.nn.Module, Tensor, Tensor, Tensor, Tensor, Tensor]] = []
    attend = ALL_ATTENTION_FUNCTIONS["gaincell"]

    def record(module: torch.nn.Module, q: Tensor, k: Tensor, v: Tensor, *args: object, **kwargs: object) -> object:
        out = attend(module, q, k, v, *args, **kwargs)
        seen.append((module, q, k, v, layer_input(module.gaincell), out[0]))
        return out

    ALL_ATTENTION_FUNCTIONS["gaincell"] = record
    try:
        logits(model, tokens(1, 30))
    finally:
        del ALL_ATTENTION_FUNCTIONS["gaincell"]
    assert [module for module, *_ in seen] == list(attention_modules(model).values())
    for module, q, k, v, x, out in seen:
        scalers, before = module.gaincell, torch.arange(30)[None]
        window = before.clamp(max=scalers.config.window)
        scaled = [scalers.scale(name, x) for name, x in (("q", q), ("k", k), ("v", v))]
        absent = scalers.sinks.absent(v, before)
        assert absent[:, :, 0].all()
        expected, phi = naive_attention(*scaled, scalers.config, preset=scalers.preset(x, window), absent=absent)
        same(out.transpose(1, 2), scalers.sinks.mix(scalers.scale("out", expected), v[:, :, :1], x, window))
        assert float(((phi > 0) & (phi < 1)).double().mean()) > 0.01  # the arrays are exercised


def test_output_attentions_are_the_pulses(model: PreTrainedModel) -> None:
    attentions = model(tokens(2, 24), use_cache=False, output_attentions=True).attentions
    assert len(attentions) == LAYERS
    for phi, scalers in zip(attentions, scalers_of(model).values(), strict=True):
        assert phi.shape == (2, scalers.heads, 24, 24)
        assert bool(((phi >= 0) & (phi <= 1)).all())
        age = torch.arange(24)[:, None] - torch.arange(24)
        assert not phi[:, :, (age < 0) | (age >= scalers.config.window)].any()
        assert phi.any()


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_masks_that_are_not_causal_or_not_padding_are_refused(family: str) -> None:
    model, ids = converted(family), tokens(1, 12)
    hole, four = torch.ones(1, 12, dtype=torch.long), torch.ones(1, 1, 12, 12, dtype=torch.bool).tril()
    hole[0, 5] = 0
    packed = torch.tensor([[0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 4, 5]])
    for inputs, said in (
        ({"attention_mask": hole}, "holes between real tokens"),
        ({"attention_mask": four}, "2-D padding mask"),
        ({"position_ids": packed}, "packed sequences"),
        ({"position_ids": packed, "use_cache": True}, "packed sequences"),
        ({"position_ids": packed, "attention_mask": torch.ones_like(packed)}, "packed sequences"),
    ):
        with pytest.raises(InputError, match=said) as refusal:
            logits(model, ids, **inputs)
        assert str(refusal.value).endswith(".")
    model.config.is_causal = False
    with pytest.raises(InputError, match="see their future"):
        logits(model, ids)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_scalers_stay_float32_whatever_the_model_becomes(dtype: torch.dtype) -> None:
    model = converted("llama", torch.float32)
    before = {name: p.detach().clone() for name, p in model.named_parameters() if ".gaincell." in name}
    assert len(before) == (8 + 2 * 3) * LAYERS  # scalers; and three parts of preset and of sinks
    for cast in (model.to(dtype), model.half(), model.bfloat16(), model.to("cpu", dtype)):
        for name, parameter in cast.named_parameters():
            if ".gaincell." in name:
                assert parameter.dtype == torch.float32
                assert torch.equal(parameter, before[name])
            else:
                assert parameter.dtype in (torch.bfloat16, torch.float16)
    out = logits(model, tokens(2, 20))
    assert out.dtype == dtype
    assert bool(out.isfinite().all())


def test_autocast_reaches_the_projections_only() -> None:
    model = converted("llama", torch.float32)
    module = next(iter(attention_modules(model).values()))
    q, k, v = (torch.randn(1, n, 30, 8, generator=torch.Generator().manual_seed(n)) for n in (4, 2, 2))
    taken = torch.randn(1, 30, 32, generator=torch.Generator().manual_seed(5))
    for dtype in (torch.float32, torch.bfloat16):
        leaves = [x.to(dtype).requires_grad_() for x in (q, k, v)]
        leaves += [module.gaincell.q_scale, module.gaincell.k_bias, module.gaincell.out_bias]

        def run(leaves: list[Tensor]) -> tuple[Tensor, ...]:
            with taking_in(module.gaincell, taken):
                out, _ = ALL_ATTENTION_FUNCTIONS["gaincell"](module, *leaves[:3], None)
            return (out, *torch.autograd.grad(out.float().square().sum(), leaves))

        plain = run(leaves)
        with torch.autocast("cpu", torch.bfloat16):
            cast = run(leaves)
        for found, expected in zip(cast, plain, strict=True):
            assert found.dtype == expected.dtype
            assert torch.equal(found, expected)
    with torch.autocast("cpu", torch.bfloat16):
        assert bool(logits(model, tokens(2, 20)).isfinite().all())


def test_gradient_checkpointing_changes_no_gradient() -> None:
    model, ids = converted("llama").train(), tokens(2, 20)

    def gradients() -> list[Tensor]:
        model.zero_grad()
        model(ids, labels=ids, use_cache=False).loss.backward()
        return [p.grad.clone() for p in model.parameters() if p.grad is not None]

    plain = gradients()
    assert len(plain) == len(list(model.parameters()))
    getattr(model, "activation_checkpointing_enable", model.gradient_checkpointing_enable)()  # renamed in 5.2x
    for found, expected in zip(gradients(), plain, strict=True):
        same(found, expected)


def test_a_model_that_attends_as_gaincell_without_scalers_is_refused() -> None:
    model = unconverted("llama")
    model.set_attn_implementation("gaincell")
    with pytest.raises(InputError, match="was not converted"):
        logits(model, tokens(1, 5))


def test_windows_and_leak_follow_from_model_and_design_point() -> None:
    gemma, mistral = scalers_of(converted("gemma3")), scalers_of(converted("mistral"))
    assert [s.config.window for s in gemma.values()] == [8, 8, 16]
    assert [s.config.window for s in mistral.values()] == [12, 12, 12]
    leak = LAYERS * 65e-9 / 5e-3  # token period = layers x 65 ns, tau = 5 ms
    assert all(s.config.leak == pytest.approx(leak) for s in [*gemma.values(), *mistral.values()])
    short = unconverted("gemma3")
    with pytest.raises(InputError, match="sliding window of 8, not a multiple of subtile_columns 5"):
        gaincell.convert_(short, CONFIG.replace(window=20, subtile_columns=5))
    assert not scalers_of(short)
    assert short.config._attn_implementation != "gaincell"


def test_a_compiled_model_answers_alike() -> None:
    model, ids = converted("llama"), tokens(1, 20)
    with torch.no_grad():
        expected = model(ids, use_cache=False).logits
        compiled = torch.compile(model, backend="eager")
        assert torch.equal(compiled(ids, use_cache=False).logits, expected)


def test_a_path_asked_for_by_name_converts_and_refuses_operands_that_it_does_not_compute() -> None:
    """A conversion is tried in float64, which the kernels do not take, whatever the model will be run in."""
    model = converted("llama", torch.float32, CONFIG.replace(path="triton", subtile_columns=1))
    with pytest.raises(InputError, match="path 'triton' cannot compute this attention"):
        model(tokens(1, 4))
