"""Quality and activity of a tiny model's design points: what they are, and that nothing is measured twice."""

from pathlib import Path
from typing import Any

import pytest
import torch
from tests.cli.command_tools import TEXT, save_tiny
from transformers import PreTrainedModel

import gaincell
from gaincell.adapt import AdaptSettings
from gaincell.cell import load_cell
from gaincell.explore import Study, begin, join
from gaincell.explore.bench import ModelBench
from gaincell.explore.rows import RowsAsked, read
from gaincell.hardware import Activity, HardwareParameters
from gaincell.models.load import load_model

POINT = gaincell.GainCellConfig.named("extended").replace(window=64, subtile_columns=16)
VARY = {"output_levels": "8,32"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model, a text, and what statistics found for it."""
    folder = tmp_path_factory.mktemp("explored")
    save_tiny(folder / "tiny")
    (folder / "words.txt").write_text("\n\n".join(f"{i} {TEXT[:600]}" for i in range(12)), "utf-8")
    model, tokenizer = load_model(folder / "tiny")
    settings = AdaptSettings(length=64, rows=2, held_back=0)
    found = gaincell.adapt(
        model, POINT, tokenizer=tokenizer, out=folder / "run", text=TEXT, stages=("statistics",), settings=settings
    )
    from gaincell.models import save_adapter

    save_adapter(found.model, load_model(folder / "tiny")[0], folder / "tiny.safetensors")
    return folder


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Counts the forward passes of whole models."""
    counted = [0]
    from transformers import LlamaForCausalLM

    before = LlamaForCausalLM.forward

    def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
        counted[0] += 1
        return before(self, *args, **kwargs)

    monkeypatch.setattr(LlamaForCausalLM, "forward", forward)
    return counted


def begun(folder: Path, place: Path, **what: Any) -> Study:
    vary, adapter = what.pop("vary", VARY), str(what.pop("adapter", folder / "tiny.safetensors"))
    given = {"rows": RowsAsked(str(folder / "words.txt"), rows=2, length=64), "cache": folder / "cache", **what}
    return begin(str(folder / "tiny"), vary, place, adapter=adapter, **given)


def original(folder: Path) -> tuple[PreTrainedModel, Any]:
    return load_model(folder / "tiny")


def test_quality_and_activity_are_those_of_the_rows(folder: Path, tmp_path: Path) -> None:
    study = begun(folder, tmp_path / "journal.log")
    assert isinstance(study.bench, ModelBench)
    point = POINT.replace(output_levels=8)
    measured = study.bench.measure(point, "as_is")

    model, tokenizer = original(folder)
    rows, learned = read(study.bench.asked, tokenizer)
    assert rows.shape == learned.shape == (2, 64)
    with torch.no_grad():
        wanted = model(rows).logits[:, :-1].log_softmax(-1).double()
        gaincell.convert_(gaincell.load_adapter(model, folder / "tiny.safetensors"), point)
        found = model(rows).logits[:, :-1].log_softmax(-1).double()
    kl = (wanted.exp() * (wanted - found)).sum(-1).mean()
    assert measured.kl == pytest.approx(float(kl), rel=1e-4)  # all 63 positions of a row are compared

    from gaincell.models import attention_activity

    activity = attention_activity(model, rows)
    for name, array in Activity.from_dict(measured.activity).arrays().items():
        assert array == pytest.approx(activity.arrays()[name], rel=1e-6, abs=1e-9)


def test_what_was_measured_is_not_measured_again(folder: Path, tmp_path: Path, passes: list[int]) -> None:
    """Not by another study either, and not for another number of the hardware; its cost is another all the same."""
    study = begun(folder, tmp_path / "a.log", cache=tmp_path / "cache")
    before = study.run()
    assert passes[0] > 0
    passes[0] = 0
    assert [x.figures for x in begun(folder, tmp_path / "b.log", cache=tmp_path / "cache").run()] == [
        x.figures for x in before
    ]
    cheaper = begun(
        folder, tmp_path / "c.log", cache=tmp_path / "cache", hardware=HardwareParameters(write_line_columns=4)
    )
    assert [x.figures["kl"] for x in cheaper.run()] == [x.figures["kl"] for x in before]
    named = begun(
        folder, tmp_path / "d.log", cache=tmp_path / "cache", config=study.asked.space.base.replace(name="other")
    )
    assert [x.figures["kl"] for x in named.run()] == [x.figures["kl"] for x in before]
    assert passes[0] == 0
    assert cheaper.points[0].figures["energy_j"] < before[0].figures["energy_j"]
    for kept in (tmp_path / "cache").glob("*.json"):
        kept.write_text("{}")
    assert [x.figures for x in begun(folder, tmp_path / "e.log", cache=tmp_path / "cache").run()] == [
        x.figures for x in before
    ]
    assert passes[0] > 0


def test_rows_of_a_sub_tile_are_measured_apart(folder: Path, tmp_path: Path) -> None:
    """Values' reference cells that differ are shared by so many rows: what one size gave is not another's."""
    cell = load_cell("ito-2t0c").model_copy(update={"name": "ref", "polarity": "reference"})
    point = POINT.replace(cell=cell, mismatch_gain=0.2, mismatch_zero_v=0.02, mismatch_seed=1)
    study = begun(folder, tmp_path / "a.log", cache=tmp_path / "one", config=point, vary={"subtile_rows": "1,8"})
    together = {x.values["subtile_rows"]: x.figures["kl"] for x in study.run()}
    alone = begun(folder, tmp_path / "b.log", cache=tmp_path / "two", config=point, vary={"subtile_rows": "8"})
    assert together[8] == alone.run()[0].figures["kl"] != together[1]


def test_matching_and_training_leave_the_adapter_as_it_was(folder: Path, tmp_path: Path) -> None:
    how: dict[str, Any] = {"fidelities": ("as_is", "matched", "distilled"), "tokens": 128, "vary": {"cell": "pmos-3t"}}
    study = begun(folder, tmp_path / "journal.log", cache=tmp_path / "cache", **how)
    study.run()
    kinds = {point.fidelity: point for point in study.measured if point.values == study.front[0].values}
    assert set(kinds) == {"as_is", "matched", "distilled"}
    assert len({point.figures["kl"] for point in kinds.values()}) == 3
    point = study.design(study.front[0])
    again = begun(folder, tmp_path / "other.log", cache=tmp_path / "another")
    assert again.bench.measure(point, "matched") != again.bench.measure(point, "as_is")
    study.bench.kept = type(study.bench.kept)(tmp_path / "third")  # pyright: ignore[reportAttributeAccessIssue]
    assert study.bench.measure(point, "as_is") == again.bench.measure(point, "as_is")


def test_layers_kept_digital_have_the_original_s_weights(folder: Path, tmp_path: Path) -> None:
    """What an adapter changed in a layer it changed for arrays."""
    from gaincell.models import save_adapter

    model = gaincell.load_adapter(original(folder)[0], folder / "tiny.safetensors")
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(1.2)
    save_adapter(model, original(folder)[0], tmp_path / "other.safetensors")
    point = POINT.replace(digital=[0])
    study = begun(
        folder, tmp_path / "a.log", cache=tmp_path / "cache", config=point, adapter=tmp_path / "other.safetensors"
    )
    assert isinstance(study.bench, ModelBench)
    found = study.bench.measure(point, "as_is").kl
    model, tokenizer = original(folder)
    rows, _ = read(study.bench.asked, tokenizer)
    with torch.no_grad():
        wanted = model(rows).logits[:, :-1].log_softmax(-1).double()
        gaincell.load_adapter(model, tmp_path / "other.safetensors", digital=[0])
        mixed = model(rows).logits[:, :-1].log_softmax(-1).double()
    assert found == pytest.approx(float((wanted.exp() * (wanted - mixed)).sum(-1).mean()), rel=1e-4)
    with pytest.raises(gaincell.InputError, match="the same digital layers"):
        study.bench.measure(POINT, "as_is")


def test_joining_needs_the_storage_and_a_text_that_is_no_packaged_one(folder: Path, tmp_path: Path) -> None:
    study = begun(folder, tmp_path / "journal.log", limits={"energy_j": 1.0})
    study.open()
    with pytest.raises(
        gaincell.InputError, match=r"the text '.*words\.txt', which joining does not read unasked.*--text"
    ):
        join(tmp_path / "journal.log", cache=folder / "cache")
    with pytest.raises(gaincell.InputError, match=r"holds another study \(text differ\)"):
        join(tmp_path / "journal.log", text="library", cache=folder / "cache")
    joined = join(tmp_path / "journal.log", text=str(folder / "words.txt"), cache=folder / "cache")
    assert len(joined.run()) == 2
    assert study.points == joined.points


def test_a_text_goes_by_its_content(folder: Path, tmp_path: Path) -> None:
    """Another file under the same path is another study; the same under another path is not."""
    text, other = tmp_path / "text.txt", tmp_path / "other.txt"
    text.write_bytes((folder / "words.txt").read_bytes())
    other.write_bytes(text.read_bytes())
    begun(folder, tmp_path / "journal.log", rows=RowsAsked(str(text), 2, 64)).open()
    begun(folder, tmp_path / "journal.log", rows=RowsAsked(str(other), 2, 64)).open()
    text.write_bytes(text.read_bytes()[::-1])
    with pytest.raises(gaincell.InputError, match=r"holds another study \(text differ\)"):
        begun(folder, tmp_path / "journal.log", rows=RowsAsked(str(text), 2, 64))


def test_rows_of_the_panel_are_refused(folder: Path, tmp_path: Path) -> None:
    from gaincell.evaluate.panel import GENRES

    text = tmp_path / "panel.txt"
    text.write_text(GENRES[0].text()[:20000], "utf-8")
    study = begun(folder, tmp_path / "journal.log", rows=RowsAsked(str(text), 2, 256))
    with pytest.raises(gaincell.InputError, match="holds a passage of the panel"):
        study.run()
