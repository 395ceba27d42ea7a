"""The oracle: the equations in their order, token by token in float64, nothing clever and nothing of training."""

from dataclasses import replace

import torch
from torch import Tensor

from gaincell.config import GainCellConfig
from gaincell.ops.leak import aged_voltage, since_written, voltage_at
from gaincell.ops.model import ArrayModel
from gaincell.ops.operands import Operands
from gaincell.ops.quantise import fired
from gaincell.ops.variation import Cells, arrays
from gaincell.ops.wear import unwritten_voltage, written_voltage

#: What it computes; see `gaincell.ops.model.ArrayModel.needs`.
SERVES = frozenset(
    {
        *("normaliser", "feedthrough", "noise", "mismatch", "leak spread", "refresh", "retention table"),
        *("write error", "read disturb", "tabled write"),
    }
)


@torch.no_grad()
def naive_products(operands: Operands, model: ArrayModel, pad: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """Both products [Leroux et al. 2025, equations of the released code], of rows with left pads (B,) if any.

    Returns:
        (B, Hq, T, D) sum of the sub-tiles' read-outs, (B, Hq, T) Z, and phi (B, Hq, T, T), all float64. Z is the sum
        of phi, as the normaliser counts it where there is one.
    """
    config, groups = model.config, operands.groups
    given = operands if operands.converted else _written(operands.quantise(config), pad, config)
    q, (batch, heads, tokens, dim) = given.q.double(), given.q.shape
    yk, yv = (x.double().repeat_interleave(groups, 1) for x in (given.k, given.v))
    stored = ~(torch.zeros_like(given.k[..., 0]).bool() if given.absent is None else given.absent)
    stored = stored.repeat_interleave(groups, 1)
    cells, noise = arrays(config, given.k.shape[1], dim, q), model.noise and model.noise.of_call()
    g, through = config.cell.model_cell_law, config.cell.model_feedthrough(config.pulse_max_s) or ()
    index = torch.arange(heads, device=q.device)
    head, count = index[:, None] // groups, model.normaliser or (lambda total: total)

    def drawn(pulse: Tensor, often: Tensor, left: Tensor, whole: Tensor, own: Cells | None) -> Tensor:
        """By cells (Hq, s, D) of which these voltages are left: pulse * gain * g(left - zero), and `often` F(left)."""
        gain, zero = (1.0, 0.0) if own is None else (own.gain, own.zero)
        total = pulse * gain * g(left - zero) * whole
        return total + often * sum(c * left**i for i, c in enumerate(through)) * whole if config.feedthrough else total

    def charge(pulse: Tensor, often: Tensor, y: Tensor, age: Tensor, column: Tensor, array: int) -> Tensor:
        """Of values (Hq, s, D) written as y: what one cell draws, less what the other one or the reference does."""
        now = age * (config.leak_form == "cell")  # "factored": charges decay as a whole
        whole, own = torch.exp(-config.leak * (age - now).double())[:, None], cells and cells[array].at(head, column)
        total = drawn(pulse, often, aged_voltage(y, now, config, own and own.pace), whole, own)
        if config.cell.polarity == "push_pull":
            return total
        other = own and own.other
        pair = config.cell.polarity == "pair"
        left = aged_voltage(-y, now, config, other and other.pace) if pair else torch.zeros_like(y)
        return total - drawn(pulse, often, left, whole, other)

    out, z, phi = torch.zeros_like(q), q.new_zeros(batch, heads, tokens), q.new_zeros(batch, heads, tokens, tokens)
    for b in range(batch):
        first = 0 if pad is None else int(pad[b])
        before = first - (0 if given.start is None else int(given.start[b]))
        for t in range(first, tokens):
            s = torch.arange(max(first, t - config.window + 1), t + 1, device=q.device)
            age, column, now = since_written(t - s, config), (s - before) % config.window, index.new_tensor(t - before)
            pulse = q[b, :, t, None]
            score = charge(pulse, fired(pulse, config), yk[b][:, s], age, column, 0).sum(-1) / config.score_saturation
            if given.preset is not None:
                score = score + given.preset[b, :, t, None].double()
            if noise is not None and noise.score:
                score = score + noise.of_scores(index[:, None], now, column, score)
            width = phi[b, :, t, s] = _width(score, model) * stored[b][:, s]
            charges = charge(width[..., None], (width > 0).double()[..., None], yv[b][:, s], age, column, 1)
            tile = column // config.subtile_columns
            for j in tile.unique():
                total = charges[:, tile == j].sum(1) / config.output_scale
                if noise is not None and noise.readout:
                    total = total + noise.of_readouts(index, now, j, total)
                out[b, :, t] += model.readout(total)
                z[b, :, t] += count(width[:, tile == j].sum(1))
    return out, z, phi


def _written(given: Operands, pad: Tensor | None, config: GainCellConfig) -> Operands:
    """Quantised operands of rows that have written nothing before, as cells hold them: token by token, over what each
    column held."""
    if config.writes == "ideal":
        return given
    window, absent = torch.tensor(config.window, dtype=torch.float64), given.absent
    found = []
    for y in (given.k.double(), given.v.double()):
        written = torch.zeros_like(y)
        for b in range(len(y)):
            first, held = 0 if pad is None else int(pad[b]), {}
            for t in range(first, y.shape[2]):
                column, before = (t - first) % config.window, torch.full_like(y[b, :, t], unwritten_voltage(config))
                if column in held:
                    before = voltage_at(held[column], window, config)
                now = written_voltage(y[b, :, t], before, config)
                stored = torch.ones(len(now), 1).bool() if absent is None else ~absent[b, :, t, None]
                held[column] = written[b, :, t] = torch.where(stored, now, before)
        found.append(written)
    return replace(given, k=found[0], v=found[1])


def _width(x: Tensor, model: ArrayModel) -> Tensor:
    """phi of S / S_sat + preset: what each stretch of the pulse law's polyline adds, and each jump."""
    law = model.gate.law
    ramps = sum(slope * (x - start).clamp(0.0, length) for start, length, slope in law.ramps)
    return ramps + sum((height * (x > start).double() for start, height in law.jumps), torch.zeros_like(x))
