"""A mixture beside what the model itself writes: all that a run of adaptation learns from."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from gaincell.adapt.seeds import seeded
from gaincell.adapt.settings import AdaptSettings
from gaincell.adapt.text.cut import fingerprint
from gaincell.adapt.text.fetch import texts_folder
from gaincell.adapt.text.mixture import Mixture
from gaincell.adapt.text.own_text import check_written, own_text
from gaincell.adapt.text.rows import mix
from gaincell.models.fingerprint import base_hash
from gaincell.progress import Progress, of_stage
from gaincell.wheel import one_at_a_time

#: Own rows that are written side by side, and kept together when they are done.
OWN_BLOCK = 32


@dataclass(frozen=True)
class Calibration:
    """What `gaincell.adapt` learns from.

    Attributes:
        rows: (`rows`, `length`) for the stages before `distill`: beginnings of rows of the mixture.
        distill: (M, `distill.length`) for `distill`; None without it.
        about: what they are of: the mixture's checksum, and each source's share of the tokens.
    """

    rows: Tensor
    distill: Tensor | None
    about: dict[str, Any]


def mixed_calibration(
    model: PreTrainedModel,
    tokenizer: Any,
    mixture: Mixture,
    settings: AdaptSettings,
    progress: Progress | None = None,
    *,
    distilling: bool,
    learn: bool = True,
    allow_missing: bool = False,
    cache: Path | str | None = None,
) -> Calibration:
    """Rows of a mixture, its share of own text included, as many as the settings ask for.

    Own text lies in the cache folder, where it goes on if it was cut short, and serves every run of this model. Of it
    there is as much as `distill` meets at most `distill.repeats` times; of the sources' text as much as it takes.

    Args:
        model: the unconverted model, which writes its share.
        tokenizer: its tokenizer.
        mixture: the sources and their shares.
        settings: `rows` and `length`, of `distill` its tokens and length, `distill.repeats` and `seed`.
        progress: called with (stage, done, total): "fetch", "rows" and "text".
        distilling: whether `distill` is among the stages.
        learn: False takes only own text that is there.
        allow_missing, cache: see `gaincell.adapt.mixture_rows`.

    Raises:
        InputError: see `gaincell.adapt.mixture_rows`; own text that is not there, where none is to be written.
    """
    short, long = settings.length, (settings.distill.length or settings.length) if distilling else settings.length
    length = max(short, long)
    steps = math.ceil(settings.distill.tokens / long) if distilling else 0
    few, many = _parts(settings.rows, mixture.own), _parts(steps, mixture.own)
    written = max(few[1], math.ceil(many[1] / settings.distill.repeats))
    taken = max(few[0], many[0], 1)
    own = torch.zeros(0, length, dtype=torch.int64)
    how: dict[str, Any] = {"allow_missing": allow_missing, "cache": cache}
    found = mix(tokenizer, mixture, taken * length, length, settings.seed, progress, **how)
    if written:
        own = _own(model, tokenizer, written, length, settings.seed, progress, learn=learn, cache=cache)
    given = found.ids.long()
    rows = torch.cat((given[: few[0]], own[: few[1]]))[:, :short]
    order = torch.randperm(len(rows), generator=seeded("calibration", settings.seed))
    distill = None
    if distilling:
        again = torch.arange(many[1]) % max(1, len(own))
        distill = torch.cat((given[: many[0]], own[again]))[:, :long]
    shares = {"own": mixture.own, **{source.name: round(source.share, 9) for source in found.mixture.sources}}
    return Calibration(rows[order], distill, {"mixture": found.mixture.fingerprint(), "shares": shares})


def _parts(count: int, share: float) -> tuple[int, int]:
    """How many of `count` rows are the sources', and how many own text."""
    own = round(count * share)
    return count - own, own


def _own(
    model: PreTrainedModel,
    tokenizer: Any,
    rows: int,
    length: int,
    seed: int,
    progress: Progress | None,
    *,
    learn: bool,
    cache: Path | str | None,
) -> Tensor:
    """So many rows that the model wrote, kept for every run that asks for such."""
    folder = texts_folder(cache) / "own"
    recipe = {"model": base_hash(model), "vocabulary": sorted(tokenizer.get_vocab().items()), "length": length}
    path = folder / f"{fingerprint({**recipe, 'seed': seed, 'template': str(tokenizer.chat_template)})}.safetensors"
    if not learn:
        check_written(path, rows)
    with one_at_a_time(folder):
        return own_text(model, tokenizer, path, rows, length, seed, of_stage(progress, "text"), block=OWN_BLOCK)
