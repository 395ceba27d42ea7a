"""What a report is written from: plain values, as `results.json` of a run keeps them."""

from typing import Any, NotRequired, TypedDict

from gaincell.report.curves import Curve
from gaincell.report.tasks import Tasks


class WorstGenre(TypedDict):
    """The kind of text that a model does worst, and how many times the original's perplexity it has there."""

    genre: str
    ratio: float


class PerplexityRow(TypedDict):
    """One model's perplexity; `ratio` is over the original model's, `seconds` what it took to get there.

    Perplexity and ratio are geometric means over kinds of text. `interval`, where it is known, is the 95 % interval of
    the ratio; `worst` is None of the original.
    """

    attention: str
    stage: str
    perplexity: float
    ratio: float
    seconds: float
    interval: NotRequired[list[float] | None]
    worst: NotRequired[WorstGenre | None]


class Sample(TypedDict):
    """The same prompt, continued by the original and by the adapted model."""

    prompt: str
    original: str
    adapted: str


class CostRow(TypedDict):
    """One quantity with its value at every design point, in the order of `Costs.design_points`."""

    name: str
    unit: str
    values: list[float | None]


class Costs(TypedDict):
    """Cost of a model's attention, one token, at several design points."""

    model: str
    design_points: list[str]
    rows: list[CostRow]
    energy_parts_j: dict[str, dict[str, float]]


class PublishedRow(TypedDict):
    """One quantity of the paper's model: our estimate beside the published figure."""

    name: str
    unit: str
    estimate: float
    published: float
    ratio: float


class Results(TypedDict):
    """A finished run.

    Attributes:
        title, summary: a heading and one sentence.
        note: what to know before quoting figures; may be empty.
        model: the name of the model.
        evaluation: one sentence on how perplexity was taken.
        perplexities: the original first.
        sampling: one sentence on how the samples were drawn.
        samples: continued prompts.
        adapted: which design point the adapted samples are of.
        costs: of this model.
        published: the paper's model, where the paper has figures.
        caveat: on the published GPU figures.
        design_points: all fields of each, by name.
        about: versions, settings and timings, as label and text.
    """

    title: str
    summary: str
    note: str
    model: str
    evaluation: str
    perplexities: list[PerplexityRow]
    sampling: str
    samples: list[Sample]
    adapted: str
    costs: Costs
    published: list[PublishedRow]
    caveat: str
    design_points: dict[str, dict[str, Any]]
    about: dict[str, str]


class Heads(TypedDict):
    """What the heads of one adapted model do.

    Attributes:
        activity: `gaincell.hardware.Activity.to_dict` of a text.
        errors: arrays of `gaincell.models.HeadErrors` on that text, as lists, by name.
    """

    activity: dict[str, Any]
    errors: dict[str, Any]


class Map(TypedDict):
    """Attention maps of one model, packed by `gaincell.report.map_bytes.packed`.

    Attributes:
        weights: base64 of one byte a weight.
        pulses: sum of phi of every query, layer by layer and head by head; empty of softmax.
    """

    weights: str
    pulses: list[float]


class Maps(TypedDict):
    """Attention maps of one sentence: the original's, and every adapted model's by its design point."""

    tokens: list[str]
    original: Map
    points: dict[str, Map]


class Report(TypedDict):
    """Everything that a page shows; what is absent has no section.

    Attributes:
        results: the run.
        shape: the model's attention, as `gaincell.hardware.read_workload` takes it.
        tasks: accuracy on tasks.
        curves: how adaptation went, run by run.
        heads: by design point.
        maps: of one sentence.
        command: what writes the page again.
    """

    results: Results
    shape: dict[str, Any]
    tasks: Tasks | None
    curves: list[Curve]
    heads: dict[str, Heads]
    maps: Maps | None
    command: str
