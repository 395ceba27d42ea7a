"""Settings of adaptation: what is nested, older names, and run folders that recorded them."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from letters import Letters
from transformers import AutoModelForCausalLM, PreTrainedModel

from gaincell import GainCellConfig, InputError
from gaincell.adapt import AdaptSettings, DistillSettings, TransferSettings, adapt, paper_recipe
from gaincell.adapt.settings import OLDER_NAMES, every_setting

#: Settings as `config.json` recorded them before they were nested; in the folder `distill` those that start with it.
BY_LAYER: dict[str, Any] = {
    **{"rows": 4, "length": 48, "seed": 0, "statistics_rows": 2, "batch": 2, "steps": 3},
    **{"learning_leak": "factored", "inputs": "student", "projection_lr": 0.016, "scaler_lr": 0.01},
    **{"predictor_lr": 0.003, "tries": 3, "sink_weight": 1.0},
}
TRAINING: dict[str, Any] = {
    **{"distill_loss": "kl", "distill_tokens": 768, "distill_repeats": 4, "distill_batch": 2, "distill_length": None},
    **{"distill_train": "attention", "distill_lora_rank": 16, "distill_relative": True, "distill_lr": 0.002},
    **{"distill_scaler_factor": 0.8, "distill_betas": [0.9, 0.98], "distill_weight_decay": 0.0},
    **{"distill_warmup": 0.05, "distill_clip": 1.0, "distill_positions": 512, "distill_temperature": 1.0},
    **{"distill_hidden_weight": 1.0, "distill_teacher": "model", "distill_cached_tokens": 64},
    **{"distill_precision": "no", "learning_leak": "factored"},
}
PAPER: dict[str, Any] = {
    **{"distill_loss": "next-token", "distill_train": "all", "distill_relative": False, "distill_lr": 6e-4},
    **{"distill_scaler_factor": 1.0, "distill_betas": [0.9, 0.95], "distill_weight_decay": 0.1},
    **{"distill_warmup": 1 / 3, "learning_leak": None},
}
ASKED = AdaptSettings(
    **{"rows": 4, "length": 48, "precision": "no", "held_back": 0},
    transfer={"batch": 2, "steps": 3},
    distill=DistillSettings(tokens=768, batch=2, checkpoint_every=2),
)
KINDS = [("stages", "extended"), ("paper", "leroux2025")]


def learn(kind: str, design: str, model: Path, out: Path, settings: AdaptSettings = ASKED, **more: Any) -> Any:
    network = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    design = GainCellConfig.named(design).replace(window=64, subtile_columns=16)
    rows = torch.randint(0, 97, (4, 48), generator=torch.Generator().manual_seed(1))
    given = {"tokenizer": Letters(), "out": out, "calibration": rows, "settings": settings, **more}
    return (adapt if kind == "stages" else paper_recipe)(network, design, **given).model


def equal(a: PreTrainedModel, b: PreTrainedModel) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True))


def record(path: Path, settings: dict[str, Any]) -> None:
    config = json.loads(path.read_text())
    assert len(settings) == sum(len(v) if isinstance(v, dict) else 1 for v in config["settings"].values())
    path.write_text(json.dumps(config | {"settings": settings}))


@pytest.mark.parametrize(("kind", "design"), KINDS)
def test_a_run_that_recorded_older_names_goes_on_to_the_very_same_weights(
    kind: str, design: str, small_llama: Path, tmp_path: Path
) -> None:
    def interrupt(stage: str, done: int, _: int) -> None:
        if (stage, done) in (("distill", 4), ("cubic", 3)):
            raise KeyboardInterrupt

    whole = learn(kind, design, small_llama, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        learn(kind, design, small_llama, tmp_path / "run", progress=interrupt)
    (tmp_path / "run" / "precision.json").unlink(missing_ok=True)
    if kind == "stages":
        record(tmp_path / "run" / "config.json", BY_LAYER)
        record(tmp_path / "run" / "distill" / "config.json", TRAINING)
    else:
        record(tmp_path / "run" / "config.json", BY_LAYER | TRAINING | PAPER)
    # Also where the precision is what the run began with.
    assert equal(
        learn(kind, design, small_llama, tmp_path / "run", ASKED.model_copy(update={"precision": "auto"})), whole
    )
    for name, value in (("steps", 4), ("distill_lr", 1e-4)):
        full, there = OLDER_NAMES[name], (BY_LAYER | TRAINING | (PAPER if kind == "paper" else {}))[name]
        part, _, inner = full.partition(".")
        changed = getattr(ASKED, part).model_copy(update={inner: value})
        with pytest.raises(InputError, match=f"settings differ: {full} is {there} there"):
            learn(kind, design, small_llama, tmp_path / "run", ASKED.model_copy(update={part: changed}))


def test_every_older_name_is_one_of_a_setting_and_of_no_other() -> None:
    assert set(OLDER_NAMES.values()) <= every_setting().keys()
    assert not OLDER_NAMES.keys() & every_setting().keys()
    for older, full in OLDER_NAMES.items():
        default = AdaptSettings().model_dump()
        for part in full.split("."):
            default = default[part]
        assert AdaptSettings(**{older: default}).model_dump() == AdaptSettings(**{full: default}).model_dump()


def test_a_setting_is_given_nested_or_by_its_full_or_older_name() -> None:
    nested = AdaptSettings(distill={"lr": 1e-3}, transfer={"steps": 24}, learning_leak=None)
    assert nested == AdaptSettings(
        distill=DistillSettings(lr=1e-3), transfer=TransferSettings(steps=24), distill_leak=None
    )
    assert nested == AdaptSettings(**{"distill.lr": 1e-3, "transfer.steps": 24, "learning_leak": None})
    assert nested == AdaptSettings(distill_lr=1e-3, steps=24, distill_leak=None)
    assert (nested.distill.lr, nested.transfer.steps, nested.distill.batch) == (1e-3, 24, 1)
    both = AdaptSettings(distill={"lr": 1e-3}, distill_batch=3)
    assert both.model_dump(exclude_unset=True) == {"distill": {"lr": 1e-3, "batch": 3}}


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"distill_leak": "cell", "learning_leak": "factored"}, "distill_leak is the older name of the setting"),
        ({"distill_lr": 1e-3, "distill": {"lr": 1e-3}}, "distill_lr is the older name of the setting distill.lr"),
        ({"distill.lr": 1e-3, "distill": {"lr": 1e-3}}, "distill.lr is given twice"),
        ({"distill": {"lr": -1}}, "field 'distill.lr' is -1"),
        ({"distill_lr": -1}, "field 'distill.lr' is -1"),
        ({"distill": {"lrs": 1}}, "unknown field 'distill.lrs'; did you mean 'distill.lr'"),
        ({"step": 5}, "unknown field 'step'; did you mean 'transfer.steps'"),
        ({"distill": {1: 2}}, "unknown field 'distill.1'"),
        ({"distill": 5, "distill_lr": 1e-3}, "field 'distill' is 5"),
        ({"seed": {}}, "field 'seed' is {}"),
        ({"seed.x": 1}, "unknown field 'seed.x'"),
        ({"seed": 0, "seed.x": 1}, "unknown field 'seed.x'"),
        ({"length": 64, "length.foo": 3}, "unknown field 'length.foo'"),
        ({"distill.lr.x": 1}, "unknown field 'distill.lr.x'"),
    ],
)
def test_what_is_no_setting_is_refused_in_one_sentence(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError) as refused:
        AdaptSettings(**fields)
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_copy_is_not_given_what_it_would_ignore() -> None:
    for update in ({"steps": 3}, {"distill.lr": 1e-3}):
        with pytest.raises(InputError, match="model_copy knows no field"):
            AdaptSettings().model_copy(update=update)


def test_a_part_is_checked_by_itself_and_does_not_change() -> None:
    with pytest.raises(InputError, match="DistillSettings: field 'lr' is -1"):
        DistillSettings(lr=-1)
    with pytest.raises(ValueError, match="frozen"):
        AdaptSettings().distill.lr = 1.0
