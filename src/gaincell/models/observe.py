"""What the arrays of a running model do, head by head: pulses, charges, read-outs, codes."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.nn.functional import one_hot
from transformers import PreTrainedModel

from gaincell.cell.law import REFERENCE_VOLTAGE_V
from gaincell.config import GainCellConfig
from gaincell.errors import InputError
from gaincell.hardware.activity import UNQUANTISED_LEVELS, Activity
from gaincell.models.attention_modules import scalers_of
from gaincell.models.scalers import HeadScalers
from gaincell.ops.dense import dense
from gaincell.ops.leak import aged_voltage, since_written
from gaincell.ops.model import array_model
from gaincell.ops.operands import Operands
from gaincell.ops.quantise import code_voltage, query_pulse, stored_code
from gaincell.ops.terms import Terms


@torch.no_grad()
def attention_activity(model: PreTrainedModel, ids: Tensor, text: str = "token ids") -> Activity:
    """Run a converted model and record what its arrays do, layer by layer; memory grows with T squared of one layer.

    Circuits are as the design point has them, though operands are not rounded to `matmul`. Charges that cells draw are
    those of the charge law at a cell's age: what differs from cell to cell is left out, and feedthrough. Cells without
    levels are counted, and their charges taken, at the nearest of `UNQUANTISED_LEVELS`. Digital heads do nothing in the
    arrays: theirs is 0 throughout.

    Args:
        model: a converted model.
        ids: (B, T) token ids without pads; rows run one after the other.
        text: what they are, in a few words.

    Raises:
        InputError: a model that is not converted, or with digital layers alone; ids of another shape.
    """
    if ids.dim() != 2 or not ids.numel():
        raise InputError(f"ids must be token ids of shape (B, T), one at least; got {tuple(ids.shape)}.")
    was_training = model.training
    with watched(model) as tallies:
        model.eval()
        try:
            for row in ids.split(1):
                model.base_model(row.to(model.device), use_cache=False)
        finally:
            model.train(was_training)
    return activity_of(tallies, ids.numel(), text)


@contextmanager
def watched(model: PreTrainedModel) -> "Iterator[Sequence[Tally]]":
    """Record what the arrays of a converted model do in the block, whatever runs it, on rows without pads.

    Raises:
        InputError: a model that is not converted.
    """
    layers = scalers_of(model)
    if not layers:
        raise InputError("the model attends with softmax, so there are no pulses to look at; convert it first.")
    tallies = [Tally(scalers) for scalers in layers.values()]
    try:
        for scalers, tally in zip(layers.values(), tallies, strict=True):
            scalers.observer = tally
        yield tallies
    finally:
        for scalers in layers.values():
            scalers.observer = None


def activity_of(tallies: "Sequence[Tally]", tokens: int, text: str) -> Activity:
    """What was recorded, of every layer, over so many tokens of a text.

    Raises:
        InputError: all layers are digital.
    """
    means = [tally.means() for tally in tallies]
    drawn = next((of_layer for of_layer in means if of_layer), None)
    if drawn is None:
        raise InputError("all layers of the model are digital, so there is nothing for its arrays to do.")
    for index, tally in enumerate(tallies):
        if tally.scalers.is_digital:
            means[index] = {name: torch.zeros_like(x) for name, x in drawn.items()}
        else:
            _silence(means[index], tally.scalers)
    arrays = {name: torch.stack([of_layer[name] for of_layer in means]).numpy() for name in means[0]}
    digital = tuple((n, head) for n, tally in enumerate(tallies) for head in tally.scalers.digital)
    return Activity(**arrays, tokens=tokens, text=text, digital=digital)


def _silence(means: dict[str, Tensor], scalers: HeadScalers) -> None:
    """Digital heads drive no arrays, and where all heads that share a key/value head are digital, nothing is stored."""
    shared = scalers.heads // scalers.kv_heads
    empty = [n for n in range(scalers.kv_heads) if set(range(n * shared, (n + 1) * shared)) <= {*scalers.digital}]
    for name, x in means.items():
        x[empty if name in ("key_codes", "value_codes") else list(scalers.digital)] = 0.0


class Tally:
    """Sums over what one layer's arrays do, and over how many lines, cells or columns; called with their operands."""

    def __init__(self, scalers: HeadScalers) -> None:
        self.scalers, self.config = scalers, scalers.config
        self.totals: dict[str, tuple[Tensor, Tensor]] = {}

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, preset: Tensor | None, absent: Tensor | None) -> None:
        """Add what one call of the layer does: q (B, Hq, T, D), k and v (B, Hkv, T, D), preset (B, Hq, T)."""
        preset = q.new_zeros(q.shape[:3]) if preset is None else preset
        present = torch.ones_like(k[..., 0], dtype=torch.bool) if absent is None else ~absent
        groups = q.shape[1] // k.shape[1]
        for row in range(len(q)):
            # One key/value head at a time, so that what is kept for every pair of tokens stays small.
            arrays = zip(q[row].split(groups), k[row], v[row], preset[row].split(groups), present[row], strict=True)
            found = [_sums(*operands, self.config, n, k.shape[1]) for n, operands in enumerate(arrays)]
            for name in found[0]:
                sums, counts = (torch.cat([head[name][i] for head in found]).double().cpu() for i in (0, 1))
                before = self.totals.get(name, (0, 0))
                self.totals[name] = before[0] + sums, before[1] + counts

    def means(self) -> dict[str, Tensor]:
        """0 where there was nothing to take a mean of."""
        return {name: sums / counts.clamp(min=1) for name, (sums, counts) in self.totals.items()}


