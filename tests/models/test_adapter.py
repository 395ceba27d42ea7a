"""Adapters: what adaptation learned goes into one file, and from there onto the base it was made for, or nowhere."""

import errno
import json
import resource
import signal
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from model_cases import CONFIG, LAYERS, byte_tokenizer, converted, logits, tokens, unconverted
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel
from warm import ended, start

import gaincell
from gaincell import InputError
from gaincell.models import adapter, adapter_info, base_hash, design_point, load, save_adapter, scalers_of
from gaincell.models.tensorfile import write_tensors

KEY = "gaincell_adapter"


def adapted(family: str = "llama", size: float = 1e-3) -> PreTrainedModel:
    """Converted, with scalers, attention weights and norms moved as adaptation would, embeddings left alone."""
    model = converted(family, torch.float32)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ("attn" in name or "norm" in name) and ".gaincell." not in name:
                parameter += size * torch.randn(parameter.shape, generator=generator)
    return model


def state(model: PreTrainedModel) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in model.named_parameters()}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.safetensors"
    save_adapter(adapted(), unconverted("llama"), path)
    return path


def refusal(model: PreTrainedModel, path: Path | str) -> str:
    """The sentence, having checked that the model is what it was."""
    before, attends = state(model), model.config._attn_implementation
    with pytest.raises(InputError) as refused:
        gaincell.load_adapter(model, path)
    assert state(model).keys() == before.keys()
    assert all(torch.equal(value, before[name]) for name, value in state(model).items())
    assert model.config._attn_implementation == attends
    sentence = str(refused.value)
    assert sentence.endswith((".", "?", ")"))
    assert "\n" not in sentence
    return sentence


def untouched(path: Path | str, model: PreTrainedModel | None = None) -> str:
    model = unconverted("llama") if model is None else model
    sentence = refusal(model, path)
    assert scalers_of(model) == {}
    assert design_point(model) is None
    assert "_prepare_cache_for_generation" not in vars(model)
    return sentence


@pytest.mark.parametrize("family", ["llama", "gpt2", "qwen3", "gemma3"])
def test_round_trip(family: str, tmp_path: Path) -> None:
    model, base = adapted(family), unconverted(family)
    info = save_adapter(model, base, tmp_path / "a.safetensors", notes="ein Versuch: µ")
    assert info == adapter_info(tmp_path / "a.safetensors")
    assert (info.rank, info.notes, info.gaincell) == (None, "ein Versuch: µ", gaincell.__version__)
    assert 0 < info.relative_error < 2**-8
    again = gaincell.load_adapter(unconverted(family), tmp_path / "a.safetensors")
    assert design_point(again) == design_point(model) == CONFIG.for_layers(LAYERS)
    found, wanted, before = state(again), state(model), state(base)
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        if name not in before or value.dim() == 1 or torch.equal(value, before[name]):
            assert torch.equal(found[name], value), name
        else:
            stored = (value - before[name]).bfloat16().float()
            assert torch.equal(found[name], before[name] + stored), name
    assert torch.equal(again.get_input_embeddings().weight, base.get_input_embeddings().weight)
    tied = [m.get_output_embeddings().weight is m.get_input_embeddings().weight for m in (again, model)]
    assert tied[0] == tied[1]


def test_only_what_changed_is_stored_and_tied_weights_once(tmp_path: Path) -> None:
    model, base = adapted("gpt2"), unconverted("gpt2")
    assert model.lm_head.weight is model.transformer.wte.weight
    with torch.no_grad():
        model.lm_head.weight[5] += 0.25
    save_adapter(model, base, tmp_path / "a.safetensors")
    names = [key.partition(":")[2] for key in load_file(tmp_path / "a.safetensors")]
    assert len(names) == len(set(names))
    assert "transformer.wte.weight" in names
    assert "lm_head.weight" not in names
    assert not [name for name in names if "mlp" in name]
    again = gaincell.load_adapter(unconverted("gpt2"), tmp_path / "a.safetensors")
    assert torch.equal(again.lm_head.weight, model.lm_head.weight)  # 0.25 is exact in bfloat16
    assert again.lm_head.weight is again.transformer.wte.weight


