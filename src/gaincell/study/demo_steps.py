"""What the demo does, step by step, and what its report is written from."""

import copy
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gaincell.config import GainCellConfig
from gaincell.progress import Progress, of_stage
from gaincell.report.numbers import number
from gaincell.study.estimates import costs, estimated, published
from gaincell.study.models import Load, Loaded
from gaincell.study.short_panel import ShortPanel, how_scored, perplexity_row
from gaincell.study.steps import Record, Step

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

    from gaincell.adapt import AdaptSettings
    from gaincell.report import Results

#: Tokens of a learning step, where the run adapts.
STEP_TOKENS = 1024
#: What a stage does, for a table's row.
STAGES = {
    "original": "as it came",
    "naive": "mapped as it is",
    "statistics": "scalers from statistics",
    "transfer": "layer-wise transfer",
    "adapter": "adapter that ships",
}


@dataclass(frozen=True)
class PointPlan:
    """A design point, and what is done to the model at it after mapping it as it is.

    Attributes:
        name: of the design point.
        stages: stages of adaptation, or "adapter" alone.
        adapter: what is put on in that stage: a shipped adapter's name, or a file.
    """

    name: str
    stages: tuple[str, ...]
    adapter: str | None = None

    @property
    def learns(self) -> bool:
        """Whether the model is adapted in the run itself."""
        return self.stages != ("adapter",)

    @property
    def key(self) -> str:
        """What tells the adapter from another one of its name."""
        from gaincell.models.adapter import adapter_checksum

        return "" if self.adapter is None else adapter_checksum(self.adapter)


@dataclass(frozen=True)
class DemoSettings:
    """How much the demo does. Two runs with the same settings are the same run.

    Attributes:
        quick: whether these are figures to look at, not to quote.
        plans: the design points; the samples, and the model that is saved where the run adapts it, are of the first.
        rows, length: calibration text, and the length that adaptation works at; where the run adapts.
        steps: learning steps of a layer in the stage 'transfer'.
        evaluate_tokens, evaluate_length: perplexity, of each text of the panel.
        sample_tokens, temperature: samples.
        seed: of everything drawn at random.
    """

    quick: bool = False
    plans: tuple[PointPlan, ...] = (
        PointPlan("extended", ("adapter",), "extended"),
        PointPlan("leroux2025", ("adapter",), "leroux2025"),
    )
    rows: int = 16
    length: int = 1024
    steps: int = 48
    evaluate_tokens: int = 1024
    evaluate_length: int = 1024
    sample_tokens: int = 48
    temperature: float = 0.0
    seed: int = 0

    @classmethod
    def of(cls, *, quick: bool, from_scratch: bool) -> "DemoSettings":
        """The settings behind the command's options."""
        plans = cls.plans
        if from_scratch:
            plans = tuple(PointPlan(plan.name, ("statistics", "transfer")) for plan in plans)
        if not quick:
            return cls(plans=plans)
        return cls(quick=True, plans=plans, rows=16, length=128, steps=8, evaluate_tokens=128, sample_tokens=32)


