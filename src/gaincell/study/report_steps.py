"""What a report measures, step by step, and the page that is made of it."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gaincell.config import GainCellConfig
from gaincell.progress import Listener, Progress, Silence
from gaincell.report.numbers import number
from gaincell.study.estimates import costs, estimated, published
from gaincell.study.models import Loaded
from gaincell.study.score_model import WATCHED
from gaincell.study.short_panel import ShortPanel, how_scored, perplexity_row
from gaincell.study.steps import Record, Step, run_steps

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

    from gaincell.report import Report, Results
    from gaincell.report.curves import Curve

#: What attention maps are drawn of by default: "it", "them" and "their" have something to look back at.
SENTENCE = (
    "The captain had promised his crew that they would see the harbour before night, and when the lights of it came up "
    "over the water, they believed him at last."
)
#: Tokens of each text of the panel that perplexity is taken on, in windows of so many.
SCORED, LENGTH = 1024, 1024
#: Tokens of a sample.
WRITTEN = 48


@dataclass(frozen=True)
class AdaptedModel:
    """An adapted model.

    Attributes:
        config: its design point, as it stands with the model.
        load: puts it on a copy of the original, or reads it.
        identity: tells it from one that was adapted otherwise; plain values.
    """

    config: GainCellConfig
    load: Callable[[], "PreTrainedModel"]
    identity: Any


@dataclass
class Subject:
    """What a page is to be about.

    Attributes:
        folder: the run folder; None of an adapter alone.
        original: gives the original model and its tokenizer.
        base: tells that one from another; plain values.
        adapted: by design point, at least one; the samples are of the first.
        curves: how adaptation went, where it is known.
        about: what is known of how they were made, as label and text.
        results: quality, samples and cost, where a run has them already.
        shape: the model's attention, then.
    """

    folder: Path | None
    original: Callable[[], Loaded]
    base: Any
    adapted: dict[str, AdaptedModel]
    curves: "list[Curve]" = field(default_factory=list)
    about: dict[str, str] = field(default_factory=dict)
    results: "Results | None" = None
    shape: dict[str, Any] | None = None


class Bench:
    """The models of one report, loaded when they are first needed, one adapted one at a time.

    Args:
        subject: what the page is about.
        sentence: what attention maps are drawn of.
    """

    def __init__(self, subject: Subject, sentence: str) -> None:
        self.subject, self.sentence = subject, sentence
        self._held: tuple[str, PreTrainedModel] | None = None

    @cached_property
    def loaded(self) -> Loaded:
        """The original model and its tokenizer."""
        return self.subject.original()

    def adapted(self, name: str) -> "PreTrainedModel":
        """An adapted model."""
        if self._held is None or self._held[0] != name:
            self._held = None
            self._held = name, self.subject.adapted[name].load()
        return self._held[1]

    def at_most(self, tokens: int) -> int:
        """So many tokens, or as many as the model has positions for."""
        from gaincell.models import positions_of

        return min(tokens, positions_of(self.loaded[0]) or tokens)

    def watched(self) -> "Tensor":
        """(1, T) tokens of the speeches that heads are watched on."""
        from gaincell.evaluate import default_text
        from gaincell.evaluate.perplexity import first_tokens

        return first_tokens(self.loaded[1], default_text(), self.at_most(WATCHED))

    def original(self, progress: Progress) -> dict[str, Any]:
        """Step: the original model on the panel's short form."""
        return self._panel().original(progress)

    def score(self, name: str, progress: Progress) -> dict[str, Any]:
        """Step: an adapted model there, beside the original."""
        return self._panel().beside(name, self.adapted(name), progress)

    def _panel(self) -> ShortPanel:
        return ShortPanel(lambda: self.loaded, SCORED, self.at_most(LENGTH))

    def samples(self, name: str, progress: Progress) -> dict[str, Any]:
        """Step: both models go on from the same prompts, greedily."""
        from gaincell.study.writing import side_by_side

        model, tokenizer = self.loaded
        return {"samples": side_by_side(model, self.adapted(name), tokenizer, progress, max_new_tokens=WRITTEN)}

    def cost(self, progress: Progress) -> dict[str, Any]:
        """Step: what attention costs."""
        from dataclasses import asdict

        from gaincell.hardware import read_workload

        model = self.loaded[0]
        points = {name: adapted.config for name, adapted in self.subject.adapted.items()}
        return {**estimated(model, points), "shape": asdict(read_workload(model.config))}

    def heads(self, name: str, progress: Progress) -> dict[str, Any]:
        """Step: what an adapted model's heads do, and how far off they are."""
        from gaincell.models import attention_activity, head_errors

        ids = self.watched()
        activity = attention_activity(self.adapted(name), ids, f"the first {ids.shape[1]} tokens of the speeches")
        progress("heads", 1, 2)
        errors = head_errors(self.loaded[0], self.adapted(name), ids)
        progress("heads", 2, 2)
        arrays = {"heads": errors.heads, "blocks": errors.blocks, "power": errors.power}
        return {"activity": activity.to_dict(), "errors": {key: array.tolist() for key, array in arrays.items()}}

    def maps(self, progress: Progress) -> dict[str, Any]:
        """Step: attention maps of all models."""
        import torch

        from gaincell.evaluate.text_prefix import prefix_of
        from gaincell.hardware import read_workload
        from gaincell.models import attention_maps
        from gaincell.report.map_bytes import packed, tokens_that_fit

        model, tokenizer = self.loaded
        names = list(self.subject.adapted)
        maps = sum(layer.heads for layer in read_workload(model.config).layers)
        encoded = prefix_of(tokenizer) + list(tokenizer(self.sentence, add_special_tokens=False)["input_ids"])
        ids = torch.tensor(encoded[: tokens_that_fit(maps, len(names) + 1)])
        found = {"original": packed(attention_maps(model, ids)), "points": {}}
        for done, name in enumerate(names, 1):
            progress("attention maps", done - 1, len(names))
            found["points"][name] = packed(attention_maps(self.adapted(name), ids))
        progress("attention maps", len(names), len(names))
        tokens = [tokenizer.decode([int(token)]) for token in ids]
        return {"tokens": tokens, "cut": len(encoded) - len(tokens), **found}


