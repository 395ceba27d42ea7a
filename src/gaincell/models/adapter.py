"""Adapters: what adaptation learned, in a file of its own, without the base model's weights."""

import copy
import difflib
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from gaincell.cell.cell import is_file
from gaincell.config import GainCellConfig
from gaincell.digital_heads import analog_layers
from gaincell.errors import InputError
from gaincell.models.attention_modules import blocks_of, design_point, scalers_of
from gaincell.models.convert import convert_
from gaincell.models.fingerprint import CONVERTED, base_hash, own_weights
from gaincell.models.tensorfile import check_hash, read_metadata, read_tensors, write_tensors
from gaincell.version import __version__
from gaincell.wheel import file_sha256

#: Grows when an older gaincell could not read a newer file, or could not be sure of it. Since 2: a hash of its content.
FORMAT = 2
#: SHA-256 of the adapters that shipped in format 1: their hashes.
_WITHOUT_HASH = (
    "39233b3a272ece28b803a246f64544bb10cbec107da15da090b8bfd48b14ba48",
    "a5e5fb69429c199c5f95214383a2f2e5c96185a84250fec71b5254779e110905",
)
_KEY = "gaincell_adapter"
_SHIPPED = resources.files("gaincell") / "adapters"
_FLOATS = (torch.float32, torch.float64)
#: Before a parameter's name, how it is kept: its value; its difference; or three factors of its difference.
_WHOLE, _DELTA, _FACTORS = "whole:", "delta:", ("left:", "values:", "right:")


@dataclass(frozen=True)
class AdapterInfo:
    """What an adapter's header says.

    Attributes:
        format: version of the file's layout.
        gaincell: version of the package that wrote it.
        design_point: the fields of a `GainCellConfig`, cell included.
        base_hash: `gaincell.models.base_hash` of the model it belongs on.
        base_name: what that model is called, if known.
        rank: rank at which differences of matrices were cut, or None where they are whole in bfloat16.
        relative_error: norm of what storing lost of the differences, over their norm.
        notes: whatever its maker wrote.
    """

    format: int
    gaincell: str
    design_point: dict[str, Any]
    base_hash: str
    base_name: str | None
    rank: int | None
    relative_error: float
    notes: str | None


@torch.no_grad()
def save_adapter(
    model: PreTrainedModel,
    base: PreTrainedModel | Mapping[str, Tensor],
    path: str | Path,
    *,
    rank: int | None = None,
    name: str | None = None,
    notes: str | None = None,
) -> AdapterInfo:
    """Save what sets an adapted model apart from its base: one safetensors file, written aside and renamed.

    Stored whole in float32: everything that conversion added (scalers), and changed parameters of one dimension (norms,
    biases). Changed matrices (m, n) are kept as their difference: in bfloat16, or, with a rank r, as its r largest
    singular values in float32 with their unit vectors in float16, (m, r) and (r, n), where that takes less.

    Args:
        model: the converted, adapted model.
        base: the model as it was before, or its state dict.
        path: the file, by custom `*.safetensors`.
        rank: at most so many singular values a matrix.
        name: what the base model is called; by default the last part of its `name_or_path`.
        notes: free text, kept in the header.

    Returns:
        What the header says, with the relative error of the differences.

    Raises:
        InputError: a model that is not converted, a base that is converted or lacks weights, a rank below 1, weights
            that are not finite.
        OSError: the disk is full, or the folder cannot be written to.
    """
    config = design_point(model)
    if config is None or not scalers_of(model):
        raise InputError("only a converted model has something to put in an adapter; convert and adapt it first.")
    if rank is not None and rank < 1:
        raise InputError(f"an adapter's rank must be 1 or more; got {rank}.")
    adapted = own_weights(model)
    weights = _weights_of(base, adapted)
    tensors = {_WHOLE + key: value.float() for key, value in _added(model).items()}
    lost, power = 0.0, 0.0
    for key, value in adapted.items():
        before, after = weights[key].detach().to("cpu", torch.float32), value.to("cpu", torch.float32)
        if torch.equal(before, after):
            continue
        if after.dim() < 2:
            tensors[_WHOLE + key] = after
            continue
        delta = after - before
        kept = _parts(delta, rank)
        tensors |= {prefix + key: part for prefix, part in kept.items()}
        lost += float((delta - _difference(kept)).double().square().sum())
        power += float(delta.double().square().sum())
    for key, value in tensors.items():
        if not bool(value.isfinite().all()):
            raise InputError(f"the model's {key.partition(':')[2]} is not finite, so its adapter would be of no use.")
    if name is None and isinstance(base, PreTrainedModel):
        name = Path(base.config.name_or_path or "").name or None
    info = AdapterInfo(
        format=FORMAT,
        gaincell=__version__,
        design_point=config.model_dump(mode="json"),
        base_hash=base_hash(model, weights),
        base_name=name,
        rank=rank,
        relative_error=(lost / power) ** 0.5 if power else 0.0,
        notes=notes,
    )
    stored_apart = {key: value.detach().cpu().contiguous().clone() for key, value in tensors.items()}
    write_tensors(path, stored_apart, _KEY, asdict(info))
    return info