def test_a_low_rank_difference_is_small_and_as_exact_as_its_error_says(tmp_path: Path) -> None:
    model, base = adapted(), unconverted("llama")
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():  # tiny numbers of rank 2, which float16 would lose without scaling
        for layer in model.model.layers:
            weight = layer.self_attn.q_proj.weight
            u, v = (torch.randn(n, 2, generator=generator) for n in weight.shape)
            weight.copy_(base.get_submodule("model.layers.0").self_attn.q_proj.weight * 0)
            weight += 1e-9 * u @ v.T
    zeroed = {**base.state_dict(), **{f"model.layers.{i}.self_attn.q_proj.weight": weight * 0 for i in range(LAYERS)}}
    only = {k: v for k, v in model.state_dict().items() if "q_proj" in k or "gaincell" in k}
    model.load_state_dict({**zeroed, **only}, strict=True)
    info = save_adapter(model, zeroed, tmp_path / "a.safetensors", rank=2)
    assert info.relative_error < 1e-3
    start = unconverted("llama")
    start.load_state_dict(zeroed)
    again = gaincell.load_adapter(start, tmp_path / "a.safetensors")
    for name, value in only.items():
        error = (again.state_dict()[name] - value).norm() / value.norm().clamp(min=1e-30)
        assert error < (1e-3 if "q_proj" in name else 1e-30), name


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_the_error_falls_with_the_rank_and_is_the_best_there_is(family: str, tmp_path: Path) -> None:
    model, base = adapted(family), unconverted(family)
    errors, sizes = [], []
    for rank in (1, 4, 8):
        path = tmp_path / f"{rank}.safetensors"
        errors.append(save_adapter(model, base, path, rank=rank).relative_error)
        sizes.append(path.stat().st_size)
    assert errors == sorted(errors, reverse=True)
    assert sizes == sorted(sizes)
    before, lost, power = state(base), 0.0, 0.0
    for name, value in state(model).items():
        if name in before and value.dim() == 2 and not torch.equal(value, before[name]):
            values = torch.linalg.svdvals((value - before[name]).double()).square()
            lost, power = lost + float(values[4:].sum()), power + float(values.sum())
    assert errors[1] == pytest.approx((lost / power) ** 0.5, rel=1e-3)


def test_a_state_dict_serves_as_base_and_names_do_not_leak_paths(tmp_path: Path) -> None:
    unconverted("llama").save_pretrained(tmp_path / "secret" / "small-llama")
    base = AutoModelForCausalLM.from_pretrained(tmp_path / "secret" / "small-llama")
    by_model = save_adapter(adapted(), base, tmp_path / "a.safetensors")
    by_dict = save_adapter(adapted(), base.state_dict(), tmp_path / "b.safetensors", name="small-llama")
    assert by_model == by_dict
    assert by_model.base_name == "small-llama"
    assert b"secret" not in (tmp_path / "a.safetensors").read_bytes()
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


def test_saved_and_loaded_as_any_converted_model(file: Path, tmp_path: Path) -> None:
    model = gaincell.load_adapter(unconverted("llama"), str(file))
    model.save_pretrained(tmp_path / "whole")
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "whole")
    assert design_point(again) == design_point(model)
    assert torch.equal(logits(again, tokens(2, 30)), logits(model, tokens(2, 30)))
    assert model.generate(tokens(1, 5), max_new_tokens=4, pad_token_id=0).shape[1] <= 9


def test_the_hash_knows_values_not_dtypes() -> None:
    model = unconverted("llama")
    plain = base_hash(model)
    assert base_hash(unconverted("llama").double()) == plain
    assert base_hash(converted("llama", torch.float32)) == plain, "what conversion adds does not enter"
    rounded = base_hash(unconverted("llama").bfloat16())
    assert rounded != plain
    assert base_hash(unconverted("llama").bfloat16().float()) == rounded
    with torch.no_grad():
        model.model.layers[1].mlp.up_proj.weight[7, 9] += 1e-7
    assert base_hash(model) != plain
    assert base_hash(unconverted("qwen2")) != base_hash(unconverted("mistral"))


# What is refused.


def test_another_base(file: Path) -> None:
    other = unconverted("llama")
    with torch.no_grad():
        other.lm_head.weight[0, 0] += 1e-3
    assert "was made for another model" in untouched(file, other)
    assert "another model" in untouched(file, unconverted("qwen2"))
    assert "dtype=torch.float32" in untouched(file, unconverted("llama").to(torch.bfloat16))
    assert "dtype=torch.float32" in untouched(file, unconverted("llama").bfloat16().float())


