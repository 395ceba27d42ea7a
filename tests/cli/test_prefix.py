"""Every text that a model reads begins with what its tokenizer puts in front of texts, whichever command it is."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command_tools import Run, save_tiny
from torch import nn

BOS = 0
WORDS = ("--set", "rows=4", "--set", "length=40", "--set", "distill.tokens=320")
WORDS += ("--set", "held_back=1")


@pytest.fixture(scope="module")
def begins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model whose tokenizer puts <s> in front of every text."""
    folder = tmp_path_factory.mktemp("models") / "begins"
    save_tiny(folder, begins=True)
    return folder


@pytest.fixture
def read() -> Iterator[list[list[int]]]:
    """The first token of every row that an embedding is asked for, of rows of more than the two of a model's trial."""
    firsts: list[list[int]] = []

    def look(module: nn.Module, args: tuple[Any, ...]) -> None:
        if isinstance(module, nn.Embedding) and args[0].shape[-1] > 2:
            firsts.append(args[0][:, 0].tolist())

    hook = torch.nn.modules.module.register_module_forward_pre_hook(look)
    yield firsts
    hook.remove()


def test_all_that_is_read_begins_as_the_tokenizer_says(
    begins: Path, gaincell: Run, tmp_path: Path, text_file: Path, read: list[list[int]]
) -> None:
    stages = ("--stages", "statistics,transfer,distill", "--set", "transfer.steps=2")
    commands = (
        ("adapt", begins, "--out", "own", *stages, *WORDS, "--validate", text_file),
        ("adapt", begins, "--out", "given", "--text", text_file, *stages, *WORDS, "--set", "distill.length=24"),
        ("evaluate", tmp_path / "own/model", "--tokens", "200", "--length", "64", "--text", text_file),
        ("evaluate", tmp_path / "own/model", "--tasks", "lambada,piqa", "--limit", "2"),
        ("cost", tmp_path / "own/model", "--activity", text_file),
        ("report", tmp_path / "own", "--base", begins),
    )
    for command in commands:
        ended = gaincell(*command)
        assert ended.code == 0, ended
        assert read, command
        assert {first for row in read for first in row} == {BOS}, command
        read.clear()


def test_rows_of_token_ids_without_it_are_refused(begins: Path, gaincell: Run, tmp_path: Path) -> None:
    rows = np.random.default_rng(0).integers(2, 200, (4, 40), dtype=np.int32)
    rows[1:3, 0] = BOS
    np.save(tmp_path / "rows.npy", rows)
    command = ("adapt", begins, "--out", "run", "--tokens", tmp_path / "rows.npy", *WORDS)
    gaincell(*command).assert_refused("2 of 4 rows of token ids do not begin with [0]", "in front of every row")
    assert not (tmp_path / "run").exists()
    rows[:, 0] = BOS
    np.save(tmp_path / "rows.npy", rows)
    assert json.loads(gaincell(*command, "--json").out)["metrics"]
