import inspect
import json
import signal
import sys
import time
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
import torch
from letters import Letters
from safetensors.torch import load_file
from transformers import (
    AutoModelForCausalLM,
    BertConfig,
    BertModel,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    GPT2LMHeadModel,
    PreTrainedModel,
)
from warm import ended, start

import gaincell
from gaincell import GainCellConfig, InputError
from gaincell.adapt import AdaptSettings, adapt
from gaincell.adapt.text.cut import read_rows
from gaincell.adapt.text.own_text import write_text
from gaincell.models import convert_, scalers_of

BY_LAYER = ("statistics", "transfer")
SMALL = {"vocab_size": 97, "bos_token_id": 1, "eos_token_id": 1}


def load(path: Path) -> PreTrainedModel:
    return AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)


def token_ids(n: int = 8, length: int = 48) -> torch.Tensor:
    return torch.randint(0, 97, (n, length), generator=torch.Generator().manual_seed(1))


def test_both_stages_lower_the_error_and_reach_projections_and_scalers(
    small_llama: Path, small_design: GainCellConfig, tmp_path: Path
) -> None:
    model, original = load(small_llama), load(small_llama)
    seen: list[tuple[str, int, int]] = []
    result = adapt(
        model,
        small_design,
        tokenizer=None,
        out=tmp_path / "run",
        calibration=token_ids(),
        settings=AdaptSettings(transfer={"steps": 80}),
        progress=lambda *step: seen.append(step),
        stages=BY_LAYER,
    )
    assert result.model is model
    assert seen == [(stage, done, 2) for stage in ("statistics", "transfer") for done in (1, 2)]
    for metrics in result.metrics:
        if metrics["stage"] == "transfer":
            assert metrics["relative_error"] < 0.9 * metrics["relative_error_before"]
    changed = {
        name.rpartition("self_attn.")[2]
        for name, weight in model.named_parameters()
        if name not in (old := dict(original.named_parameters())) or not torch.equal(weight, old[name])
    }
    projections = {f"{x}_proj.weight" for x in "qkvo"}
    scalers = {f"gaincell.{x}_{y}" for x in ("q", "k", "v", "out") for y in ("scale", "bias")}
    predicted = {f"gaincell.{of}.{x}" for of in ("preset", "sinks.share") for x in ("weight", "log_weight", "bias")}
    assert changed == projections | scalers | predicted


def test_transfer_learns_on_what_the_layers_below_give_or_on_the_original_hidden_states(
    small_llama: Path, small_design: GainCellConfig, tmp_path: Path
) -> None:
    """The first layer is given the embeddings either way."""
    found: dict[str, list[float]] = {}
    for inputs in ("student", "teacher"):
        settings = AdaptSettings.model_validate({"transfer": {"steps": 12, "inputs": inputs}})
        result = adapt(
            load(small_llama),
            small_design,
            tokenizer=None,
            out=tmp_path / inputs,
            calibration=token_ids(),
            settings=settings,
            stages=BY_LAYER,
        )
        lines = [line for line in result.metrics if line["stage"] == "transfer"]
        assert all(line["relative_error"] < line["relative_error_before"] for line in lines)
        found[inputs] = [line["relative_error"] for line in lines]
    assert found["student"][0] == found["teacher"][0]
    assert found["student"][1] != found["teacher"][1]


@pytest.mark.parametrize("rate", [1e3, 1e30])
def test_a_rate_far_too_large_leaves_the_layers_as_they_were(
    small_llama: Path, small_design: GainCellConfig, tmp_path: Path, rate: float
) -> None:
    settings = AdaptSettings(transfer={"steps": 8, "projection_lr": rate, "scaler_lr": rate, "predictor_lr": rate})
    result = adapt(
        load(small_llama),
        small_design,
        tokenizer=None,
        out=tmp_path,
        calibration=token_ids(),
        settings=settings,
        stages=BY_LAYER,
    )
    lines = [line for line in result.metrics if line["stage"] == "transfer"]
    assert [line["relative_error"] for line in lines] == [line["relative_error_before"] for line in lines]
    assert [line["kept"] for line in lines] == [True, True]