def measure(subject: Subject, sentence: str, path: Path, listener: Listener | None = None) -> Record:
    """Measure what the page needs and `subject` does not have; what is in the file at `path` is not measured again.

    Args:
        subject: what the page is about.
        sentence: what attention maps are drawn of.
        path: the file of what was measured.
        listener: is told which step it is, and how far.

    Raises:
        InputError: a sentence without tokens, and as the models' loaders.
        OSError: the disk is full, or the file cannot be written.
    """
    identity = {name: adapted.identity for name, adapted in subject.adapted.items()}
    # As JSON reads it again, so that it compares.
    record = Record(path, json.loads(json.dumps({"base": subject.base, "adapted": identity})), anew=True)
    bench = Bench(subject, sentence)
    maps = _maps_step(sentence)
    steps = [Step(f"{name}/heads", f"{name}: heads", partial(bench.heads, name)) for name in subject.adapted]
    steps.append(Step(maps, "attention maps", bench.maps))
    if subject.results is None:
        first = next(iter(subject.adapted))
        own = [Step("original/perplexity", "perplexity of the original model", bench.original)]
        own += [
            Step(f"{name}/perplexity", f"{name}: perplexity", partial(bench.score, name)) for name in subject.adapted
        ]
        own.append(Step("samples", "samples of both models", partial(bench.samples, first)))
        own.append(Step("cost", "latency, energy and area", bench.cost))
        steps = own + steps
    stale = [name for name in record.data["steps"] if name.startswith("maps/") and name != maps]
    for name in stale:
        del record.data["steps"][name]
    if not all(map(record.is_done, steps)):
        run_steps(steps, record, listener)
    return record


