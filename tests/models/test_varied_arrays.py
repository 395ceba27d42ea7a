"""Models on arrays whose circuits are not ideal: each layer has its own, and the ring meets them as a prefill does."""

import logging
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from model_cases import CONFIG, LAYERS, converted, logits, positions, tokens
from transformers import AutoModelForCausalLM, PreTrainedModel

import gaincell
from gaincell.adapt.learning_leak import leaking
from gaincell.models import RingCache, attention_activity, scalers_of
from gaincell.ops.variation import arrays

VARIED = CONFIG.replace(
    mismatch_seed=5, mismatch_gain=0.1, mismatch_zero_v=0.02, score_noise=0.02, readout_noise=0.02, noise_seed=8
)


#: Cells that leak each at its own pace, and are written anew.
PACED = VARIED.replace(retention_seed=3, retention_spread=0.7, leak_per_token=0.02, refresh_tokens=11)

#: Writes that are off, by a tenth of the difference to what was there before; and reads that shift what cells hold.
WRITTEN = VARIED.replace(
    cell={
        **VARIED.cell.model_dump(),
        "circuit": {
            "write": {
                "source": "test",
                "error_v": 0.09,
                "errors": {
                    "source": "test",
                    "time_s": 1e-8,
                    "levels_v": [-0.45, 0.45],
                    "error_v": [[0.01, 0.1], [-0.08, 0.01]],
                },
            },
            "read": {
                **{"source": "test", "feedthrough": [0.0], "nonlinearity": 0, "law_residual": 0, "disturb_v": 0},
                "disturb": {
                    "source": "test",
                    "reads": [1, 20],
                    "written_v": [-0.45, 0.45],
                    "shift_v": [[0.02, 0.05], [-0.03, -0.06]],
                },
            },
        },
    },
    writes="cell",
)
OPTIONS = {"paced": PACED, "written": WRITTEN, "worn": WRITTEN.replace(read_disturb="cell")}


@pytest.fixture(scope="module", params=["llama", "gpt2", "gemma3", *OPTIONS])  # gemma3's layers have different windows
def model(request: pytest.FixtureRequest) -> PreTrainedModel:
    options = OPTIONS.get(request.param)
    return converted(request.param, config=VARIED) if options is None else converted("llama", config=options)


@pytest.mark.parametrize("lengths", [[1] * 45, [20, 17, 1, 7]])
def test_prefill_equals_chunks_and_single_tokens_past_the_window(model: PreTrainedModel, lengths: list[int]) -> None:
    ids, cache = tokens(2, 45), RingCache(model)
    parts = [logits(model, part, past_key_values=cache, use_cache=True) for part in ids.split(lengths, 1)]
    torch.testing.assert_close(torch.cat(parts, 1), logits(model, ids), rtol=0, atol=1e-9)


def test_pads_take_no_column_so_a_padded_row_meets_the_cells_it_meets_alone(model: PreTrainedModel) -> None:
    ids, mask = tokens(2, 45), torch.ones(2, 45, dtype=torch.long)
    mask[1, :22] = 0
    whole = logits(model, ids, attention_mask=mask, position_ids=positions(mask))
    cache, parts, start = RingCache(model), [], 0
    for part in ids.split([20, 6, 1, 1, 17], 1):
        end = start + part.shape[1]
        where = {"attention_mask": mask[:, :end], "position_ids": positions(mask)[:, start:end]}
        parts.append(logits(model, part, past_key_values=cache, use_cache=True, **where))
        start = end
    for found in (torch.cat(parts, 1), whole):
        torch.testing.assert_close(found[:1], logits(model, ids[:1]), rtol=0, atol=1e-9)
        torch.testing.assert_close(found[1:, 22:], logits(model, ids[1:, 22:]), rtol=0, atol=1e-9)


def test_generated_tokens_are_those_without_a_cache(model: PreTrainedModel) -> None:
    options = {"max_new_tokens": 20, "do_sample": False, "pad_token_id": 0, "eos_token_id": None}
    ids = tokens(2, 5)
    found = model.generate(ids, **options)
    assert torch.equal(found, model.generate(ids, use_cache=False, **options))


def test_every_layer_has_arrays_of_its_own_and_a_seed_gives_them_again(caplog: pytest.LogCaptureFixture) -> None:
    model, ids = converted("llama", config=VARIED), tokens(2, 30)
    seeds = {scalers.config.mismatch_seed for scalers in scalers_of(model).values()}
    assert len(seeds) == LAYERS
    draws = [arrays(scalers.config, 2, 8, torch.empty(0)) for scalers in scalers_of(model).values()]
    assert not any(torch.equal(a[0].gain, b[0].gain) for a, b in pairwise(draws) if a and b)
    first = logits(model, ids)
    with caplog.at_level(logging.WARNING):
        gaincell.convert_(model, VARIED.replace(mismatch_seed=6))
        other = logits(model, ids)
        gaincell.convert_(model, VARIED)
    assert not torch.allclose(first, other)
    assert torch.equal(first, logits(model, ids))


def test_a_model_learns_on_the_arrays_it_is_given() -> None:
    model, ids = converted("llama", torch.float32, VARIED), tokens(2, 30)
    model(input_ids=ids, labels=ids, use_cache=False).loss.backward()
    gradients = [p.grad for name, p in model.named_parameters() if ".gaincell.k_scale" in name]
    assert all(x is not None and bool(x.isfinite().all()) and bool(x.any()) for x in gradients)


def test_a_model_learns_on_cells_that_are_written_and_read_as_they_are() -> None:
    """Either of both, and both where the leak is factored for a while; a saved model is as it was."""
    ids = tokens(2, 30)
    for config in (WRITTEN, WRITTEN.replace(writes="ideal", read_disturb="cell")):
        model = converted("llama", torch.float32, config)
        model(input_ids=ids, labels=ids, use_cache=False).loss.backward()
        gradients = [p.grad for name, p in model.named_parameters() if ".gaincell.k_scale" in name]
        assert all(x is not None and bool(x.isfinite().all()) and bool(x.any()) for x in gradients)
    model = converted("llama", torch.float32, OPTIONS["worn"])
    with pytest.raises(gaincell.InputError, match="nothing learns"):
        model(input_ids=ids, labels=ids, use_cache=False)
    with leaking(model, "factored"):
        model(input_ids=ids, labels=ids, use_cache=False).loss.backward()


def test_a_saved_model_is_written_and_read_as_before(tmp_path: Path) -> None:
    model, ids = converted("llama", torch.float32, OPTIONS["worn"]), tokens(1, 30)
    model.save_pretrained(tmp_path)
    again = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert {scalers.config for scalers in scalers_of(again).values()} == {
        scalers.config for scalers in scalers_of(model).values()
    }
    assert torch.equal(logits(again, ids), logits(model, ids))
    activity = attention_activity(again, ids)
    assert 0 < float(activity.phi.mean()) < 1
