"""The walk through a model's layers gives each what the model itself gives it, whatever stands between them."""

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel

import gaincell
from gaincell import GainCellConfig
from gaincell.adapt import AdaptSettings
from gaincell.adapt.stages.layers import LayerWalk
from gaincell.adapt.stages.score_preset import softmax_sums

sys.path.insert(0, str(Path(__file__).parents[1] / "models"))

import every_family as families

#: With learned sinks in softmax's sum; with layers that do not attend before, between and after those that do.
MODELS: dict[str, dict[str, Any]] = {
    "llama": {},
    "gpt_oss": {"sliding_window": 16, "layer_types": ["sliding_attention", "full_attention"]},
    "qwen3_next": {
        "num_hidden_layers": 6,
        "layer_types": ["linear_attention", "full_attention", "linear_attention"] * 2,
    },
    "nemotron_h": {"layers_block_type": ["linear_attention", "full_attention", "mlp", "full_attention"]},
}


def model_of(name: str) -> PreTrainedModel:
    if not families.known(name):
        pytest.skip(f"this transformers has no {name}")
    return families.build(name, **MODELS[name])


@pytest.mark.parametrize("name", MODELS)
def test_every_layer_gets_and_gives_what_it_does_in_the_model(name: str, small_design: GainCellConfig) -> None:
    original, ids = model_of(name), torch.randint(3, 97, (4, 24), generator=torch.Generator().manual_seed(3))
    seen: list[Any] = []
    for module in gaincell.models.attention_modules(original).values():
        output: Any = module.o_proj
        output.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
        module.register_forward_hook(lambda _, args, kwargs, out: seen.append((kwargs, out[0])), with_kwargs=True)
    original.set_attn_implementation("eager")
    with torch.no_grad():
        original(ids, use_cache=False)

    walk = LayerWalk(gaincell.convert_(model_of(name), small_design), ids, 2)
    assert len(walk) == len(seen) // 2 == 2
    for index in range(len(walk)):
        inside, (kwargs, out) = seen[2 * index : 2 * index + 2]
        teaching = walk.advance(index)
        torch.testing.assert_close(teaching.inputs, kwargs["hidden_states"], rtol=0, atol=1e-5)
        torch.testing.assert_close(teaching.outputs, out, rtol=0, atol=1e-5)
        heads = walk.heads(index, teaching)
        if name != "qwen3_next":  # which gates its heads before their projection
            torch.testing.assert_close(heads.out.transpose(1, 2).flatten(2), inside, rtol=0, atol=1e-5)
        module: Any = list(walk.modules.values())[index]
        assert (heads.learned is None) == (name != "gpt_oss")
        if heads.learned is not None:
            assert torch.equal(heads.learned, module.sinks)
            window = module.sliding_window or 24
            sums = softmax_sums(heads, module.scaling, None, window).log_sum
            share = (heads.learned[:, None] - sums).exp()  # what softmax gives the sink, of 1
            ones = walk_out_of_ones(heads, module.scaling, window)
            torch.testing.assert_close(share, 1.0 - ones, rtol=0, atol=1e-5)
        walk.follow(index)
    assert not torch.allclose(walk.student, walk.hidden, atol=1e-3)


def walk_out_of_ones(heads: Any, scaling: float, window: int) -> torch.Tensor:
    """(N, Hq, T): what softmax with the learned logit gives all keys together, written out."""
    groups, tokens = heads.q.shape[1] // heads.k.shape[1], heads.q.shape[2]
    scores = scaling * heads.q @ heads.k.repeat_interleave(groups, 1).mT
    age = torch.arange(tokens)[:, None] - torch.arange(tokens)
    scores = scores.masked_fill((age < 0) | (age >= window), -torch.inf)
    sink = heads.learned[:, None, None].expand(*scores.shape[:3], 1)
    return torch.cat((scores, sink), -1).softmax(-1)[..., :-1].sum(-1)


@pytest.mark.parametrize("name", ["gpt_oss", "qwen3_next"])
def test_it_is_adapted(name: str, small_design: GainCellConfig, tmp_path: Path) -> None:
    ids = torch.randint(3, 97, (8, 48), generator=torch.Generator().manual_seed(1))
    result = gaincell.adapt(
        model_of(name),
        small_design,
        tokenizer=None,
        out=tmp_path,
        calibration=ids,
        stages=("statistics", "transfer"),
        settings=AdaptSettings(transfer={"steps": 6}, held_back=0),
    )
    after = [line for line in result.metrics if line["stage"] == "transfer"]
    assert [line["layer"] for line in after] == [0, 1]
    assert all(line["relative_error"] <= line["relative_error_before"] for line in after)