@torch.no_grad()
def load_adapter(
    model: PreTrainedModel, name_or_path: str | Path, digital: Iterable[int | str] | None = None
) -> PreTrainedModel:
    """Convert a base model in place to an adapter's design point, and put on what adaptation learned.

    All or nothing: a refused adapter leaves the model as it was.

    Args:
        model: the unconverted model that the adapter was made for, in float32 or wider.
        name_or_path: a shipped adapter's name (see `gaincell.models.adapter_names`), or a file of `save_adapter`.
        digital: layers and heads to keep digital, in place of those that the adapter's design point names. A layer that
            the adapter knows in gain cells, and that is to be digital as a whole, stays the original's in all of its
            weights: what they learned, they learned for arrays. Single heads share theirs with others, so they attend
            with softmax by the weights that the adapter brings.

    Returns:
        The same model.

    Raises:
        InputError: no such adapter; a file that is damaged (by one bit, which its hash tells), truncated, no adapter,
            of a newer format, or from before files had a hash (see `seal_adapter`); another base model; a model that
            is converted already or in a narrower dtype; parameters missing or of other shapes; layers or heads to keep
            digital that it has not.
    """
    with _located(name_or_path) as path:
        info, config = _read_info(path)
        learned = config.digital
        config = config if digital is None else config.replace(digital=digital)
        if scalers_of(model):
            raise InputError("the model attends in gain cells already; an adapter goes on the original softmax model.")
        _check_base(model, info, path)
        changes = _grouped(read_tensors(path), path)
        _check_fit(_skeleton(model, config), changes, path)
    convert_(model, config)
    targets = own_weights(model) | _added(model)
    blocks = blocks_of(model)
    analog = analog_layers(learned, [scalers.heads for scalers in scalers_of(model).values()])
    now = [scalers.is_digital for scalers in scalers_of(model).values()]
    back = tuple(blocks[layer] for layer in analog if now[layer])
    for name, kept in changes.items():
        if name.startswith(back) and CONVERTED not in name:
            continue
        target = targets[name]
        if _WHOLE in kept:
            target.copy_(kept[_WHOLE])
        else:
            target.add_(_difference(kept).to(target.device))
    return model


def adapter_names() -> list[str]:
    """Names of the adapters that ship with the package."""
    names = [entry.name for entry in _SHIPPED.iterdir()] if _SHIPPED.is_dir() else []
    return sorted(name.removesuffix(".safetensors") for name in names if name.endswith(".safetensors"))


def adapter_info(name_or_path: str | Path) -> AdapterInfo:
    """What an adapter's header says, once the file's hash is found to be right.

    Raises:
        InputError: as `load_adapter`, of the file alone.
    """
    with _located(name_or_path) as path:
        return _read_info(path)[0]


