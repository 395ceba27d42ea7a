"""What `gaincell.adapt` says came out."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from letters import Letters
from safetensors.torch import load_file
from test_adapt import load, tiny_gpt2, token_ids
from transformers import PreTrainedModel

from gaincell import GainCellConfig
from gaincell.adapt import AdaptResult, AdaptSettings, adapt, paper_recipe
from gaincell.adapt.outcome import AtLength, HeldBack, Outcome, behind
from gaincell.report.curves import read_curve

#: Little to learn from: a few rows of 48 tokens, while the window holds 64.
FEW: dict[str, Any] = {"rows": 4, "length": 48, "transfer.batch": 2, "transfer.steps": 2, "precision": "no"}


class Begins(Letters):
    """A tokenizer that puts a token in front of every text."""

    def __call__(self, text: str, add_special_tokens: bool = True, **_: Any) -> dict[str, list[int]]:
        ids = super().__call__(text)["input_ids"]
        return {"input_ids": [0, *ids] if add_special_tokens else ids}


def sure(path: Path) -> PreTrainedModel:
    """A random model that is sure of what it says, so that another says something else."""
    model: Any = load(path)
    model.lm_head.weight.data *= 4
    return model


def run(
    model: PreTrainedModel, design: GainCellConfig, out: Path, settings: dict[str, Any], **given: Any
) -> AdaptResult:
    given = {"tokenizer": Letters(), "stages": ("statistics", "transfer"), **given}
    return adapt(model, design, out=out, settings=AdaptSettings(**{**FEW, **settings}), **given)


def lines_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def naive(model: PreTrainedModel, original: PreTrainedModel, ids: torch.Tensor) -> tuple[float, float]:
    """Perplexity and KL(original || model), token by token in float64."""
    losses, divergences = [], []
    for row in ids:
        with torch.no_grad():
            p, q = (m(row[None], use_cache=False).logits[0].double().softmax(-1) for m in (original, model))
        for t in range(len(row) - 1):
            losses.append(-math.log(float(q[t, row[t + 1]])))
            divergences.append(float((p[t] * (p[t] / q[t]).log()).sum()))
    return math.exp(sum(losses) / len(losses)), sum(divergences) / len(divergences)


@pytest.mark.parametrize("tokenizer", [Letters(), Begins()])
def test_the_figures_are_those_of_a_naive_computation(
    small_llama: Path, small_design: GainCellConfig, tmp_path: Path, tokenizer: Letters
) -> None:
    model, original = load(small_llama), load(small_llama)
    result = run(model, small_design, tmp_path, {"held_back": 3}, tokenizer=tokenizer)
    outcome = result.outcome
    assert outcome is not None
    ids = load_file(tmp_path / "held-back-64.safetensors")["ids"].long()
    assert ids.shape == (3, 64)
    assert [at.length for at in outcome.lengths] == [48, 64]
    assert (outcome.rows, outcome.trained, outcome.stages) == (3, 48, ("statistics", "transfer"))
    for at in outcome.lengths:  # short enough for distributions to be compared at every position
        rows = ids[:, : at.length]
        (perplexity, divergence), (before, _) = naive(model, original, rows), naive(original, original, rows)
        assert at.perplexity == pytest.approx(perplexity, rel=1e-4)
        assert at.divergence == pytest.approx(divergence, rel=1e-3)
        assert at.original == pytest.approx(before, rel=1e-4)
        assert at.tokens == 3 * (at.length - 1)
    assert lines_of(tmp_path)[-1] == {"stage": "outcome", **outcome.to_dict()}
    assert [line["stage"] for line in result.metrics] == ["statistics"] * 2 + ["transfer"] * 2


def test_distributions_are_compared_at_positions_drawn_from_each_length(small_llama: Path) -> None:
    model = load(small_llama)
    ids = torch.randint(0, 97, (2, 400), generator=torch.Generator().manual_seed(0))
    held = HeldBack(model, ids, [100, 400], 3, seed=5)
    assert [(part.start, part.stop) for part in held.parts] == [(2, 99), (99, 399)]
    for part, rows in zip(held.parts, held.drawn, strict=True):
        assert [len(set(row.tolist()) & set(part)) for row in rows] == [64, 64]
    assert not torch.equal(*held.drawn[0])
    short, long = held.measure(model)
    assert (short.tokens, long.tokens) == (2 * 97, 2 * 397)
    assert short.ratio == long.ratio == 1
    assert short.divergence == long.divergence == 0
    # A length is no more of the positions drawn for the shorter one than it is longer.
    sharper = load(small_llama)
    sharper.lm_head.weight.data *= 1.5  # type: ignore[operator]
    first = HeldBack(model, ids[:, :100], [100], 3, seed=5).measure(sharper)[0].divergence
    whole = held.measure(sharper)[1].divergence
    rest = naive(sharper, model, ids)[1]
    assert first == pytest.approx(rest, rel=0.1)
    assert whole == pytest.approx(rest, rel=0.1)


def test_what_is_learned_from_does_not_change_and_nothing_is_said_of_nothing(
    small_llama: Path, small_design: GainCellConfig, tmp_path: Path
) -> None:
    results = [
        run(load(small_llama), small_design, tmp_path / str(rows), {"held_back": rows}, stages=["transfer"])
        for rows in (0, 2)
    ]
    kept = [(tmp_path / str(rows) / "calibration.safetensors").read_bytes() for rows in (0, 2)]
    assert kept[0] == kept[1]
    for a, b in zip(*(result.model.parameters() for result in results), strict=True):
        assert torch.equal(a, b)
    assert results[0].outcome is None
    assert not (tmp_path / "0" / "held-back-64.safetensors").exists()
    assert [line["stage"] for line in lines_of(tmp_path / "0")] == ["transfer", "transfer"]
    learned, held = (
        load_file(tmp_path / "2" / f"{name}.safetensors")["ids"] for name in ("calibration", "held-back-64")
    )
    assert not any(torch.equal(row[8:48], other[8:]) for row in held for other in learned)
    # Whether rows are held back is no other run.
    again = run(load(small_llama), small_design, tmp_path / "0", {"held_back": 2}, stages=["transfer"])
    assert again.outcome == results[1].outcome
    bare = {"tokenizer": None, "calibration": token_ids()}
    assert run(load(small_llama), small_design, tmp_path / "bare", {}, **bare).outcome is None


class StoppedError(Exception):
    """Where a test stops a run."""


def test_a_run_that_was_cut_short_comes_to_the_same(
    small_llama: Path, small_design: GainCellConfig, tmp_path: Path
) -> None:
    """Wherever that was, and once more when there is nothing left to do."""
    stages = {"stages": ["statistics"]}
    whole = run(load(small_llama), small_design, tmp_path / "whole", {"held_back": 2}, **stages)
    for at in ("text held back", "the original on it", "statistics", "outcome"):

        def stop(stage: str, done: int, total: int, at: str = at) -> None:
            if stage == at and done > 1:
                raise StoppedError

        with pytest.raises(StoppedError):
            run(load(small_llama), small_design, tmp_path / "cut", {"held_back": 2}, progress=stop, **stages)
    for _ in range(2):
        found = run(load(small_llama), small_design, tmp_path / "cut", {"held_back": 2}, **stages)
        assert found.outcome == whole.outcome
        assert lines_of(tmp_path / "cut") == lines_of(tmp_path / "whole")


def test_a_later_stage_has_the_last_word(small_llama: Path, small_design: GainCellConfig, tmp_path: Path) -> None:
    settings = {"held_back": 2, "distill.length": 96, "distill.tokens": 4 * 96, "distill.batch": 2}
    first = run(load(small_llama), small_design, tmp_path, settings, stages=["statistics"])
    assert first.outcome is not None
    model = load(small_llama)
    last = run(model, small_design, tmp_path, settings, stages=["distill"])
    assert last.outcome is not None
    assert (last.outcome.trained, last.outcome.stages) == (96, ("statistics", "distill"))
    assert [at.length for at in last.outcome.lengths] == [64, 96], "rows may be longer than the window"
    assert [line["stage"] for line in lines_of(tmp_path)] == ["statistics"] * 2 + ["distill"] * 2 + ["outcome"]
    assert list(read_curve(tmp_path, "run").steps["kl"]) == [
        (0.192, last.metrics[2]["kl"]),
        (0.384, last.metrics[3]["kl"]),
    ]
    before = (tmp_path / "metrics.jsonl").read_bytes()
    asked = run(load(small_llama), small_design, tmp_path, settings, stages=["statistics", "distill"], learn=False)
    assert (asked.outcome, asked.metrics) == (None, last.metrics)
    assert (tmp_path / "metrics.jsonl").read_bytes() == before


def test_rows_are_no_longer_than_the_positions(small_design: GainCellConfig, tmp_path: Path) -> None:
    model = tiny_gpt2()
    result = run(model, small_design, tmp_path, {"length": 24}, stages=["statistics"])
    assert result.outcome is not None
    assert [at.length for at in result.outcome.lengths] == [24, 32]


def test_a_wrecked_model_is_told_in_one_sentence(
    small_llama: Path, small_design: GainCellConfig, tmp_path: Path
) -> None:
    settings = {"distill.lr": 1.0, "distill.clip": 1e3, "distill.warmup": 0.0, "distill.tokens": 8 * 48 * 2}
    result = run(sure(small_llama), small_design, tmp_path, {**settings, "distill.batch": 2}, stages=["distill"])
    outcome = result.outcome
    assert outcome is not None
    assert not outcome.usable
    assert outcome.note is not None
    assert outcome.note.startswith("not usable: the perplexity is ")
    assert "times the original's at 48 tokens" in outcome.note
    assert outcome.note.endswith(
        "try more tokens (distill.tokens), longer rows (length=64) or lower rates (distill.lr)."
    )


def test_layers_that_stayed_as_they_were_are_named(
    small_llama: Path, small_design: GainCellConfig, tmp_path: Path
) -> None:
    rates = {"projection_lr": 1e30, "scaler_lr": 1e30, "predictor_lr": 1e30, "tries": 1}
    settings = {f"transfer.{name}": value for name, value in rates.items()} | {"held_back": 1}
    result = run(load(small_llama), small_design, tmp_path, settings)
    assert result.outcome is not None
    assert result.outcome.behind == (0, 1)
    assert result.outcome.left_behind == (
        "layers 0, 1 (counted from 0) stayed behind: the stage transfer left each as it was, or at over 3 times the "
        "median error."
    )


def test_layers_far_from_the_median_stayed_behind() -> None:
    def line(stage: str, layer: int, error: float, **more: Any) -> dict[str, Any]:
        return {"stage": stage, "layer": layer, "relative_error": error, **more}

    statistics = [line("statistics", n, error) for n, error in enumerate((0.1, 0.1, 0.31, 0.1, 0.29))]
    transfer = [line("transfer", n, error, kept=n == 1) for n, error in enumerate((0.1, 0.1, 0.1, math.nan, 0.1))]
    steps = [{"stage": "distill", "step": 1, "tokens": 5}]
    assert behind(statistics + steps, ("statistics",)) == (2,)
    assert behind(statistics + transfer + steps, ("statistics", "transfer", "distill")) == (1, 3)
    assert behind(steps, ("distill",)) == ()


def ended(*ratios: float, stages: tuple[str, ...] = ("statistics", "transfer")) -> Outcome:
    lengths = zip((256, 1024), ratios, strict=False)
    return Outcome(4, tuple(AtLength(n, 100, 10.0 * r, 10.0, 1.0) for n, r in lengths), 256, stages, ())


@pytest.mark.parametrize(
    ("outcome", "told"),
    [
        (ended(2.9, 2.0), None),
        (
            ended(2.0, 3.5),
            "not usable: the perplexity is 3.5 times the original's at 1,024 tokens, where 3 times is the most; try "
            "the stage distill as well or longer rows (length=1024).",
        ),
        (
            ended(5.0, 1234.4, stages=("statistics", "transfer", "distill")),
            "not usable: the perplexity is 5.0 times the original's at 256 tokens and 1,234 times at 1,024 tokens, "
            "where 3 times is the most; try more tokens (distill.tokens), longer rows (length=1024) or lower rates "
            "(transfer.projection_lr, distill.lr).",
        ),
        (
            ended(math.nan, stages=("linear", "matching", "cubic")),
            "not usable: the perplexity at 256 tokens is no number; try more tokens (distill.tokens) or lower rates "
            "(distill.lr).",
        ),
    ],
)
def test_one_sentence_says_where_and_what_to_try(outcome: Outcome, told: str | None) -> None:
    assert (outcome.note, outcome.usable) == (told, told is None)
    assert json.loads(json.dumps(outcome.to_dict(), allow_nan=False))["note"] == told


def test_the_papers_recipe_says_it_too(small_llama: Path, tmp_path: Path) -> None:
    design = GainCellConfig.named("leroux2025").replace(window=64, subtile_columns=16)
    settings = AdaptSettings(**FEW, held_back=2, distill={"tokens": 4 * 2 * 48, "batch": 2})
    result = paper_recipe(
        load(small_llama), design, tokenizer=Letters(), out=tmp_path, calibration=token_ids(), settings=settings
    )
    outcome = result.outcome
    assert outcome is not None
    assert ([at.length for at in outcome.lengths], outcome.stages) == ([48, 64], ("linear", "matching", "cubic"))
    assert lines_of(tmp_path)[:-1] == result.metrics
    assert lines_of(tmp_path)[-1] == {"stage": "outcome", **outcome.to_dict()}