def test_a_converted_model(file: Path) -> None:
    assert "already" in refusal(converted("llama", torch.float32), file)
    assert "already" in refusal(gaincell.load_adapter(unconverted("llama"), file), file)


def test_a_file_truncated_anywhere(file: Path) -> None:
    whole = file.read_bytes()
    for size in (0, 4, 8, 100, len(whole) // 2, len(whole) - 1):
        file.write_bytes(whole[:size])
        assert "truncated" in untouched(file)
    file.write_bytes(whole + b"x")
    assert "damaged" in untouched(file)
    file.write_bytes(whole)
    gaincell.load_adapter(unconverted("llama"), file)


def test_other_files(tmp_path: Path) -> None:
    for name, content in (("a.safetensors", b"{}" * 50), ("b.txt", b"an adapter")):
        (tmp_path / name).write_bytes(content)
        assert "no safetensors file" in untouched(tmp_path / name)
    save_file({"x": torch.zeros(2)}, tmp_path / "model.safetensors")
    assert "is not an adapter" in untouched(tmp_path / "model.safetensors")
    assert "neither a shipped adapter" in untouched(tmp_path)
    assert "neither" in untouched("x" * 5000)


def rewritten(path: Path, change: Callable[[dict[str, Any], dict[str, Tensor]], None]) -> Path:
    """The adapter with another header or other tensors."""
    header, tensors = asdict(adapter_info(path)), load_file(path)
    change(header, tensors)
    return write_tensors(path, tensors, KEY, header)


Q = "model.layers.1.self_attn.q_proj.weight"
SCALE = "model.layers.2.self_attn.gaincell.k_scale"


def spoil(kind: str) -> Callable[[dict[str, Any], dict[str, Tensor]], None]:
    def change(header: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        delta = tensors["delta:" + Q]
        rank = {"left:": delta[:, :3], "values:": torch.ones(3), "right:": delta[:3]}
        if kind == "factors":
            tensors |= {prefix + Q: value.clone() for prefix, value in rank.items()}  # and the difference, too
        elif kind == "half of the factors":
            del tensors["delta:" + Q]
            tensors |= {prefix + Q: value.contiguous() for prefix, value in rank.items() if prefix != "values:"}
        elif kind == "transposed factors":
            del tensors["delta:" + Q]
            tensors |= {prefix + Q: value.T.contiguous() for prefix, value in rank.items() if prefix != "values:"}
            tensors["values:" + Q] = torch.ones(3)
        elif kind == "shape":
            tensors["delta:" + Q] = delta[:-1]
        elif kind == "missing scaler":
            del tensors["whole:" + SCALE]
        elif kind == "scaler as a difference":
            tensors["delta:" + SCALE] = tensors.pop("whole:" + SCALE)
        elif kind == "scaler's shape":
            tensors["whole:" + SCALE] = torch.ones(7)
        elif kind == "unknown name":
            tensors["whole:model.layers.9.mlp.weight"] = torch.ones(7)
        elif kind == "unknown kind":
            tensors["sum:" + Q] = torch.ones(7)
        elif kind == "nan":
            delta[3, 4] = torch.nan
        elif kind == "newer":
            header |= {"format": 3, "more": 1}
        elif kind == "no design point":
            header["design_point"] = "extended"
        elif kind == "bad design point":
            header["design_point"]["window"] = -1
        elif kind == "no hash":
            del header["base_hash"]

    return change


@pytest.mark.parametrize(
    ("kind", "words"),
    {
        "factors": "does not fit",
        "half of the factors": "does not fit",
        "transposed factors": "does not fit",
        "shape": "does not fit",
        "missing scaler": "lacks 1 of",
        "scaler as a difference": "does not fit",
        "scaler's shape": "does not fit",
        "unknown name": "does not have",
        "unknown kind": "not an adapter",
        "nan": "not finite",
        "newer": "update gaincell",
        "no design point": "not an adapter",
        "bad design point": "'window'",
        "no hash": "not an adapter",
    }.items(),
)
def test_a_spoiled_adapter(kind: str, words: str, file: Path) -> None:
    assert words in untouched(rewritten(file, spoil(kind)))


def test_a_flipped_byte_anywhere_is_told(file: Path) -> None:
    whole, base = file.read_bytes(), unconverted("llama")
    generator = torch.Generator().manual_seed(5)
    header = 8 + int.from_bytes(whole[:8], "little")
    places = torch.cat((torch.randint(header, len(whole), (60,), generator=generator), torch.arange(0, header, 97)))
    for place in map(int, places):
        flipped = bytearray(whole)
        flipped[place] ^= 1 << int(torch.randint(8, (), generator=generator))
        file.write_bytes(flipped)
        with pytest.raises(InputError):
            gaincell.load_adapter(base, file)
        with pytest.raises(InputError):
            adapter_info(file)
    assert scalers_of(base) == {}


def test_a_file_without_a_hash_is_refused_until_its_owner_vouches_for_it(file: Path) -> None:
    header, tensors = asdict(adapter_info(file)), load_file(file)
    for version in (1, 2):
        save_file(tensors, file, metadata={KEY: json.dumps(header | {"format": version})})
        assert "carries no hash" in untouched(file)
    gaincell.models.seal_adapter(file)
    assert adapter_info(file).format == adapter.FORMAT
    gaincell.load_adapter(unconverted("llama"), file)


def test_what_cannot_be_saved(tmp_path: Path) -> None:
    base, path = unconverted("llama"), tmp_path / "a.safetensors"
    infinite = adapted()
    with torch.no_grad():
        infinite.model.norm.weight[0] = torch.inf
    for words, model, origin, options in (
        ("only a converted model", base, base, {}),
        ("original model", adapted(), adapted(), {}),
        ("original model", adapted(), adapted().state_dict(), {}),
        ("rank", adapted(), base, {"rank": 0}),
        ("does not have the model's", adapted(), {}, {}),
        ("does not have the model's", adapted(), unconverted("gpt2"), {}),
        ("model.norm.weight is not finite", infinite, base, {}),
    ):
        with pytest.raises(InputError, match=words):
            save_adapter(model, origin, path, **options)
    assert list(tmp_path.iterdir()) == []


# Shipped names, and the name or file in a model's place.


def test_shipped_names(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "(none ships)" in untouched("smollm2-extended") or adapter.adapter_names()
    monkeypatch.setattr(adapter, "_SHIPPED", tmp_path)
    assert adapter.adapter_names() == ["mine"]
    assert "a shipped adapter (mine) nor a file; did you mean mine?" in untouched("mien")
    assert "check the name" in untouched("something-else-altogether")
    assert design_point(gaincell.load_adapter(unconverted("llama"), "mine")) is not None


def test_an_adapter_in_a_models_place(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "load_demo_model", lambda: (unconverted("llama"), byte_tokenizer()))
    monkeypatch.setattr(adapter, "_SHIPPED", tmp_path)
    for name in ("mine", str(file)):
        model, _ = load.load_model(name)
        assert torch.equal(logits(model, tokens(1, 9)), logits(load.load_model(file)[0], tokens(1, 9)))
    monkeypatch.setattr(load, "load_demo_model", lambda: pytest.fail("fetched for nothing"))
    save_file({"x": torch.zeros(2)}, tmp_path / "model.safetensors")
    with pytest.raises(InputError, match="not an adapter"):
        load.load_model(tmp_path / "model.safetensors")


# Faults while writing.


def test_a_full_disk_leaves_the_file_that_was_there(file: Path) -> None:
    before = file.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, hard))
    try:
        with pytest.raises(OSError, match=rf"(?i)large|{errno.EFBIG}"):
            save_adapter(adapted(size=1e-2), unconverted("llama"), file)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert file.read_bytes() == before
    assert [path.name for path in file.parent.iterdir()] == [file.name]


_CHILD = """
import sys
sys.path.insert(0, sys.argv[1])
from test_adapter import adapted, save_adapter, unconverted
models, base = [adapted(size=s) for s in (1e-3, 1e-2)], unconverted("llama")
while True:
    for model in models:
        save_adapter(model, base, sys.argv[2])
"""


def test_killed_while_writing_again_and_again(file: Path) -> None:
    for number in range(2):
        file.unlink(missing_ok=True)
        child = start(_CHILD, str(Path(__file__).parent), str(file))
        deadline = time.monotonic() + 120
        while not file.exists() and child.exitcode is None and time.monotonic() < deadline:
            time.sleep(0.002)
        time.sleep(0.01 + 0.017 * number)
        child.kill()
        assert ended(child) == -signal.SIGKILL
        gaincell.load_adapter(unconverted("llama"), file)