def check_base(model: PreTrainedModel, name_or_path: str | Path) -> AdapterInfo:
    """What the header of an adapter says that was made for this unconverted model.

    Raises:
        InputError: another base model, and as `adapter_info`.
    """
    with _located(name_or_path) as path:
        info = _read_info(path)[0]
        _check_base(model, info, path)
    return info


def seal_adapter(path: str | Path) -> None:
    """Give an adapter of format 1 the hash that files carry since: for one that you know to be whole.

    Raises:
        InputError: no adapter, or one that cannot be read.
        OSError: the disk is full, or the folder cannot be written to.
    """
    path = Path(path)
    data = read_metadata(path, _KEY, "an adapter")
    write_tensors(path, read_tensors(path), _KEY, data | {"format": FORMAT})


def adapter_checksum(name_or_path: str | Path) -> str:
    """A checksum of an adapter's file."""
    with _located(name_or_path) as path:
        return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def is_adapter(name_or_path: str | Path) -> bool:
    """Whether this names a shipped adapter, or a safetensors file, which as a model can only be one."""
    path = Path(name_or_path)
    return str(name_or_path) in adapter_names() or (path.suffix == ".safetensors" and is_file(path))


@contextmanager
def _located(name_or_path: str | Path) -> Iterator[Path]:
    """The adapter's file, on disk while the context lasts."""
    text, names = str(name_or_path), adapter_names()
    if text in names:
        with resources.as_file(_SHIPPED / f"{text}.safetensors") as path:
            yield path
        return
    if not is_file(Path(name_or_path)):
        close = difflib.get_close_matches(text, names, 1)
        shipped = f"a shipped adapter ({', '.join(names)})" if names else "a shipped adapter (none ships)"
        advice = f"did you mean {close[0]}?" if close else "check the name or path."
        raise InputError(f"adapter '{text}' is neither {shipped} nor a file; {advice}")
    yield Path(name_or_path)


def _read_info(path: Path) -> tuple[AdapterInfo, GainCellConfig]:
    data = read_metadata(path, _KEY, "an adapter")
    has_hash = check_hash(path)
    version = data.get("format")
    if isinstance(version, int) and version > FORMAT:
        raise InputError(f"{path} has adapter format {version}, this gaincell reads {FORMAT}; update gaincell.")
    known = {field.name for field in fields(AdapterInfo)}
    point, found = data.get("design_point"), data.get("base_hash")
    if version not in (1, FORMAT) or data.keys() != known or not isinstance(point, dict) or not isinstance(found, str):
        raise InputError(f"{path} is not an adapter: its header lacks what an adapter's says; fetch or make it again.")
    if not has_hash and file_sha256(path) not in _WITHOUT_HASH:
        raise InputError(
            f"{path} carries no hash of its content (an older gaincell wrote it, or it is damaged); make it again, or, "
            "if you know that it is whole, call gaincell.models.seal_adapter."
        )
    return AdapterInfo(**data), GainCellConfig(**point)


def _check_base(model: PreTrainedModel, info: AdapterInfo, path: Path) -> None:
    narrow = {value.dtype for value in own_weights(model).values()} - {*_FLOATS}
    if narrow:
        raise InputError(
            f"{path} belongs on weights in float32, which these, in {str(narrow.pop()).removeprefix('torch.')}, cannot "
            "match; load the base with dtype=torch.float32 (and cast after the adapter is on)."
        )
    found = base_hash(model)
    if found != info.base_hash:
        name = "another model" if info.base_name is None else f"another model, '{info.base_name}'"
        raise InputError(
            f"{path} was made for {name} (hash {info.base_hash[:12]}, this one has {found[:12]}); load that one, "
            "unchanged, with dtype=torch.float32."
        )


def _skeleton(model: PreTrainedModel, config: GainCellConfig) -> PreTrainedModel:
    """The converted model without any memory: what conversion would refuse, it refuses here, before it is begun."""
    with torch.device("meta"):
        empty = type(model)(copy.deepcopy(model.config))
    return convert_(empty, config)


