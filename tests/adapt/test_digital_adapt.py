"""Adapting with layers kept digital, and what each layer loses in gain cells."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from letters import Letters
from test_adapt import load, token_ids
from transformers import PreTrainedModel

import gaincell
from gaincell import GainCellConfig, InputError
from gaincell.adapt import AdaptSettings, adapt, paper_recipe
from gaincell.adapt.checks import check_start
from gaincell.adapt.distil.trainable import training_only
from gaincell.adapt.outcome import HeldBack
from gaincell.adapt.sensitivity import Sensitivity, Tried, measure_digital, sensitivity
from gaincell.models import design_point, load_adapter, save_adapter, scalers_of
from gaincell.models.fingerprint import own_weights

FEW: dict[str, Any] = {"rows": 4, "length": 48, "transfer.batch": 2, "transfer.steps": 2, "distill.batch": 2}
FEW |= {"distill.tokens": 192, "precision": "no", "held_back": 1}


def held_of(model: PreTrainedModel) -> HeldBack:
    return HeldBack(model, token_ids(2, 40), [40], 0, 0)


def test_digital_layers_are_skipped_by_layer_and_train_with_the_rest(
    small_llama: Path, small_design: GainCellConfig, tmp_path: Path
) -> None:
    design, original = small_design.replace(digital=(0, "1.2")), load(small_llama)
    given: dict[str, Any] = {"tokenizer": Letters(), "out": tmp_path, "calibration": token_ids(4, 48)}
    result = adapt(load(small_llama), design, stages=("statistics", "transfer"), settings=AdaptSettings(**FEW), **given)
    assert {m["layer"] for m in result.metrics if "layer" in m} == {1}
    first = {n: p for n, p in own_weights(result.model).items() if ".layers.0." in n}
    assert all(torch.equal(p, own_weights(original)[n]) for n, p in first.items())
    again = adapt(load(small_llama), design, stages=("distill",), settings=AdaptSettings(**FEW), **given)
    moved = [not torch.equal(p, own_weights(original)[n]) for n, p in own_weights(again.model).items() if "q_proj" in n]
    assert moved == [True, True]
    assert again.outcome is not None


def test_what_nothing_reads_is_not_trained(small_llama: Path, small_design: GainCellConfig) -> None:
    model = gaincell.convert_(load(small_llama), small_design, digital=(0, "1.0"))
    for train in ("attention", "all"):
        with training_only(model, AdaptSettings(**{"distill.train": train})):
            learning = {name for name, p in model.named_parameters() if p.requires_grad and ".gaincell." in name}
        assert learning
        assert all(".layers.1." in name for name in learning)


def test_the_papers_recipe_leaves_digital_layers_out(small_llama: Path, tmp_path: Path) -> None:
    design = GainCellConfig.named("leroux2025").replace(window=64, subtile_columns=16, digital=(1,))
    given: dict[str, Any] = {"tokenizer": None, "out": tmp_path, "calibration": token_ids(4, 48)}
    fields = {name: value for name, value in FEW.items() if not name.startswith("transfer")}
    result = paper_recipe(load(small_llama), design, settings=AdaptSettings(**fields), **given)
    assert {m["layer"] for m in result.metrics if m["stage"] == "matching"} == {0}
    found = design_point(result.model)
    assert found is not None
    assert found.digital == (1,)


def test_an_adapter_goes_onto_other_digital_layers(
    small_llama: Path, small_design: GainCellConfig, tmp_path: Path
) -> None:
    given: dict[str, Any] = {"tokenizer": None, "out": tmp_path / "run", "calibration": token_ids(4, 48)}
    adapted = adapt(load(small_llama), small_design, stages=("transfer",), settings=AdaptSettings(**FEW), **given).model
    save_adapter(adapted, load(small_llama), tmp_path / "a.safetensors")
    original = load(small_llama)
    model = load_adapter(load(small_llama), tmp_path / "a.safetensors", digital=(0, 1))
    ids = token_ids(1, 40)
    found, expected = (m(ids, use_cache=False).logits for m in (model, original))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    assert scalers_of(model).keys() == scalers_of(adapted).keys()
    goes_on = {**given, "out": tmp_path / "on", "start": tmp_path / "a.safetensors"}
    result = adapt(
        load(small_llama),
        small_design.replace(digital=(0,)),
        stages=("distill",),
        settings=AdaptSettings(**{k: v for k, v in FEW.items() if not k.startswith("transfer")}),
        **goes_on,
    )
    point = design_point(result.model)
    assert point is not None
    assert point.digital == (0,)


def test_sensitivity_is_that_of_models_made_so(small_llama: Path, small_design: GainCellConfig, tmp_path: Path) -> None:
    original = load(small_llama)
    held, weights = held_of(original), own_weights(original)
    given: dict[str, Any] = {"tokenizer": None, "out": tmp_path / "run", "calibration": token_ids(4, 48)}
    model = adapt(load(small_llama), small_design, stages=("transfer",), settings=AdaptSettings(**FEW), **given).model
    save_adapter(model.eval(), load(small_llama), tmp_path / "a.safetensors")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    seen: list[tuple[str, int, int]] = []
    kept = tmp_path / "kept.json"
    found = sensitivity(model, held, weights, budget=2, kept=kept, progress=lambda *told: seen.append(told))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(not scalers.digital for scalers in scalers_of(model).values())
    for tried in (*found.alone, *found.chosen):
        made = load_adapter(load(small_llama), tmp_path / "a.safetensors", digital=tried.digital).eval()
        assert held.measure(made)[-1].divergence == pytest.approx(tried.divergence, rel=1e-3, abs=1e-9)
    assert found.chosen[-1].digital == (0, 1)
    assert found.chosen[-1].divergence == pytest.approx(0.0, abs=1e-9)
    assert list(found.gains.values()) == sorted(found.gains.values(), reverse=True)
    assert seen[-1][1] == len(json.loads(kept.read_text())["tried"])
    assert sensitivity(model, held, weights, budget=2, kept=kept) == found
    chosen = [each.digital for each in found.chosen]
    assert measure_digital(model, held, weights, chosen, kept=kept) == found.chosen
    with torch.no_grad():
        next(iter(scalers_of(model).values())).q_scale.add_(1.0)
    with pytest.raises(InputError, match="another model"):
        sensitivity(model, held, weights, kept=kept)
    heads = sensitivity(model, held, weights, candidates=("0.1", "1.3"), budget=1)
    assert [each.digital for each in heads.alone] == [("0.1",), ("1.3",)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"budget": 3}, "cannot be chosen"),
        ({"candidates": (5,)}, "digital names 5"),
        ({"candidates": (0,), "digital": (0,)}, "digital already"),
    ],
)
def test_what_cannot_be_tried_is_refused(
    small_llama: Path, small_design: GainCellConfig, options: dict[str, Any], message: str
) -> None:
    original = load(small_llama)
    held = held_of(original)
    model = gaincell.convert_(load(small_llama).eval(), small_design, digital=options.pop("digital", None))
    with pytest.raises(InputError, match=message):
        sensitivity(model, held, own_weights(original), **options)
    with pytest.raises(InputError, match="attends with softmax"):
        sensitivity(original, held, own_weights(original))


def test_the_order_is_the_one_that_greed_finds() -> None:
    steps = [Tried((), 1.0, 2.0, 1.0), Tried((3,), 0.5, 1.5, 1.0), Tried(("1.2", 3), 0.25, 1.2, 1.0)]
    alone = (Tried((3,), 0.5, 1.5, 1.0), Tried(("1.2",), 0.8, 1.8, 1.0))
    found = Sensitivity(steps[0], alone, tuple(steps[1:]))
    assert found.order == (3, "1.2")
    assert found.gains == {3: 0.5, "1.2": pytest.approx(0.2)}
    assert steps[1].ratio == 1.5


def test_all_heads_one_by_one_are_the_layer_wherever_it_is_told_apart(
    small_llama: Path, small_design: GainCellConfig, tmp_path: Path
) -> None:
    heads, original = [f"1.{head}" for head in range(4)], load(small_llama)
    adapted = gaincell.convert_(load(small_llama), small_design)
    with torch.no_grad():
        for p in own_weights(adapted).values():
            p.mul_(1.01)
    save_adapter(adapted, original, tmp_path / "a.safetensors")
    loaded = load_adapter(load(small_llama), tmp_path / "a.safetensors", digital=heads)
    point = design_point(loaded)
    assert point is not None
    assert point.digital == (1,)
    for name, p in own_weights(loaded).items():
        assert torch.equal(p, own_weights(original)[name]) == (".layers.1." in name or not bool(p.any())), name
    save_adapter(loaded, original, tmp_path / "b.safetensors")
    given: dict[str, Any] = {"tokenizer": None, "out": tmp_path / "run", "calibration": token_ids(4, 48)}
    design = small_design.replace(digital=heads)
    result = adapt(load(small_llama), design, stages=("transfer",), settings=AdaptSettings(**FEW), **given)
    assert {m["layer"] for m in result.metrics if "layer" in m} == {0}
    assert adapt(load(small_llama), design, stages=("transfer",), learn=False, settings=AdaptSettings(**FEW), **given)
    check_start(load(small_llama), design, tmp_path / "b.safetensors", ["matching"])
    held = held_of(original)
    found = sensitivity(adapted.eval(), held, own_weights(original), candidates=heads, budget=4)
    assert found.chosen[-1].digital == (1,)
    alike = measure_digital(adapted, held, own_weights(original), [heads, [1]])
    assert alike == (found.chosen[-1],) * 2


@pytest.mark.parametrize("candidates", [[0, "0.1"], [0, 0], ("0", 0)])
def test_what_is_named_twice_is_tried_once(
    small_llama: Path, small_design: GainCellConfig, candidates: Iterable[int | str]
) -> None:
    held = held_of(original := load(small_llama))
    model = gaincell.convert_(load(small_llama).eval(), small_design)
    given = list(candidates)
    found = sensitivity(model, held, own_weights(original), candidates=given, budget=1)
    assert ([each.digital for each in found.alone], found.order) == ([(0,)], (0,))
    with pytest.raises(InputError, match="2 of 1 layers or heads cannot be chosen"):
        sensitivity(model, held, own_weights(original), candidates=given, budget=2)
    with pytest.raises(InputError, match="head 7 of layer 0"):
        sensitivity(model, held, own_weights(original), candidates=["0.7"])
