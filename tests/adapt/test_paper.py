"""The paper's recipe: a linear model first, statistics matched to it, and the design point's own law on top."""

import json
import signal
import socket
import time
from collections.abc import Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from hypothesis import given
from hypothesis import strategies as st
from letters import Letters
from test_distill import _SHARDING as SHARDING
from transformers import AutoModelForCausalLM, PreTrainedModel
from warm import ended, start

from gaincell import GainCellConfig, InputError, convert_, perplexity
from gaincell.adapt import AdaptResult, AdaptSettings, adapt, paper_recipe
from gaincell.adapt.distil.stage import Training
from gaincell.adapt.distil.teacher import divergence, from_text
from gaincell.adapt.distil.trainable import groups
from gaincell.adapt.paper_recipe import linear_design, paper_settings, split_steps
from gaincell.adapt.run.folder import Run
from gaincell.adapt.stages.matching import match_model, show
from gaincell.cell import Cell, load_cell
from gaincell.models import scalers_of
from gaincell.models.attention_modules import design_point

STEPS = 24
TOKENS = STEPS * 4 * 48  # of 4 rows of 48
DESIGN = GainCellConfig.named("leroux2025").replace(window=64, subtile_columns=16)


def load(path: Path, dtype: str = "float32") -> PreTrainedModel:
    return AutoModelForCausalLM.from_pretrained(path, dtype=getattr(torch, dtype))


def token_ids(n: int = 8, length: int = 48) -> torch.Tensor:
    """Text with something to learn: a token mostly decides the next one."""
    generator = torch.Generator().manual_seed(1)
    rows = torch.randint(0, 97, (n, length), generator=generator)
    for t in range(1, length):
        likely = torch.rand(n, generator=generator) < 0.8
        rows[:, t] = torch.where(likely, (rows[:, t - 1] * 7 + 3) % 97, rows[:, t])
    return rows


def adapted(model: PreTrainedModel, out: Path, design: Any = DESIGN, **arguments: Any) -> AdaptResult:
    settings = {"distill.tokens": TOKENS, "distill.lr": 3e-3, "distill.validate_tokens": 100, "held_back": 0}
    settings |= {"distill.batch": 4}
    settings["precision"] = "no"  # the same on every machine
    settings |= arguments.pop("settings", {})
    source = {} if "text" in arguments else {"calibration": token_ids()}
    given = AdaptSettings(**settings)
    return paper_recipe(model, design, **{"tokenizer": Letters(), "out": out, "settings": given, **source, **arguments})


def lines(result: AdaptResult, stage: str) -> list[dict[str, Any]]:
    return [line for line in result.metrics if line["stage"] == stage]


def test_both_trainings_learn_and_the_budget_is_what_they_take(small_llama: Path, tmp_path: Path) -> None:
    model, seen = load(small_llama), []
    result = adapted(
        model, tmp_path / "run", progress=lambda *step: seen.append(step), settings={"distill.tokens": 8 * TOKENS}
    )
    linear, cubic = lines(result, "linear"), lines(result, "cubic")
    assert (len(linear), len(cubic)) == split_steps(8 * STEPS) == (63, 129)
    assert linear[-1]["tokens"] + cubic[-1]["tokens"] == 8 * TOKENS
    for part in (linear, cubic):
        first, last = (sum(line["loss"] for line in some) / 8 for some in (part[:8], part[-8:]))
        assert last < 0.9 * first
    assert sum(line["loss"] for line in cubic[-8:]) < sum(line["loss"] for line in linear[-8:])
    assert not {"kl", "hidden_error"} & {name for line in linear + cubic for name in line}
    assert [line["layer"] for line in lines(result, "matching")] == [0, 1]
    assert [stage for stage, done, total in seen if done == total] == ["linear", "matching", "cubic"]
    assert sorted(path.name for path in result.folder.iterdir() if path.is_dir()) == ["cubic", "linear", "matching"]
    # Everything learned, and the model attends as the design point says.
    original = dict(load(small_llama).named_parameters())
    assert not any(torch.equal(p, original[name]) for name, p in model.named_parameters() if name in original)
    assert design_point(model) == DESIGN.for_layers(2)
    assert {each.config.cell.name for each in scalers_of(model).values()} == {"leroux2025"}