@pytest.mark.parametrize("kind", ["gpt2", "gemma3"])
def test_other_architectures_adapt(kind: str, small_design: GainCellConfig, tmp_path: Path) -> None:
    torch.manual_seed(0)
    if kind == "gpt2":
        model: Any = GPT2LMHeadModel(
            GPT2Config(n_embd=32, n_layer=2, n_head=4, n_positions=64, initializer_range=0.3, **SMALL)
        )
    else:
        config = Gemma3TextConfig(
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=8,
            sliding_window=32,
            layer_types=["sliding_attention", "full_attention"],
            **SMALL,
        )
        model = Gemma3ForCausalLM(config)
    result = adapt(
        model,
        small_design,
        tokenizer=None,
        out=tmp_path,
        calibration=token_ids(),
        settings=AdaptSettings(transfer={"steps": 12}),
        stages=BY_LAYER,
    )
    assert [m["relative_error"] < m["relative_error_before"] for m in result.metrics if m["stage"] == "transfer"] == [
        True,
        True,
    ]


_CHILD = """
import sys, torch
from pathlib import Path
from transformers import AutoModelForCausalLM
from gaincell import GainCellConfig
from gaincell.adapt import AdaptSettings, adapt
torch.set_num_threads(1)
model = AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=torch.float32)
design = GainCellConfig.named("extended").replace(window=64, subtile_columns=16)
ids = torch.randint(0, 97, (8, 48), generator=torch.Generator().manual_seed(1))
# Two runs might each find another precision the faster one.
settings = AdaptSettings(steps=30, precision="no")
adapt(model, design, tokenizer=None, out=sys.argv[2], calibration=ids, settings=settings,
      stages=("statistics", "transfer"))
torch.save(model.state_dict(), sys.argv[3])
"""


def run_child(model: Path, out: Path, weights: Path) -> BaseProcess:
    return start(_CHILD, str(model), str(out), str(weights))


def test_a_killed_run_resumes_to_the_very_same_weights(small_llama: Path, tmp_path: Path) -> None:
    assert ended(run_child(small_llama, tmp_path / "whole", tmp_path / "whole.pt")) == 0
    child = run_child(small_llama, tmp_path / "killed", tmp_path / "killed.pt")
    first = tmp_path / "killed" / "transfer" / "layer-000.safetensors"
    deadline = time.monotonic() + 120
    while not first.exists() and time.monotonic() < deadline:
        time.sleep(0.002)
    child.kill()
    assert ended(child) == -signal.SIGKILL, "it finished before it could be killed"
    assert not (tmp_path / "killed.pt").exists()
    # What a kill in the middle of a write leaves must not be taken for a finished layer.
    (tmp_path / "killed" / "transfer" / "layer-001.part").write_bytes(b"half")
    assert ended(run_child(small_llama, tmp_path / "killed", tmp_path / "killed.pt")) == 0
    whole, resumed = torch.load(tmp_path / "whole.pt"), torch.load(tmp_path / "killed.pt")
    assert whole.keys() == resumed.keys()
    for name, weight in whole.items():
        assert torch.equal(weight, resumed[name]), name
    assert (tmp_path / "whole" / "metrics.jsonl").read_text() == (tmp_path / "killed" / "metrics.jsonl").read_text()


