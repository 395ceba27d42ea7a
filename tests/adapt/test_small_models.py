"""Two small language models of other families than the demo's, which never saw a text without BOS."""

import math
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from gaincell import GainCellConfig
from gaincell.adapt import AdaptSettings, adapt
from gaincell.evaluate import novel
from gaincell.evaluate.perplexity import encode, perplexity
from gaincell.evaluate.text_prefix import prefix_of

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))  # no part of the package

import train_small_models as recipe

MODELS = Path(__file__).parent / "models"
FAMILIES = ("gemma", "qwen")
#: Of the original's perplexity, at the length learned on and at four times it, after a tenth of the default's steps:
#: 1.03 to 1.18 were measured.
BOUND = 1.5
#: Some 2,000 tokens of a novel that no model here learned from.
HELD_OUT = novel()[200_000:207_000]


def load(family: str) -> tuple[PreTrainedModel, Any]:
    path = MODELS / family
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()
    return model, AutoTokenizer.from_pretrained(path)


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_kept_is_small_and_what_the_recipe_makes(family: str) -> None:
    folder, (model, tokenizer) = MODELS / family, load(family)
    assert sum(file.stat().st_size for file in folder.iterdir()) < 8e6
    with safe_open(folder / "model.safetensors", "pt") as weights:
        assert {weights.get_slice(name).get_dtype() for name in weights.keys()} == {"BF16"}  # noqa: SIM118
    made = recipe.FAMILIES[family]()
    assert type(made) is type(model)
    assert {name: p.shape for name, p in made.named_parameters()} == {n: p.shape for n, p in model.named_parameters()}
    assert made.config.layer_types == model.config.layer_types
    assert prefix_of(tokenizer) == [tokenizer.bos_token_id] == [model.config.bos_token_id]
    text = "A wörld — of  its own.\n\nIndeed!"
    assert tokenizer.decode(tokenizer(text)["input_ids"], skip_special_tokens=True) == text


@pytest.mark.parametrize("family", FAMILIES)
def test_they_know_the_language_and_look_into_their_context(family: str) -> None:
    model, tokenizer = load(family)
    ids = torch.tensor(encode(tokenizer, HELD_OUT))
    shares = ids.bincount() / len(ids)
    # What a model would reach that knew how often each token comes in this very text, and nothing of its order.
    by_frequency = math.exp(-shares[ids].log().mean())
    near, far = (perplexity(model, tokenizer, HELD_OUT, length=n, tokens=2048).perplexity for n in (16, 256))
    assert far < 0.95 * near
    assert near < 0.7 * by_frequency


@pytest.mark.parametrize("family", FAMILIES)
def test_they_need_bos(family: str) -> None:
    model, tokenizer = load(family)
    ids = torch.tensor(encode(tokenizer, HELD_OUT)[: 32 * 63]).view(32, 63)
    rows = torch.cat((torch.full((32, 1), tokenizer.bos_token_id), ids), 1)
    with torch.no_grad():  # the same tokens from the same words before them, but for BOS
        with_it = model(rows, use_cache=False).logits[:, 1:-1]
        without = model(ids, use_cache=False).logits[:, :-1]
    losses = [torch.nn.functional.cross_entropy(x.flatten(0, 1), ids[:, 1:].flatten()) for x in (with_it, without)]
    assert losses[1] > losses[0] + 0.02


def test_the_recipe_goes_on_where_it_was_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "\n\n".join(novel()[start : start + 300] for start in range(0, 12_000, 300))
    monkeypatch.setattr(recipe, "VOCABULARY", 300)
    monkeypatch.setattr(recipe, "COMMON", {**recipe.COMMON, "vocab_size": 300, "num_hidden_layers": 1})
    monkeypatch.setattr(recipe, "LENGTHS", (16, 32))
    monkeypatch.setattr(recipe, "BATCH", 64)
    monkeypatch.setattr(recipe, "CHECKPOINT_EVERY", 2)
    whole = recipe.train("qwen", text, tmp_path / "whole", steps=5, seed=3)
    write, calls = torch.save, []

    def killed(*args: Any) -> None:
        calls.append(args)
        if len(calls) == 2:
            raise KeyboardInterrupt
        write(*args)

    monkeypatch.setattr(torch, "save", killed)
    with pytest.raises(KeyboardInterrupt):
        recipe.train("qwen", text, tmp_path / "cut", steps=5, seed=3)
    monkeypatch.setattr(torch, "save", write)
    resumed = recipe.train("qwen", text, tmp_path / "cut", steps=5, seed=3)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def test_rows_begin_with_bos_and_every_second_one_with_a_paragraph() -> None:
    ids, paragraphs = torch.arange(1, 10_001), torch.arange(0, 10_000, 50)
    rows = recipe.draw_rows(ids, paragraphs, 128, step=5, seed=0)
    assert rows.shape == (recipe.BATCH // 128, 128)
    assert (rows[:, 0] == 0).all()
    assert (rows[:, 1:].diff() == 1).all()
    assert ((rows[::2, 1] - 1) % 50 == 0).float().mean() > 0.9  # but for one that has no room before the end
    assert len(set(rows[1::2, 1].tolist())) == len(rows) // 2


def test_what_is_orthogonalised_has_singular_values_near_one() -> None:
    matrix = torch.randn(96, 40, generator=torch.Generator().manual_seed(0)) * torch.logspace(0, -1, 40)
    values = torch.linalg.svdvals(recipe.orthogonal(matrix))
    assert ((values > 0.6) & (values < 1.3)).all()


@pytest.mark.parametrize("family", FAMILIES)
def test_adaptation_holds_on_them(family: str, tmp_path: Path) -> None:
    model, tokenizer = load(family)
    design = GainCellConfig.named("extended").replace(window=512)
    settings = AdaptSettings(rows=8, length=128, statistics_rows=4, transfer={"batch": 4, "steps": 5}, held_back=2)
    result = adapt(
        model, design, tokenizer=tokenizer, out=tmp_path / "run", settings=settings, stages=("statistics", "transfer")
    )
    learned = [line for line in result.metrics if line["stage"] == "transfer"]
    assert len(learned) == 4
    assert all(line["relative_error"] < line["relative_error_before"] and not line["kept"] for line in learned)
    assert result.outcome is not None
    assert [at.length for at in result.outcome.lengths] == [128, 512]
    assert all(at.ratio < BOUND for at in result.outcome.lengths)