def _check_fit(skeleton: PreTrainedModel, changes: dict[str, dict[str, Tensor]], path: Path) -> None:
    added = _added(skeleton)
    shapes = {name: tuple(value.shape) for name, value in (own_weights(skeleton) | added).items()}
    missing = sorted(added.keys() - changes.keys())
    if missing:
        raise InputError(f"{path} lacks {len(missing)} of the model's parameters, such as {missing[0]}; make it again.")
    for name, kept in changes.items():
        if name not in shapes:
            raise InputError(f"{path} holds {name}, which the model does not have; make the adapter again.")
        shape = shapes[name]
        if kept.keys() == {*_FACTORS}:
            left, values, right = (kept[prefix] for prefix in _FACTORS)
            rank = len(values) if values.dim() == 1 else -1
            fits = len(shape) == 2 and left.shape == (shape[0], rank) and right.shape == (rank, shape[1])
        else:
            fits = len(kept) == 1 and all(tuple(value.shape) == shape for value in kept.values())
        if not fits or (name in added and _WHOLE not in kept):
            raise InputError(f"{path}: {name} does not fit the model's shape {shape}; make the adapter again.")


def _grouped(tensors: dict[str, Tensor], path: Path) -> dict[str, dict[str, Tensor]]:
    """Tensors by parameter, then by how they are kept."""
    found: dict[str, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        kind, colon, name = key.partition(":")
        if kind + colon not in (_WHOLE, _DELTA, *_FACTORS):
            raise InputError(f"{path} is not an adapter: it holds a tensor '{key:.60}'; check the path.")
        found.setdefault(name, {})[kind + colon] = value
    return found


def _added(model: PreTrainedModel) -> dict[str, Tensor]:
    """What conversion added to the state dict, by the names it has there."""
    parts = {f"{name}{CONVERTED}": scalers.state_dict() for name, scalers in scalers_of(model).items()}
    return {prefix + key: value for prefix, state in parts.items() for key, value in state.items()}


def _weights_of(base: PreTrainedModel | Mapping[str, Tensor], adapted: dict[str, Tensor]) -> dict[str, Tensor]:
    """The base's weights under the names of the adapted model's; tied ones are once in a model, twice in a dict."""
    given = dict(base.named_parameters()) if isinstance(base, PreTrainedModel) else base
    if any(CONVERTED in name for name in given):
        raise InputError("the base of an adapter must be the original model, but this one is converted.")
    for name, value in adapted.items():
        if name not in given or given[name].shape != value.shape:
            raise InputError(f"the base does not have the model's {name}, of shape {tuple(value.shape)}; check it.")
    return {name: given[name] for name in adapted}


def _parts(delta: Tensor, rank: int | None) -> dict[str, Tensor]:
    """A difference, float32, as it goes into the file."""
    short, long = sorted(delta.shape)[0], delta.numel() // min(delta.shape)
    if delta.dim() != 2 or rank is None or rank * (short + long) >= short * long:
        return {_DELTA: delta.bfloat16()}
    # Singular vectors from the smaller Gram matrix: in float64, its squared spread costs the largest ones nothing, and
    # it takes a tenth of the time of a whole SVD.
    wide = (delta if len(delta) == short else delta.T).double()
    left = torch.linalg.eigh(wide @ wide.T).eigenvectors[:, -rank:].flip(1)
    right = left.T @ wide
    values = right.norm(dim=1)
    right = right / values.clamp(min=1e-300)[:, None]
    if len(delta) != short:
        left, right = right.T, left.T
    # Unit vectors, so that float16 holds them equally well however small the difference is.
    return dict(zip(_FACTORS, (left.half(), values.float(), right.half()), strict=True))


def _difference(kept: dict[str, Tensor]) -> Tensor:
    """The difference, float32, that `_stored` made a file's tensors of."""
    if _DELTA in kept:
        return kept[_DELTA].float()
    left, values, right = (kept[prefix].float() for prefix in _FACTORS)
    return (left * values) @ right