@pytest.mark.parametrize("name", ["start", "teacher", "distill_calibration", "magic"])
def test_what_is_of_stages_alone_is_no_argument(name: str, small_llama: Path, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=name):
        adapted(load(small_llama), tmp_path / "run", **{name: None})
    with pytest.raises(TypeError, match="magic"):
        adapt(load(small_llama), DESIGN, tokenizer=Letters(), out=tmp_path / "run", magic=None)
    assert not (tmp_path / "run").exists()


def test_the_second_training_goes_on_in_the_text(small_llama: Path, tmp_path: Path, monkeypatch: Any) -> None:
    seen: list[torch.Tensor] = []

    def noting(model: Any, teacher: Any, rows: Any, steps: int, **kwargs: Any) -> None:
        seen.extend(rows(step) for step in range(steps))

    monkeypatch.setattr("gaincell.adapt.distil.stage.distill", noting)
    adapted(load(small_llama), tmp_path, calibration=token_ids(4 * STEPS))
    assert len(seen) == STEPS
    assert len({tuple(row) for row in torch.cat(seen).tolist()}) == 4 * STEPS, "every row once"


@pytest.mark.parametrize("options", [{}, {"equalisation": True, "query_sign": "differential", "normaliser": "column"}])
def test_matching_brings_every_layer_to_what_the_linear_model_showed(
    options: dict[str, Any], small_llama: Path, tmp_path: Path
) -> None:
    design, ids = DESIGN.replace(**options), token_ids()
    linear = linear_design(design)
    assert linear is not None
    model = convert_(load(small_llama), linear)
    before = show(model, ids)
    convert_(model, design)
    unmatched = show(model, ids)
    convert_(model, linear)
    match_model(model, design, ids, Run(tmp_path / "run", {}))
    after = show(model, ids)
    far = 0.0
    for target, found, without in zip(before, after, unmatched, strict=True):
        for name in target.moments:
            for of in ("mean", "std"):
                want, got, other = (getattr(x.moments[name], of) for x in (target, found, without))
                torch.testing.assert_close(got, want, atol=1e-3, rtol=0, msg=f"{of} of {name}")
                far = max(far, float((other - want).abs().max()))
    assert far > 0.01, "there was something to match"
    again = convert_(load(small_llama), linear)
    match_model(again, design, ids, Run(tmp_path / "run", {}))
    for a, b in zip(model.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b), "what is finished is read back"


def test_a_law_that_is_linear_takes_the_first_stage_alone(small_llama: Path, tmp_path: Path) -> None:
    design = GainCellConfig.named("leroux2025-linear").replace(window=64, subtile_columns=16)
    result = adapted(load(small_llama), tmp_path, design)
    assert [line["stage"] for line in result.metrics] == ["linear"] * STEPS
    assert result.metrics[-1]["tokens"] == TOKENS


def test_the_linear_model_leaks_as_the_design_point_does() -> None:
    cell = load_cell("leroux2025")
    slower = Cell(name="slower", law=cell.law, retention=cell.retention.model_copy(update={"tau": 7.0}))
    design = DESIGN.replace(cell=slower, leak_per_token=None)
    linear = linear_design(design)
    assert linear is not None
    assert linear.cell.model_law.coefficients == (0.0, 19.3)
    assert linear.for_layers(12).leak == design.for_layers(12).leak != DESIGN.leak
    assert linear.name == "leroux2025-linear"
    assert linear_design(linear) is None


def test_the_linear_model_of_a_pair_decays_to_zero_as_its_values_do() -> None:
    law = {"coefficients": [6.0, 14.0, 9.0, 12.0], "unit": "model", "source": "made up"}
    retention = {"tau": 5, "unit": "ms", "source": "made up", "ends_at_v": -0.45}
    for polarity, ends in (("pair", 0.0), ("reference", -0.45)):
        own = Cell.model_validate({"name": "own", "polarity": polarity, "law": law, "retention": retention})
        linear = linear_design(DESIGN.replace(cell=own))
        assert linear is not None
        assert (linear.cell.polarity, linear.cell.retention.ends_at_v) == ("push_pull", ends)