def test_a_layer_is_not_learned_twice(small_llama: Path, small_design: GainCellConfig, tmp_path: Path) -> None:
    kwargs: dict[str, Any] = {"tokenizer": None, "out": tmp_path, "calibration": token_ids(), "stages": BY_LAYER}
    kwargs["settings"] = AdaptSettings(transfer={"steps": 5})
    first = adapt(load(small_llama), small_design, **kwargs)
    stamps = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*.safetensors")}
    second = adapt(load(small_llama), small_design, **kwargs)
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*.safetensors")} == stamps
    for a, b in zip(first.model.parameters(), second.model.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("batch", [1, 3, 8])
def test_errors_are_measured_at_every_batch(
    batch: int, small_llama: Path, small_design: GainCellConfig, tmp_path: Path
) -> None:
    settings = AdaptSettings(transfer={"batch": batch, "steps": 2})
    result = adapt(
        load(small_llama),
        small_design,
        tokenizer=None,
        out=tmp_path,
        calibration=token_ids(),
        settings=settings,
        stages=BY_LAYER,
    )
    assert all(0.01 < metrics["relative_error"] < 10 for metrics in result.metrics)


def test_stages_in_calls_of_their_own_give_what_one_call_gives(
    small_llama: Path, small_design: GainCellConfig, tmp_path: Path
) -> None:
    def run(folder: str, *stages: str) -> list[torch.Tensor]:
        settings = AdaptSettings(transfer={"steps": 4}, precision="no")
        out = tmp_path / folder
        adapt(
            model := load(small_llama),
            small_design,
            tokenizer=None,
            out=out,
            calibration=token_ids(),
            stages=stages,
            settings=settings,
        )
        return list(model.parameters())

    whole = run("whole", "statistics", "transfer")
    run("parts", "statistics")
    for a, b in zip(whole, run("parts", "transfer"), strict=True):
        assert torch.equal(a, b)
    run("bare", "transfer")
    with pytest.raises(InputError, match="did not start from statistics"):
        run("bare", "statistics", "transfer")


def refused(message: str, model: PreTrainedModel, design: Any, **kwargs: Any) -> None:
    with pytest.raises(InputError, match=message) as caught:
        adapt(model, design, **{"tokenizer": None, "calibration": token_ids(), "stages": BY_LAYER, **kwargs})
    assert "\n" not in str(caught.value)


def test_bad_input_is_refused_in_one_sentence(small_llama: Path, small_design: GainCellConfig, tmp_path: Path) -> None:
    model = load(small_llama)
    adapt(
        load(small_llama),
        small_design,
        tokenizer=None,
        out=tmp_path / "a",
        calibration=token_ids(),
        stages=["statistics"],
    )
    refused("belongs to another run", model, small_design, out=tmp_path / "a", settings=AdaptSettings(seed=1))
    refused("belongs to another run", model, small_design, out=tmp_path / "a", calibration=token_ids(6))
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "thesis.txt").write_text("mine")
    refused("holds something else", model, small_design, out=tmp_path / "b")
    refused("unknown stages", model, small_design, out=tmp_path / "c", stages=["magic"])
    refused("unknown statistics", model, small_design, out=tmp_path / "c", statistics="magic")
    refused("unknown design point", model, "nope", out=tmp_path / "c")
    refused("token ids of shape", model, small_design, out=tmp_path / "c", calibration=torch.zeros(3))
    refused(
        "holds 12 tokens",
        model,
        small_design,
        out=tmp_path / "c",
        calibration=None,
        tokenizer=Letters(),
        text="a short text",
    )
    few = {"calibration": token_ids(3), "settings": AdaptSettings(transfer={"batch": 4})}
    refused(r"smaller transfer\.batch", model, small_design, out=tmp_path / "c", **few)
    bert = BertModel(BertConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32))
    refused("both directions|interface", bert, small_design, out=tmp_path / "c")
    refused("float32", load(small_llama).bfloat16(), small_design, out=tmp_path / "c")
    assert not (tmp_path / "c").exists(), "a refused run leaves nothing behind"
    refused("already", convert_(model, small_design), small_design, out=tmp_path / "c")
    with pytest.raises(InputError, match="steps"):
        AdaptSettings(transfer={"steps": 0})


def test_layers_learn_from_as_many_rows_as_the_settings_ask_for(
    small_llama: Path, small_design: GainCellConfig, tmp_path: Path
) -> None:
    def learned(name: str, ids: torch.Tensor) -> dict[str, torch.Tensor]:
        model, settings = load(small_llama), AdaptSettings(rows=4, transfer={"steps": 4})
        adapt(
            model,
            small_design,
            tokenizer=None,
            out=tmp_path / name,
            calibration=ids,
            settings=settings,
            stages=BY_LAYER,
        )
        return model.state_dict()

    few, many, others = (learned(str(i), ids) for i, ids in enumerate((token_ids(4), token_ids(8), token_ids(8)[4:])))
    assert torch.equal(token_ids(8)[:4], token_ids(4))
    assert all(torch.equal(few[name], value) for name, value in many.items())
    assert any(not torch.equal(few[name], value) for name, value in others.items())


def test_a_folder_left_by_a_full_disk_is_taken_up_again(
    small_llama: Path, small_design: GainCellConfig, tmp_path: Path
) -> None:
    (tmp_path / "config.json.part").write_text('{"design_po')
    adapt(load(small_llama), small_design, tokenizer=None, out=tmp_path, calibration=token_ids(), stages=["statistics"])
    assert (tmp_path / "config.json").is_file()


def test_the_public_name_stays_callable_once_the_package_is_imported() -> None:
    assert gaincell.adapt is sys.modules["gaincell.adapt"]
    with pytest.raises(InputError, match="unknown stages"):
        gaincell.adapt(None, "extended", tokenizer=None, out="nowhere", stages=["magic"])  # type: ignore[arg-type]
    assert next(iter(inspect.signature(gaincell.adapt).parameters)) == "model"


