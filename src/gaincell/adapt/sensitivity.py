"""What each layer of an adapted model loses in gain cells, and which to keep digital for a budget."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from gaincell.adapt.outcome import HeldBack
from gaincell.atomic import written_aside
from gaincell.config import GainCellConfig
from gaincell.digital_heads import analog_layers, digital_entries, whole_layers
from gaincell.errors import InputError
from gaincell.files import read_object, reading
from gaincell.models import convert_, design_point
from gaincell.models.attention_modules import blocks_of, scalers_of
from gaincell.models.fingerprint import own_weights
from gaincell.progress import Progress

#: What progress calls it.
STAGE = "sensitivity"


@dataclass(frozen=True)
class Tried:
    """A model with some of its layers and heads digital, beside the original.

    Attributes:
        digital: which, as in the design point.
        divergence: KL(original || model) of the next token, in nats; a mean over random positions.
        perplexity: on the same rows.
        original: the original's perplexity there.
    """

    digital: tuple[int | str, ...]
    divergence: float
    perplexity: float
    original: float

    @property
    def ratio(self) -> float:
        """How many times the original's the perplexity is."""
        return self.perplexity / self.original


@dataclass(frozen=True)
class Sensitivity:
    """What layers, or heads, lose in gain cells.

    Attributes:
        before: the model as it came, with what was digital already.
        alone: with one more entry each, in order.
        chosen: with one, two and more entries, each the best beside those before it; as many as were asked for.
    """

    before: Tried
    alone: tuple[Tried, ...]
    chosen: tuple[Tried, ...]

    @property
    def gains(self) -> dict[int | str, float]:
        """KL that each entry alone takes off, in nats; the largest first."""
        known = set(self.before.digital)
        found = {next(x for x in each.digital if x not in known): each.divergence for each in self.alone}
        gained = {entry: self.before.divergence - divergence for entry, divergence in found.items()}
        return dict(sorted(gained.items(), key=lambda item: -item[1]))

    @property
    def order(self) -> tuple[int | str, ...]:
        """The entries that were chosen, the best first."""
        steps = (self.before, *self.chosen)
        return tuple(
            next(x for x in after.digital if x not in before.digital)
            for before, after in zip(steps, self.chosen, strict=False)
        )

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        return {**asdict(self), "gains": {str(k): v for k, v in self.gains.items()}, "order": list(self.order)}


@torch.no_grad()
def sensitivity(
    model: PreTrainedModel,
    held: HeldBack,
    original: Mapping[str, Tensor],
    *,
    candidates: Iterable[int | str] | None = None,
    budget: int = 0,
    kept: str | Path | None = None,
    progress: Progress | None = None,
) -> Sensitivity:
    """Put every layer of an adapted model back to softmax, alone; then, for a budget, one after the other.

    A layer that is put back has all of its weights from the original: what they learned, they learned for arrays. A
    single head shares its with others, so it attends with softmax by those that it has.

    The choice is greedy, one by one by KL. What an entry takes off is tried again beside those chosen only where what
    it took off before might make it the best (lazy greedy, which assumes that it takes off no more beside others
    [Minoux 1978]).

    Args:
        model: an adapted model, in evaluation mode; left as it was.
        held: rows, and what the original predicts on them.
        original: the original's weights, by their names in the model.
        candidates: entries of the design point's field `digital` to try, each once, and of a layer among them no single
            heads; all layers that are not digital by default.
        budget: how many of them to choose.
        kept: a file for what was measured, so that a call that was cut short goes on; of the same model and rows.
        progress: called with ("sensitivity", done, total); the total is the most that there may be.

    Raises:
        InputError: a model that is not converted, candidates that it has not or that are digital already, more to
            choose than there are, a file of another model or rows, or an original without the model's weights.
    """
    config = design_point(model)
    if config is None:
        raise InputError("the model attends with softmax, so all its layers are digital; convert and adapt it first.")
    entries = to_try(config, [scalers.heads for scalers in scalers_of(model).values()], candidates, budget)
    most = 1 + len(entries) + sum(len(entries) - n for n in range(1, budget))
    trials = _Trials(model, held, config, _Swap(model, original), kept, progress, most)
    try:
        before = trials(config.digital)
        alone = tuple(trials((*config.digital, entry)) for entry in entries)
        chosen = _greedy(trials, before, dict(zip(entries, alone, strict=True)), budget)
    finally:
        trials.leave()
    return Sensitivity(before, alone, tuple(chosen))


def to_try(
    config: GainCellConfig, heads: Sequence[int], candidates: Iterable[int | str] | None, budget: int
) -> list[int | str]:
    """What `sensitivity` tries of a model, of whose layers that attend these are the query heads.

    Raises:
        InputError: as `sensitivity`.
    """
    known = whole_layers(config.digital, heads)
    entries: list[int | str] = list(analog_layers(known, heads))
    if candidates is not None:  # each once, and no head of a layer that is tried as a whole
        entries = list(config.replace(digital=tuple(candidates)).digital)
    for entry in entries:
        wanted = config.replace(digital=(*known, entry))
        wanted.for_layers(len(heads))
        whole_layers(wanted.digital, heads)  # refuses a head that is not there
        if wanted.digital == known:
            raise InputError(f"{entry!r} is digital already; leave it out of what is to be tried.")
    if not 0 <= budget <= len(entries):
        raise InputError(f"{budget} of {len(entries)} layers or heads cannot be chosen; ask for fewer.")
    return entries


