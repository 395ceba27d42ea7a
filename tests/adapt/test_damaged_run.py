"""Every file of a run that is damaged is named in one sentence, and none is taken for what it was."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from gaincell.adapt import precision
from gaincell.adapt.distil.teacher import _read
from gaincell.adapt.run.checkpoints import Checkpoints
from gaincell.adapt.run.folder import Run
from gaincell.adapt.text.held_out import keep_learned, share_learned
from gaincell.errors import InputError
from gaincell.files import read_object, with_hash
from gaincell.models.tensorfile import write_tensors
from gaincell.study.steps import Record, Step

CONFIG = {"design_point": {"name": "x"}, "settings": {"seed": 0}, "model": "abc"}


def flipped(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "cut": lambda content: content[: len(content) // 2],
    "empty": lambda content: b"",
    "zeros": lambda content: bytes(len(content)),
    "no UTF-8": lambda content: b"\xff\xfe" + content,
    "a list": lambda content: b"[1, 2]\n",
    "a number": lambda content: b"7\n",
    "an object": lambda content: b"{}\n",
    "nested": lambda content: b"[" * 100_000 + b"\n",
}


def begun(folder: Path) -> Run:
    """A run with a finished layer, a step, a tensor, and what was learned from."""
    run = Run(folder, CONFIG)
    run.save("transfer", 0, nn.Linear(3, 3).state_dict(), {"stage": "transfer", "layer": 0, "relative_error": 0.5})
    run.log({"stage": "distill", "step": 1, "loss": 1.0})
    run.keep("held-back", torch.arange(6))
    keep_learned(run, torch.arange(4096).view(4, 1024))
    return run


def read_all(folder: Path) -> None:
    run = Run(folder, CONFIG)
    run.load("transfer", 0, nn.Linear(3, 3))
    run.rewind("distill", 0)
    run.tensor("held-back")
    share_learned(folder, range(1024))
    precision._kept(folder)


TENSORS = ["transfer/layer-000.safetensors", "held-back.safetensors", "learned.safetensors"]
FILES = ["config.json", "metrics.jsonl", *TENSORS]


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_of_a_run_is_named(name: str, damage: str, tmp_path: Path) -> None:
    begun(tmp_path)
    read_all(tmp_path)
    path = tmp_path / name
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    if name == "metrics.jsonl" and damage in ("cut", "empty"):  # as a kill leaves it: less was finished
        read_all(tmp_path)
        return
    with pytest.raises(InputError) as told:
        read_all(tmp_path)
    assert path.name in str(told.value) or "belongs to another run" in str(told.value)
    assert str(told.value).endswith(".")


@pytest.mark.parametrize("name", TENSORS)
def test_one_flipped_bit_of_a_tensor_is_told(name: str, tmp_path: Path) -> None:
    begun(tmp_path)
    path = tmp_path / name
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    with pytest.raises(InputError, match="its content is not what its hash says"):
        read_all(tmp_path)


@pytest.mark.parametrize("damage", [*DAMAGES, "flipped", "other shapes"])
def test_a_damaged_checkpoint_is_told_and_the_one_before_taken(
    damage: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    layer = nn.Linear(2, 2)
    named, kept = dict(layer.named_parameters()), Checkpoints(tmp_path)
    optimiser = torch.optim.SGD(layer.parameters())
    for step in (1, 2):
        with torch.no_grad():
            layer.weight.fill_(step)
        kept.save(step, named, optimiser)
    path = tmp_path / "step-00000002.safetensors"
    if damage == "other shapes":
        write_tensors(path, {f"parameter/{name}": torch.zeros(1) for name in named}, "gaincell_checkpoint", {})
    else:
        path.write_bytes((DAMAGES | {"flipped": flipped})[damage](path.read_bytes()))
    assert kept.load(named, optimiser) == 1
    assert layer.weight.tolist() == [[1.0, 1.0], [1.0, 1.0]]
    assert "going on from the one before" in caplog.text


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_lesson_is_named(damage: str, tmp_path: Path) -> None:
    path = tmp_path / "rows-000000.safetensors"
    write_tensors(path, {"tokens": torch.zeros(4, 2)}, "lesson", {})
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    with pytest.raises(InputError, match=r"rows-000000\.safetensors is damaged"):
        _read(tmp_path, 1)


@pytest.mark.parametrize("damage", [*DAMAGES, "flipped", "a step of numbers", "a step without a result"])
def test_a_damaged_record_is_named(damage: str, tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    record = Record(path, {"seed": 0})
    record.store(Step("one", "One", lambda _: {}), {"value": 1}, 0.5)
    assert Record(path, {"seed": 0}).result("one") == {"value": 1}
    found = json.loads(path.read_text("utf-8"))
    del found["sha256"]
    steps = {"a step of numbers": {"one": 7}, "a step without a result": {"one": {"seconds": 1}}}
    if damage in steps:
        path.write_text(json.dumps(found | {"steps": steps[damage]}), "utf-8")
    else:
        path.write_bytes((DAMAGES | {"flipped": flipped})[damage](path.read_bytes()))
    with pytest.raises(InputError, match=r"results\.json .*--out"):
        Record(path, {"seed": 0})


def test_an_object_with_a_hash_is_that_object_or_damaged(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    content = {"b": [1.5, None, "\N{GREEK SMALL LETTER MU}"], "a": {"x": True}}
    whole = json.dumps(with_hash(content)).encode()
    path.write_bytes(whole)
    assert read_object(path) == content
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 2]) + whole[place + 1 :])
        try:
            found = read_object(path)
        except InputError:
            continue
        assert found == content or "sha256" not in json.loads(path.read_text("utf-8")), place