def test_the_model_writes_the_same_text_for_the_same_seed(small_llama: Path) -> None:
    model = load(small_llama)
    first, again, other = (write_text(model, Letters(), 6, 12, seed) for seed in (3, 3, 4))
    assert first.shape == (6, 12)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert not (first[:, 1:] == Letters.eos_token_id).any()


def test_self_written_text_is_kept_and_learned_from(
    small_llama: Path, small_design: GainCellConfig, tmp_path: Path
) -> None:
    settings = AdaptSettings(rows=4, length=16, transfer={"steps": 3}, held_back=0)
    model = load(small_llama)
    adapt(model, small_design, tokenizer=Letters(), out=tmp_path, settings=settings, stages=BY_LAYER)
    assert (tmp_path / "calibration.safetensors").is_file()
    assert len(scalers_of(model)) == 2


def test_the_model_writes_more_where_distillation_would_meet_its_text_too_often(
    small_llama: Path, small_design: GainCellConfig, tmp_path: Path
) -> None:
    settings = AdaptSettings(
        rows=4,
        length=16,
        transfer={"batch": 2, "steps": 1},
        distill={"tokens": 16 * 18, "batch": 2, "repeats": 2},
        held_back=0,
    )
    kept = tmp_path / "calibration.safetensors"
    written = []
    for stages in (["transfer"], ["transfer", "distill"]):
        adapt(load(small_llama), small_design, tokenizer=Letters(), out=tmp_path, settings=settings, stages=stages)
        written.append(load_file(kept)["ids"])
    # 18 rows, each met twice at most, so 9 of them; whole blocks are written.
    assert len(written[0]) == 4
    assert 9 <= len(written[1]) < 18
    assert torch.equal(written[1][:4], written[0]), "what was learned from before stays"


def test_rows_come_from_all_over_a_text_and_more_begin_with_fewer() -> None:
    text = "".join(chr(ord("a") + i // 8) for i in range(8 * 20))
    few, many = (read_rows(Letters(), text, n, 8, seed=1) for n in (5, 20))
    assert torch.equal(many[:5], few)
    starts = many[:, 0].tolist()
    assert (many == many[:, :1]).all()
    assert len(set(starts)) == 20
    assert starts != sorted(starts)
    assert not torch.equal(many, read_rows(Letters(), text, 20, 8, seed=2))


def test_a_short_text_is_refused() -> None:
    assert read_rows(Letters(), "abcd" * 8, 4, 8).shape == (4, 8)
    with pytest.raises(InputError, match="32 tokens"):
        read_rows(Letters(), "abcd" * 8, 5, 8)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"query_sign": "unsigned"}, "signed queries; set query_sign"),
        ({"score_preset": False}, "together with a score preset; set score_preset"),
    ],
)
def test_statistics_refuse_a_design_point_they_cannot_fit(
    options: dict[str, Any], words: str, small_llama: Path, small_design: GainCellConfig, tmp_path: Path
) -> None:
    design = small_design.replace(**options)
    with pytest.raises(InputError, match=words):
        adapt(load(small_llama), design, tokenizer=None, out=tmp_path / "run", calibration=token_ids(), stages=BY_LAYER)
    assert not (tmp_path / "run").exists()


def tiny_gpt2(positions: int = 32, layers: int = 1) -> PreTrainedModel:
    torch.manual_seed(0)
    return GPT2LMHeadModel(GPT2Config(n_positions=positions, n_embd=32, n_layer=layers, n_head=4, **SMALL))


def test_a_model_writes_within_its_positions() -> None:
    text = write_text(tiny_gpt2(), Letters(), 8, 32, 0)
    assert text.shape == (8, 32)
    shorter = write_text(tiny_gpt2(), Letters(), 8, 24, 0)
    assert shorter.shape == (8, 24)


def test_a_tokenizer_may_pad_with_a_token_that_the_model_lacks() -> None:
    class Padding(Letters):
        bos_token_id = eos_token_id = 0
        pad_token_id = 97

    assert torch.equal(write_text(tiny_gpt2(), Padding(), 4, 12, 0), write_text(tiny_gpt2(), Letters(), 4, 12, 0))


def test_a_model_of_one_layer_adapts(small_design: GainCellConfig, tmp_path: Path) -> None:
    settings = AdaptSettings(transfer={"steps": 2})
    ids = token_ids(length=32)
    result = adapt(
        tiny_gpt2(), small_design, tokenizer=None, out=tmp_path, calibration=ids, settings=settings, stages=BY_LAYER
    )
    assert [m["stage"] for m in result.metrics] == ["statistics", "transfer"]