@torch.no_grad()
def measure_digital(
    model: PreTrainedModel,
    held: HeldBack,
    original: Mapping[str, Tensor],
    choices: Sequence[Sequence[int | str]],
    *,
    kept: str | Path | None = None,
    progress: Progress | None = None,
) -> tuple[Tried, ...]:
    """An adapted model with each of these choices of layers and heads digital, and no others.

    Args:
        model, held, original, kept, progress: as of `sensitivity`.
        choices: values of the design point's field `digital`, with all that is digital already.

    Raises:
        InputError: as `sensitivity`.
    """
    config = design_point(model)
    if config is None:
        raise InputError("the model attends with softmax, so all its layers are digital; convert and adapt it first.")
    trials = _Trials(model, held, config, _Swap(model, original), kept, progress, len(choices))
    try:
        return tuple(trials(choice) for choice in choices)
    finally:
        trials.leave()


def _greedy(trials: "_Trials", before: Tried, alone: dict[int | str, Tried], budget: int) -> list[Tried]:
    """The best entry, then the best beside it, and so on."""
    # What an entry was last seen to take off, and beside how many.
    gains = {entry: (before.divergence - each.divergence, 0) for entry, each in alone.items()}
    found, current, last = [], before, alone
    for count in range(budget):
        while True:
            best = max(gains, key=lambda entry: gains[entry][0])
            if gains[best][1] == count:
                break
            last = {**last, best: trials((*current.digital, best))}
            gains[best] = (current.divergence - last[best].divergence, count)
        current = last[best]
        found.append(current)
        del gains[best]
    return found


class _Swap:
    """Whole layers of a model with the original's weights, for a while.

    Args:
        model: adapted.
        original: the original's weights.
    """

    def __init__(self, model: PreTrainedModel, original: Mapping[str, Tensor]) -> None:
        self.weights, self.blocks = own_weights(model), blocks_of(model)
        missing = sorted(name for name in self.weights if name.startswith(tuple(self.blocks)) and name not in original)
        if missing:
            raise InputError(f"the original's weights lack {missing[0]}; give those of the model this one was made of.")
        self.there: dict[int, dict[str, tuple[Tensor, Tensor]]] = {}
        for layer, block in enumerate(self.blocks):
            pairs = {name: (p, original[name]) for name, p in self.weights.items() if name.startswith(block)}
            pairs = {name: (p.detach().clone(), theirs.detach().to(p)) for name, (p, theirs) in pairs.items()}
            self.there[layer] = {name: pair for name, pair in pairs.items() if not torch.equal(*pair)}

    def __call__(self, layers: Iterable[int]) -> None:
        """Let these layers have the original's weights, and all others their own."""
        back = set(layers)
        for layer, pairs in self.there.items():
            for name, (own, theirs) in pairs.items():
                self.weights[name].data.copy_(theirs if layer in back else own)


class _Trials:
    """Measures a model with some of it digital, once each; what a file holds is not measured again."""

    def __init__(
        self,
        model: PreTrainedModel,
        held: HeldBack,
        config: GainCellConfig,
        swap: _Swap,
        kept: str | Path | None,
        progress: Progress | None,
        most: int,
    ) -> None:
        self.model, self.held, self.config, self.swap = model, held, config, swap
        self.path, self.progress, self.most = None if kept is None else Path(kept), progress, most
        self.heads = [scalers.heads for scalers in scalers_of(model).values()]
        self.known: dict[tuple[int | str, ...], Tried] = {}
        self.about = {} if kept is None else _identity(model, held, config)
        if self.path is not None and self.path.is_file():
            self._read(self.path)

    def __call__(self, digital: Iterable[int | str]) -> Tried:
        """With these entries digital."""
        key = whole_layers(digital_entries(digital), self.heads)
        if key not in self.known:
            convert_(self.model, self.config, digital=key)
            self.swap(x for x in key if isinstance(x, int) and x not in self.config.digital)
            found = self.held.measure(self.model)[-1]
            self.known[key] = Tried(key, found.divergence, found.perplexity, found.original)
            if self.path is not None:
                with written_aside(self.path) as aside:
                    lines = {"about": self.about, "tried": [asdict(each) for each in self.known.values()]}
                    aside.write_text(json.dumps(lines, indent=1), "utf-8")
        if self.progress is not None:
            self.progress(STAGE, len(self.known), max(self.most, len(self.known)))
        return self.known[key]

    def leave(self) -> None:
        """The model as it came."""
        self.swap(())
        convert_(self.model, self.config)

    def _read(self, path: Path) -> None:
        data = read_object(path)
        if data.get("about") != self.about:
            raise InputError(f"{path} holds what another model, or other rows, gave; choose another output folder.")
        with reading(path):
            for each in data["tried"]:
                tried = Tried(**{**each, "digital": digital_entries(each["digital"])})
                self.known[tried.digital] = tried


def _identity(model: PreTrainedModel, held: HeldBack, config: GainCellConfig) -> dict[str, Any]:
    """What tells one model and its rows from others."""
    digest = hashlib.blake2b(digest_size=16)
    for name, value in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().float().cpu().contiguous().numpy().tobytes())
    rows = hashlib.blake2b(held.ids.cpu().contiguous().numpy().tobytes(), digest_size=16).hexdigest()
    point = config.without("label", "execution").model_dump(mode="json")
    return {"model": digest.hexdigest(), "rows": rows, "design_point": point}
