"""A model's perplexity on one text, with what its heads do there and whether it learned from that text."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gaincell.config import GainCellConfig
from gaincell.errors import InputError
from gaincell.progress import Progress, of_stage
from gaincell.study.models import Load, attention_of, check_positions, load_model

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from gaincell.evaluate import Perplexity

#: Tokens at the start of the text that heads are watched on: what they show takes memory with the square of it.
WATCHED = 512


@dataclass(frozen=True)
class Scored:
    """What a model showed on a text.

    Attributes:
        perplexity: of the text.
        attention: what the model attends with: its design point's name, or softmax.
        heads: of a converted model, how many heads there are ("heads"), how many of them give no pulse at all
            ("dead_heads") or are saturated ("saturated_heads"), and the share of pulses without width
            ("silent_pulses").
        learned: of a model that lies in a run's folder, the share of what was scored that the run learned from, at
            least; None where that is unknown.
    """

    perplexity: "Perplexity"
    attention: str
    heads: dict[str, float]
    learned: float | None


def score_text(
    model: str,
    text: str,
    *,
    config: GainCellConfig | None = None,
    mismatch_seed: int | None = None,
    length: int = 512,
    stride: int | None = None,
    tokens: int = 8192,
    load: Load = load_model,
    progress: Progress | None = None,
) -> Scored:
    """Score a model on a text.

    Args:
        model: what it is loaded by.
        text: a UTF-8 text file; "speeches" or "novel"; or a data set on the hub, of which it is the split "test".
        config: a design point that the model is mapped to as it is, without adaptation; a converted one moves there.
        mismatch_seed: draws arrays whose cells differ.
        length: tokens of a window.
        stride: tokens between windows; half the length by default.
        tokens: to score, at most.
        load: gives the model and its tokenizer.
        progress: called with (stage, done, total).

    Raises:
        InputError: no such text or model; a window beyond the model's positions; `mismatch_seed` without arrays.
    """
    from gaincell.adapt.text.sources import load_source
    from gaincell.evaluate import load_text, perplexity

    if config is not None and mismatch_seed is not None:
        config = config.replace(mismatch_seed=mismatch_seed)
    hub = "/" in text and not Path(text).exists()
    words = load_source(text, split="test") if hub else load_text(text)
    network, tokenizer = load(model)
    from gaincell.models import convert_, design_point

    check_positions(network, length, "--length")
    if config is None and mismatch_seed is not None:
        stored = design_point(network)
        if stored is None:
            raise InputError("--mismatch-seed draws the cells of a converted model; convert this one with --config.")
        config = stored.replace(mismatch_seed=mismatch_seed)
    if config is not None:
        convert_(network, config)
    how = {"length": length, "stride": stride, "tokens": tokens}
    found = perplexity(network, tokenizer, words, **how, progress=of_stage(progress, "perplexity"))
    heads = {} if design_point(network) is None else _heads(network, tokenizer, words, min(length, WATCHED))
    return Scored(found, attention_of(network), heads, _learned(Path(model), tokenizer, words, tokens))


def _heads(network: "PreTrainedModel", tokenizer: Any, words: str, tokens: int) -> dict[str, float]:
    import numpy as np

    from gaincell.evaluate.perplexity import first_tokens
    from gaincell.models import attention_activity, scalers_of

    if all(scalers.is_digital for scalers in scalers_of(network).values()):
        return {}
    activity = attention_activity(network, first_tokens(tokenizer, words, tokens))
    analog = np.ones(activity.phi.shape, bool)
    for place in activity.digital:
        analog[place] = False
    return {
        "heads": int(analog.sum()),
        "dead_heads": int(activity.dead.sum()),
        "saturated_heads": int(activity.saturated.sum()),
        "silent_pulses": 1.0 - float(activity.phi_active[analog].mean()),
    }


def _learned(model: Path, tokenizer: Any, words: str, tokens: int) -> float | None:
    """The share of a text's tokens that the run of a model learned from: model and adapter lie in a run's folder."""
    folder = model.resolve().parent
    if not model.exists() or not (folder / "metrics.jsonl").is_file():
        return None
    from gaincell.adapt.text.held_out import share_learned
    from gaincell.evaluate.perplexity import encode

    return share_learned(folder, encode(tokenizer, words, tokens)[: tokens + 1])