def make_page(
    subject: Subject,
    out: Path,
    command: str,
    *,
    sentence: str | None = None,
    tasks: Path | None = None,
    listener: Listener | None = None,
) -> "Report":
    """Write a page, and return what it shows. What it measured stays beside it, and is not measured again.

    Args:
        subject: what the page is about.
        out: the page, *.html.
        command: what writes it again, as the page tells.
        sentence: what attention maps are drawn of; `SENTENCE` by default.
        tasks: accuracy on tasks, a tasks.json.
        listener: is told which step it is, and how far.

    Raises:
        InputError: `tasks` is damaged, a sentence without tokens, and as the models' loaders.
        OSError: the disk is full, or the files cannot be written.
    """
    from gaincell.report import write_report
    from gaincell.report.tasks import read_tasks

    scores = None if tasks is None else read_tasks(tasks)  # a damaged file is refused before anything is measured
    sentence, listener = sentence or SENTENCE, listener or Silence()
    record = measure(subject, sentence, out.with_suffix(".measured.json"), listener)
    maps = record.result(_maps_step(sentence))
    report: Report = {
        "results": subject.results or _results(subject, record),
        "shape": subject.shape or record.result("cost")["shape"],
        "tasks": scores,
        "curves": subject.curves,
        "heads": {name: record.result(f"{name}/heads") for name in subject.adapted},  # pyright: ignore[reportAssignmentType]
        "maps": {"tokens": maps["tokens"], "original": maps["original"], "points": maps["points"]},
        "command": command,
    }
    if maps["cut"]:
        listener.say(f"note: maps are drawn of the sentence's first {len(maps['tokens'])} tokens; more would not fit")
    write_report(report, out)
    return report


def model_identity(folder: Path) -> list[list[Any]]:
    """What tells a model folder from the same one written anew, or another, without reading its weights."""
    files = [path for path in sorted(folder.iterdir()) if path.suffix in (".safetensors", ".json")]
    # A page written into the folder leaves its measurements there, which are none of the model's.
    stats = [(path.name, path.stat()) for path in files if not path.name.endswith(".measured.json")]
    return [[name, stat.st_size, stat.st_mtime_ns] for name, stat in stats]


def _maps_step(sentence: str) -> str:
    return f"maps/{hashlib.sha256(sentence.encode()).hexdigest()[:12]}"


def _results(subject: Subject, record: Record) -> "Results":
    """Quality, samples and cost, from what was measured here."""
    from gaincell.evaluate.ratio_interval import BLOCK

    cost, first = record.result("cost"), next(iter(subject.adapted))
    original = record.result("original/perplexity")
    rows = [perplexity_row("softmax", "as it came", original, record.seconds("original/perplexity"))]
    rows += [
        perplexity_row(name, "adapted", record.result(f"{name}/perplexity"), record.seconds(f"{name}/perplexity"))
        for name in subject.adapted
    ]
    last, estimate = rows[1], cost["estimates"][first]
    seconds = sum(step["seconds"] for step in record.data["steps"].values())
    return {
        "title": f"{cost['model']} in gain cells",
        "summary": f"Over many kinds of text {cost['model']} has perplexity {number(rows[0]['perplexity'])} with "
        f"softmax and {number(last['perplexity'])} adapted to the design point '{first}' ({number(last['ratio'], 3)} "
        f"times the original); its attention then takes {estimate['latency_s'] * 1e6:.3g} µs and "
        f"{estimate['energy_j'] * 1e6:.3g} µJ per token, by estimate.",
        "note": "",
        "model": cost["model"],
        "evaluation": f"{how_scored(original)} Intervals by drawing blocks of {BLOCK} tokens anew (bootstrap).",
        "perplexities": rows,
        "sampling": f"Both models continue the same prompts greedily with up to {WRITTEN} tokens.",
        "samples": record.result("samples")["samples"],
        "adapted": first,
        "costs": costs(cost, list(subject.adapted)),
        "published": published(cost),
        "caveat": cost["caveat"],
        "design_points": cost["design_points"],
        "about": {
            "gaincell": record.data["gaincell"],
            **original["versions"],
            **subject.about,
            "time to measure": f"{seconds:.0f} s",
        },
    }
