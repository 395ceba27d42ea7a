"""From one design point to another without learning: bring each layer's statistics to those it had."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from gaincell.adapt.request import Request
from gaincell.adapt.run.folder import Run
from gaincell.adapt.seeds import drawing
from gaincell.adapt.stage import Stage, Work
from gaincell.adapt.stages.layers import Heads, attending_by
from gaincell.adapt.stages.statistics import Moments, match_layer
from gaincell.config import GainCellConfig
from gaincell.errors import InputError
from gaincell.models import HeadScalers, attention_modules, convert_, scalers_of
from gaincell.models.intake import layer_input
from gaincell.models.interface import gaincell_attention
from gaincell.models.scalers import scalers_in
from gaincell.ops import attention
from gaincell.ops.quantise import stored_voltage
from gaincell.progress import Progress


@dataclass(frozen=True)
class Shown:
    """What one layer's attention showed on some text.

    Attributes:
        moments: of "q", "k", "v" and "out", after scaling.
        out: the output after scaling, (N, Hq, T, D).
    """

    moments: dict[str, Moments]
    out: Tensor


def show(model: PreTrainedModel, ids: Tensor) -> list[Shown]:
    """What every layer of a converted model shows on ids (N, T), in one forward pass; in layer order."""

    def look(scalers: HeadScalers, q: Tensor, k: Tensor, v: Tensor, out: Tensor) -> Shown:
        moments = {name: Moments.of(scalers.scale(name, x)) for name, x in (("q", q), ("k", k), ("v", v))}
        return Shown({**moments, "out": Moments.of(out)}, out)

    return _look(model, ids, look)


def match_model(
    model: PreTrainedModel,
    config: GainCellConfig,
    ids: Tensor,
    run: Run,
    progress: Progress | None = None,
) -> None:
    """Move a converted model to another design point, and match its scalers to what it showed before.

    Weights and scalers are kept; then, layer by layer, mean and deviation per head of the scaled q, k, v and output are
    brought to those at the former design point. A layer sees what the matched layers below it put out, so that all of
    it is one forward pass [Leroux et al. 2025, released code].

    Args:
        model: attends at the former design point; changed in place. One without score preset and digital sinks.
        config: the new design point.
        ids: (N, T) token ids on the model's device, the one batch that it looks at.
        run: where each layer's scalers are kept, as the stage "matching"; those of a finished run are read back.
        progress: called with ("matching", layers done, layers).
    """

    def match(scalers: HeadScalers, q: Tensor, k: Tensor, v: Tensor, target: Shown) -> dict[str, float]:
        # The output compared with is the linear model's, in place of softmax's.
        errors = match_layer(scalers, Heads(q, k, v, target.out), target.moments)
        return {"relative_error": float(errors.mean())}

    _match(model, config, run, lambda: show(model, ids), match, ids, progress)


@dataclass(frozen=True)
class Drawn:
    """What one layer's arrays drew on some text.

    Attributes:
        charges: moments of f(y) of the stored "k" and "v", on the paper's scale.
        out: what the arrays put out, after scaling and before sinks are mixed in, (N, Hq, T, D).
        offset: of the charge-to-pulse circuits, in units of S / S_sat.
    """

    charges: dict[str, Moments]
    out: Tensor
    offset: float


def match_cell(
    model: PreTrainedModel,
    config: GainCellConfig,
    ids: Tensor,
    run: Run,
    progress: Progress | None = None,
) -> None:
    """Move an adapted model to another cell, and match its scalers to what its arrays drew before.

    Weights are kept; then, layer by layer, the scalers of k and v are chosen so that mean and deviation per head of the
    charges f(y) that are stored are those at the former cell, and the output's so that its mean and deviation are. The
    former cell's charges are what the model learned with: the same voltages draw others from another cell, and what a
    head's sum is off by grows with the number of its rows. `match_model` in contrast keeps the voltages' moments.
    A score preset takes the offset of the charge-to-pulse circuits off, where the design point has it
    (`charge_to_pulse`): phi is then as at the former cell, but for the gain, and for pulses shorter than the offset,
    which are lost. Towards a smaller offset it is put back, and charges just below zero, which gave no pulse, come to
    give one.

    Args:
        model: attends at the former design point; changed in place.
        config: the new design point.
        ids: (N, T) token ids on the model's device, the one batch that it looks at.
        run: where each layer's scalers are kept, as the stage "matching"; those of a finished run are read back.
        progress: called with ("matching", layers done, layers).
    """

    def look(scalers: HeadScalers, q: Tensor, k: Tensor, v: Tensor, _: Tensor) -> Drawn:
        charges = {name: Moments.of(_charge(scalers, name, x)) for name, x in (("k", k), ("v", v))}
        return Drawn(charges, scalers.scale("out", _arrays(scalers, q, k, v)), _offset(scalers))

    def match(scalers: HeadScalers, q: Tensor, k: Tensor, v: Tensor, target: Drawn) -> dict[str, float]:
        before = _error(scalers.scale("out", _arrays(scalers, q, k, v)), target.out)
        if scalers.preset is not None:
            scalers.preset.bias.add_(target.offset - _offset(scalers))
        for name, x in (("k", k), ("v", v)):
            _match_charge(scalers, name, x, target.charges[name])
        out = _arrays(scalers, q, k, v)
        seen, wanted = Moments.of(scalers.scale("out", out)), Moments.of(target.out)
        factor = wanted.std / seen.std.clamp(min=1e-12)
        _stretch(scalers.out_scale, scalers.out_bias, factor, wanted.mean - factor * seen.mean)
        after = _error(scalers.scale("out", out), target.out)
        return {"relative_error_before": before, "relative_error": after}

    _match(model, config, run, lambda: _look(model, ids, look), match, ids, progress)


@torch.no_grad()
def _look(model: PreTrainedModel, ids: Tensor, look: Callable[..., Any]) -> list[Any]:
    """`look` (scalers, q, k, v, the arrays' output after scaling and sinks) of every layer, in one forward pass.

    None of digital layers, which show nothing of arrays.
    """
    found = []

    def attend(module: nn.Module, query: Tensor, key: Tensor, value: Tensor, *args: Any, **kwargs: Any) -> Any:
        result = gaincell_attention(module, query, key, value, *args, **kwargs)
        scalers = scalers_in(module)
        assert scalers is not None
        analog = not scalers.is_digital
        found.append(look(scalers, query, key, value, result[0].transpose(1, 2)) if analog else None)
        return result

    with attending_by(model, attend):
        model(ids, use_cache=False, logits_to_keep=1)
    return found


@torch.no_grad()
def _match(
    model: PreTrainedModel,
    config: GainCellConfig,
    run: Run,
    targets_of: Callable[[], list[Any]],
    match: Callable[..., dict[str, float]],
    ids: Tensor,
    progress: Progress | None,
) -> None:
    """Move a model to `config`, and `match` (scalers, q, k, v, target) every layer after those below it.

    Digital layers, the same before and after, stay as they are. A finished run is read back.
    """
    scalers = list(scalers_of(model).values())
    places = {module: layer for layer, module in enumerate(attention_modules(model).values())}
    analog = [layer for layer, each in enumerate(scalers) if not each.is_digital]
    finished = all(run.finished("matching", layer) for layer in analog)
    targets = [] if finished else targets_of()
    convert_(model, config)
    if finished:
        for layer in analog:
            run.load("matching", layer, scalers[layer])
        return

    def attend(module: nn.Module, query: Tensor, key: Tensor, value: Tensor, *args: Any, **kwargs: Any) -> Any:
        layer = places[module]
        if layer not in analog:
            return gaincell_attention(module, query, key, value, *args, **kwargs)
        metrics: dict[str, Any] = {"stage": "matching", "layer": layer}
        metrics |= match(scalers[layer], query, key, value, targets[layer])
        run.save("matching", layer, scalers[layer].state_dict(), metrics)
        if progress is not None:
            progress("matching", layer + 1, len(scalers))
        return gaincell_attention(module, query, key, value, *args, **kwargs)

    with attending_by(model, attend):
        model(ids, use_cache=False, logits_to_keep=1)


class MatchCell(Stage):
    """Moves an adapter to another cell, see `match_cell`."""

    name = "matching"
    by_layer = True

    def check(self, request: Request) -> None:
        """Refuse a run without an adapter."""
        if request.start is None:
            raise InputError("the stage matching moves an adapter to another cell; say which adapter to start from.")

    def run(self, work: Work) -> None:
        """Match the scalers on the first of the rows."""
        assert work.calibration is not None
        ids = work.calibration[: work.settings.statistics_rows].to(work.model.device)
        with drawing(self.name, work.settings.seed):
            match_cell(work.model, work.config, ids, work.run, work.progress)


class MatchModel(Stage):
    """Moves the paper's linear model to the design point's own law, see `match_model`."""

    name = "matching"

    def run(self, work: Work) -> None:
        """Match the scalers on the first of the rows that are trained on."""
        assert work.rows is not None
        ids = work.rows[: work.settings.statistics_rows].to(work.model.device)
        with drawing(self.name, work.settings.seed):
            match_model(work.model, work.config, ids, work.run, work.progress)


def _offset(scalers: HeadScalers) -> float:
    """Of the charge-to-pulse circuits, as what it adds to S / S_sat."""
    gain, offset = scalers.config.gate.line
    return offset / gain


def _charge(scalers: HeadScalers, name: str, x: Tensor) -> Tensor:
    """f(y) of what is stored of k or v (N, Hkv, T, D), on the paper's scale; same shape."""
    return scalers.config.cell.model_law(stored_voltage(scalers.scale(name, x), scalers.config))


def _match_charge(scalers: HeadScalers, name: str, x: Tensor, target: Moments) -> None:
    """Bring mean and deviation per head of the charges of k or v to `target`, damped like the paper's `match`."""
    a, b = getattr(scalers, f"{name}_scale"), getattr(scalers, f"{name}_bias")
    law, zero = scalers.config.cell.model_law, scalers.config.zero_v
    # Charge per volt; steps are of half of what it says, since a law is steeper outside.
    slope = (law(zero) - law(-zero)) / (2 * zero)
    for iteration in range(40):
        seen = Moments.of(_charge(scalers, name, x))
        alpha = 1.0 - 0.9 * iteration / 39
        factor = 1 + alpha * ((target.std / seen.std.clamp(min=1e-9)).clamp(0.5, 2.0) - 1)
        # stretched around the zero level, and moved
        _stretch(a, b, factor, zero * (1 - factor) + 0.5 * alpha * (target.mean - seen.mean) / slope)


def _stretch(a: Tensor, b: Tensor, factor: Tensor, plus: Tensor) -> None:
    """a x + b becomes factor (a x + b) + plus; factor and plus per head (H,), a and b (H,) or (H, D)."""
    if a.dim() == 2:
        factor, plus = factor[:, None], plus[:, None]
    a.mul_(factor)
    b.mul_(factor).add_(plus)


def _arrays(scalers: HeadScalers, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """What the arrays of a layer put out for whole rows without pads, before output scaling."""
    preset = absent = None
    if scalers.reads_input:
        before = torch.arange(query.shape[2], device=query.device).expand(len(query), -1)
        if scalers.preset is not None:
            preset = scalers.preset(layer_input(scalers), before.clamp(max=scalers.config.window))
        if scalers.sinks is not None:
            absent = scalers.sinks.absent(value, before)
    q, k, v = (scalers.scale(name, x) for name, x in (("q", query), ("k", key), ("v", value)))
    return attention(q, k, v, scalers.config, preset=preset, absent=absent, validate=False)


def _error(x: Tensor, target: Tensor) -> float:
    return float((x - target).square().mean() / target.square().mean().clamp(min=1e-12))
