"""A converted model is saved, loaded, trained and loaded again as any other, by programs that do not name gaincell."""

import copy
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from model_cases import CONFIG, LAYERS, VOCABULARY, byte_tokenizer, converted, logits, tokens, unconverted
from torch import Tensor
from torch.utils.hooks import RemovableHandle
from transformers import AutoModelForCausalLM, PreTrainedModel, Trainer, TrainingArguments

import gaincell
from gaincell.models import RingCache, attention_modules, design_point, scalers_of
from gaincell.models.load import load_model, save_model


@pytest.fixture(scope="module", params=["llama", "gpt2", "gemma3"])
def saved(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[PreTrainedModel, Path]:
    model = converted(request.param, torch.float32)
    folder = tmp_path_factory.mktemp("converted") / request.param
    model.save_pretrained(folder)
    return model, folder


def scaler_values(model: PreTrainedModel) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in model.named_parameters() if ".gaincell." in name}


def test_a_reloaded_model_is_the_one_saved(saved: tuple[PreTrainedModel, Path]) -> None:
    model, folder = saved
    again = AutoModelForCausalLM.from_pretrained(folder)
    assert type(again) is type(model)
    assert design_point(again) == design_point(model) == CONFIG.for_layers(LAYERS)
    assert [s.config for s in scalers_of(again).values()] == [s.config for s in scalers_of(model).values()]
    assert set(again.state_dict()) == set(model.state_dict())
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in again.state_dict().items())
    ids = tokens(2, 30)
    assert torch.equal(logits(again, ids), logits(model, ids))
    out = again.generate(ids[:, :5], max_new_tokens=20, return_dict_in_generate=True, pad_token_id=0)
    assert isinstance(out.past_key_values, RingCache)


def test_the_design_point_has_its_own_section_of_the_config(saved: tuple[PreTrainedModel, Path]) -> None:
    _, folder = saved
    section = json.loads((folder / "config.json").read_text("utf-8"))["quantization_config"]
    assert section["quant_method"] == "gaincell"
    assert gaincell.GainCellConfig(**section["design_point"]) == CONFIG.for_layers(LAYERS)


