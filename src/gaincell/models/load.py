"""Models from folders: looked at before anything is loaded, safetensors only, nothing in them is ever executed."""

import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from safetensors import SafetensorError, safe_open
from transformers import AutoModelForImageTextToText, AutoTokenizer, PreTrainedModel

from gaincell.atomic import folder_written_aside
from gaincell.cell.cell import fields_of, read_json, read_text
from gaincell.config import GainCellConfig
from gaincell.errors import InputError
from gaincell.models.adapter import adapter_info, is_adapter, load_adapter
from gaincell.models.architecture import auto_class, check_reads_text
from gaincell.models.attention_modules import design_point
from gaincell.models.convert import convert_
from gaincell.models.demo_model import fetch_demo_model, load_demo_model

_METHOD = "gaincell"
_INDEX = "model.safetensors.index.json"
#: Of a model on the hub.
_FETCHED = ["*.json", "*.safetensors", "*.txt", "*.model", "*.jinja"]
#: What a model that looks at images has beside its tokenizer.
_PROCESSOR = ("preprocessor_config.json", "processor_config.json", "video_preprocessor_config.json")
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")


@dataclass(frozen=True)
class SavedModel:
    """What a model folder holds, as told by its config.json and the headers of its weights.

    Attributes:
        folder: where it lies.
        config: its config.json.
        kind: the class of transformers that loads it, such as `AutoModelForCausalLM`.
        weights: its safetensors files.
        design_point: at which design point it attends; None where config.json names none.
        scaled_layers: attention layers whose scalers are among the weights.
    """

    folder: Path
    config: dict[str, Any]
    kind: Any
    weights: tuple[Path, ...]
    design_point: GainCellConfig | None
    scaled_layers: int