class Workbench:
    """Models and files of one run, made when they are first needed.

    Args:
        settings: how much to do.
        out: the run folder.
        model: what the original model is loaded by.
        load: gives a model and its tokenizer.
    """

    def __init__(self, settings: DemoSettings, out: Path, model: str, load: Load) -> None:
        self.settings, self.out, self._model, self._load = settings, out, model, load
        self.calibration_file = out / "calibration.safetensors"
        self._panel = ShortPanel(lambda: self.loaded, settings.evaluate_tokens, settings.evaluate_length, out)

    @cached_property
    def loaded(self) -> Loaded:
        """The original model and its tokenizer."""
        return self._load(self._model)

    @property
    def tokenizer(self) -> Any:
        """The tokenizer."""
        return self.loaded[1]

    def copy_of_original(self) -> "PreTrainedModel":
        """A model to change."""
        return copy.deepcopy(self.loaded[0])

    def model_folder(self, plan: PointPlan) -> Path:
        """Where the adapted model is saved."""
        return self.out / plan.name / "model"

    def config_of(self, plan: PointPlan) -> GainCellConfig:
        """The design point as this model attends with it."""
        from gaincell.models import attention_modules

        return GainCellConfig.named(plan.name).for_layers(len(attention_modules(self.loaded[0])))

    def adapt_settings(self) -> "AdaptSettings":
        """What `gaincell.adapt` is told."""
        from gaincell.adapt import AdaptSettings

        s = self.settings
        # What came out is measured step by step, on text of another kind.
        return AdaptSettings(
            rows=s.rows,
            length=s.length,
            transfer={"batch": min(s.rows, max(1, STEP_TOKENS // s.length)), "steps": s.steps},
            statistics_rows=max(1, 2 * STEP_TOKENS // s.length),
            seed=s.seed,
            held_back=0,
        )

    def write_calibration(self, progress: Progress) -> dict[str, Any]:
        """Let the original model write the text that all design points learn from."""
        from gaincell.adapt.text.cut import fingerprint
        from gaincell.adapt.text.own_text import own_text

        s = self.settings
        model, tokenizer = self.loaded
        written = of_stage(progress, "writing text")
        ids = own_text(model, tokenizer, self.calibration_file, s.rows, s.length, s.seed, written)
        return {
            "rows": s.rows,
            "length": s.length,
            "seed": s.seed,
            "fingerprint": fingerprint(ids),
        }

    def read_calibration(self) -> "Tensor":
        """The text that `write_calibration` left."""
        from gaincell.models.tensorfile import read_tensors

        return read_tensors(self.calibration_file)["ids"][: self.settings.rows].long()

    def original(self, progress: Progress) -> dict[str, Any]:
        """Step: the original model on the panel's short form."""
        progress("loading the model", int(bool(self.loaded)), 1)
        return self._panel.original(progress)

    def naive(self, plan: PointPlan, progress: Progress) -> dict[str, Any]:
        """Step: the model mapped without adaptation."""
        from gaincell.models import convert_

        return self._panel.beside(plan.name, convert_(self.copy_of_original(), self.config_of(plan)), progress)

    def adapted(self, plan: PointPlan, stages: tuple[str, ...], progress: Progress) -> dict[str, Any]:
        """Step: adapt with these stages (the earlier ones come from the run folder), and score the model."""
        from gaincell.adapt import adapt
        from gaincell.models.load import save_model

        result = adapt(
            self.copy_of_original(),
            self.config_of(plan),
            tokenizer=self.tokenizer,
            out=self.out / plan.name,
            calibration=self.read_calibration(),
            stages=stages,
            settings=self.adapt_settings(),
            progress=progress,
        )
        if self.is_saved(plan, stages):
            save_model(result.model, self.tokenizer, self.model_folder(plan))
        return self._panel.beside(plan.name, result.model, progress)

    def is_saved(self, plan: PointPlan, stages: tuple[str, ...]) -> bool:
        """Whether the model is saved after these stages: the first design point's, after its last."""
        return plan.learns and plan == self.settings.plans[0] and stages == plan.stages

    def with_adapter(self, plan: PointPlan, progress: Progress) -> dict[str, Any]:
        """Step: put the adapter on, and score the model."""
        from gaincell.models import adapter_info

        assert plan.adapter is not None
        return {
            **self._panel.beside(plan.name, self.final(plan), progress),
            "adapter": adapter_info(plan.adapter).notes,
        }

    def final(self, plan: PointPlan) -> "PreTrainedModel":
        """The adapted model, read from where it is kept."""
        if plan.adapter is None:
            return self._load(str(self.model_folder(plan)))[0]
        from gaincell.models import load_adapter

        return load_adapter(self.copy_of_original(), plan.adapter)

    def samples(self, progress: Progress) -> dict[str, Any]:
        """Step: both models go on from the same prompts."""
        from gaincell.study.writing import side_by_side

        s = self.settings
        how = {"max_new_tokens": s.sample_tokens, "temperature": s.temperature, "seed": s.seed}
        return {"samples": side_by_side(self.loaded[0], self.final(s.plans[0]), self.tokenizer, progress, **how)}

    def cost(self, progress: Progress) -> dict[str, Any]:
        """Step: what attention costs, here and in the paper."""
        points = {plan.name: self.config_of(plan) for plan in self.settings.plans}
        return estimated(self.loaded[0], points)


def demo_steps(bench: Workbench) -> list[Step]:
    """The steps in order."""
    steps = [Step("original", "the original model", bench.original)]
    if any(plan.learns for plan in bench.settings.plans):
        steps.append(Step("calibration", "text to learn from", bench.write_calibration, (bench.calibration_file,)))
    for plan in bench.settings.plans:
        steps.append(Step(f"{plan.name}/naive", f"{plan.name}: mapped as it is", partial(bench.naive, plan)))
        if not plan.learns:
            steps.append(
                Step(f"{plan.name}/adapter", f"{plan.name}: adapted", partial(bench.with_adapter, plan), key=plan.key)
            )
            continue
        for count, stage in enumerate(plan.stages, 1):
            stages = plan.stages[:count]
            files = (bench.model_folder(plan) / "config.json",) if bench.is_saved(plan, stages) else ()
            steps.append(
                Step(f"{plan.name}/{stage}", f"{plan.name}: {stage}", partial(bench.adapted, plan, stages), files)
            )
    steps.append(Step("samples", "samples of both models", bench.samples, key=bench.settings.plans[0].key))
    steps.append(Step("cost", "latency, energy and area", bench.cost))
    return steps


def summarise(settings: DemoSettings, record: Record) -> "Results":
    """What the screen and the report show, from the finished steps."""
    cost = record.result("cost")
    rows = _perplexities(settings, record)
    first = settings.plans[0]
    names = [plan.name for plan in settings.plans]
    how = "greedily" if settings.temperature == 0 else f"at temperature {settings.temperature:g}, seed {settings.seed},"
    note = "Quick figures: little text and few steps, to see that everything works; run without --quick to quote any."
    return {
        "title": "A pre-trained language model on gain-cell hardware",
        "summary": _sentence(cost, rows, first.name),
        "note": note if settings.quick else "",
        "model": cost["model"],
        "evaluation": how_scored(record.result("original")),
        "perplexities": rows,
        "sampling": f"Both models continue the same prompts {how} with up to {settings.sample_tokens} tokens.",
        "samples": record.result("samples")["samples"],
        "adapted": first.name,
        "costs": costs(cost, names),
        "published": published(cost),
        "caveat": cost["caveat"],
        "design_points": cost["design_points"],
        "about": _about(settings, record),
    }


def _perplexities(settings: DemoSettings, record: Record) -> "list[Any]":
    names = [("softmax", "original", "original")]
    for plan in settings.plans:
        names += [(plan.name, stage, f"{plan.name}/{stage}") for stage in ("naive", *plan.stages)]
    return [
        perplexity_row(attention, STAGES[stage], record.result(name), record.seconds(name))
        for attention, stage, name in names
    ]


def _sentence(cost: dict[str, Any], rows: "list[Any]", point: str) -> str:
    ours = [row for row in rows if row["attention"] == point]
    naive, final = ours[0], ours[-1]
    estimate = cost["estimates"][point]
    worst = final["worst"]
    return (
        f"Over many kinds of text {cost['model']} has perplexity {number(rows[0]['perplexity'])} with softmax, "
        f"{number(naive['perplexity'])} when mapped as it is to the design point '{point}', and "
        f"{number(final['perplexity'])} after adaptation ({number(final['ratio'], 3)} times the original; at worst "
        f"{number(worst['ratio'], 3)} times, on {worst['genre']}); its attention then takes "
        f"{estimate['latency_s'] * 1e6:.3g} µs and {estimate['energy_j'] * 1e6:.3g} µJ per token, by estimate."
    )


def _about(settings: DemoSettings, record: Record) -> dict[str, str]:
    seconds = sum(step["seconds"] for step in record.data["steps"].values())
    original = record.result("original")
    learned = {}
    for plan in settings.plans:
        if not plan.learns:
            learned[f"adapter {plan.name}"] = record.result(f"{plan.name}/adapter")["adapter"] or "made by others"
    if any(plan.learns for plan in settings.plans):
        text = record.result("calibration")
        learned["calibration"] = (
            f"{text['rows']} rows of {text['length']} tokens that the model wrote itself, "
            f"seed {text['seed']}, fingerprint {text['fingerprint']}"
        )
        learned["transfer"] = f"{settings.steps} steps a layer"
    return {
        "gaincell": record.data["gaincell"],
        **original["versions"],
        **learned,
        "time": f"{seconds:.0f} s with {original['threads']} threads",
    }


def settings_dict(settings: DemoSettings, model: str) -> dict[str, Any]:
    """The settings as plain values, with the model they are for."""
    return {"model": model, **asdict(settings)}
