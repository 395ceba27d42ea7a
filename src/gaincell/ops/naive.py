"""The oracle: the two products token by token in float64, the equations in their order, nothing clever."""

import torch
from torch import Tensor

from gaincell.cell.pulse import PulseLaw
from gaincell.config import GainCellConfig
from gaincell.ops.check import check_operands
from gaincell.ops.convert import fired, normaliser_readout, query_pulse, readout, stored_voltage
from gaincell.ops.retention import aged_voltage
from gaincell.ops.variation import Cells, arrays, readout_noise, score_noise, seed_of_noise


def naive_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    config: GainCellConfig,
    *,
    pad: Tensor | None = None,
    preset: Tensor | None = None,
    absent: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Attention as the arrays compute it [Leroux et al. 2025, equations of the released code].

    Args:
        q: (B, Hq, T, D) pulse widths in units of T_max, after scaling.
        k, v: (B, Hkv, T, D) voltages in volt, after scaling; Hq is a multiple of Hkv.
        config: the design point.
        pad: (B,) left pads of each row; a pad is never written, its output is zero.
        preset: (B, Hq, T) offset on S / S_sat per query.
        absent: (B, Hkv, T), true at tokens that take their column but are not stored there: phi is 0.

    Returns:
        (B, Hq, T, D) output before output scaling, and phi (B, Hq, T, T), both float64.

    Raises:
        InputError: as `gaincell.attention`.
    """
    check_operands(q, k, v, config, pad, preset, absent)
    q, yk, yv = (x.double() for x in (query_pulse(q, config), stored_voltage(k, config), stored_voltage(v, config)))
    out, z, phi = naive_products(q, yk, yv, config, preset, absent, pad)
    if config.normaliser != "none":
        out = out / (z[..., None] + config.normaliser_epsilon)
    return out, phi


def naive_products(
    q: Tensor,
    yk: Tensor,
    yv: Tensor,
    config: GainCellConfig,
    preset: Tensor | None = None,
    absent: Tensor | None = None,
    pad: Tensor | None = None,
    start: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """The two products of converted operands, as `naive_attention` has them.

    Args:
        q: (B, Hq, T, D) converted pulse widths.
        yk, yv: (B, Hkv, T, D) stored voltages minus zero, in volt.
        config, preset, absent, pad: as for `naive_attention`.
        start: (B,) tokens that each row has written before these, or None for none.

    Returns:
        (B, Hq, T, D) sum of the sub-tiles' read-outs, (B, Hq, T) Z, and phi (B, Hq, T, T), all float64. Z is the
        sum over sub-tiles of `normaliser_readout`: without a normaliser, and with an ideal one, the sum of phi.
    """
    groups, (batch, heads, tokens, dim) = q.shape[1] // yk.shape[1], q.shape
    cells, index = arrays(config, yk.shape[1], dim, q.double()), torch.arange(heads, device=q.device)
    head = index[:, None] // groups
    q, yk, yv = q.double(), yk.double().repeat_interleave(groups, 1), yv.double().repeat_interleave(groups, 1)
    seed = seed_of_noise(config)
    stored = None if absent is None else ~absent.repeat_interleave(groups, 1)
    out, z, all_phi = torch.zeros_like(q), q.new_zeros(batch, heads, tokens), q.new_zeros(batch, heads, tokens, tokens)
    for b in range(batch):
        first = int(pad[b]) if pad is not None else 0
        for t in range(first, tokens):
            s = torch.arange(max(first, t - config.window + 1), t + 1, device=q.device)
            decay = torch.exp(-config.leak * (t - s).double())[:, None] if config.leak_form == "factored" else None
            held_k, held_v = yk[b][:, s], yv[b][:, s]
            if decay is None:
                held_k, held_v = (aged_voltage(x, t - s, config) for x in (held_k, held_v))
            before = first - (0 if start is None else int(start[b]))
            column, now = (s - before) % config.window, head.new_tensor(t - before)
            key, value = (None, None) if cells is None else (array.at(head, column) for array in cells)
            pulse = q[b, :, t, None, :]
            score = _product(pulse, held_k, decay, key, config).sum(-1)
            if config.feedthrough:
                score = score + _feedthrough(fired(pulse, config), held_k, decay, config).sum(-1)
            offset = 0.0 if preset is None else preset[b, :, t, None].double()
            level = score / config.score_saturation + offset
            if config.score_noise:
                level = level + score_noise(config, seed, index[:, None], now, column, score)
            phi = _pulse(level, config.gate)
            if stored is not None:
                phi = phi * stored[b][:, s]
            charge = _product(phi[..., None], held_v, decay, value, config)
            if config.feedthrough:
                charge = charge + _feedthrough((phi > 0).double()[..., None], held_v, decay, config)
            tile = column // config.subtile_columns
            tiles = {j: tile == j for j in tile.unique()}
            reads = {j: charge[:, own].sum(1) / config.output_scale for j, own in tiles.items()}
            if config.readout_noise:
                reads = {j: x + readout_noise(config, seed, index, now, j, x) for j, x in reads.items()}
            out[b, :, t] = sum(readout(x, config) for x in reads.values())
            z[b, :, t] = sum(normaliser_readout(phi[:, own].sum(1), config) for own in tiles.values())
            all_phi[b, :, t, s] = phi
    return out, z, all_phi


def _pulse(level: Tensor, law: PulseLaw) -> Tensor:
    """phi of S / S_sat + preset: what each stretch of the polyline adds, and each jump."""
    ramps = sum(slope * (level - start).clamp(0.0, length) for start, length, slope in law.ramps)
    return ramps + sum((height * (level > start).double() for start, height in law.jumps), torch.zeros_like(level))


def _product(pulse: Tensor, y: Tensor, decay: Tensor | None, cells: Cells | None, config: GainCellConfig) -> Tensor:
    """pulse * gain * f(y - zero), gain 1 and zero 0 where cells are equal, of what is left of the voltages.

    Where charges decay as a whole, times `decay`, of the voltages as written. Under the published surrogate its
    gradient is that of the same with slope * y as f.
    """
    gain, zero = (1.0, 0.0) if cells is None else (cells.gain, cells.zero)
    shrunk = 1.0 if decay is None else decay
    exact = pulse * gain * config.cell.model_law(y - zero) * shrunk
    if config.gradient == "true-law":
        return exact
    linear = pulse * gain * config.surrogate_slope * (y - zero) * shrunk
    return linear + (exact - linear).detach()


def _feedthrough(fired: Tensor, y: Tensor, decay: Tensor | None, config: GainCellConfig) -> Tensor:
    """fired * F(y), likewise, without gradient."""
    coefficients = config.cell.model_feedthrough(config.pulse_max_s) or (0.0,)
    total = sum((c * y**i for i, c in enumerate(coefficients)), torch.zeros_like(y))
    return (fired * (total if decay is None else total * decay)).detach()
