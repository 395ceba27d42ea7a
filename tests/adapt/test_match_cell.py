"""An adapter on another cell: what its arrays draw is brought back to what it learned with, without learning."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from gaincell import GainCellConfig, InputError, convert_
from gaincell.adapt import AdaptSettings, adapt
from gaincell.adapt.stages.layers import attending_by
from gaincell.adapt.stages.matching import _arrays
from gaincell.adapt.stages.statistics import Moments
from gaincell.cell import Cell, PolynomialLaw, load_cell
from gaincell.models import load_adapter, save_adapter, scalers_of
from gaincell.models.interface import gaincell_attention
from gaincell.ops.quantise import stored_voltage

# The published law, but lower and weaker where it is negative: a head's sum moves.
LAW = PolynomialLaw(coefficients=(-0.6, 12.0, 1.5, 40.0), unit="model", source="a test")
OTHER = Cell(name="other", law=LAW, retention=load_cell("leroux2025").retention)


def load(path: Path) -> PreTrainedModel:
    return AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)


def token_ids(n: int = 6, length: int = 48) -> torch.Tensor:
    return torch.randint(0, 97, (n, length), generator=torch.Generator().manual_seed(1))


def matched(path: Path, out: Path, design: GainCellConfig, start: Path, **given: Any) -> Any:
    arguments = {
        "stages": ("matching",),
        "calibration": token_ids(),
        "settings": AdaptSettings(statistics_rows=8),
    } | given
    return adapt(load(path), design, tokenizer=None, out=out, start=start, **arguments)


@pytest.fixture(scope="module", params=["leroux2025", "extended"])
def design(request: pytest.FixtureRequest) -> GainCellConfig:
    return GainCellConfig.named(request.param).replace(window=64, subtile_columns=16)


@pytest.fixture(scope="module")
def adapter(design: GainCellConfig, small_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("adapter")
    result = adapt(
        load(small_llama),
        design,
        tokenizer=None,
        out=folder / "run",
        calibration=token_ids(),
        stages=("statistics",),
    )
    save_adapter(result.model, load(small_llama), folder / "learned.safetensors")
    return folder / "learned.safetensors"


def drawn(model: PreTrainedModel) -> dict[str, Moments]:
    """Moments of what the first layer stores, as charges, and of what its arrays put out."""
    found: dict[str, Moments] = {}
    scalers = next(iter(scalers_of(model).values()))

    def watch(module: Any, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        if module.layer_idx == 0:
            for name, x in (("k", k), ("v", v)):
                y = stored_voltage(scalers.scale(name, x), scalers.config)
                found[name] = Moments.of(scalers.config.cell.model_law(y))
            found["out"] = Moments.of(scalers.scale("out", _arrays(scalers, q, k, v)))
        return gaincell_attention(module, q, k, v, *args, **kwargs)

    with attending_by(model, watch), torch.no_grad():
        model(token_ids(), use_cache=False)
    return found


def test_charges_and_output_have_the_moments_that_they_had(
    adapter: Path, design: GainCellConfig, small_llama: Path, tmp_path: Path
) -> None:
    other = design.replace(cell=OTHER)
    result = matched(small_llama, tmp_path / "run", other, adapter)
    assert [line["layer"] for line in result.metrics] == [0, 1]
    assert {each.config.cell.name for each in scalers_of(result.model).values()} == {"other"}
    learned = load_adapter(load(small_llama), adapter)
    target, fitted = drawn(learned), drawn(result.model)
    plain = drawn(convert_(learned, other))
    torch.testing.assert_close(fitted["out"].std, target["out"].std, rtol=1e-3, atol=0)
    torch.testing.assert_close(
        fitted["out"].mean, target["out"].mean, rtol=0, atol=1e-3 * float(target["out"].std.max())
    )
    for name in ("k", "v"):  # charges come in steps, and only so near
        (near, far) = (float((x[name].mean - target[name].mean).abs().max()) for x in (fitted, plain))
        assert near < 0.1 < 2 * near + 0.1 < far
        torch.testing.assert_close(fitted[name].std, target[name].std, rtol=0.03, atol=0)
    again = matched(small_llama, tmp_path / "run", other, adapter)
    for a, b in zip(result.model.parameters(), again.model.parameters(), strict=True):
        assert torch.equal(a, b), "what is finished is read back"


@pytest.mark.parametrize("design", ["extended"], indirect=True)
def test_pairs_of_cells_are_matched_by_the_charge_of_values(
    adapter: Path, design: GainCellConfig, small_llama: Path, tmp_path: Path
) -> None:
    law = {"coefficients": [6.0, 8.0, 9.0, 12.0], "unit": "model", "source": "a test"}
    retention = {"tau": 5, "unit": "ms", "source": "a test", "ends_at_v": -0.45}
    own = Cell.model_validate({"name": "pair", "polarity": "pair", "law": law, "retention": retention})
    result = matched(small_llama, tmp_path / "run", design.replace(cell=own), adapter)
    target, fitted = drawn(load_adapter(load(small_llama), adapter)), drawn(result.model)
    for name in ("k", "v"):
        assert float((fitted[name].mean - target[name].mean).abs().max()) < 0.1
        torch.testing.assert_close(fitted[name].std, target[name].std, rtol=0.03, atol=0)
    torch.testing.assert_close(fitted["out"].std, target["out"].std, rtol=1e-3, atol=0)
    result.model.save_pretrained(tmp_path / "model")
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    assert {each.config.cell for each in scalers_of(again).values()} == {own}


@pytest.mark.parametrize("design", ["leroux2025"], indirect=True)
def test_a_model_whose_sums_moved_comes_back(
    adapter: Path, design: GainCellConfig, small_llama: Path, tmp_path: Path
) -> None:
    other = design.replace(cell=OTHER)
    result = matched(small_llama, tmp_path / "run", other, adapter)
    first = result.metrics[0]  # the second layer sees what the first puts out
    assert first["relative_error"] < 0.7 * first["relative_error_before"]
    learned = load_adapter(load(small_llama), adapter)
    moved = convert_(load_adapter(load(small_llama), adapter), other)
    with torch.no_grad():
        logits = [model(token_ids()).logits.log_softmax(-1) for model in (learned, moved, result.model)]
    target, plain, fitted = logits
    assert (fitted - target).square().mean() < 0.7 * (plain - target).square().mean()


def test_the_same_cell_changes_next_to_nothing(
    adapter: Path, design: GainCellConfig, small_llama: Path, tmp_path: Path
) -> None:
    result = matched(small_llama, tmp_path / "run", design, adapter)
    assert max(line["relative_error"] for line in result.metrics) < 1e-9


@pytest.mark.parametrize("design", ["extended"], indirect=True)
def test_a_preset_takes_the_offset_of_the_circuits_off(
    adapter: Path, design: GainCellConfig, small_llama: Path, tmp_path: Path
) -> None:
    figures = {"source": "a test", "nonlinearity": 0, "below_zero_s": 0, "saturated_s": 15e-9}
    slow, exact = ({**figures, "gain": gain, "offset_s": offset} for gain, offset in ((0.98, 0.3e-9), (1.0, 0.0)))
    circuit = {"charge_to_pulse": slow, "signed_charge_to_pulse": exact}
    cell = Cell.model_validate({**design.cell.model_dump(), "circuit": circuit})
    result = matched(small_llama, tmp_path / "run", design.replace(cell=cell, charge_to_pulse="cell"), adapter)
    first = result.metrics[0]
    assert first["relative_error"] < 0.9 * first["relative_error_before"]
    learned = scalers_of(load_adapter(load(small_llama), adapter)).values()
    for before, after in zip(learned, scalers_of(result.model).values(), strict=True):
        assert before.preset is not None
        assert after.preset is not None
        torch.testing.assert_close(after.preset.bias, before.preset.bias - 0.02 / 0.98)


def test_distillation_goes_on_from_there(
    adapter: Path, design: GainCellConfig, small_llama: Path, tmp_path: Path
) -> None:
    settings = AdaptSettings(distill={"tokens": 2 * 4 * 48, "batch": 4, "lr": 1e-4})
    result = matched(
        small_llama,
        tmp_path / "run",
        design.replace(cell=OTHER),
        adapter,
        stages=("matching", "distill"),
        settings=settings,
    )
    assert [line["stage"] for line in result.metrics] == ["matching"] * 2 + ["distill"] * 2


def test_what_cannot_be_matched(adapter: Path, design: GainCellConfig, small_llama: Path, tmp_path: Path) -> None:
    for changes, words in (
        ({"design": design.replace(window=32)}, "window must stay"),
        ({"stages": ("matching", "transfer")}, "begin anew"),
        ({"start": None}, "which adapter"),
    ):
        given = {"design": design, "start": adapter} | changes
        with pytest.raises(InputError, match=words):
            matched(small_llama, tmp_path / "run", given.pop("design"), given.pop("start"), **given)
    assert not (tmp_path / "run").exists()