def test_validation_is_logged_in_both_trainings(small_llama: Path, tmp_path: Path) -> None:
    model, held_out = load(small_llama), "the quick brown fox jumps over the lazy dog " * 4
    text = "".join(chr(48 + (i * i) % 61) for i in range(TOKENS))
    settings = {"length": 48, "distill.validate_every": 10}
    result = adapted(model, tmp_path, text=text, validation=held_out, settings=settings)
    found = [(line["stage"], line["step"]) for line in result.metrics if "perplexity" in line]
    assert found == [("linear", 0), ("linear", 8), ("cubic", 0), ("cubic", 10), ("cubic", 16)]
    again = perplexity(model, Letters(), held_out, length=48, tokens=100).perplexity
    assert result.metrics[-1]["perplexity"] == again


def test_it_learns_from_text_of_its_own(small_llama: Path, tmp_path: Path) -> None:
    settings = {"rows": 4, "length": 16, "distill.tokens": 4 * 4 * 16}
    result = adapted(load(small_llama), tmp_path, calibration=None, settings=settings)
    assert (tmp_path / "calibration.safetensors").is_file()
    assert [line["tokens"] for line in result.metrics if line["stage"] != "matching"] == [64, 64, 128, 192]


@pytest.mark.parametrize("where", [("linear", 5), ("matching", 1), ("cubic", 9)], ids=lambda where: where[0])
def test_an_interrupted_run_goes_on_to_the_very_same_weights(
    where: tuple[str, int], small_llama: Path, tmp_path: Path
) -> None:
    def interrupt(stage: str, done: int, _: int) -> None:
        if (stage, done) == where:
            raise KeyboardInterrupt

    settings = {"distill.checkpoint_every": 4}
    whole = adapted(load(small_llama), tmp_path / "whole", settings=settings)
    with pytest.raises(KeyboardInterrupt):
        adapted(load(small_llama), tmp_path / "run", settings=settings, progress=interrupt)
    if where[0] == "linear":
        with pytest.raises(InputError, match="no checkpoint of 'cubic' yet"):
            adapted(load(small_llama), tmp_path / "run", settings=settings, learn=False)
    resumed = adapted(load(small_llama), tmp_path / "run", settings=settings)
    read = adapted(load(small_llama), tmp_path / "run", settings=settings, learn=False)
    assert all(torch.equal(a, b) for a, b in zip(resumed.model.parameters(), read.model.parameters(), strict=True))
    assert read.metrics == resumed.metrics
    for (name, a), b in zip(whole.model.named_parameters(), resumed.model.parameters(), strict=True):
        assert torch.equal(a, b), name
    told = ([{k: v for k, v in line.items() if k != "seconds"} for line in r.metrics] for r in (whole, resumed))
    assert next(told) == next(told)


_CHILD = """
import json, os, sys, torch
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from test_paper import DESIGN, adapted, load
torch.set_num_threads(1)
model, out = load(Path(sys.argv[2]), sys.argv[6]), Path(sys.argv[3])
adapted(model, out, DESIGN.replace(**json.loads(sys.argv[5])), settings=json.loads(sys.argv[4]))
if not int(os.environ.get("RANK", 0)):
    torch.save(model.state_dict(), f"{out}.pt")
"""


def child(
    model: Path,
    out: Path,
    settings: dict[str, Any],
    design: dict[str, Any],
    before: str = "",
    dtype: str = "float32",
    **environment: str,
) -> BaseProcess:
    arguments = [str(Path(__file__).parent), str(model), str(out), json.dumps(settings), json.dumps(design), dtype]
    return start(before + _CHILD, *arguments, environment=environment)


