"""`gaincell evaluate --online`: the harness's own tasks, with the hub's data sets in small, and without a network."""

import errno
import json
import shutil
import socket
import sys
from collections.abc import Callable
from math import exp, log
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from datasets.exceptions import DatasetGenerationError, DatasetNotFoundError
from hub_rows import ROWS, load_dataset
from huggingface_hub import constants
from huggingface_hub.errors import HTTPError  # pyright: ignore[reportPrivateImportUsage]

from gaincell.errors import InputError
from gaincell.evaluate.tasks import TASKS
from gaincell.evaluate.tasks.run import evaluate_tasks
from gaincell.evaluate.tasks.scorer import Scorer
from gaincell.models import convert_
from gaincell.models.load import load_model, save_model

sys.path.insert(0, str(Path(__file__).parents[1] / "cli"))
from command_tools import Ended, save_tiny

Run = Callable[..., Ended]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    save_tiny(folder)
    return folder


@pytest.fixture(scope="module")
def converted(tiny: Path) -> Path:
    model, tokenizer = load_model(tiny)
    return save_model(convert_(model, "extended"), tokenizer, tiny.with_name("converted"))


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("datasets.load_dataset", load_dataset)


@pytest.fixture
def gaincell(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    from gaincell.cli.app import run

    monkeypatch.chdir(tmp_path)

    def call(*args: object) -> Ended:
        capsys.readouterr()
        code = run([str(arg) for arg in args])
        captured = capsys.readouterr()
        return Ended(code, captured.out, captured.err)

    return call


@pytest.mark.usefixtures("hub")
def test_the_papers_tasks_run_as_the_harness_has_them(tiny: Path, converted: Path, gaincell: Run) -> None:
    args = ("evaluate", tiny, "--also", converted, "--tasks", "paper", "--online", "--out", "run")
    ended = gaincell(*args)
    assert ended.code == 0, ended.err
    lines = [line.strip() for line in ended.out.splitlines()]
    titles = [task.title for task in TASKS.values()]
    shown = [next(i for i, line in enumerate(lines) if line.startswith(f"{title} ")) for title in titles[:-1]]
    average = next(i for i, line in enumerate(lines) if line.startswith("average"))
    text = next(i for i, line in enumerate(lines) if line.startswith("WikiText-2, perplexity by word"))
    assert [*shown, average, text] == sorted([*shown, average, text])
    assert "±" not in lines[text]
    assert any(line.startswith("converted: ") and "times the perplexity on WikiText-2" in line for line in lines)

    found = json.loads(Path("run/tasks.json").read_text("utf-8"))
    assert list(found["tasks"]) == list(TASKS)[:-1]
    assert list(found["perplexities"]) == ["wikitext"]
    assert {task["items"] for task in found["tasks"].values()} == {3}
    for name in found["models"]:
        harness = json.loads(Path(f"run/harness-{name}.json").read_text("utf-8"))["results"]
        for task, scored in found["tasks"].items():
            assert scored["models"][name]["accuracy"] == pytest.approx(harness[TASKS[task].harness]["acc,none"])
        for kind in ("word_perplexity", "byte_perplexity", "bits_per_byte"):
            ours = found["perplexities"]["wikitext"]["models"][name][kind]
            assert ours == pytest.approx(harness["wikitext"][f"{kind},none"])
        accuracies = [task["models"][name]["accuracy"] for task in found["tasks"].values()]
        assert found["average"][name]["accuracy"] == pytest.approx(sum(accuracies) / 6)


@pytest.mark.usefixtures("hub")
def test_wikitexts_perplexity_is_what_the_harness_finds_by_itself(converted: Path) -> None:
    """Its own wrapper of the model, its own windows, batches of its own; a page has more tokens than fit at once."""
    import lm_eval.tasks
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    model, tokenizer = load_model(converted)
    pages = ROWS["EleutherAI/wikitext_document_level", "wikitext-2-raw-v1"]["test"]
    assert max(len(tokenizer(page["page"]).input_ids) for page in pages) > model.config.max_position_embeddings
    folder = Path(lm_eval.tasks.__file__).parent / "wikitext"
    theirs: Any = simple_evaluate(
        HFLM(pretrained=model, tokenizer=tokenizer, batch_size=2),
        tasks=["wikitext"],
        task_manager=TaskManager(include_path=str(folder), include_defaults=False),
        bootstrap_iters=0,
    )
    ours = evaluate_tasks({"a": lambda: load_model(converted)}, tasks=["wikitext"], online=True)
    assert ours["tasks"] == ours["average"] == {}
    for kind in ("word_perplexity", "byte_perplexity", "bits_per_byte"):
        found = ours["perplexities"]["wikitext"]["models"]["a"][kind]
        assert found == pytest.approx(theirs["results"]["wikitext"][f"{kind},none"], rel=1e-5)


@pytest.mark.usefixtures("hub")
def test_perplexities_are_compared_on_the_same_pages(tiny: Path, converted: Path) -> None:
    models = {"original": lambda: load_model(tiny), "other": lambda: load_model(converted)}
    found = evaluate_tasks(models, tasks=["wikitext"], online=True)["perplexities"]["wikitext"]
    original, other = (found["models"][name] for name in models)
    assert found["items"] == 3
    assert other["ratio"] == pytest.approx(exp(log(other["word_perplexity"]) - log(original["word_perplexity"])))
    low, high = other["interval"]
    assert low < other["ratio"] < high
    assert low * high == pytest.approx(other["ratio"] ** 2)
    one = evaluate_tasks(models, tasks=["wikitext"], items=1, online=True)["perplexities"]["wikitext"]
    assert one["models"]["other"]["interval"] is None


@pytest.mark.usefixtures("hub")
def test_pages_that_are_read_are_not_read_again(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    models = {"original": lambda: load_model(tiny)}
    whole = evaluate_tasks(models, tasks=["wikitext"], online=True)

    def interrupt(name: str, done: int, asked: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate_tasks(models, tasks=["wikitext"], online=True, out=tmp_path, progress=interrupt)
    assert (tmp_path / "answers-original.jsonl").read_bytes().count(b"\n") == 1 + 2
    assert not (tmp_path / "tasks.json").exists()
    windows: list[int] = []
    forward = Scorer._model_call
    monkeypatch.setattr(Scorer, "_model_call", lambda self, inps: (windows.append(len(inps)), forward(self, inps))[1])
    again = evaluate_tasks(models, tasks=["wikitext"], online=True, out=tmp_path)
    assert again == whole
    assert windows == [1]
    monkeypatch.setattr(Scorer, "_model_call", lambda *_: pytest.fail("read again"))
    assert evaluate_tasks(models, tasks=["wikitext"], online=True, out=tmp_path) == whole


@pytest.mark.usefixtures("hub")
@pytest.mark.parametrize(
    ("file", "field", "value"),
    [("config.json", "max_position_embeddings", 512), ("tokenizer_config.json", "bos_token", "</s>")],
)
def test_pages_are_read_again_where_their_windows_change(
    file: str, field: str, value: Any, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Path(shutil.copytree(tiny, tmp_path / "other"))
    fields = json.loads((other / file).read_text("utf-8"))
    assert fields[field] != value
    (other / file).write_text(json.dumps({**fields, field: value}), "utf-8")
    rows: list[int] = []
    forward = Scorer._model_call
    monkeypatch.setattr(Scorer, "_model_call", lambda self, inps: (rows.append(len(inps)), forward(self, inps))[1])
    before, again, fresh = (
        evaluate_tasks({"a": lambda folder=folder: load_model(folder)}, tasks=["wikitext"], online=True, out=out)
        for folder, out in ((tiny, tmp_path), (other, tmp_path), (other, None))
    )
    assert again == fresh != before
    assert set(rows) == {1}  # one window at a time: its logits are large


@pytest.mark.usefixtures("hub")
def test_a_tokenizer_that_wikitext_cannot_begin_with_is_refused(tiny: Path, tmp_path: Path, gaincell: Run) -> None:
    bare = Path(shutil.copytree(tiny, tmp_path / "bare"))
    fields = json.loads((bare / "tokenizer_config.json").read_text("utf-8"))
    for field in ("bos_token", "eos_token"):
        del fields[field]
    (bare / "tokenizer_config.json").write_text(json.dumps(fields), "utf-8")
    ended = gaincell("evaluate", bare, "--tasks", "wikitext", "--online", "--out", "run")
    ended.assert_refused("bare", "neither a first nor a last token", "bos_token")


def test_a_hub_that_answers_is_asked(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []

    def ask(*args: Any, **kwargs: Any) -> Any:
        asked.append(constants.HF_HUB_OFFLINE)
        return load_dataset(*args, **kwargs)

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("gaincell.evaluate.tasks.run.get_session", lambda: Mock(spec=["head"]))
    monkeypatch.setattr("datasets.load_dataset", ask)
    found = evaluate_tasks({"a": lambda: load_model(tiny)}, tasks=["piqa", "wikitext"], online=True)
    assert [*found["tasks"], *found["perplexities"]] == ["piqa", "wikitext"]
    assert asked == [False, False]


def _generation(cause: Exception) -> Exception:
    error = DatasetGenerationError("An error occurred while generating the dataset")
    error.__cause__ = cause
    return error


@pytest.mark.usefixtures("hub")
@pytest.mark.parametrize(
    ("raised", "told"),
    [
        (MemoryError(), MemoryError),
        (_generation(MemoryError()), MemoryError),
        (_generation(OSError(errno.ENOSPC, "No space left on device")), OSError),
        (PermissionError(errno.EACCES, "Permission denied"), PermissionError),
        (TypeError("no such argument"), TypeError),
        (KeyError("page"), KeyError),
        (_generation(ValueError("not JSON")), InputError),
        (DatasetNotFoundError("doesn't exist on the Hub"), InputError),
        (ConnectionError("Couldn't reach it"), InputError),
        (HTTPError("cut off"), InputError),
    ],
)
def test_only_what_the_hub_is_at_fault_for_is_called_its_fault(
    raised: Exception, told: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any, **kwargs: Any) -> Any:
        raise raised

    monkeypatch.setattr("datasets.load_dataset", fail)
    with pytest.raises(told) as caught:
        evaluate_tasks({}, tasks=["wikitext"], online=True)
    if told is InputError:
        assert "cannot be had from the hub" in str(caught.value)
        assert "--online" not in str(caught.value)  # without it wikitext is not to be had at all
    elif isinstance(raised, OSError):
        assert caught.value is raised


def test_wikitext_without_the_hub_says_what_to_do(tiny: Path, gaincell: Run) -> None:
    told = ("wikitext comes from the hub alone", "--online", "--text")
    gaincell("evaluate", tiny, "--tasks", "piqa,wikitext").assert_refused(*told)
    with pytest.raises(InputError, match="comes from the hub alone"):
        evaluate_tasks({}, tasks=["wikitext"])


@pytest.mark.parametrize("how", ["offline", "refused"])
def test_without_a_network_it_says_so_at_once(
    how: str, tiny: Path, gaincell: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[Any] = []

    def refuse(*args: Any, **kwargs: Any) -> Any:
        asked.append(args)
        raise ConnectionRefusedError(111, "Connection refused")

    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")  # nothing was fetched before
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", how == "offline")
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr("gaincell.models.load.load_model", lambda name: pytest.fail("a model was loaded"))
    ended = gaincell("evaluate", tiny, "--tasks", "paper", "--online", "--out", "run")
    ended.assert_refused("data of ARC-Easy cannot be had from the hub", "check the network", "--online")
    assert len(asked) <= 1  # no retries
    assert not Path("run").exists()
