"""`gaincell adapt`: what it leaves, how it goes on, how it fails."""

import errno
import json
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from command_tools import Run

from gaincell import GainCellConfig
from gaincell.cli import adapt as command
from gaincell.models import adapter_info

QUICK = command.QUICK
QUICKER = {"rows": 4, "length": 24, "transfer.steps": 1, "distill.tokens": 192, "distill.batch": 4, "held_back": 0}
COMMAND = [sys.executable, "-m", "gaincell.cli"]


@pytest.fixture(autouse=True)
def _little_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "QUICK", QUICKER)


def test_adapt_saves_a_model_that_other_commands_take(
    tiny: Path, gaincell: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gaincell.models.load import load_model

    ended = gaincell("adapt", tiny, "--out", "run", "--quick", "--json")
    assert ended.code == 0
    found = json.loads(ended.out)
    assert found["design_point"] == "extended"
    assert found["stages"] == ["statistics", "distill"]
    assert len(found["metrics"]) == 2 + 2  # two layers, and steps
    assert found["model"] == "run/model"
    assert sorted(path.name for path in Path("run").iterdir() if path.is_dir()) == [
        "distill",
        "model",
        "statistics",
    ]

    doctor = gaincell("doctor", "--model", "run/model")
    assert doctor.code == 0
    assert "attends in gain cells at 'extended'" in doctor.out
    assert gaincell("generate", "The", "--model", "run/model", "--max-new-tokens", 4).code == 0
    monkeypatch.setattr("gaincell.models.load.load_demo_model", lambda: load_model(tiny))
    both = [json.loads(gaincell("evaluate", name, "--json", "--tokens", 64).out) for name in (found["adapter"], "demo")]
    assert [entry["attention"] for entry in both] == ["extended", "softmax"]
    assert gaincell("generate", "The", "--model", found["adapter"], "--max-new-tokens", 4).code == 0
    gaincell("evaluate", "run").assert_refused("its model is run/model")


def test_adapt_ends_with_what_came_out(tiny: Path, gaincell: Run, tmp_path: Path) -> None:
    point = tmp_path / "point.yaml"
    point.write_text(GainCellConfig.named("extended").replace(window=128).to_yaml())
    args = (
        "adapt",
        tiny,
        "--config",
        point,
        "--out",
        "run",
        "--quick",
        "--set",
        "held_back=1",
        "--stages",
        "statistics",
    )
    ended = gaincell(*args)
    assert ended.code == 0, ended.err
    first, *lines = ended.out.splitlines()
    assert first.startswith("adapted to 'extended'")
    found = json.loads(gaincell(*args, "--json").out)["outcome"]
    assert {"stage": "outcome", **found} == json.loads(Path("run/metrics.jsonl").read_text().splitlines()[-1])
    assert [at["length"] for at in found["lengths"]] == [24, 128]
    assert lines == [
        f"at {at['length']} tokens: perplexity {at['perplexity']:.4g}, {at['ratio']:.3g} times the original's "
        f"{at['original']:.4g}, and KL {at['divergence']:.3g} nats a token"
        for at in found["lengths"]
    ]
    assert json.loads(gaincell(*args[:-4], "--json", *args[-2:]).out)["outcome"] is None


def test_what_is_not_usable_is_said_in_a_sentence_of_its_own() -> None:
    from gaincell.adapt.outcome import AtLength, Outcome
    from gaincell.study.adapt_model import told

    outcome = Outcome(4, (AtLength(256, 1020, 4321.0, 10.0, 5.25),), 256, ("statistics", "transfer"), (7,))
    assert told(outcome) == [
        "at 256 tokens: perplexity 4,321, 432 times the original's 10, and KL 5.25 nats a token",
        "not usable: the perplexity is 432 times the original's at 256 tokens, where 3 times is the most; try the "
        "stage distill as well or lower rates (transfer.projection_lr).",
        "layer 7 (counted from 0) stayed behind: the stage transfer left it as it was, or at over 3 times the median "
        "error.",
    ]


def test_a_text_that_a_run_learned_from_is_told(tiny: Path, text_file: Path, gaincell: Run) -> None:
    args = ("--text", text_file, "--quick", "--set", "length=64")
    assert gaincell("adapt", tiny, "--out", "run", *args, "--stages", "statistics").code == 0
    evaluate = ("evaluate", "run/model", "--tokens", 256, "--json")
    ended = gaincell(*evaluate, "--text", text_file)
    assert json.loads(ended.out)["learned"] == 1
    (note,) = (line for line in ended.err.splitlines() if line.startswith("note:"))
    assert note.startswith("note: at least 100% of what is scored is among what")
    ended = gaincell(*evaluate)
    assert json.loads(ended.out)["learned"] == 0
    assert "note:" not in ended.err
    Path("run/model").rename("model")
    assert (
        json.loads(gaincell("evaluate", "model", "--tokens", 256, "--json", "--text", text_file).out)["learned"] is None
    )


def test_adapt_again_does_no_layer_twice(tiny: Path, gaincell: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    args = ("adapt", tiny, "--out", "run", "--quick", "--stages", "statistics", "--config", "leroux2025")
    assert gaincell(*args).code == 0
    before = {path: path.stat().st_mtime_ns for path in Path("run/statistics").iterdir()}
    assert len(before) == 2
    ended = gaincell(*args)
    assert ended.code == 0
    assert ended.out.startswith("adapted to 'leroux2025'")
    assert {path: path.stat().st_mtime_ns for path in Path("run/statistics").iterdir()} == before


def test_adapt_learns_from_a_given_text_by_the_papers_matching(tiny: Path, text_file: Path, gaincell: Run) -> None:
    args = ("--text", text_file, "--statistics", "matching", "--stages", "statistics", "--quick")
    assert gaincell("adapt", tiny, "--out", "run", *args, "--config", "leroux2025").code == 0
    refused = gaincell("adapt", tiny, "--out", "other", *args)
    assert refused.code == 2
    assert "finds no score preset, which design point 'extended' has; use least-squares" in refused.err


def test_adapt_distils_with_settings_given_one_by_one(tiny: Path, text_file: Path, gaincell: Run) -> None:
    settings = ("--set", "distill.tokens=240", "--set", "distill.batch=2", "--set", "distill.positions=null")
    args = (
        "adapt",
        tiny,
        "--out",
        "run",
        "--text",
        text_file,
        "--quick",
        "--json",
        "--set",
        "distill.lr=1e-3",
        *settings,
    )
    ended = gaincell(*args, "--stages", "statistics,transfer,distill")
    assert ended.code == 0
    steps = [line for line in json.loads(ended.out)["metrics"] if line["stage"] == "distill"]
    assert [line["step"] for line in steps] == [1, 2, 3, 4, 5]
    assert steps[-1]["tokens"] == 240
    assert max(line["lr"] for line in steps) <= 1e-3
    assert gaincell("generate", "The", "--model", "run/model", "--max-new-tokens", 4).code == 0
    gaincell(*args, "--stages", "distill", "--set", "distill.temperature=2").assert_refused("another run")
    # Its header says how it was made, without anybody's folders.
    notes = adapter_info("run/adapter.safetensors").notes
    assert notes is not None
    assert notes.startswith(f"gaincell adapt {tiny.name} --config extended --text {text_file.name} --stages stat")
    assert notes.endswith(
        "--set distill.lr=1e-3 --set distill.tokens=240 --set distill.batch=2 --set distill.positions=null --quick"
    )


def test_an_adapter_of_a_run_that_was_cut_short(
    tiny: Path, text_file: Path, gaincell: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gaincell.adapt.run.folder import Run as Folder
    from gaincell.models.load import load_model

    def interrupted(run: Folder, metrics: dict[str, Any]) -> None:
        log(run, metrics)
        if metrics.get("step") == 3:
            raise KeyboardInterrupt

    log = Folder.log
    settings = ("--set", "distill.tokens=240", "--set", "distill.batch=2", "--set", "distill.checkpoint_every=2")
    args = ("adapt", tiny, "--out", "run", "--text", text_file, "--quick", *settings)
    stages = ("--stages", "statistics,transfer,distill")
    save = ("--save-adapter", "part.safetensors", "--json")
    gaincell(*args, *stages, *save).assert_refused("run holds no run")
    assert not Path("run").exists()
    with monkeypatch.context() as patch:
        patch.setattr(Folder, "log", interrupted)
        assert gaincell(*args, *stages).code == 130
    ended = gaincell(*args, *stages, *save)
    assert ended.code == 0, ended
    assert json.loads(ended.out)["metrics"][-1]["step"] == 2
    assert not Path("run/model").exists()
    notes = adapter_info("part.safetensors").notes
    assert notes is not None
    assert notes.startswith(f"gaincell adapt {tiny.name} --config extended --text {text_file.name} --stages stat")
    assert notes.endswith("--quick, the checkpoint after 96 tokens of distill")
    monkeypatch.setattr("gaincell.models.load.load_demo_model", lambda: load_model(tiny))
    assert gaincell("generate", "The", "--model", "part.safetensors", "--max-new-tokens", 4).code == 0
    layers = ("--stages", "statistics,transfer", "--save-adapter", "layers.safetensors")
    ended = gaincell(*args, *layers, "--rank", 2)
    assert (ended.code, ended.out) == (0, "saved what the stages reached: layers.safetensors\n")
    gaincell(*args, "--save-adapter", "part").assert_refused("--save-adapter part", ".safetensors")


def test_adapt_by_the_papers_recipe(tiny: Path, text_file: Path, gaincell: Run) -> None:
    args = ("adapt", tiny, "--out", "run", "--text", text_file, "--quick", "--recipe", "paper", "--json")
    settings = ("--set", "distill.tokens=192", "--set", "distill.batch=2")
    ended = gaincell(*args, *settings, "--config", "leroux2025", "--validate", "speeches")
    assert ended.code == 0
    found = json.loads(ended.out)
    assert found["stages"] == ["linear", "matching", "cubic"]
    taken = [(line["stage"], line["tokens"]) for line in found["metrics"] if "tokens" in line]
    assert taken == [("linear", 0), ("linear", 48), ("cubic", 0), ("cubic", 48), ("cubic", 96), ("cubic", 144)]
    assert "perplexity" in found["metrics"][-1]
    assert gaincell("generate", "The", "--model", "run/model", "--max-new-tokens", 4).code == 0
    for option in (("--stages", "statistics"), ("--statistics", "matching"), ("--from", "leroux2025")):
        gaincell(*args, "--config", "leroux2025", *option).assert_refused("leave --stages, --statistics and --from out")
    gaincell(*args).assert_refused("no score preset", "'extended'", "choose leroux2025")
    gaincell("adapt", tiny, "--out", "run", "--stages", "").assert_refused("one at least")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("distill.lr", "NAME=VALUE"),
        ("=3", "NAME=VALUE"),
        ("distil_lr=1", "distil_lr"),
        ("distill.lr=-1", "distill.lr"),
        ("distill.lr=[", "YAML"),
        ("distill.train=heads", "distill.train"),
    ],
)
def test_bad_settings(given: str, told: str, tiny: Path, gaincell: Run) -> None:
    gaincell("adapt", tiny, "--out", "run", "--set", given).assert_refused(told)
    gaincell("adapt", tiny, "--out", "run", "--set", "transfer.steps=2", "--set", "transfer.steps=3").assert_refused(
        "once"
    )
    assert not Path("run").exists()


def test_folder_of_another_run(tiny: Path, gaincell: Run) -> None:
    args = ("adapt", tiny, "--out", "run", "--quick", "--stages", "statistics")
    assert gaincell(*args).code == 0
    before = (Path("run") / "config.json").read_bytes()
    gaincell(*args, "--seed", 1).assert_refused("run", "another")
    gaincell(*args, "--config", "leroux2025").assert_refused("run", "another")
    assert (Path("run") / "config.json").read_bytes() == before


def test_folder_with_something_else(tiny: Path, gaincell: Run) -> None:
    Path("letters").mkdir()
    Path("letters/dear.txt").write_text("Dear")
    gaincell("adapt", tiny, "--out", "letters", "--quick").assert_refused("letters")
    assert [path.name for path in Path("letters").iterdir()] == ["dear.txt"]


def test_text_that_is_too_short(tiny: Path, tmp_path: Path, gaincell: Run) -> None:
    (tmp_path / "short.txt").write_text("Too short.")
    gaincell("adapt", tiny, "--out", "run", "--text", "short.txt", "--quick").assert_refused("tokens", "longer text")


def test_a_model_that_is_adapted_already(tiny_converted: Path, gaincell: Run) -> None:
    gaincell("adapt", tiny_converted, "--out", "run", "--quick").assert_refused("already")


def fails_with(error: BaseException) -> Any:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise error

    return fail


def test_disk_full_while_saving(tiny: Path, gaincell: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import PreTrainedModel

    def half(self: PreTrainedModel, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        (folder / "model.safetensors").write_bytes(b"half a mod")
        raise OSError(errno.ENOSPC, "No space left on device", str(folder))

    args = ("adapt", tiny, "--out", "run", "--quick", "--stages", "statistics")
    with monkeypatch.context() as patch:
        patch.setattr(PreTrainedModel, "save_pretrained", half)
        ended = gaincell(*args)
    assert ended.code == 1
    assert ended.out == ""
    assert ended.err.splitlines()[-1].startswith("error: no space left on the disk")
    assert "Traceback" not in ended.err
    assert not [path.name for path in Path("run").iterdir() if "model" in path.name]
    assert gaincell(*args).code == 0
    assert (Path("run") / "model" / "config.json").is_file()


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (OSError(errno.EIO, "Input/output error", "run/x"), 1, "error: Input/output error: run/x."),
        (PermissionError(errno.EACCES, "Permission denied", "run"), 1, "error: Permission denied: run."),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), 1, "error: no space left on the disk"),
        (MemoryError(), 1, "error: not enough memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), 1, "error: not enough memory"),
        (KeyboardInterrupt(), 130, "interrupted; run the same command to resume"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_failures_while_running_end_in_one_line(
    error: BaseException, code: int, line: str, tiny: Path, gaincell: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gaincell.adapt.adapt", fails_with(error))
    ended = gaincell("adapt", tiny, "--out", "run", "--quick")
    assert (ended.code, ended.out) == (code, "")
    assert ended.err.startswith(line)
    assert len(ended.err.splitlines()) == 1


def test_interrupted_evaluation_has_nothing_to_resume(
    tiny: Path, gaincell: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gaincell.evaluate.perplexity", fails_with(KeyboardInterrupt()))
    ended = gaincell("evaluate", tiny)
    assert (ended.code, ended.out, ended.err) == (130, "", "interrupted\n")


def test_a_bug_keeps_its_traceback(tiny: Path, gaincell: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gaincell.evaluate.perplexity", fails_with(ZeroDivisionError("a bug")))
    with pytest.raises(ZeroDivisionError):
        gaincell("evaluate", tiny)


def test_output_that_cannot_be_written() -> None:
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run([*COMMAND, "cost"], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert ended.returncode == 1
    assert ended.stderr == "error: no space left on the disk; free some and run the same command again.\n"


def test_a_reader_that_leaves_early_is_no_error() -> None:
    code = "import sys; from gaincell.cli.app import run; sys.stdin.readline(); sys.exit(run(['cost', '--json']))"
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    process.stdin.write("go\n")
    process.stdin.close()
    error = process.stderr.read()
    process.stderr.close()
    assert process.wait(timeout=60) == 1
    assert error == ""


def test_a_real_write_that_fails_leaves_no_half_model(tiny: Path, tmp_path: Path, text_file: Path) -> None:
    def limit() -> None:  # files of layers fit, the whole model does not
        size = (tiny / "model.safetensors").stat().st_size // 2
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    args = ["adapt", str(tiny), "--out", "run", "--quick", "--stages", "statistics", "--text", str(text_file)]
    ended = subprocess.run(
        [*COMMAND, *args], cwd=tmp_path, capture_output=True, text=True, check=False, preexec_fn=limit, timeout=300
    )
    assert ended.returncode == 1, ended.stderr
    assert ended.stderr.splitlines()[-1].startswith("error: no space left on the disk")
    assert "Traceback" not in ended.stderr
    assert not [path for path in (tmp_path / "run").iterdir() if "model" in path.name]


def test_ctrl_c_and_the_same_command_again(
    tiny: Path, text_file: Path, tmp_path: Path, gaincell: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    args = ["adapt", str(tiny), "--out", "run", "--quick", "--text", str(text_file)]
    # A background job of a shell ignores Ctrl-C, and its children would, too.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(
        [*COMMAND, *args], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    signal.signal(signal.SIGINT, before)
    deadline = time.monotonic() + 120
    while not (tmp_path / "run" / "config.json").exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert out == ""
    assert err.splitlines()[-1] == "interrupted; run the same command to resume"
    assert "Traceback" not in err
    assert not (tmp_path / "run" / "model").exists()
    monkeypatch.setattr(command, "QUICK", QUICK)
    assert gaincell(*args, "--stages", "statistics").code == 0


def test_a_setting_that_yaml_takes_for_a_boolean_is_the_word_it_is() -> None:
    from gaincell import InputError
    from gaincell.cli.adapt import parse_settings

    assert parse_settings(["distill_precision=no", "transfer.steps=3"]) == {"precision": "no", "transfer.steps": 3}
    with pytest.raises(InputError, match="NAME=VALUE"):
        parse_settings(["steps=3\nseed: 2"])


def test_a_second_process_is_refused_and_a_killed_one_gone_on_from(
    tiny: Path, text_file: Path, tmp_path: Path, gaincell: Run
) -> None:
    args = ["adapt", str(tiny), "--out", "run", "--text", str(text_file), "--set", "length=24", "--set", "steps=30"]
    args += ["--set", "held_back=0", "--stages", "statistics,transfer"]
    first = tmp_path / "run" / "transfer" / "layer-000.safetensors"
    lines = tmp_path / "run" / "metrics.jsonl"
    with subprocess.Popen([*COMMAND, *args], cwd=tmp_path) as process:
        deadline = time.monotonic() + 120
        while not (lines.exists() and '"transfer"' in lines.read_text()):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.002)
        process.send_signal(signal.SIGSTOP)  # so that it is there for as long as this looks
        assert process.poll() is None, "it finished before it could be stopped"
        before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
        gaincell(*args).assert_refused("another process is at work in run")
        assert {path: path.read_bytes() for path in before} == before
        process.kill()
    modified = first.stat().st_mtime_ns
    ended = gaincell(*args)
    assert ended.code == 0, ended
    assert first.stat().st_mtime_ns == modified
    assert (tmp_path / "run" / "adapter.safetensors").is_file()


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["--validate", "speeches", "--stages", "statistics"], "--validate is for the stage distill"),
        (["--set", "distill_leak=cell", "--stages", "transfer", "--set", "step=5"], "did you mean 'transfer.steps'?"),
        (["--set", "distill.tokens=5000", "--stages", "statistics"], "--set distill.tokens is for the stage distill"),
        (
            ["--set", "steps=5", "--stages", "statistics"],
            "--set transfer.steps is for the stage transfer, which is not",
        ),
        (["--set", "transfer.steps=5", "--recipe", "paper"], "for the stage transfer, which no recipe has"),
        (["--set", "transfer.steps=5", "--from", "extended"], "transfer, which is not among distill"),
        (["--stages", "transfer", "--statistics", "matching"], "--statistics is for that stage"),
        (["--set", "step=5"], "did you mean 'transfer.steps'?"),
    ],
)
def test_what_would_be_ignored_is_refused(given: list[str], told: str, tiny: Path, gaincell: Run) -> None:
    gaincell("adapt", tiny, "--out", "run", *given).assert_refused(told)
    assert not Path("run").exists()


def test_an_adapter_of_another_base_is_refused_before_anything_is_written(tiny: Path, gaincell: Run) -> None:
    ended = gaincell("adapt", tiny, "--out", "run", "--from", "extended", "--set", "distill.tokens=64")
    ended.assert_refused("was made for another model, 'smollm2-135m-instruct'")
    assert not Path("run").exists()


def test_a_folder_that_cannot_be_written_to_is_refused_at_once(
    tiny: Path, gaincell: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gaincell.cli.options.os.access", lambda *_: False)  # root may write everywhere
    gaincell("adapt", tiny, "--out", "there/run").assert_refused("--out there/run", "cannot be written to")
    gaincell("fit", "nothing.csv", "--tau", "5ms", "--out", "there/cell.yaml").assert_refused("cannot be written to")


def a_mixture(folder: Path, *, own: float, **fields: Any) -> Path:
    """A mixture file of one source: small documents in a file of JSON."""
    texts = [
        {"t": f"This is text {i} of the ones that are made for it, and it is like none of them: {i * i}."}
        for i in range(99)
    ]
    (folder / "texts.json").write_text(json.dumps(texts), "utf-8")
    source = {"name": "made", "genre": "prose", "kind": "file", "package": "texts.json", "licence": "CC0-1.0"}
    source |= {"share": 1 - own, "reader": "json", "fields": ["t"], "shortest": 20, **fields}
    path = folder / "mine.yaml"
    path.write_text(json.dumps({"own": own, "sources": [source]}), "utf-8")  # JSON is YAML
    return path


def test_adapt_learns_from_a_mixture_beside_its_own_text(
    tiny: Path, gaincell: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("platformdirs.user_cache_path", lambda name: tmp_path / "cache")
    mixture = a_mixture(tmp_path, own=0.5)
    stages = ("--stages", "statistics,transfer,distill", "--set", "distill.tokens=384", "--set", "distill.length=48")
    args = ("adapt", tiny, "--out", "run", "--text", mixture, "--quick", *stages)
    ended = gaincell(*args)
    assert ended.code == 0, ended.err
    config = json.loads(Path("run/config.json").read_text())
    assert config["calibration_of"]["shares"] == {"own": 0.5, "made": 0.5}
    assert len(config["calibration_of"]["mixture"]) == 16
    assert [line["stage"] for line in map(json.loads, Path("run/metrics.jsonl").read_text().splitlines())].count(
        "distill"
    ) == 2
    assert len(list((tmp_path / "cache" / "texts" / "own").glob("*.safetensors"))) == 1
    again = gaincell(*args)
    assert again.code == 0, again.err
    assert json.loads(Path("run/config.json").read_text()) == config
    other = gaincell(*args[:-1], "distill.length=24")
    assert (other.code, other.out) == (2, "")
    assert other.err.strip().splitlines()[-1].startswith("error: run belongs to another run")


def test_a_mixture_that_cannot_be_served_is_refused(tiny: Path, gaincell: Run, tmp_path: Path) -> None:
    adapt = ("adapt", tiny, "--out", "run", "--quick")
    gaincell(*adapt, "--allow-missing").assert_refused("--allow-missing is for a mixture's sources")
    gaincell(*adapt, "--text", "nowhere.yaml").assert_refused("mixture 'nowhere.yaml' is no file")
    gaincell(*adapt, "--text", a_mixture(tmp_path, own=0.5, share=0.4)).assert_refused("add up to 0.9 instead of 1")
    gaincell(*adapt, "--text", a_mixture(tmp_path, own=0.5, flavour="x")).assert_refused(
        "unknown field 'sources.0.flavour'"
    )
    lost = a_mixture(tmp_path, own=0.5, package="nowhere.json")
    assert not Path("run").exists()
    gaincell(*adapt, "--text", lost).assert_refused("source 'made'", "--allow-missing")
    assert not Path("run").exists()