def test_a_killed_run_goes_on_to_the_very_same_weights(small_llama: Path, tmp_path: Path) -> None:
    settings = {"distill.checkpoint_every": 3, "distill.tokens": 4 * TOKENS}
    out, log = tmp_path / "run", tmp_path / "run" / "metrics.jsonl"
    process = child(small_llama, out, settings, {})
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not (log.is_file() and '"cubic"' in log.read_text()):
        time.sleep(0.002)
    process.kill()
    assert ended(process) == -signal.SIGKILL, "it finished before it could be killed"
    assert ended(child(small_llama, out, settings, {})) == 0
    whole = adapted(load(small_llama), tmp_path / "whole", settings=settings).model.state_dict()
    resumed = torch.load(f"{out}.pt")
    assert whole.keys() == resumed.keys()
    for name, weight in whole.items():
        assert torch.equal(weight, resumed[name]), name


@pytest.mark.parametrize("before", [SHARDING], ids=["shards"])
def test_two_processes_learn_what_one_does(before: str, small_llama: Path, tmp_path: Path) -> None:
    # Nothing quantised, and in float64: a sum in another order may otherwise tip a value into the next level or over a
    # clamp, on one processor or another.
    design = dict.fromkeys(("query_levels", "stored_levels", "output_levels"))
    held: dict[str, Any] = {"held_back": 2}
    one = adapted(load(small_llama, "float64"), tmp_path / "one", DESIGN.replace(**design), settings=held)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "ACCELERATE_USE_CPU": "true"}
    out = tmp_path / "two"
    processes = [
        child(small_llama, out, held, design, before, "float64", RANK=rank, LOCAL_RANK=rank, **shared) for rank in "01"
    ]
    assert [ended(process) for process in processes] == [0, 0]
    two = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    losses = [[line["loss"] for line in metrics if "loss" in line] for metrics in (one.metrics, two)]
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
    assert one.outcome is not None
    assert two[-1]["stage"] == "outcome"
    assert [at["perplexity"] for at in two[-1]["lengths"]] == pytest.approx(
        [at.perplexity for at in one.outcome.lengths], rel=1e-4
    )
    weights = torch.load(f"{out}.pt")
    for name, weight in one.model.state_dict().items():
        torch.testing.assert_close(weight, weights[name], rtol=1e-3, atol=1e-4, check_dtype=False)


@pytest.fixture(params=["no", "bf16"])
def others_precision(request: pytest.FixtureRequest) -> Iterator[None]:
    """What somebody else in this process, a Trainer say, set accelerate up with."""
    AcceleratorState._reset_state()
    Accelerator(mixed_precision=request.param)
    yield
    AcceleratorState._reset_state()


@pytest.mark.usefixtures("others_precision")
def test_the_loss_is_the_cross_entropy_of_the_text(small_llama: Path, tmp_path: Path) -> None:
    model, ids = convert_(load(small_llama), DESIGN), token_ids()
    with torch.no_grad():
        logits = model(ids, use_cache=False).logits[:, :-1]
    wanted = torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())
    # As the first step logs it: one step of all eight rows, before anything has moved.
    result = adapted(
        load(small_llama),
        tmp_path / "recipe",
        DESIGN.replace(cell="leroux2025-linear"),
        settings={"distill.tokens": 1, "distill.batch": 8, "distill.hidden_weight": 5.0, "distill.temperature": 3.0},
    )
    model = convert_(load(small_llama), DESIGN.replace(cell="leroux2025-linear"))
    with torch.no_grad():
        linear = model(ids, use_cache=False).logits[:, :-1]
    of_linear = torch.nn.functional.cross_entropy(linear.flatten(0, 1), ids[:, 1:].flatten())
    assert result.metrics[0]["loss"] == pytest.approx(float(of_linear), rel=1e-5)
    # And of the stage `distill` of `adapt`, which makes no teacher for it.
    given = {"distill.loss": "next-token", "distill.tokens": 1, "distill.batch": 8, "learning_leak": None}
    given["precision"] = "no"
    stage = adapt(
        load(small_llama),
        DESIGN,
        tokenizer=None,
        out=tmp_path / "stage",
        calibration=ids,
        stages=["distill"],
        settings=AdaptSettings(**given, distill={"teacher": "cached"}),
    )
    assert stage.metrics[0]["loss"] == pytest.approx(float(wanted), rel=1e-5)
    assert not (tmp_path / "stage" / "distill" / "teacher").exists()
    with pytest.raises(InputError, match="leave the teacher out"):
        adapt(
            load(small_llama),
            DESIGN,
            tokenizer=None,
            out=tmp_path / "other",
            calibration=ids,
            stages=["distill"],
            settings=AdaptSettings(**given),
            teacher=load(small_llama),
        )


