"""What adaptation came to, on rows that it held back."""

import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from gaincell.adapt.precision import computing
from gaincell.adapt.run.folder import Run
from gaincell.adapt.seeds import drawing, number_of, seeded
from gaincell.adapt.settings import AdaptSettings
from gaincell.adapt.text.own_text import own_text
from gaincell.config import GainCellConfig
from gaincell.evaluate.text_prefix import prefix_of
from gaincell.models import positions_of
from gaincell.progress import Progress, of_stage

#: Times the original's perplexity up to which a result is told to be usable (assumption: one that is much further off
#: hardly writes sentences).
USABLE = 3.0
#: Times the median of all layers' errors beyond which a layer is told to have stayed behind (assumption).
BEHIND = 3.0
#: Tokens of the longest rows, unless learning takes longer ones.
LONGEST = 1024
#: Positions of a row at which distributions are compared: the original's are kept, for it is gone when learning ends.
POSITIONS = 128
#: What lines of metrics call it.
STAGE = "outcome"
#: Positions of a row whose distributions are computed with at once.
_AT_ONCE = 128


@dataclass(frozen=True)
class AtLength:
    """How near an adapted model comes to the original on rows of one length.

    Attributes:
        length: tokens of a row.
        tokens: scored tokens, of all rows.
        perplexity: the adapted model's.
        original: the original model's, on the same tokens.
        divergence: KL(original || adapted) of the next token, in nats; a mean over random positions.
    """

    length: int
    tokens: int
    perplexity: float
    original: float
    divergence: float

    @property
    def ratio(self) -> float:
        """How many times the original's the perplexity is."""
        return self.perplexity / self.original


