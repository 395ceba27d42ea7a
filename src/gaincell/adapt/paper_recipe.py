"""The paper's own adaptation: train a linear hardware model, match the nonlinear one to it, and train that.

To fit a budget of `distill.tokens`:

- both trainings share its steps as 2,900 : 5,900, the published iterations, with one step each at least;
- a step has `distill.batch` rows instead of 120 x 16 (in the second training 120 x 12) of 1,024 tokens, and the second
  training goes on in the text where the first one stopped;
- a third of either's steps is warm-up: published are 2,000, a third of 5,900; of 2,900 they would be two thirds;
- the rate falls to zero along a cosine. That is an assumption: in the released code the cosine takes 600,000
  iterations down to a tenth, so that it has hardly fallen in those published.

AdamW is as published: rate 6e-4, betas (0.9, 0.95), weight decay 0.1 (here of matrices alone, there of scalers, too),
gradients clipped at norm 1.
"""

from pathlib import Path
from typing import Any, Unpack

from transformers import PreTrainedModel

from gaincell.adapt.distil.stage import Training
from gaincell.adapt.request import Further, Request, fit_length
from gaincell.adapt.run_stages import Plan, perform, source_identity
from gaincell.adapt.settings import MANNER, AdaptSettings, named
from gaincell.adapt.stage import AdaptResult, Stage
from gaincell.adapt.stages.matching import MatchModel
from gaincell.cell import Cell, load_cell
from gaincell.config import GainCellConfig
from gaincell.errors import InputError
from gaincell.models import convert_
from gaincell.progress import Progress

#: Iterations of the two fine-tunings [Leroux et al. 2025], which share the budget in this proportion.
LINEAR_ITERATIONS, CUBIC_ITERATIONS = 2900, 5900
#: What the recipe sets, unless the caller does [Leroux et al. 2025, released code]. The rate falls to zero, an
#: assumption, and its warm-up is shortened, see above.
PAPER: dict[str, Any] = {
    "distill.loss": "next-token",
    "distill.train": "all",
    "distill.relative": False,
    "distill.lr": 6e-4,
    "distill.scaler_factor": 1.0,
    "distill.betas": (0.9, 0.95),
    "distill.weight_decay": 0.1,
    "distill.clip": 1.0,
    "distill.warmup": 1 / 3,
    "learning_leak": None,
}


def paper_recipe(
    model: PreTrainedModel,
    config: GainCellConfig | str,
    *,
    tokenizer: Any,
    out: Path | str,
    text: str | None = None,
    settings: AdaptSettings | None = None,
    progress: Progress | None = None,
    **further: Unpack[Further],
) -> AdaptResult:
    """Convert a pre-trained softmax model in place and adapt it as the paper does, scaled to a budget of tokens.

    Stages: `linear` puts the linear law, quantisers, leak and HardSigmoid in softmax's place and trains everything on
    next tokens; `matching` moves weights and scalers to the design point's own law and brings mean and deviation of q,
    k, v and output per head to those that the linear model showed on one batch (`statistics_rows` rows), layer by
    layer; `cubic` trains on. Of a design point whose law is linear already, `linear` is all [Leroux et al. 2025]. What
    is scaled, and how, is told at the top of the module `gaincell.adapt.paper_recipe`.

    Args:
        model: an unconverted causal decoder, in float32 or wider.
        config: the design point, or a shipped one's name.
        tokenizer: the model's tokenizer.
        out: the run directory, with a folder for each stage; a run that was interrupted goes on where it stopped.
        text: text to learn from; by default the model writes its own (cached in the run directory).
        settings: amounts; what is set explicitly also overrides the paper's own choices, but for `distill.loss`.
        progress: called with (stage, done, total).
        further: see `gaincell.adapt.request.Further`.

    Raises:
        InputError: a design point with score preset or digital sinks, `distill.loss` "kl", and what
            `gaincell.adapt` refuses.
    """
    config = GainCellConfig.named(config) if isinstance(config, str) else config
    settings = paper_settings(fit_length(settings or AdaptSettings(), model, config))
    _check_digital_side(config)
    if unknown := further.keys() - Further.__annotations__.keys():
        raise TypeError(f"paper_recipe() takes no argument '{min(unknown)}'.")
    request = Request(model, config, tokenizer, out, settings, text, progress=progress, **further)
    return perform(request, paper_plan(request))


def paper_plan(request: Request) -> Plan:
    """The paper's stages, from a linear hardware model on."""
    linear = linear_design(request.config)
    stages: tuple[Stage, ...] = (Training("linear", apart=False),)
    if linear is not None:
        first = Training("linear", lambda steps: (0, split_steps(steps)[0]), apart=False)
        stages = (first, MatchModel(), Training("cubic", split_steps, apart=False))

    def identity(settings: AdaptSettings) -> dict[str, Any]:
        fields = settings.model_dump(mode="json", exclude=MANNER)
        return {"recipe": "paper", **source_identity(request), "settings": fields}

    return Plan(stages, identity, lambda model: convert_(model, linear or request.config))


def paper_settings(settings: AdaptSettings) -> AdaptSettings:
    """The paper's choices (`PAPER`), overridden by what was set explicitly.

    Raises:
        InputError: another loss than the paper's was.
    """
    given = named(settings.model_dump(exclude_unset=True))
    if given.get("distill.loss", "next-token") != "next-token":
        raise InputError("the paper's recipe learns next tokens; leave distill.loss out, or adapt in stages.")
    return AdaptSettings(**{**PAPER, **given})


def split_steps(steps: int) -> tuple[int, int]:
    """Steps of both trainings, as 2,900 : 5,900 and one each at least."""
    linear = max(1, round(steps * LINEAR_ITERATIONS / (LINEAR_ITERATIONS + CUBIC_ITERATIONS)))
    return linear, max(1, steps - linear)


def linear_design(config: GainCellConfig) -> GainCellConfig | None:
    """The same design point, of ideal circuits, with the paper's linear law; None where its own law is linear.

    It leaks by the same time constant, and to where values do: what both cells of a pair lose alike cancels.
    """
    if not any(config.cell.model_law.coefficients[2:]):
        return None
    law, name = load_cell("leroux2025-linear").law, f"{config.cell.name}-linear"
    retention = config.cell.retention
    if config.cell.polarity == "pair":
        retention = retention.model_copy(update={"ends_at_v": 0.0})
    cell = Cell(name=name, law=law, retention=retention)
    return config.ideal().replace(name=f"{config.name}-linear", cell=cell)


def _check_digital_side(config: GainCellConfig) -> None:
    if config.score_preset or config.sinks != "none":
        raise InputError(
            "the paper's recipe knows no score preset and no digital sinks, which design point "
            f"'{config.name}' has; choose leroux2025, or adapt in stages."
        )