def load_model(
    name_or_path: str | Path = "demo", digital: Iterable[int | str] | None = None
) -> tuple[PreTrainedModel, Any]:
    """A causal language model in float32 and its tokenizer, from a folder in Hugging Face format.

    Weights are read from safetensors files only, and no code in the folder is run. A folder that a converted model was
    saved to gives a converted model; so does an adapter, put on the demo model. A model that looks at images too is
    loaded whole, with what encodes them; it has to read text alone.

    Args:
        name_or_path: the folder; "demo" for the demo model (see `load_demo_model`); an adapter of the demo model, by
            its shipped name or as a file (see `load_adapter`); or "owner/name" on the Hugging Face hub, where there is
            no such folder.
        digital: layers and heads to keep digital, in place of those of its design point; see `load_adapter` and
            `convert_`.

    Raises:
        InputError: no such folder, nor one on the hub; weights that are missing, damaged or of another kind; remote
            code; a model that is not a causal decoder, or reads no text without an image; scalers without the design
            point that they belong to; layers or heads to keep digital of a model without arrays.
    """
    if str(name_or_path) == "demo":
        model, tokenizer = load_demo_model()
        return _kept_digital(model, digital), tokenizer
    if is_adapter(name_or_path):
        adapter_info(name_or_path)  # a file that is none is refused before the demo model is fetched
        model, tokenizer = load_demo_model()
        return load_adapter(model, name_or_path, digital), tokenizer
    saved = find_saved(str(name_or_path))
    folder = saved.folder
    try:
        model, loaded = saved.kind.from_pretrained(
            folder,
            dtype=torch.float32,
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
            output_loading_info=True,
        )
    except (InputError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # whatever a folder's own fields provoke inside transformers
        raise InputError(
            f"{folder} cannot be loaded: its weights do not fit its config.json ({_first(error)})."
        ) from error
    missing = sorted(loaded["missing_keys"])
    if missing:
        raise InputError(
            f"{folder}: the weights lack {len(missing)} of the tensors that config.json asks for, such as "
            f"{missing[0]}; fetch or save the model again."
        )
    if saved.kind is AutoModelForImageTextToText:
        check_reads_text(folder, model)
    return _kept_digital(model, digital), _load_tokenizer(folder)


def _kept_digital(model: PreTrainedModel, digital: Iterable[int | str] | None) -> PreTrainedModel:
    """A model as it is, or with these layers and heads digital."""
    if digital is None:
        return model
    config = design_point(model)
    if config is None:
        raise InputError("the model attends with softmax, so there is nothing to keep digital; convert it first.")
    return convert_(model, config, digital)


def check_model(name_or_path: str | Path) -> None:
    """Refuse what `load_model` would refuse, as far as can be told without reading weights; fetch what is elsewhere.

    Raises:
        InputError: as `load_model`.
    """
    if str(name_or_path) == "demo":
        fetch_demo_model()
    elif is_adapter(name_or_path):
        adapter_info(name_or_path)
    else:
        _load_tokenizer(find_saved(str(name_or_path)).folder)


def _load_tokenizer(folder: Path) -> Any:
    try:
        return AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    except Exception as error:  # tokenizers raises bare Exception
        raise InputError(f"{folder} has no usable tokenizer ({_first(error)}); save one there.") from error


def find_saved(name: str) -> SavedModel:
    """What a model's folder holds, fetched where it is on the hub.

    Raises:
        InputError: as `load_model`, as far as can be told without reading weights.
    """
    saved = inspect_model(_from_hub(name) or name)
    if saved.scaled_layers and saved.design_point is None:
        raise InputError(
            f"{saved.folder} holds gain-cell scalers, but its config.json has lost the design point, so it would "
            "attend with softmax; restore config.json's section 'quantization_config', or adapt the model again."
        )
    if saved.design_point is not None and not saved.scaled_layers:
        raise InputError(
            f"{saved.folder}: config.json names a design point, but the weights hold no scalers; remove the section "
            "'quantization_config' from config.json to load the model unconverted."
        )
    return saved


def _from_hub(name: str) -> Path | None:
    """The folder that a model of the hub was fetched to; None if this is not the name of one."""
    if re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", name) is None or Path(name).exists():
        return None
    try:
        return Path(snapshot_download(name, allow_patterns=_FETCHED, ignore_patterns=["*/*"]))
    except Exception as error:  # the hub's own, httpx's, the operating system's
        raise InputError(
            f"model '{name}' is not a folder here, and the hub gives none of that name ({_first(error)}); check the "
            "path, or the network."
        ) from error


def save_model(model: PreTrainedModel, tokenizer: Any, folder: str | Path) -> Path:
    """Save model and tokenizer: written to a folder beside, then renamed, so that `folder` is never half a model.

    How images are made ready for a model that looks at them is taken over from the folder that it was loaded from.

    Raises:
        OSError: the disk is full, or the folder cannot be written to.
    """
    folder = Path(folder)
    with folder_written_aside(folder) as aside:
        model.save_pretrained(aside)
        tokenizer.save_pretrained(aside)
        origin = model.config.name_or_path
        for path in (Path(origin) / name for name in _PROCESSOR) if origin else ():
            if path.is_file():
                shutil.copyfile(path, aside / path.name)
    return folder


def inspect_model(folder: str | Path) -> SavedModel:
    """Look at a model folder without loading it.

    Raises:
        InputError: as `load_model`, but for the pairing of design point and scalers, which is only told.
    """
    folder = Path(folder)
    config = _read_config(folder)
    _check_nothing_runs(folder, config)
    kind = _kind_of(folder, config)
    weights = _find_weights(folder)
    names = [name for path in weights for name in _tensor_names(path)]
    if not names:
        raise InputError(f"{folder}: the weights hold no tensors; fetch or save the model again.")
    scaled = {name.rpartition(".gaincell.")[0] for name in names if ".gaincell." in name}
    return SavedModel(folder, config, kind, tuple(weights), _design_point(folder, config), len(scaled))


def _read_config(folder: Path) -> dict[str, Any]:
    try:
        is_folder, is_file = folder.is_dir(), folder.is_file()
    except OSError:  # a name too long to be one
        is_folder = is_file = False
    if is_file:
        kind = "a GGUF file" if folder.suffix == ".gguf" else "a file"
        raise InputError(f"model {folder} is {kind}; give a folder with config.json and safetensors weights.")
    if not is_folder:
        raise InputError(f"model '{folder}' is neither 'demo' nor an adapter nor a folder; check the path.")
    path = folder / "config.json"
    if not path.is_file():
        raise InputError(f"{folder} has no config.json{_instead(folder)}; {_give(folder)}.")
    return read_json(path)


def _check_nothing_runs(folder: Path, config: dict[str, Any]) -> None:
    files = {"config.json": config}
    for name in ("tokenizer_config.json", "generation_config.json", "processor_config.json"):
        try:
            files[name] = json.loads((folder / name).read_text("utf-8"))
        except (OSError, ValueError, RecursionError):
            continue  # absent; or damaged, which loading will tell
    for name, content in files.items():
        for key, value in _walk(content):
            if key == "auto_map" and value:
                raise InputError(f"{folder}: {name} asks for code of its own (auto_map), which gaincell never runs.")
            if key.endswith(("attn_implementation", "experts_implementation")) and "/" in str(value):
                raise InputError(f"{folder}: {name} asks for code from elsewhere ({key}), which gaincell never runs.")


def _walk(value: Any) -> Iterator[tuple[str, Any]]:
    """Every key of nested JSON with its value."""
    stack = [value]
    while stack:
        here = stack.pop()
        if isinstance(here, dict):
            yield from here.items()
            stack.extend(here.values())
        elif isinstance(here, list):
            stack.extend(here)


def _kind_of(folder: Path, config: dict[str, Any]) -> Any:
    """What loads the model."""
    if not isinstance(config.get("model_type"), str):
        raise InputError(f"{folder}: config.json has no model_type; {_give(folder)}.")
    kind = auto_class(folder, config)
    method = _section(config).get("quant_method")
    if _section(config) and method != _METHOD:
        raise InputError(f"{folder} is quantised ('{method}'); give the unquantised model.")
    return kind


def _find_weights(folder: Path) -> list[Path]:
    if (folder / "model.safetensors").is_file():
        return [folder / "model.safetensors"]
    index = folder / _INDEX
    if not index.is_file():
        raise InputError(f"{folder} has no safetensors weights{_instead(folder)}.")
    try:
        names = sorted(set(json.loads(read_text(index))["weight_map"].values()))
        if not all(isinstance(name, str) and name == os.path.basename(name) for name in names):
            raise ValueError
    except InputError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise InputError(f"{index} does not say which files hold the weights; fetch or save the model again.") from None
    absent = [name for name in names if not (folder / name).is_file()]
    if absent or not names:
        what = f"{absent[0]} is missing" if absent else f"{_INDEX} names no weights"
        raise InputError(f"{folder}: {what}; fetch or save the model again.")
    return [folder / name for name in names]


def _tensor_names(path: Path) -> list[str]:
    """Names in a safetensors file; reads its header, which tells a truncated file too."""
    try:
        with safe_open(path, framework="pt") as file:
            return list(file.keys())
    except SafetensorError as error:
        raise InputError(f"{path} is damaged or truncated ({_first(error)}); fetch or save the model again.") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or _first(error)}.") from None


def _section(config: dict[str, Any]) -> dict[str, Any]:
    section = config.get("quantization_config")
    return section if isinstance(section, dict) else {}


def _design_point(folder: Path, config: dict[str, Any]) -> GainCellConfig | None:
    section = _section(config)
    if section.get("quant_method") != _METHOD:
        return None
    return GainCellConfig(**fields_of(section.get("design_point"), f"{folder}/config.json, design_point"))


def _instead(folder: Path) -> str:
    """What the folder holds in their place, told as the end of a sentence."""
    if any(True for _ in folder.glob("*.gguf")):
        return ", but a GGUF file, which gaincell does not read"
    if any(True for pattern in _PICKLES for _ in folder.glob(pattern)):
        return ", but pickled weights, which can run code when read; convert them to safetensors"
    return ""


def _give(folder: Path) -> str:
    """What to give instead of a folder that is none of a model's: a run folder has its model one level down."""
    for inside in (folder / "model", folder / "extended" / "model"):
        if (inside / "config.json").is_file():
            return f"its model is {inside}"
    return "give a folder in Hugging Face format"


def _first(error: Exception) -> str:
    """The start of an exception's message."""
    line = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return line.rstrip(".:")[:160]