@dataclass(frozen=True)
class Outcome:
    """What adaptation came to, on rows that the original model wrote and nothing was learned from.

    Attributes:
        rows: how many.
        lengths: figures at the length trained and at the longest that the design point's window and the model's
            positions hold (1,024 tokens at most), the shorter first; one where they are the same.
        trained: the length trained, in tokens.
        stages: what the model has been through.
        behind: layers, counted from 0, that the last of these stages that goes layer by layer left behind: `transfer`
            left them as they were, or their relative error is more than `BEHIND` times the median.
    """

    rows: int
    lengths: tuple[AtLength, ...]
    trained: int
    stages: tuple[str, ...]
    behind: tuple[int, ...]

    @property
    def usable(self) -> bool:
        """Whether the perplexity is at most `USABLE` times the original's at every length."""
        return all(at.ratio <= USABLE for at in self.lengths)  # of one that is no number, too

    @property
    def note(self) -> str | None:
        """One sentence that tells where a result is not usable, and what to try; None where it is."""
        bad = [at for at in self.lengths if not at.ratio <= USABLE]
        if not bad:
            return None
        finite = [at for at in bad if math.isfinite(at.ratio)]
        whose = [" the original's", ""]
        at = [f"{_times(x.ratio)}{own} at {x.length:,} tokens" for x, own in zip(finite, whose, strict=False)]
        found = f"is {' and '.join(at)}, where {USABLE:g} times is the most"
        if len(finite) < len(bad):
            found = f"at {' and '.join(f'{x.length:,}' for x in bad if x not in finite)} tokens is no number"
        learned = any(stage in self.stages for stage in ("distill", "cubic", "linear"))
        tries = ["more tokens (distill.tokens)" if learned else "the stage distill as well"]
        if bad[-1].length > self.trained:
            tries.append(f"longer rows (length={bad[-1].length})")
        rates = ["transfer.projection_lr"] * ("transfer" in self.stages) + ["distill.lr"] * learned
        if bad[0].length <= self.trained and rates:
            tries.append(f"lower rates ({', '.join(rates)})")
        *most, last = tries
        return f"not usable: the perplexity {found}; try {' or '.join([', '.join(most), last] if most else [last])}."

    @property
    def left_behind(self) -> str | None:
        """One sentence that names the layers that stayed behind; None where none did."""
        if not self.behind:
            return None
        one = len(self.behind) == 1
        return (
            f"layer{'' if one else 's'} {', '.join(map(str, self.behind))} (counted from 0) stayed behind: the stage "
            f"{_layerwise(self.stages)} left {'it' if one else 'each'} as it was, or at over {BEHIND:g} times the "
            "median error."
        )

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for JSON; a figure that is not finite is None."""
        figures = [{**asdict(at), "ratio": at.ratio} for at in self.lengths]
        return {
            "rows": self.rows,
            "trained": self.trained,
            "stages": list(self.stages),
            "lengths": [{k: v if math.isfinite(v) else None for k, v in at.items()} for at in figures],
            "usable": self.usable,
            "note": self.note,
            "behind": list(self.behind),
        }


class HeldBack:
    """Rows held back, and what the original model predicts there.

    Args:
        model: the original model, in the state that it predicts in.
        ids: (N, T) token ids.
        lengths: tokens from a row's start that are scored as a row of their own, in rising order up to T.
        prefix: how many special tokens stand in front of every row; they are not scored.
        seed: of the positions at which distributions are compared.
        progress: called with (rows done, rows).
    """

    def __init__(
        self,
        model: PreTrainedModel,
        ids: Tensor,
        lengths: Sequence[int],
        prefix: int,
        seed: int,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        self.ids, self.lengths = ids, lengths
        starts = [max(prefix - 1, 0), *(length - 1 for length in lengths)]
        #: Predictions, by the position that they are made at, which a length scores beyond those of the one before.
        self.parts = [range(start, end) for start, end in pairwise(starts)]
        # Drawn part by part, so that no length has few of them.
        few = POSITIONS // len(self.parts)
        self.drawn = [
            [
                part.start + torch.randperm(len(part), generator=seeded(STAGE, seed, row, n))[:few]
                for row in range(len(ids))
            ]
            for n, part in enumerate(self.parts)
        ]
        self.losses, self.logs = self._predict(model, progress)

    def measure(
        self, model: PreTrainedModel, progress: Callable[[int, int], None] | None = None
    ) -> tuple[AtLength, ...]:
        """How near a model comes to the original, at every length. It is causal: one pass serves all lengths."""
        losses, logs = self._predict(model, progress)
        # Means of the parts; sums of terms of both signs, hence in float64.
        divergences = [
            torch.cat(
                [
                    nn.functional.kl_div(q.double(), p.double(), reduction="none", log_target=True).sum(-1)
                    for q, p in zip(ours, originals, strict=True)
                ]
            ).mean()
            for ours, originals in zip(logs, self.logs, strict=True)
        ]
        found = []
        for n, (part, length) in enumerate(zip(self.parts, self.lengths, strict=True), 1):
            scored = slice(self.parts[0].start, part.stop)
            ours, originals = (math.exp(min(float(x[:, scored].mean()), 700.0)) for x in (losses, self.losses))
            weights = torch.tensor([len(part) for part in self.parts[:n]], dtype=torch.float64)
            divergence = float((weights * torch.stack(divergences[:n])).sum() / weights.sum())
            tokens = losses[:, scored].numel()
            found.append(AtLength(length, tokens, ours, originals, divergence))
        return tuple(found)

    @torch.no_grad()
    def _predict(
        self, model: PreTrainedModel, progress: Callable[[int, int], None] | None
    ) -> tuple[Tensor, list[list[Tensor]]]:
        """Losses (N, T - 1) in nats, and by part and row the logarithms of the distributions there, on the CPU."""
        losses: list[Tensor] = []
        logs: list[list[Tensor]] = [[] for _ in self.parts]
        for number, row in enumerate(self.ids):
            ids = row[None].to(model.device)
            logits = model(ids, use_cache=False).logits[0, :-1]
            terms = [
                nn.functional.cross_entropy(some.float(), targets, reduction="none")
                for some, targets in zip(logits.split(_AT_ONCE), ids[0, 1:].split(_AT_ONCE), strict=True)
            ]
            losses.append(torch.cat(terms).double().cpu())
            for part, drawn in zip(logs, self.drawn, strict=True):
                part.append(logits[drawn[number].to(logits.device)].float().log_softmax(-1).cpu())
            if progress is not None:
                progress(number + 1, len(self.ids))
        return torch.stack(losses), logs


def hold_back(
    model: PreTrainedModel,
    tokenizer: Any,
    config: GainCellConfig,
    run: Run,
    settings: AdaptSettings,
    trained: int,
    progress: Progress | None,
) -> HeldBack | None:
    """Rows that the original model writes for the end of a run, kept in its folder, and what it predicts there.

    Their seed follows from the run's, and is another: nothing that is learned from changes. None where the settings
    hold nothing back, or there is no tokenizer to begin a text with.

    Args:
        model: the original model, on the device that it learns on, in the state that it predicts in.
        tokenizer: its tokenizer, or None.
        config: the design point.
        run: where rows are kept.
        settings: `held_back` rows.
        trained: tokens of the rows that the last stage learns on.
        progress: called with (stage, done, total).
    """
    if settings.held_back == 0 or tokenizer is None:
        return None

    prefix = prefix_of(tokenizer)
    longest = min(LONGEST, config.window, positions_of(model) or LONGEST)
    lengths = sorted({trained, longest})
    seed, path = number_of("held back", settings.seed), run.folder / f"held-back-{lengths[-1]}.safetensors"
    with computing(settings, model.device):
        ids = own_text(
            model, tokenizer, path, settings.held_back, lengths[-1], seed, of_stage(progress, "text held back")
        )
    return HeldBack(model, ids, lengths, len(prefix), settings.seed, of_stage(progress, "the original on it"))


def conclude(
    model: PreTrainedModel,
    held: HeldBack | None,
    run: Run,
    stages: Iterable[str],
    settings: AdaptSettings,
    trained: int,
    progress: Progress | None,
) -> Outcome | None:
    """What came out, as the last line of the run's metrics, too; None where nothing was held back.

    Args:
        model: the adapted model.
        held: what was held back.
        run: with the metrics of the stages.
        stages: what the model has been through.
        settings: of the run.
        trained: tokens of the rows that the last stage learned on.
        progress: called with (stage, done, total).
    """
    if held is None:
        return None

    stages = tuple(stages)
    with drawing(STAGE, settings.seed):
        lengths = held.measure(model, of_stage(progress, STAGE))
    outcome = Outcome(len(held.ids), lengths, trained, stages, behind(run.metrics(), stages))
    run.conclude({"stage": STAGE, **outcome.to_dict()})
    return outcome


def behind(metrics: Sequence[Mapping[str, Any]], stages: Sequence[str]) -> tuple[int, ...]:
    """Layers that the last stage which goes layer by layer left behind, see `Outcome.behind`."""
    lines = {m["layer"]: m for m in metrics if m["stage"] == _layerwise(stages) and "layer" in m}
    errors = {layer: m["relative_error"] for layer, m in lines.items()}
    middle = statistics.median(errors.values()) if errors else 0.0
    return tuple(sorted(n for n, error in errors.items() if lines[n].get("kept") or not error <= BEHIND * middle))


def _layerwise(stages: Sequence[str]) -> str | None:
    """The last stage that goes layer by layer."""
    return next((stage for stage in ("transfer", "statistics", "matching") if stage in stages), None)


def _times(ratio: float) -> str:
    digits = 0 if ratio >= 100 else 1
    return f"{ratio:,.{digits}f} times" if ratio < 1e6 else f"{ratio:.1e} times"