@given(st.integers(1, 3), st.integers(2, 6), st.integers(2, 9), st.integers(0, 50))
def test_the_divergence_from_a_text_and_its_gradient_are_those_of_cross_entropy(
    rows: int, length: int, vocabulary: int, seed: int
) -> None:
    from gaincell.adapt.distil.step_rows import shares

    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(0, vocabulary, (rows, length), generator=generator)
    (share,) = shares(lambda _: ids, 0, seed=0, positions=None, process=0, processes=1, passes=1, followed=True)
    assert share.positions.tolist() == [list(range(length - 1))] * rows
    logits = torch.randn(rows, length - 1, vocabulary, generator=generator, requires_grad=True)
    mine = divergence(logits, from_text(share), 1.0).mean()
    theirs = torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())
    torch.testing.assert_close(mine, theirs)
    torch.testing.assert_close(torch.autograd.grad(mine, logits), torch.autograd.grad(theirs, logits))


@given(st.integers(0, 10_000))
def test_steps_are_shared_as_published(steps: int) -> None:
    linear, cubic = split_steps(steps)
    assert linear >= 1
    assert cubic >= 1
    assert linear + cubic == max(2, steps)
    assert abs(linear - steps * 2900 / 8800) <= 1
    assert Training().span(steps) == (0, max(1, steps))


def test_what_is_set_explicitly_overrides_the_paper() -> None:
    settings = paper_settings(AdaptSettings(distill={"lr": 1e-3}, learning_leak="factored"))
    assert (settings.distill.lr, settings.learning_leak) == (1e-3, "factored")
    assert (settings.distill.betas, settings.distill.weight_decay) == ((0.9, 0.95), 0.1)
    model = torch.nn.Linear(2, 2, bias=False)  # whose weights are smaller than 1: its rates are absolute all the same
    model.gaincell = torch.nn.ParameterDict({"q_scale": torch.full((2,), 0.5)})
    assert [(g["peak"], g["weight_decay"]) for g in groups(model, settings.distill)] == [(1e-3, 0.1), (1e-3, 0.0)]


def test_bad_input_is_refused_in_one_sentence(small_llama: Path, tmp_path: Path) -> None:
    out = tmp_path / "none"
    for message, arguments in (
        ("score preset and no digital sinks, which design point 'extended' has", {"design": "extended"}),
        ("digital sinks", {"design": DESIGN.replace(sinks="digital")}),
        ("leave distill.loss out", {"settings": {"distill.loss": "kl"}}),
        ("token ids of shape", {"calibration": torch.zeros(3)}),
        ("shorter than one row", {"text": "short"}),
        ("not a multiple", {"settings": {"distill.accumulation": 3}}),
    ):
        with pytest.raises(InputError, match=message) as caught:
            adapted(load(small_llama), out, **arguments)
        assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="already"):
        adapted(convert_(load(small_llama), DESIGN), out)
    assert not out.exists(), "a refused run leaves nothing behind"
    adapted(load(small_llama), out, settings={"distill.tokens": 1})
    with pytest.raises(InputError, match="belongs to another run"):
        adapted(load(small_llama), out)
    with pytest.raises(InputError, match="belongs to another run"):
        adapt(load(small_llama), DESIGN, tokenizer=None, out=out, calibration=token_ids())


def test_the_linear_model_has_ideal_circuits() -> None:
    circuit = {
        "mismatch": {
            "source": "a test",
            "current": 0.05,
            "gain": 0.03,
            "zero_crossing_v": 0.004,
            "samples": 9,
            "seed": 0,
        }
    }
    cell = Cell.model_validate({**DESIGN.cell.model_dump(), "name": "mine", "circuit": circuit})
    linear = linear_design(DESIGN.replace(cell=cell, mismatch_seed=1, readout_noise=0.02))
    assert linear is not None
    assert linear.cell.name == "mine-linear"
    assert linear == linear.ideal()