def _sums(
    q: Tensor, k: Tensor, v: Tensor, preset: Tensor, present: Tensor, config: GainCellConfig, head: int, heads: int
) -> dict[str, tuple[Tensor, Tensor]]:
    """For every array of `Activity` the sum of one pair of arrays, (G,) or (1, levels), and of how many.

    Of q (G, T, D), k and v (T, D), preset (G, T), present (T,), where G queries share keys and values: those of
    key/value head `head` of `heads`.
    """
    group, tokens, dim = q.shape
    levels = config.stored_levels or UNQUANTISED_LEVELS
    counted = config.replace(stored_levels=levels)
    index = torch.arange(tokens, device=q.device)
    age = index[:, None] - index
    seen = (age >= 0) & (age < config.window) & present
    ages, age = index[: config.window], age.clamp(0, min(tokens, config.window) - 1)

    pulse = query_pulse(q, config)
    pulse = (pulse + 1.0) / 2.0 if config.query_sign == "offset_binary" else pulse.abs()
    model = array_model(config)
    operands = Operands(q[None], k[None, None], v[None, None], preset[None], ~present[None, None])
    trace = dense(operands, model, kv_head=head, kv_heads=heads)
    phi = trace.phi[0]
    k_code, v_code = stored_code(k, counted).long(), stored_code(v, counted).long()
    k_levels, v_levels = (one_hot(code, levels).sum(1).double() for code in (k_code, v_code))  # (T, levels)

    charge = _charges(counted, ages)
    # What a token's cells draw from a full pulse at any age (T, ages), then at the age each query finds it at.
    drawn = (v_levels @ charge).to(phi).gather(1, age.T).T
    # (T, J): a sub-tile is read where the query sees a token that is present in it.
    used = seen.to(phi) @ one_hot(index % config.window // config.subtile_columns).to(phi) > 0
    full = model.readout.full
    # Two levels around zero have none but zero to report: half a count rounds to it, and their share is 0.
    top = model.readout.count_(phi.new_full((), full))
    top = top.where(top > 0, 1.0)

    lines, columns, cells = (x.expand(group) for x in (age.new_tensor(tokens * dim), seen.sum(), seen.sum() * dim))
    written = present.sum().expand(1, 1) * dim
    return {
        "query_pulse": (_total(pulse), lines),
        # Offset-binary pulses of no width differ from zero by rounding.
        "query_active": (_total(pulse > torch.finfo(pulse.dtype).eps), lines),
        "key_charge": (_key_charge(pulse, k_code, present, charge), cells),
        "phi": (_total(phi), columns),
        "phi_active": (_total(phi > 0), columns),
        "phi_full": (_total(phi == 1), columns),
        "value_charge": (phi.flatten(1) @ drawn.flatten(), cells),
        "readout": (_total((trace.read[0] * full).abs() * used[..., None]) / top, used.sum().expand(group) * dim),
        "key_codes": (k_levels[present].sum(0, keepdim=True), written),
        "value_codes": (v_levels[present].sum(0, keepdim=True), written),
    }


def _total(x: Tensor) -> Tensor:
    """Of all but the first dimension."""
    return x.flatten(1).sum(1, dtype=torch.float64 if x.is_floating_point() else None)


def _charges(config: GainCellConfig, ages: Tensor) -> Tensor:
    """What the cells of every stored level draw at every age, over |f(0.45 V)|: (levels, ages), in double precision.

    |f| of a push-pull cell; of cells of one sign, what all that a value is stored in draw. Of cells as all are on
    average, where they differ, and as they were to be written.
    """
    cell, config = config.cell, config.replace(mismatch_seed=None, retention_seed=None, writes="ideal")
    ages = since_written(ages, config)
    scale = 1.0 / abs(cell.model_law(REFERENCE_VOLTAGE_V))
    levels = torch.arange(config.stored_levels or 0, device=ages.device)
    y = code_voltage(levels, config, torch.float64)[:, None].expand(-1, len(ages))
    if cell.polarity == "push_pull":
        return Terms.of(cell.model_law, config, scale).charge(y, ages).abs()
    factored = config.leak_form == "factored"
    drawn = torch.zeros_like(y)
    for written in (y, -y)[: cell.cells_per_value]:
        left = written if factored else aged_voltage(written[..., None], ages, config)[..., 0]
        drawn = drawn + cell.model_cell_law(left).abs() * scale
    return drawn * torch.exp(-config.leak * ages.double()) if factored else drawn


def _key_charge(pulse: Tensor, code: Tensor, present: Tensor, charge: Tensor) -> Tensor:
    """sum_tsd pulse_td |f|(code_sd, t - s) over columns in use: (G,), in memory linear in the tokens.

    For every level a correlation along the tokens gives how much pulse its cells get at each age.
    """
    length = 2 * len(code)
    pulses = torch.fft.rfft(pulse, length, 1)
    total = charge.new_zeros(len(pulse))
    for level, at_ages in enumerate(charge):
        cells = torch.fft.rfft(((code == level) & present[:, None]).to(pulse), length, 0)
        met = torch.fft.irfft((pulses * cells.conj()).sum(2), length, 1)[:, : len(at_ages)]
        total += met.clamp_(min=0.0).double() @ at_ages  # below zero by rounding only
    return total
