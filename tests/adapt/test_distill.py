"""End-to-end distillation: it learns, resumes bit-equal, and does not depend on the number of processes."""

import json
import math
import random
import signal
import socket
import sys
import time
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from hypothesis import given
from hypothesis import strategies as st
from letters import Letters
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel, PreTrainedModel
from warm import ended, start

import gaincell
from gaincell import GainCellConfig, InputError
from gaincell.adapt import AdaptResult, AdaptSettings, adapt
from gaincell.adapt.distil.step_rows import Permuted, shares
from gaincell.adapt.distil.teacher import Lesson, divergence
from gaincell.adapt.distil.trainable import rate
from gaincell.adapt.learning_leak import leaking
from gaincell.adapt.run.checkpoints import Checkpoints
from gaincell.adapt.run.folder import Run
from gaincell.adapt.settings import named
from gaincell.adapt.text.cut import read_rows
from gaincell.cell import Cell
from gaincell.models import save_adapter, scalers_of

ALL = ("statistics", "transfer", "distill")
STEPS = 12
TOKENS = STEPS * 4 * 48  # of 4 rows of 48


def load(path: Path) -> PreTrainedModel:
    return AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)


def token_ids(n: int = 8, length: int = 48) -> torch.Tensor:
    return torch.randint(0, 97, (n, length), generator=torch.Generator().manual_seed(1))


def distilled(model: PreTrainedModel, design: GainCellConfig, out: Path, *, n: int = 8, **settings: Any) -> AdaptResult:
    stages = settings.pop("stages", ("statistics", "distill"))
    given = {name: settings.pop(name, None) for name in ("teacher", "validation", "start", "progress")}
    learn = settings.pop("learn", True)
    fields = {
        "transfer.steps": 4,
        "distill.tokens": TOKENS,
        "distill.batch": 4,
        "distill.lr": 1e-2,
        "distill.positions": 16,
    }
    fields |= named(settings)
    fields = {"held_back": 0, "precision": "no", **fields}  # the same on every machine
    return adapt(
        model,
        design,
        tokenizer=Letters(),
        out=out,
        calibration=token_ids(n),
        stages=stages,
        settings=AdaptSettings(**fields),
        learn=learn,
        **given,
    )


