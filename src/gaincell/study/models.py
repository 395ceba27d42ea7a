"""Models by the names that a user gives them: how they are loaded, what they are called, and what they were made of."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gaincell.errors import InputError
from gaincell.files import read_object

if TYPE_CHECKING:
    from transformers import PreTrainedModel

#: A model and its tokenizer.
Loaded = tuple["PreTrainedModel", Any]
#: Gives them by name, as `load_model` does.
Load = Callable[[str], Loaded]


def load_model(name_or_path: str, device: str = "cpu", digital: Iterable[int | str] | None = None) -> Loaded:
    """`gaincell.models.load.load_model`, and the model onto a device.

    Raises:
        InputError: as that.
    """
    from gaincell.models.load import load_model

    model, tokenizer = load_model(name_or_path, digital)
    if device != "cpu":
        model.to(device)  # pyright: ignore[reportArgumentType]
    return model, tokenizer


def check_positions(model: "PreTrainedModel", length: int, what: str) -> None:
    """Refuse more tokens than the model has positions for.

    Raises:
        InputError: there are fewer positions than `length`.
    """
    from gaincell.models import positions_of

    positions = positions_of(model)
    if positions is not None and length > positions:
        raise InputError(
            f"{what} asks for {length} tokens in a row, but this model has {positions} positions; use fewer."
        )


def attention_of(model: "PreTrainedModel") -> str:
    """What a model attends with, in a word: its design point's name, or softmax."""
    from gaincell.models import design_point

    point = design_point(model)
    return "softmax" if point is None else point.name


def labels(given: Sequence[str]) -> dict[str, str]:
    """What each model is called, and what it is loaded by; adapters have their original before them.

    Raises:
        InputError: a model that cannot be one, or two that would have one name.
    """
    from gaincell.models.adapter import is_adapter
    from gaincell.models.load import check_model

    names = {"original": "demo"} if any(map(is_adapter, given)) else {}
    for name in dict.fromkeys(given):
        path = Path(name)
        if is_adapter(name):
            label = path.stem
        elif name == "demo":
            label = "original"
        else:
            last = path.resolve().parts[-2:] if path.exists() else (path.name,)
            label = "-".join(last) if last[-1] == "model" else last[-1]  # a run's model lies in its folder
        if names.get(label, name) != name:
            raise InputError(f"'{names[label]}' and '{name}' would both be called '{label}'; rename one.")
        names[label] = name
    for name in given:  # all of them, before hours go into the first
        check_model(name)
    return names


def original_first(names: dict[str, str], load: Load = load_model) -> dict[str, str]:
    """The models with their original first, which `load` gives.

    Raises:
        InputError: nothing tells what a converted model was made of.
    """
    from gaincell.models.load import inspect_model

    for label, name in names.items():
        if name == "demo":  # given, or put in front of an adapter
            return {label: name, **names}
    label, name = next(iter(names.items()))
    if not Path(name).exists() or inspect_model(name).design_point is None:
        return names
    if _made_of_demo(Path(name), load):
        return {"original": "demo", **names}
    raise InputError(
        f"{name} attends in gain cells, and nothing beside it tells what it was made of; name its original first: "
        f"gaincell evaluate ORIGINAL --also {name} --panel."
    )


def _made_of_demo(folder: Path, load: Load) -> bool:
    """Whether a model lies in the folder of a run that began with the demo model."""
    from gaincell.models import base_hash

    try:
        began = read_object(folder.resolve().parent / "config.json")["model"]
    except (InputError, KeyError):
        return False
    return began == base_hash(load("demo")[0])