def test_a_flipped_bit_of_a_scaler_is_told(saved: tuple[PreTrainedModel, Path], tmp_path: Path) -> None:
    folder = shutil.copytree(saved[1], tmp_path / "copy")
    path = folder / "model.safetensors"
    whole = path.read_bytes()
    start = 8 + int.from_bytes(whole[:8], "little")
    header = json.loads(whole[8:start])
    scalers = [entry["data_offsets"] for name, entry in header.items() if ".gaincell." in name]
    for first, end in scalers[:: len(scalers) // 4]:
        flipped = bytearray(whole)
        flipped[start + (first + end) // 2] ^= 1
        path.write_bytes(flipped)
        with pytest.raises(gaincell.InputError, match="hash"):
            AutoModelForCausalLM.from_pretrained(folder)
    path.write_bytes(whole)
    again = AutoModelForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        next(iter(scalers_of(again).values())).k_scale.add_(1)
    copy.deepcopy(again).save_pretrained(folder)  # the hash is that of what is saved
    AutoModelForCausalLM.from_pretrained(folder)


@pytest.mark.parametrize("family", ["llama", "gemma3"])
def test_a_pickled_model_attends_as_before(family: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    model, ids, path = converted(family), tokens(2, 30), tmp_path / "whole.pt"
    torch.save(model, path)
    attention = next(iter(attention_modules(model)))
    taken = next(iter(model.get_submodule(attention)._forward_pre_hooks))
    monkeypatch.setattr(RemovableHandle, "next_id", taken)  # as in a process that has set fewer hooks
    again = torch.load(path, weights_only=False)
    again.get_submodule(attention).register_forward_pre_hook(lambda *_: None)  # does not take its place
    assert torch.equal(logits(again, ids), logits(model, ids))
    with torch.no_grad():  # it has scalers of its own
        for scalers in scalers_of(model).values():
            scalers.out_scale.mul_(-3.0)
    assert not torch.equal(logits(again, ids), logits(model, ids))
    options: dict[str, Any] = {"max_new_tokens": 20, "do_sample": False, "pad_token_id": 0, "eos_token_id": None}
    out = again.generate(ids[:, :5], return_dict_in_generate=True, **options)
    assert isinstance(out.past_key_values, RingCache)
    assert torch.equal(out.sequences, again.generate(ids[:, :5], use_cache=False, **options))
    again.save_pretrained(tmp_path / "folder")  # with the hash of its scalers
    assert "scalers_sha256" in (tmp_path / "folder" / "config.json").read_text("utf-8")
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "folder", dtype=torch.float64)
    torch.save(loaded, path)
    for twin in (copy.deepcopy(loaded), torch.load(path, weights_only=False)):
        assert torch.equal(logits(twin, ids), logits(loaded, ids))
    with pytest.raises(gaincell.InputError, match="packed"):
        logits(again, ids, position_ids=torch.arange(15).repeat(2)[None])


def test_scalers_saved_without_a_hash_are_told(
    saved: tuple[PreTrainedModel, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = shutil.copytree(saved[1], tmp_path / "copy")
    AutoModelForCausalLM.from_pretrained(folder)
    assert "hash" not in caplog.text
    config = json.loads((folder / "config.json").read_text("utf-8"))
    del config["quantization_config"]["scalers_sha256"]
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    AutoModelForCausalLM.from_pretrained(folder)
    assert "saved without a hash of its scalers" in caplog.text


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_loading_in_a_narrow_dtype_rounds_no_scaler(saved: tuple[PreTrainedModel, Path], dtype: torch.dtype) -> None:
    model, folder = saved
    narrow = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)
    expected = scaler_values(model)
    assert any(not torch.equal(value, value.to(dtype).float()) for value in expected.values())
    found = scaler_values(narrow)
    assert found.keys() == expected.keys()
    for name, value in found.items():
        assert value.dtype == torch.float32
        assert torch.equal(value, expected[name])
    assert narrow.dtype == dtype
    assert logits(narrow, tokens(1, 20)).dtype == dtype


def test_saving_twice_changes_nothing(saved: tuple[PreTrainedModel, Path], tmp_path: Path) -> None:
    model, folder = saved
    AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).save_pretrained(tmp_path)
    again = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    assert all(torch.equal(value, scaler_values(model)[name]) for name, value in scaler_values(again).items())
    assert design_point(again) == design_point(model)


def test_another_design_point_for_a_checkpoint_is_an_act_of_its_own(saved: tuple[PreTrainedModel, Path]) -> None:
    model, folder = saved
    again = gaincell.convert_(AutoModelForCausalLM.from_pretrained(folder), CONFIG.replace(output_levels=4))
    assert all(torch.equal(value, scaler_values(model)[name]) for name, value in scaler_values(again).items())
    assert (logits(again, tokens(1, 30)) - logits(model, tokens(1, 30))).abs().max() > 1e-3


def run_python(code: str, folder: Path, **environment: str) -> tuple[str, str]:
    """What a fresh process prints and logs."""
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


LOAD = """
import sys, torch
from transformers import AutoModelForCausalLM
model = AutoModelForCausalLM.from_pretrained(sys.argv[1])
print(model.config._attn_implementation, model(torch.arange(3, 33)[None], use_cache=False).logits.double().sum().item())
"""
PIPELINE = """
import sys, torch
from transformers import pipeline
model = pipeline("text-generation", model=sys.argv[1]).model
print(model.config._attn_implementation, model(torch.arange(3, 33)[None], use_cache=False).logits.double().sum().item())
"""
LM_EVAL = """
import sys, torch
from lm_eval.api.registry import get_model
model = get_model("hf").create_from_arg_string(f"pretrained={sys.argv[1]},device=cpu,dtype=float32").model
print(model.config._attn_implementation, model(torch.arange(3, 33)[None], use_cache=False).logits.double().sum().item())
"""


@pytest.mark.parametrize("saved", ["llama"], indirect=True)
@pytest.mark.parametrize(
    "code",
    [
        pytest.param(LOAD, id="from_pretrained"),
        pytest.param("import transformers.quantizers.auto" + PIPELINE, id="pipeline, the list before torch"),
        pytest.param(LM_EVAL, id="lm-eval"),
    ],
)
def test_a_fresh_process_loads_what_was_saved(saved: tuple[PreTrainedModel, Path], tmp_path: Path, code: str) -> None:
    model, _ = saved
    if code == LM_EVAL:
        pytest.importorskip("lm_eval")
    save_model(model, byte_tokenizer(), tmp_path / "saved")
    implementation, total = run_python(code, tmp_path / "saved")[0].split()
    assert implementation == "gaincell"
    assert float(total) == pytest.approx(float(logits(model, torch.arange(3, 33)[None]).double().sum()), rel=1e-5)


@pytest.mark.parametrize("saved", ["llama"], indirect=True)
def test_switched_off_it_is_softmax_and_the_log_tells(saved: tuple[PreTrainedModel, Path]) -> None:
    printed, logged = run_python(LOAD, saved[1], TORCH_DEVICE_BACKEND_AUTOLOAD="0")
    assert printed.split()[0] == "sdpa"
    assert "gaincell" in logged


def test_watching_imports_nothing(tmp_path: Path) -> None:
    code = """
import sys
import torch
print(*sorted(name for name in sys.modules if name.partition(".")[0] in ("gaincell", "transformers")))
import transformers.modeling_utils
print(*sorted(name for name in sys.modules if name.partition(".")[0] == "gaincell"))
"""
    assert run_python(code, tmp_path)[0].split("\n")[:2] == ["gaincell gaincell.autoload gaincell.version"] * 2


class Texts(torch.utils.data.Dataset[dict[str, Tensor]]):
    """One short text over and over."""

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {"input_ids": tokens(1, 24)[0], "labels": tokens(1, 24)[0]}


def fine_tune(model: PreTrainedModel, folder: Path, **options: Any) -> list[float]:
    arguments = TrainingArguments(
        output_dir=str(folder),
        max_steps=6,
        per_device_train_batch_size=2,
        learning_rate=5e-3,
        lr_scheduler_type="constant",
        logging_steps=1,
        save_strategy="no",
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
        dataloader_pin_memory=False,
        **options,
    )
    trainer = Trainer(model=model, args=arguments, train_dataset=Texts())
    trainer.train()
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


@pytest.mark.parametrize("saved", ["llama"], indirect=True)
@pytest.mark.parametrize("start", ["converted", "reloaded", "reloaded in bfloat16"])
def test_trainer_fine_tunes_scalers_and_weights_unpatched(
    saved: tuple[PreTrainedModel, Path], tmp_path: Path, start: str
) -> None:
    options = {}
    if start == "converted":
        model = converted("llama", torch.float32)
    elif start == "reloaded":
        model = AutoModelForCausalLM.from_pretrained(saved[1])
    else:
        model, options = AutoModelForCausalLM.from_pretrained(saved[1], dtype=torch.bfloat16), {"bf16": True}
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    losses = fine_tune(model, tmp_path, **options)
    assert losses[-1] < losses[0]
    changed = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    for name in attention_modules(model):
        assert {f"{name}.{part}.weight" for part in ("q_proj", "k_proj", "v_proj", "o_proj")} <= changed
        kinds = [f"{kind}_{letter}" for kind in ("q", "k", "v", "out") for letter in ("scale", "bias")]
        assert {f"{name}.gaincell.{kind}" for kind in kinds} <= changed
    model.save_pretrained(tmp_path / "tuned")
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "tuned", dtype=model.dtype)
    assert torch.equal(logits(again.eval(), tokens(1, 20)), logits(model.eval(), tokens(1, 20)))


def test_an_unconverted_checkpoint_stays_what_it_was(tmp_path: Path) -> None:
    model = unconverted("llama")
    model.save_pretrained(tmp_path)
    again = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert scalers_of(again) == {}
    assert again.config._attn_implementation != "gaincell"
    assert logits(again, tokens(1, 9)).shape[-1] == VOCABULARY


def test_a_model_of_the_hub_is_loaded_from_where_it_was_fetched_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = unconverted("llama")
    save_model(model, byte_tokenizer(), tmp_path / "fetched")
    asked: list[tuple[str, list[str]]] = []

    def fetch(name: str, allow_patterns: list[str], ignore_patterns: list[str]) -> str:
        assert ignore_patterns == ["*/*"]
        asked.append((name, allow_patterns))
        return str(tmp_path / "fetched")

    monkeypatch.setattr("gaincell.models.load.snapshot_download", fetch)
    monkeypatch.chdir(tmp_path)
    loaded, _ = load_model("owner/name")
    assert all(torch.equal(a, b.float()) for a, b in zip(loaded.parameters(), model.parameters(), strict=True))
    assert [name for name, _ in asked] == ["owner/name"]
    assert not any(pattern.endswith((".py", ".bin", "*")) for pattern in asked[0][1])  # nothing that could run
    (tmp_path / "owner").mkdir()
    (tmp_path / "fetched").rename(tmp_path / "owner" / "name")
    load_model("owner/name")  # a folder here comes first
    assert len(asked) == 1