def steps_of(metrics: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [line for line in metrics if line["stage"] == "distill" and line["step"]]


def losses(result: AdaptResult) -> list[float]:
    return [line["loss"] for line in steps_of(result.metrics)]


def test_the_loss_falls_after_both_other_stages(
    small_llama: Path, small_design: GainCellConfig, tmp_path: Path
) -> None:
    seen: list[tuple[str, int, int]] = []
    result = adapt(
        model := load(small_llama),
        small_design,
        tokenizer=None,
        out=tmp_path / "run",
        calibration=token_ids(),
        stages=ALL,
        settings=AdaptSettings(
            transfer={"steps": 4}, distill={"tokens": 8 * TOKENS, "batch": 4, "lr": 1e-2, "positions": None}
        ),
        progress=lambda *step: seen.append(step),
    )
    lines = steps_of(result.metrics)
    assert [line["step"] for line in lines] == list(range(1, 8 * STEPS + 1))
    assert lines[-1]["tokens"] == 8 * TOKENS
    first, last = (sum(line["loss"] for line in part) / 8 for part in (lines[:8], lines[-8:]))
    assert last < 0.6 * first
    assert all(line["loss"] == pytest.approx(line["kl"] + line["hidden_error"]) for line in lines)
    assert seen[-1] == ("distill", 8 * STEPS, 8 * STEPS)
    assert [metrics["stage"] for metrics in result.metrics[:4]] == ["statistics"] * 2 + ["transfer"] * 2
    assert len(list((tmp_path / "run" / "distill").glob("step-*"))) == 2, "the newest two checkpoints are kept"
    assert all(p.requires_grad and p.grad is None for p in model.parameters()), "the model is left as it was given"
    # What is frozen is the original's, what learns is not.
    original = dict(load(small_llama).named_parameters())
    changed = {name for name, p in model.named_parameters() if name in original and not torch.equal(p, original[name])}
    assert changed == {name for name in original if "norm" in name or "self_attn" in name}


def test_stages_in_calls_of_their_own_and_calls_again_give_the_same(
    small_llama: Path, small_design: GainCellConfig, tmp_path: Path
) -> None:
    whole = distilled(load(small_llama), small_design, tmp_path / "a", stages=ALL)
    for stages in (("statistics",), ("transfer",), ("distill",), ALL):
        parts = distilled(load(small_llama), small_design, tmp_path / "b", stages=stages)
    for a, b in zip(whole.model.parameters(), parts.model.parameters(), strict=True):
        assert torch.equal(a, b)
    assert losses(whole) == losses(parts)


_CHILD = """
import sys, json, torch
from pathlib import Path
from transformers import AutoModelForCausalLM
from gaincell import GainCellConfig
from gaincell.adapt import AdaptSettings, adapt
torch.set_num_threads(1)
fields = json.loads(sys.argv[4])
model = AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=getattr(torch, fields.pop("dtype", "float32")))
design = GainCellConfig.named("extended").replace(window=64, subtile_columns=16, **json.loads(sys.argv[5]))
ids = torch.randint(0, 97, (8, 48), generator=torch.Generator().manual_seed(1))
stages = fields.pop("stages", ["statistics", "distill"])
adapt(model, design, tokenizer=None, out=sys.argv[2], calibration=ids, stages=stages, settings=AdaptSettings(**fields))
if not int(__import__("os").environ.get("RANK", 0)):
    torch.save(model.state_dict(), sys.argv[3])
"""


# accelerate shards on GPUs only; this does on CPUs what it does there.
_SHARDING = """
import accelerate, torch
from accelerate.utils import DistributedType
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
import gaincell.adapt.distil.loop as distill

class Sharding(accelerate.Accelerator):
    distributed_type, is_fsdp2 = DistributedType.FSDP, True

    def prepare(self, model, optimiser):
        model.double()  # scalers are made in float32, and sharding wants one dtype
        names = {id(p): name for name, p in model.named_parameters()}
        for module in (*model.model.layers, model):
            fully_shard(module, mesh=init_device_mesh("cpu", (2,)))
        shards = dict(model.named_parameters())
        for group in optimiser.param_groups:
            group["params"] = [shards[names[id(p)]] for p in group["params"]]
        return model, optimiser

    def unwrap_model(self, model):
        return model

distill.Accelerator = Sharding
"""


def child(
    model: Path, out: Path, environment: dict[str, str] | None = None, before: str = "", **settings: Any
) -> BaseProcess:
    fields = {
        "distill.tokens": TOKENS,
        "distill.batch": 4,
        "distill.lr": 1e-2,
        "distill.positions": 16,
        "precision": "no",  # two runs might each find another the faster one
        **named(settings),
    }
    design = fields.pop("design", {})
    arguments = [str(model), str(out), f"{out}.pt", json.dumps(fields), json.dumps(design)]
    return start(before + _CHILD, *arguments, environment=environment)


def lines_in(run: Path) -> list[dict[str, Any]]:
    path = run / "metrics.jsonl"
    text = path.read_text() if path.is_file() else ""
    lines = [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


def test_a_run_killed_again_and_again_ends_with_the_very_same_weights(small_llama: Path, tmp_path: Path) -> None:
    """Two layers of both other stages, then 120 steps of distillation; killed anywhere among them."""
    settings = {"stages": ALL, "transfer.steps": 4, "distill.tokens": 10 * TOKENS, "distill.checkpoint_every": 7}
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert ended(child(small_llama, whole, **settings)) == 0
    kills = sorted(random.Random().sample(range(1, 4 + 8 * STEPS), 3))
    for at in kills:
        process = child(small_llama, killed, **settings)
        deadline = time.monotonic() + 120
        while len(lines_in(killed)) < at and time.monotonic() < deadline and process.exitcode is None:
            time.sleep(0.002)
        process.kill()
        assert ended(process) == -signal.SIGKILL, "it finished before it could be killed"
        killed.mkdir(exist_ok=True)
        # What a kill in the middle of a write leaves.
        with (killed / "metrics.jsonl").open("a") as file:
            file.write('{"stage": "distill", "st')
    (killed / "distill").mkdir(exist_ok=True)
    (killed / "distill" / "step-00009999.part").write_bytes(b"half")
    assert ended(child(small_llama, killed, **settings)) == 0
    a, b = torch.load(f"{whole}.pt"), torch.load(f"{killed}.pt")
    assert a.keys() == b.keys()
    for name, weight in a.items():
        assert torch.equal(weight, b[name]), f"{name}, killed at {kills}"
    assert lines_in(whole) == lines_in(killed)
    assert len(lines_in(whole)) == 4 + 10 * STEPS


def test_a_damaged_checkpoint_gives_way_to_the_one_before(
    small_llama: Path, small_design: GainCellConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = distilled(load(small_llama), small_design, tmp_path / "run", distill={"checkpoint_every": 5})
    newest = max((tmp_path / "run" / "distill").glob("step-*"))
    newest.write_bytes(newest.read_bytes()[:100])
    again = distilled(load(small_llama), small_design, tmp_path / "run", distill={"checkpoint_every": 5})
    assert "cannot be read" in caplog.text
    for a, b in zip(first.model.parameters(), again.model.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize(
    ("settings", "before"),
    [
        ({}, ""),
        ({"distill.accumulation": 2, "distill.teacher": "cached"}, ""),
        ({"distill.accumulation": 2, "distill.train": "lora"}, _SHARDING),
    ],
    ids=["copies", "cached", "shards"],
)
def test_two_processes_learn_what_one_does(
    settings: dict[str, Any], before: str, small_llama: Path, tmp_path: Path
) -> None:
    # Nothing quantised, and in float64: a sum in another order may otherwise tip a value into the next level or over a
    # clamp, on one processor or another.
    settings = {
        **settings,
        "dtype": "float64",
        "design": {**dict.fromkeys(("query_levels", "stored_levels", "output_levels")), "storage": "uniform"},
    }
    one = tmp_path / "one"
    assert ended(child(small_llama, one, **settings)) == 0
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "ACCELERATE_USE_CPU": "true"}
    two = tmp_path / "two"
    processes = [
        child(small_llama, two, {"RANK": rank, "LOCAL_RANK": rank, **shared}, before, **settings) for rank in "01"
    ]
    assert [ended(process) for process in processes] == [0, 0]
    found, expected = ([line["loss"] for line in steps_of(lines_in(run))] for run in (two, one))
    assert found == pytest.approx(expected, rel=1e-4)
    assert len(found) == STEPS
    a, b = torch.load(f"{one}.pt"), torch.load(f"{two}.pt")
    for name, weight in a.items():
        torch.testing.assert_close(weight, b[name], rtol=1e-3, atol=1e-4)


def test_processes_that_are_not_joined_are_refused(
    small_llama: Path, small_design: GainCellConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")  # without a rank: as accelerate sees shards on CPUs
    with pytest.raises(InputError, match="2 processes were launched, but accelerate joined 1"):
        distilled(load(small_llama), small_design, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_cache_of_the_whole_vocabulary_is_the_original(
    small_llama: Path, small_design: GainCellConfig, tmp_path: Path
) -> None:
    # Without quantisers, and over the first steps: the cache is in float16, and learning makes much of a flipped code.
    design = small_design.replace(storage="uniform", query_levels=None, stored_levels=None, output_levels=None)
    model = distilled(load(small_llama), design, tmp_path / "model", n=18)
    cached = {"distill.teacher": "cached", "n": 18}
    whole = distilled(load(small_llama), design, tmp_path / "cached", distill={"cached_tokens": 97}, **cached)
    assert losses(whole)[:6] == pytest.approx(losses(model)[:6], rel=1e-3)
    part = distilled(load(small_llama), design, tmp_path / "part", distill={"cached_tokens": 5}, **cached)
    assert 0.3 * losses(model)[0] < losses(part)[0] < losses(model)[0], "fewer outcomes tell less apart, never more"


def test_a_cache_is_not_computed_twice(small_llama: Path, small_design: GainCellConfig, tmp_path: Path) -> None:
    cached = {"distill.teacher": "cached", "n": 18}
    first = distilled(load(small_llama), small_design, tmp_path / "run", **cached)
    files = sorted((tmp_path / "run" / "distill" / "teacher").iterdir())
    assert len(files) == 2
    stamp = files[0].stat().st_mtime_ns
    files[1].unlink()
    again = distilled(load(small_llama), small_design, tmp_path / "run", **cached)
    assert files[1].is_file()
    assert files[0].stat().st_mtime_ns == stamp
    assert losses(first) == losses(again)


def test_lora_trains_adapters_and_scalers_only_and_leaves_none(
    small_llama: Path, small_design: GainCellConfig, tmp_path: Path
) -> None:
    model = load(small_llama)
    names = [name for name, _ in model.named_modules()]
    result = distilled(model, small_design, tmp_path / "run", distill={"train": "lora", "lora_rank": 2})
    checkpoint = max((tmp_path / "run" / "distill").glob("step-*"))
    from safetensors import safe_open

    with safe_open(checkpoint, framework="pt") as file:
        trained = {name.removeprefix("parameter/") for name in file.keys() if name.startswith("parameter/")}  # noqa: SIM118
    assert all(".lora_A." in name or ".lora_B." in name or ".gaincell." in name for name in trained)
    assert sum(".lora_A." in name for name in trained) == 2 * 4  # layers x projections
    assert losses(result)[-1] < losses(result)[0]
    assert [name for name, _ in model.named_modules() if ".gaincell" not in name] == names
    original, now = dict(load(small_llama).named_parameters()), dict(model.named_parameters())
    projection = "model.layers.0.self_attn.q_proj.weight"
    difference = now[projection].detach() - original[projection]
    assert torch.linalg.matrix_rank(difference, rtol=1e-4) == 2
    assert torch.equal(now["model.norm.weight"], original["model.norm.weight"])
    # What a finished run holds is found again, merged the same way.
    again = distilled(load(small_llama), small_design, tmp_path / "run", distill={"train": "lora", "lora_rank": 2})
    assert torch.equal(dict(again.model.named_parameters())[projection], now[projection])


@pytest.mark.parametrize("settings", [{"distill.train": "all"}, {"precision": "bf16"}, {"distill.length": 24}])
def test_other_ways_learn_too(
    settings: dict[str, Any], small_llama: Path, small_design: GainCellConfig, tmp_path: Path
) -> None:
    result = distilled(load(small_llama), small_design, tmp_path, **settings)
    assert sum(losses(result)[-3:]) < 0.9 * sum(losses(result)[:3])


@pytest.mark.parametrize("train", ["attention", "lora"])
def test_another_architecture_distils(train: str, small_design: GainCellConfig, tmp_path: Path) -> None:
    torch.manual_seed(0)
    sizes = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64, "vocab_size": 97}
    model = GPT2LMHeadModel(GPT2Config(**sizes, bos_token_id=1, eos_token_id=1, initializer_range=0.2))
    result = distilled(model, small_design, tmp_path, distill={"train": train})
    assert losses(result)[-1] < losses(result)[0]


def test_a_given_teacher_is_learned_from(small_llama: Path, small_design: GainCellConfig, tmp_path: Path) -> None:
    own = distilled(load(small_llama), small_design, tmp_path / "own")
    same = distilled(load(small_llama), small_design, tmp_path / "same", teacher=load(small_llama))
    assert losses(own) == losses(same)
    other = GPT2LMHeadModel(GPT2Config(n_embd=16, n_layer=1, n_head=2, vocab_size=97, bos_token_id=1, eos_token_id=1))
    with pytest.raises(InputError, match=r"distill\.hidden_weight 0"):
        distilled(load(small_llama), small_design, tmp_path / "other", teacher=other)
    result = distilled(
        load(small_llama), small_design, tmp_path / "other", teacher=other, distill={"hidden_weight": 0.0, "lr": 1e-2}
    )
    assert losses(result)[-1] < losses(result)[0]
    with pytest.raises(InputError, match="same vocabulary"):
        distilled(
            load(small_llama),
            small_design,
            tmp_path / "words",
            teacher=GPT2LMHeadModel(GPT2Config(n_embd=16, n_layer=1, n_head=2, bos_token_id=1, eos_token_id=1)),
        )


def test_a_loss_that_is_not_finite_stops_with_the_last_checkpoint_kept(
    small_llama: Path, small_design: GainCellConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gaincell.adapt.distil import loop as distill

    def breaking(*args: Any) -> torch.Tensor:
        calls.append(1)
        return divergence(*args) * (math.nan if len(calls) == 8 else 1.0)

    calls: list[int] = []
    with monkeypatch.context() as patch:
        patch.setattr(distill, "divergence", breaking)
        with pytest.raises(InputError, match="not finite at step 8 of 12") as caught:
            distilled(load(small_llama), small_design, tmp_path / "run", distill={"checkpoint_every": 5})
    assert "\n" not in str(caught.value)
    assert [path.name for path in (tmp_path / "run" / "distill").glob("step-*")] == ["step-00000005.safetensors"]
    resumed = distilled(load(small_llama), small_design, tmp_path / "run", distill={"checkpoint_every": 5})
    whole = distilled(load(small_llama), small_design, tmp_path / "whole")
    assert losses(resumed) == losses(whole)


def test_an_interrupted_run_leaves_a_plain_model_and_goes_on(
    small_llama: Path, small_design: GainCellConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(run: Run, metrics: dict[str, Any]) -> None:
        log(run, metrics)
        if metrics["step"] == 7:
            raise KeyboardInterrupt

    log, model = Run.log, load(small_llama)
    with monkeypatch.context() as patch:
        patch.setattr(Run, "log", interrupted)
        with pytest.raises(KeyboardInterrupt):
            distilled(model, small_design, tmp_path, distill={"train": "lora", "checkpoint_every": 3})
    assert not any("lora" in name for name, _ in model.named_parameters())
    assert all(p.requires_grad for p in model.parameters())
    again = distilled(load(small_llama), small_design, tmp_path, distill={"train": "lora", "checkpoint_every": 3})
    assert [line["step"] for line in steps_of(again.metrics)] == list(range(1, STEPS + 1))


@pytest.mark.parametrize("train", ["attention", "lora"])
def test_what_a_run_has_reached_is_read_without_learning_on(
    train: str, small_llama: Path, small_design: GainCellConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(run: Run, metrics: dict[str, Any]) -> None:
        log(run, metrics)
        if metrics.get("step") == at:
            raise KeyboardInterrupt

    def reached() -> AdaptResult:
        before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
        result = distilled(load(small_llama), small_design, out, learn=False, **settings)
        assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
        return result

    log, out = Run.log, tmp_path / "run"
    settings = {"stages": ALL, "distill.train": train, "distill.checkpoint_every": 3}
    with pytest.raises(InputError, match="no run that has begun"):
        distilled(load(small_llama), small_design, out, learn=False, **settings)
    assert not out.exists()
    for at in (2, 8):
        with monkeypatch.context() as patch:
            patch.setattr(Run, "log", interrupted)
            with pytest.raises(KeyboardInterrupt):
                distilled(load(small_llama), small_design, out, **settings)
        if at == 2:
            with pytest.raises(InputError, match="no checkpoint of 'distill' yet"):
                reached()
    part = reached()
    assert part.metrics[-1]["step"] == 6
    if train == "attention":
        kept = load_file(out / "distill" / "step-00000006.safetensors")
        trained = {name.removeprefix("parameter/"): value for name, value in kept.items() if name.startswith("param")}
        assert len(trained) > 20
        for name, value in trained.items():
            assert torch.equal(part.model.get_parameter(name), value)
    whole = distilled(load(small_llama), small_design, out, **settings)
    read = reached()
    for (name, a), b in zip(whole.model.named_parameters(), read.model.parameters(), strict=True):
        assert torch.equal(a, b), name
    assert read.metrics == whole.metrics
    with pytest.raises(InputError, match="another run"):
        distilled(load(small_llama), small_design, out, learn=False, **settings, distill={"clip": 2.0})


def test_bad_input_is_refused_in_one_sentence(small_llama: Path, small_design: GainCellConfig, tmp_path: Path) -> None:
    for settings, message in (
        ({"distill.train": "heads"}, "distill.train"),
        ({"distill.tokens": 0}, "distill.tokens"),
        ({"distill.warmup": 1.0}, "distill.warmup"),
        ({"distill.betas": (0.9, 1.0)}, "distill.betas"),
        ({"distill_speed": 1}, "unknown field 'distill_speed'"),
        ({"distill.batch": 4, "distill.accumulation": 3}, "not a multiple of 1 processes x 3 passes"),
        ({"distill.length": 1000}, "fewer than distill.length"),
    ):
        with pytest.raises(InputError, match=message) as caught:
            distilled(load(small_llama), small_design, tmp_path / "none", **settings)
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "none").exists(), "a refused run leaves nothing behind"
    distilled(load(small_llama), small_design, tmp_path / "run")
    with pytest.raises(InputError, match="belongs to another run"):
        distilled(load(small_llama), small_design, tmp_path / "run", distill={"lr": 1e-3})
    with pytest.raises(InputError, match="belongs to another run"):
        distilled(load(small_llama), small_design, tmp_path / "run", stages=ALL)


def test_lora_without_peft_is_refused(
    small_llama: Path, small_design: GainCellConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(InputError, match=r"gaincell\[lora\]"):
        distilled(load(small_llama), small_design, tmp_path / "run", distill={"train": "lora"})


@given(st.integers(1, 9), st.integers(1, 7), st.integers(0, 20), st.integers(0, 3))
def test_every_row_is_seen_once_an_epoch(count: int, batch: int, first: int, seed: int) -> None:
    rows = Permuted(torch.arange(count)[:, None], batch, seed)
    seen = torch.cat([rows.numbers(step) for step in range(count)])  # `batch` epochs
    for epoch in seen.split(count):
        assert sorted(epoch.tolist()) == list(range(count))
    alone = Permuted(torch.arange(count)[:, None], batch, seed)
    assert torch.equal(alone.numbers(first), rows.numbers(first)), "a step does not depend on the steps before it"


@given(st.sampled_from([(1, 1), (2, 1), (1, 3), (2, 3), (6, 1)]), st.integers(0, 50), st.sampled_from([None, 5, 99]))
def test_processes_and_passes_share_a_step_without_changing_it(
    split: tuple[int, int], step: int, positions: int | None
) -> None:
    processes, passes = split
    rows = Permuted(token_ids(7, 11), 6, 0)

    def dealt(processes: int, passes: int) -> dict[int, tuple[list[int], list[int]]]:
        found = {}
        for process in range(processes):
            for share in shares(
                rows, step, seed=0, positions=positions, process=process, processes=processes, passes=passes
            ):
                assert len(share.ids) == 6 // processes // passes
                for place, ids, at in zip(share.places, share.ids, share.positions, strict=True):
                    found[int(place)] = (ids.tolist(), at.tolist())
                    assert len(set(at.tolist())) == len(at) == (5 if positions == 5 else 11)
        return found

    assert dealt(processes, passes) == dealt(1, 1)
    assert len(dealt(processes, passes)) == 6


@given(st.integers(1, 11), st.floats(0.3, 4.0), st.integers(0, 100))
def test_the_divergence_of_some_tokens_is_that_of_k_plus_one_outcomes(k: int, temperature: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    original, logits = (torch.randn(2, 3, 11, generator=generator).double() * 3 for _ in range(2))
    log_p, log_q = ((x / temperature).log_softmax(-1) for x in (original, logits))
    top, tokens = log_p.topk(k)
    p, q = top.exp(), log_q.gather(-1, tokens).exp()
    if k < 11:  # summed over the others: one less the sum of these may be less than nothing, rounded
        others = (x.exp().scatter(-1, tokens, 0.0).sum(-1, keepdim=True) for x in (log_p, log_q))
        p, q = (torch.cat((x, other), -1) for x, other in zip((p, q), others, strict=True))
    expected = temperature**2 * (p * (p / q).log()).sum(-1).mean(-1)
    rest = log_p.scatter(-1, tokens, -torch.inf).logsumexp(-1)
    logits.requires_grad_()
    found = divergence(logits, Lesson(top, tokens, rest, None), temperature)
    torch.testing.assert_close(found, expected)
    found.sum().backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
    whole = divergence(logits, Lesson(log_p, None, None, None), temperature)
    assert (found <= whole + 1e-12).all()


def test_a_run_goes_on_from_an_adapter(small_llama: Path, small_design: GainCellConfig, tmp_path: Path) -> None:
    first = distilled(load(small_llama), small_design, tmp_path / "first", distill={"train": "all"}, stages=ALL)
    file = tmp_path / "first.safetensors"
    save_adapter(first.model, load(small_llama), file)
    again = {"start": file, "stages": ["distill"], "distill.tokens": 4 * 48, "distill.lr": 1e-12}
    inner, outer = (
        distilled(load(small_llama), small_design, tmp_path / name, **again, teacher=teacher)
        for name, teacher in (("inner", None), ("outer", load(small_llama)))
    )
    # It starts where the first run ended; the teacher is the original, whatever the adapter changed of it.
    assert losses(inner) == losses(outer)
    assert losses(inner)[0] < 0.9 * losses(first)[0]
    expected = dict(first.model.named_parameters())
    for name, p in inner.model.named_parameters():
        torch.testing.assert_close(p, expected[name], atol=1e-3, rtol=1e-2)
    for fields, words in (
        ({"stages": ALL}, "stages matching and distill"),
        ({"design": small_design.replace(output_scale=20.0)}, "is of design point 'extended', not of"),
        ({"start": "no-such"}, "neither a shipped adapter"),
    ):
        options = {**again, **fields}
        with pytest.raises(InputError, match=words):
            distilled(load(small_llama), options.pop("design", small_design), tmp_path / "refused", **options)
    assert not (tmp_path / "refused").exists()


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_the_divergence_of_a_whole_vocabulary_and_its_gradient_are_those_of_kl_div(temperature: float) -> None:
    torch.manual_seed(0)
    logits = torch.randn(2, 3, 11, dtype=torch.float64, requires_grad=True)
    original = torch.randn(2, 3, 11, dtype=torch.float64).log_softmax(-1)
    got = divergence(logits, Lesson(original, None, None, None), temperature)
    student = (logits / temperature).log_softmax(-1)
    want = temperature**2 * torch.nn.functional.kl_div(student, original, reduction="none", log_target=True).sum(-1)
    torch.testing.assert_close(got, want.mean(-1))
    weight = torch.tensor([1.0, -2.0])
    (mine,) = torch.autograd.grad((weight * got).sum(), logits, retain_graph=True)
    (theirs,) = torch.autograd.grad((weight * want.mean(-1)).sum(), logits)
    torch.testing.assert_close(mine, theirs, atol=1e-6, rtol=1e-5)


def test_a_model_leaks_in_another_form_only_for_a_while(small_llama: Path, small_design: GainCellConfig) -> None:
    model = gaincell.convert_(load(small_llama), small_design)
    ids, points = torch.randint(0, 97, (1, 40)), {s.config for s in scalers_of(model).values()}
    with torch.no_grad():
        before = model(ids).logits
        with leaking(model, "factored"):
            assert {s.config.leak_form for s in scalers_of(model).values()} == {"factored"}
        assert torch.equal(model(ids).logits, before)
    assert {s.config for s in scalers_of(model).values()} == points


def test_the_validation_text_is_looked_at_as_the_design_point_leaks(
    small_llama: Path, small_design: GainCellConfig, tmp_path: Path
) -> None:
    model, text = load(small_llama), "the quick brown fox jumps over the lazy dog " * 4
    result = distilled(
        model, small_design, tmp_path, validation=text, distill={"validate_every": 5, "validate_tokens": 100}
    )
    found = {line["step"]: line["perplexity"] for line in result.metrics if "perplexity" in line}
    assert list(found) == [0, 5, 10, STEPS]
    assert found[STEPS] == gaincell.perplexity(model, Letters(), text, length=48, tokens=100).perplexity


def test_a_validation_text_that_is_learned_from_is_refused(
    small_llama: Path, small_design: GainCellConfig, tmp_path: Path
) -> None:
    row = next(row for row in token_ids().tolist() if all(row))  # `Letters` has no letter for token 0
    text = "".join(chr(95 + token) for token in row)
    assert Letters()(text)["input_ids"] == row
    with pytest.raises(InputError, match="training row"):
        distilled(load(small_llama), small_design, tmp_path, validation=f"a line of its own, {text}")


def test_the_rate_rises_and_falls() -> None:
    rates = [rate(step, 100, 0.1) for step in range(100)]
    assert rates[:10] == sorted(rates[:10])
    assert rates[10] == 1.0 == max(rates)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert 0 < rates[-1] < 0.01
    assert all(0 < rate(step, 2, 0.9) <= 1 for step in range(2))


def test_a_checkpoint_restores_parameters_and_moments(tmp_path: Path) -> None:
    def made() -> tuple[dict[str, torch.nn.Parameter], torch.optim.Optimizer]:
        torch.manual_seed(0)
        named = {"a": torch.nn.Parameter(torch.randn(3, 2)), "b": torch.nn.Parameter(torch.randn(4))}
        return named, torch.optim.AdamW(named.values(), lr=0.1)

    def step(named: dict[str, torch.nn.Parameter], optimiser: torch.optim.Optimizer) -> None:
        optimiser.zero_grad()
        sum((p**3).sum() for p in named.values()).backward()  # type: ignore[union-attr]
        optimiser.step()

    named, optimiser = made()
    step(named, optimiser)
    Checkpoints(tmp_path).save(1, named, optimiser)
    step(named, optimiser)
    others, another = made()
    assert Checkpoints(tmp_path).load(others, another) == 1
    step(others, another)
    assert all(torch.equal(named[name], others[name]) for name in named)
    assert Checkpoints(tmp_path / "none").load(others, another) == 0


def test_the_accelerator_is_not_asked_for_where_nothing_is_distilled(
    small_llama: Path, small_design: GainCellConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Accelerator, "__init__", lambda *_, **__: pytest.fail("an accelerator was made"))
    distilled(load(small_llama), small_design, tmp_path, stages=["statistics"])


def test_a_model_does_not_teach_itself_and_a_converted_one_is_no_original(
    small_llama: Path, small_design: GainCellConfig, tmp_path: Path
) -> None:
    model = load(small_llama)
    converted = gaincell.convert_(load(small_llama), small_design)
    for teacher in (model, converted):
        with pytest.raises(InputError, match="the teacher must be another model, which attends with softmax"):
            distilled(model, small_design, tmp_path / "run", teacher=teacher)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("stage", ["transfer", "distill"])
def test_noise_without_a_seed_of_its_own_is_the_same_after_a_kill(
    stage: str, small_llama: Path, small_design: GainCellConfig, tmp_path: Path
) -> None:
    noisy = small_design.replace(score_noise=0.01, readout_noise=0.02)
    settings: dict[str, Any] = {"stages": ALL, "distill.checkpoint_every": 4}
    torch.manual_seed(1)
    whole = distilled(one := load(small_llama), noisy, tmp_path / "whole", **settings)

    class KilledError(Exception):
        pass

    def kill(at: str, done: int, _: int) -> None:
        if (at, done) == (stage, 1 if stage == "transfer" else 6):
            raise KilledError

    torch.manual_seed(2)
    with pytest.raises(KilledError):
        distilled(load(small_llama), noisy, tmp_path / "killed", progress=kill, **settings)
    torch.manual_seed(3)
    again = distilled(other := load(small_llama), noisy, tmp_path / "killed", **settings)
    assert losses(again) == losses(whole)
    assert all(torch.equal(p, q) for p, q in zip(one.parameters(), other.parameters(), strict=True))
    plain = distilled(load(small_llama), small_design, tmp_path / "plain", **settings)
    assert losses(plain) != losses(whole), "there was noise"


def test_a_design_point_whose_retention_is_a_table_distils(
    small_llama: Path, small_design: GainCellConfig, tmp_path: Path
) -> None:
    table = {"time": (0.0, 1.0, 5.0), "stored": ((-0.45, -0.4, -0.1), (0.45, 0.4, 0.1))}
    cell = small_design.cell.model_dump()
    cell["retention"] = {**cell["retention"], "table": table}
    design = small_design.replace(cell=Cell(**cell), retention="table", leak_per_token=None, storage="uniform")
    result = distilled(model := load(small_llama), design, tmp_path)
    assert len(losses(result)) == STEPS
    assert {s.config.retention for s in scalers_of(model).values()} == {"table"}


def test_validation_must_not_be_what_an_earlier_stage_learns_from(
    small_llama: Path, small_design: GainCellConfig, tmp_path: Path
) -> None:
    text = "".join(random.Random(0).choices("abcdefghijklmnopqrstuvwxyz", k=2000))
    few: dict[str, Any] = {"rows": 8, "length": 48, "transfer.steps": 2, "distill.tokens": 48, "distill.batch": 1}
    ids = read_rows(Letters(), text, 8, 48, 0)
    late = "".join(chr(95 + token) for token in ids[5].tolist())
    with pytest.raises(InputError, match="training row 5"):
        adapt(
            load(small_llama),
            small_design,
            tokenizer=Letters(),
            out=tmp_path,
            text=text,
            stages=ALL,
            settings=AdaptSettings(**few),
            validation=late,
        )
    assert not (tmp_path / "metrics.jsonl").exists(), "before any stage"


def test_a_text_for_distillation_alone_need_not_be_as_long_as_other_stages_ask(
    small_llama: Path, small_design: GainCellConfig, tmp_path: Path
) -> None:
    text = "".join(chr(32 + (7 * i * i + 3 * i) % 90) for i in range(100))
    fields: dict[str, Any] = {"length": 48, "distill.tokens": 96, "distill.batch": 1, "distill.positions": 8}
    fields |= {"held_back": 0}

    def run(*stages: str) -> AdaptResult:
        return adapt(
            load(small_llama),
            small_design,
            tokenizer=Letters(),
            out=tmp_path / stages[0],
            text=text,
            stages=stages,
            settings=AdaptSettings(**fields),
        )

    assert len(losses(run("distill"))) == 2
    with pytest.raises(InputError, match="give a longer text"):
        run("statistics", "distill")


def test_a_stage_that_would_ignore_what_is_given_refuses_it(
    small_llama: Path, small_design: GainCellConfig, tmp_path: Path
) -> None:
    for ignored in ({"validation": "some words"}, {"teacher": load(small_llama)}):
        with pytest.raises(InputError, match="stage distill"):
            distilled(load(small_llama), small_design, tmp_path / "run", stages=("statistics",), **ignored)
    assert not (tmp_path / "run").exists()


def test_what_was_measured_before_a_kill_is_logged_once(
    small_llama: Path, small_design: GainCellConfig, tmp_path: Path
) -> None:
    def kill(stage: str, done: int, _: int) -> None:
        if (stage, done) == ("distill", 2):
            raise KeyboardInterrupt

    settings: dict[str, Any] = {"validation": "the quick brown fox " * 9, "distill.validate_tokens": 100}
    with pytest.raises(KeyboardInterrupt):
        distilled(load(small_llama), small_design, tmp_path, progress=kill, **settings)
    result = distilled(load(small_llama), small_design, tmp_path, **settings)
    assert [m["step"] for m in result.metrics if m["stage"] == "distill"] == list(range(STEPS + 1))


def test_a_run_with_another_budget_is_refused_before_text_is_written(
    small_llama: Path, small_design: GainCellConfig, tmp_path: Path
) -> None:
    def run(tokens: int, *, learn: bool = True) -> AdaptResult:
        fields: dict[str, Any] = {"rows": 2, "length": 16, "distill.tokens": tokens, "distill.batch": 2}
        fields |= {"held_back": 0}
        return adapt(
            load(small_llama),
            small_design,
            tokenizer=Letters(),
            out=tmp_path,
            stages=("distill",),
            settings=AdaptSettings(**fields),
            learn=learn,
        )

    run(64)
    text = tmp_path / "calibration.safetensors"
    before = text.read_bytes()
    for learn in (False, True):
        with pytest.raises(InputError, match="belongs to another run"):
            run(6400, learn=learn)
    assert text.read_bytes() == before
    text.unlink()
    with pytest.raises(InputError, match="let the run go on"):
        run(64, learn=False)
    assert not text.exists()
