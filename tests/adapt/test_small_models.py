"""Two small language models of other families than the demo's, which never saw a text without BOS."""

import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from gaincell.evaluate import novel

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))  # no part of the package

import train_small_models as recipe


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