def test_rows_longer_than_the_positions_are_refused(small_design: GainCellConfig, tmp_path: Path) -> None:
    def run(**given: Any) -> None:
        adapt(tiny_gpt2(), small_design, tokenizer=Letters(), out=tmp_path / "run", stages=BY_LAYER, **given)

    with pytest.raises(InputError, match="48 tokens in a row, but this model has 32 positions"):
        run(calibration=token_ids(length=48), settings=AdaptSettings(length=16))
    with pytest.raises(InputError, match="48 tokens in a row"):
        run(text="a text", settings=AdaptSettings(length=48))
    with pytest.raises(InputError, match="one of them"):
        run(text="a text", calibration=token_ids(length=16))
    assert not (tmp_path / "run").exists()


def test_how_it_is_computed_and_what_a_newer_version_can_say_besides_do_not_make_another_run(
    small_llama: Path, small_design: GainCellConfig, tmp_path: Path
) -> None:
    def run(design: GainCellConfig) -> dict[str, torch.Tensor]:
        model = load(small_llama)
        adapt(model, design, tokenizer=None, out=tmp_path, calibration=token_ids(), stages=["statistics"])
        return model.state_dict()

    first, path = run(small_design), tmp_path / "config.json"
    config = json.loads(path.read_text())
    del config["design_point"]["pulse_law"], config["settings"]["learning_leak"]  # as before there were such
    path.write_text(json.dumps(config))
    again = run(small_design.replace(path="naive"))
    assert all(torch.equal(x, again[name]) for name, x in first.items())
    fewer = small_design.replace(output_levels=16)
    refused("design_point differ", load(small_llama), fewer, out=tmp_path, stages=["statistics"])


def test_the_leak_that_layers_learn_with_is_not_the_one_that_they_have(
    small_llama: Path, small_design: GainCellConfig, tmp_path: Path
) -> None:
    def learned(form: str | None, leak: float) -> torch.Tensor:
        design = small_design.replace(leak_per_token=leak)
        out, model = tmp_path / f"{form}-{leak}", load(small_llama)
        settings = AdaptSettings(transfer={"steps": 2, "batch": 2}, learning_leak=form)
        adapt(model, design, tokenizer=None, out=out, calibration=token_ids(), settings=settings, stages=BY_LAYER)
        assert {scalers.config.leak_form for scalers in scalers_of(model).values()} == {"cell"}
        refused(
            "settings differ: .*seed is 0 there",
            load(small_llama),
            design,
            out=out,
            settings=AdaptSettings(transfer={"steps": 2, "batch": 2}, seed=1),
        )
        return torch.cat([p.flatten() for p in model.parameters()])

    own, cell, factored = (learned(form, 0.02) for form in (None, "cell", "factored"))
    assert torch.equal(own, cell)
    assert not torch.equal(cell, factored)
    assert torch.equal(learned("cell", 0.0), learned("factored", 0.0))


def test_a_cell_that_decays_to_ground_is_learned_with_as_it_leaks(
    small_llama: Path, small_design: GainCellConfig, tmp_path: Path
) -> None:
    cell = small_design.cell
    ground = cell.model_copy(update={"retention": cell.retention.model_copy(update={"ends_at_v": -0.45})})
    design = small_design.replace(cell=ground, leak_per_token=0.02)
    model, settings = load(small_llama), AdaptSettings(transfer={"steps": 2, "batch": 2}, held_back=0)
    adapt(model, design, tokenizer=None, out=tmp_path, calibration=token_ids(), settings=settings, stages=BY_LAYER)
    assert {scalers.config.cell.retention.ends_at_v for scalers in scalers_of(model).values()} == {-0.45}


def test_what_cannot_be_learned_on_is_refused_before_any_text_is_written(
    small_llama: Path, small_design: GainCellConfig, tmp_path: Path
) -> None:
    naive = small_design.replace(path="naive")
    with pytest.raises(InputError, match="path 'naive' cannot compute this attention: it has no gradients"):
        adapt(load(small_llama), naive, tokenizer=Letters(), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_an_adapter_is_for_hardware_whatever_it_is_called_and_learned_with(small_design: GainCellConfig) -> None:
    other = small_design.replace(name="mine", path="naive", matmul="tf32", gradient="true-law", leak_form="factored")
    assert other.hardware == small_design.hardware
    for name, value in {"window": 32, "score_noise": 0.1, "output_levels": 16}.items():
        assert small_design.replace(**{name: value}).hardware != small_design.hardware, name
